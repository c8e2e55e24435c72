"""Step an operator over deltas of its inputs, through a checkpoint, also when hashes collide."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pyarrow as pa

from headwater.delta.delta import HASH, Delta
from headwater.operators.operator import Epoch, Operator
from headwater.plan.nodes import Scan
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import cut, with_constant_hash, with_hash


def scan(name: str, types: dict[str, str], *, append_only: bool) -> Scan:
    columns = tuple(Column(column, parse_type(text)) for column, text in types.items())
    return Scan(name, Schema(columns), append_only)


def rows_of(node: Scan, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    schema = node.schema.arrow
    columns = [pa.array([row[i] for row in rows], f.type) for i, f in enumerate(schema)]
    return pa.Table.from_arrays(columns, schema=schema)


def history(
    table: pa.Table, keys: Sequence[str], node: Scan, random: Random, *, epochs: int, collide: bool
) -> list[Delta]:
    """The table cut into epochs, hashed by its keys; with withdrawals unless it only grows."""
    batches = table.combine_chunks().to_batches()
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
    hashed = with_constant_hash(Delta(batch)) if collide else with_hash(Delta(batch), keys)
    whole = pa.Table.from_batches([hashed.rows])
    assert HASH in whole.schema.names
    withdrawn = None if node.append_only else 0.8
    return cut(whole, random, epochs=epochs, withdrawn=withdrawn)


def stepped(
    make: Callable[[], Operator], inputs: Sequence[Sequence[Delta]], *, saved_after: int = -1
) -> list[Delta]:
    """What the operator puts out, epoch by epoch; saved and loaded once, twice over."""
    operator, outputs = make(), []
    for number, changes in enumerate(zip(*inputs, strict=True)):
        outputs.append(operator.step(changes, Epoch(number, 0, number, {})))
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            operator.save(checkpoint)
            manifest = operator.save(checkpoint)
            operator = make()
            operator.load(manifest, checkpoint)
    return outputs

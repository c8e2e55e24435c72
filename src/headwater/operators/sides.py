"""The sides of a join in one epoch, and the parts that its output is put together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HIDDEN, TICK, WEIGHT, Delta, Int64Array, UInt64Array, ones
from headwater.operators.operator import Epoch
from headwater.state.codes import codes_of
from headwater.state.equality import BoolArray, is_null


@dataclass(frozen=True, slots=True)
class Side:
    """Rows that changed on one side of a join.

    Args:
        rows: Their visible columns.
        keys: Their key columns.
        hashes: The hashes of the keys, or their codes.
        weights: Their weights, or None when all are 1.
        ticks: Their places in the log's order, or None where nobody needs them.

    """

    rows: pa.RecordBatch
    keys: pa.RecordBatch
    hashes: UInt64Array
    weights: Int64Array | None
    ticks: Int64Array | None

    def __len__(self) -> int:
        return len(self.hashes)

    def where(self, mask: BoolArray) -> Side:
        """The rows of the mask."""
        if mask.all():
            return self
        places = np.flatnonzero(mask)
        return Side(
            self.rows.take(pa.array(places)),
            self.keys.take(pa.array(places)),
            self.hashes[places],
            None if self.weights is None else self.weights[places],
            None if self.ticks is None else self.ticks[places],
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of an output, with a weight and a tick each, or None when the output has none."""

    columns: Sequence[pa.Array]
    weights: Int64Array | None
    ticks: Int64Array | None


def side_of(
    change: Delta, keys: Sequence[str], epoch: Epoch, *, has_ticks: bool, is_coded: bool = False
) -> Side:
    """A change as a side of a join.

    Args:
        is_coded: Whether the key's codes stand in the place of hashes.
        has_ticks: Whether the output has ticks; rows without one stand at the end of their epoch.

    """
    ticks = change.ticks if has_ticks else None
    if has_ticks and ticks is None:
        ticks = np.full(len(change), epoch.tick_last, dtype=np.int64)
    rows = change.visible()
    columns = change.rows.select(list(keys))
    hashes = codes_of(columns.column(0)) if is_coded else change.hashes
    return Side(rows, columns, hashes, change.weights, ticks)


def split(side: Side, columns: Sequence[pa.Array]) -> tuple[Side, Side | None]:
    """The rows without a null in `columns`, and those with one, if there are any."""
    nulls = is_null(columns)
    return (side, None) if nulls is None else (side.where(~nulls), side.where(nulls))


def visible_fields(schema: pa.Schema) -> list[pa.Field]:
    """The columns that are not hidden; any of them may come out null."""
    return [pa.field(f.name, f.type) for f in schema if f.name not in HIDDEN]


def output_schema(fields: Sequence[pa.Field], *, weighted: bool, has_ticks: bool) -> pa.Schema:
    """Visible columns, then the hidden ones that an output has."""
    hidden = [pa.field(WEIGHT, pa.int64())] if weighted else []
    hidden += [pa.field(TICK, pa.int64())] if has_ticks else []
    return pa.schema([*fields, *hidden])


def together(parts: Sequence[Part], schema: pa.Schema) -> Delta:
    """The parts as one delta, in order: each a batch of a table, not copied into one."""
    batches = [_batch(part, schema) for part in parts]
    batches = [batch for batch in batches if batch.num_rows]
    if not batches:
        return Delta(pa.RecordBatch.from_pylist([], schema=schema))
    return Delta(batches[0] if len(batches) == 1 else pa.Table.from_batches(batches))


def is_all(places: Int64Array, rows: int) -> bool:
    """Whether ascending places are those of all the rows, each once."""
    return len(places) == rows and (not rows or is_stretch(places))


def is_stretch(places: Int64Array) -> bool:
    """Whether ascending places are some that follow each other, each once."""
    if not len(places) or places[-1] - places[0] != len(places) - 1:
        return False
    return bool((places[1:] > places[:-1]).all())


def weighed(
    weights: Int64Array | None, places: Int64Array, others: Int64Array | None
) -> Int64Array:
    """The weights at `places` times the others; None stands for ones."""
    if weights is None:
        return ones(len(places)) if others is None else others
    mine = weights.take(places)
    return mine if others is None else mine * others


def hidden_columns(
    schema: pa.Schema, rows: int, weights: Int64Array | None, ticks: Int64Array | None
) -> dict[str, pa.Array]:
    """The hidden columns that an output has."""
    columns = {}
    if WEIGHT in schema.names:
        columns[WEIGHT] = pa.array(ones(rows) if weights is None else weights)
    if TICK in schema.names:
        columns[TICK] = pa.array(ticks)
    return columns


def _batch(part: Part, schema: pa.Schema) -> pa.RecordBatch:
    rows = len(part.columns[0]) if part.columns else 0
    hidden = hidden_columns(schema, rows, part.weights, part.ticks)
    return pa.RecordBatch.from_arrays([*part.columns, *hidden.values()], schema=schema)

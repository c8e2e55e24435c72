"""Rows that lie next to each other in memory, as one.

Chunks of a topic are cut where other topics' rows came between, but in a segment their rows follow
each other. Read as one batch they are neither copied nor handed on piece by piece. Costs a look at
each chunk's buffers, never at rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def adjacent(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The same rows in as few batches as can be had without a copy.

    Args:
        batches: Of one schema, in order.

    """
    found: list[list[pa.RecordBatch]] = []
    for batch in batches:
        if found and _follows(found[-1][-1], batch):
            found[-1].append(batch)
        else:
            found.append([batch])
    return [run[0] if len(run) == 1 else _spanning(run) for run in found]


def _follows(first: pa.RecordBatch, second: pa.RecordBatch) -> bool:
    """Whether every column of the second begins in memory where that of the first ends."""
    pairs = zip(first.columns, second.columns, strict=True)
    return bool(first.num_columns) and all(_are_neighbours(a, b) for a, b in pairs)


def _are_neighbours(a: pa.Array, b: pa.Array) -> bool:
    if a.offset + len(a) != b.offset or pa.types.is_nested(a.type):
        return False
    if pa.types.is_dictionary(a.type) or isinstance(a, pa.ExtensionArray):
        return False
    return _places(a) == _places(b)


def _places(array: pa.Array) -> list[int | None]:
    return [None if buffer is None else buffer.address for buffer in array.buffers()]


def _spanning(run: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch over the memory of neighbours."""
    first, rows = run[0], sum(batch.num_rows for batch in run)
    columns = [
        pa.Array.from_buffers(column.type, rows, column.buffers(), offset=column.offset)
        for column in first.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=first.schema)

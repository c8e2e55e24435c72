"""Gather rows by place, where there are many of them on two cores."""

from __future__ import annotations

import itertools
from typing import Protocol

import numpy as np
import pyarrow as pa

from headwater.cores import both, halves
from headwater.delta.delta import Int64Array

# From so many rows on a second core is worth its start.
_HALVED_ROWS_MIN = 1 << 16


def taken(rows: pa.RecordBatch, places: Int64Array) -> pa.RecordBatch:
    """The rows at some places, all of them valid."""
    at = pa.array(places)
    if len(places) < _HALVED_ROWS_MIN or rows.num_columns < 2:
        return rows.take(at)
    columns = rows.columns
    mine, others = halves([int(column.nbytes) for column in columns])
    first, second = both(
        lambda: [columns[n].take(at) for n in mine], lambda: [columns[n].take(at) for n in others]
    )
    found = dict(zip([*mine, *others], [*first, *second], strict=True))
    return pa.RecordBatch.from_arrays([found[n] for n in range(len(columns))], schema=rows.schema)


class Takes(Protocol):
    """Rows that know how to gather some of them."""

    def taken(self, places: Int64Array) -> pa.Table:
        """The rows at some places, which ascend."""
        ...


def taken_apart(rows: pa.RecordBatch | pa.Table | Takes, places: Int64Array) -> pa.Table:
    """The rows at some places, which ascend, in as many batches as the rows are in."""
    if not isinstance(rows, pa.RecordBatch | pa.Table):
        return rows.taken(places)
    batches = [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches()
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    cuts = np.searchsorted(places, starts).tolist()
    parts = [
        taken(batch, places[low:high] - start)
        for batch, start, (low, high) in zip(
            batches, starts.tolist(), itertools.pairwise(cuts), strict=False
        )
        if high > low
    ]
    return pa.Table.from_batches(parts, rows.schema)

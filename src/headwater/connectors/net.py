"""What many changes come to: rows that are gone, and rows that are new.

A store that holds a view's content needs no row that was added and withdrawn again between two
writes. The net of a range is the same in whatever order the changes stand. Costs one grouping of
the range, and nothing where no row was withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.log.columns import EPOCH, OFFSET, WEIGHT
from headwater.schema.encode import json_texts

_PLACE = "_place"


@dataclass(frozen=True, slots=True)
class Net:
    """What a range of changes comes to.

    Args:
        withdrawn: Rows that are gone, without hidden columns, each once.
        withdrawn_counts: How often each; above 0.
        added: Rows that are new, each as often as it is.
    """

    withdrawn: pa.Table
    withdrawn_counts: pa.Array
    added: pa.Table


def net(changes: pa.Table) -> Net:
    """Add up the changes of each row.

    Args:
        changes: As `Sink.write` takes them.
    """
    rows = changes.drop_columns([WEIGHT, EPOCH, OFFSET])
    weights = changes.column(WEIGHT).to_numpy()
    if (weights > 0).all():
        added = rows if (weights == 1).all() else _repeated(rows, weights)
        return Net(rows.slice(0, 0), pa.array([], pa.int64()), added)
    places, sums = _sums(rows, weights)
    gone, new = sums < 0, sums > 0
    return Net(
        rows.take(pa.array(places[gone])),
        pa.array(-sums[gone]),
        _repeated(rows.take(pa.array(places[new])), sums[new]),
    )


def _sums(rows: pa.Table, weights: Int64Array) -> tuple[Int64Array, Int64Array]:
    """For each different row where it first stands, and the sum of its weights; in order."""
    names = [str(number) for number in range(rows.num_columns)]
    columns = [_comparable(column) for column in rows.columns]
    columns += [pa.array(weights), pa.array(np.arange(rows.num_rows))]
    table = pa.Table.from_arrays(columns, names=[*names, WEIGHT, _PLACE])
    found = table.group_by(names).aggregate([(WEIGHT, "sum"), (_PLACE, "min")])
    places = found.column(f"{_PLACE}_min").to_numpy()
    order = np.argsort(places)
    return places[order], found.column(f"{WEIGHT}_sum").to_numpy()[order]


def _comparable(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column that Arrow can group by: nested values and intervals as their texts."""
    if pa.types.is_nested(column.type) or pa.types.is_interval(column.type):
        return pa.chunked_array([json_texts(chunk) for chunk in column.chunks], pa.string())
    return column


def _repeated(rows: pa.Table, counts: Int64Array) -> pa.Table:
    if (counts == 1).all():
        return rows
    return rows.take(pa.array(np.repeat(np.arange(len(counts)), counts)))

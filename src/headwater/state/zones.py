"""Where rows can be whose numbers are sought: the least and the greatest number of each block.

Rows that wait in the order of their arrival are near each other in time, as in the log. Who asks
for those of a stretch of time looks at the blocks that reach into it and at no others. That costs
a comparison for each block, once the column of each has been read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array
from headwater.state.equality import BoolArray

BLOCK_ROWS = 1 << 13
_LEAST, _GREATEST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)
# The bounds of any number.
EVERYWHERE = _LEAST, _GREATEST


@dataclass(frozen=True, slots=True)
class Near:
    """What all rows that are sought have in common: a number that is not null, and not far off.

    Args:
        column: The column that holds it, of a kind that `has_zones` accepts.
        low: The least that it may be.
        high: The greatest that it may be; below `low` where no row can be sought.

    """

    column: str
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Zones:
    """The numbers of a column, block by block.

    Args:
        low: The least of each block.
        high: The greatest of each. Nulls count as any number, so a block may seem wider than it is.

    """

    low: Int64Array
    high: Int64Array

    def reach(self, near: Near) -> BoolArray:
        """Which blocks may hold such a row."""
        return np.asarray((self.low <= near.high) & (self.high >= near.low))


def has_zones(kind: pa.DataType) -> bool:
    """Whether the values of a type are whole numbers of 64 bits inside, in their own order."""
    is_whole = pa.types.is_integer(kind) and not pa.types.is_uint64(kind)
    return bool(is_whole or pa.types.is_timestamp(kind) or pa.types.is_date32(kind))


def zones_of(column: pa.Array) -> Zones:
    """The least and the greatest number of each block of a column, which is not empty."""
    numbers = _numbers(column)
    starts = np.arange(0, len(numbers), BLOCK_ROWS)
    low, high = (extreme.reduceat(numbers, starts) for extreme in (np.minimum, np.maximum))
    return Zones(low.astype(np.int64), high.astype(np.int64))


def bounds_of(column: pa.Array) -> tuple[int, int]:
    """The least and the greatest number of a column; the first is above the second without any."""
    found = pc.min_max(_viewed(column)).as_py()
    return (_GREATEST, _LEAST) if found["min"] is None else (found["min"], found["max"])


def stretches(wanted: BoolArray, rows: int) -> list[tuple[int, int]]:
    """The places of so many rows that lie in the wanted blocks, as ranges that do not touch."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    ends = np.minimum(edges * BLOCK_ROWS, rows).tolist()
    return list(zip(ends[::2], ends[1::2], strict=True))


def near_all(zones: Sequence[tuple[Zones, Near]], rows: int) -> list[tuple[int, int]]:
    """The places of so many rows that may be near in every respect."""
    if not zones:
        return [(0, rows)] if rows else []
    wanted = np.logical_and.reduce([found.reach(near) for found, near in zones])
    return stretches(wanted, rows)


def _numbers(column: pa.Array) -> Int64Array:
    """The values as numbers; those of nulls are anything."""
    viewed = _viewed(column)
    return np.asarray((pc.fill_null(viewed, 0) if viewed.null_count else viewed).to_numpy())


def _viewed(column: pa.Array) -> pa.Array:
    if pa.types.is_date32(column.type):
        return column.view(pa.int32())
    return column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column

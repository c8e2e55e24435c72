"""The cells that have rows, where there are too many cells to count in all of them.

Keys that are given out in the order of time, such as ids, span little in each slice of it, though
much in all: then the cells of each slice begin with its lowest key (`Shear`), and there are few.

Otherwise the cells are sorted as numbers, and each that differs from the one before it is a group:
no hash, and where only rows are counted nothing but the numbers is moved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.delta.delta import Int64Array
from headwater.state.run import ascending

# So many cells have numbers of 32 bits, which are sorted in half the time.
_SHORT = 1 << 32


@dataclass(frozen=True, slots=True)
class Shear:
    """Cells of which each slice has as many as its own keys span.

    Args:
        shifts: Per slice what makes a key its cell.
        ends: Per slice the first cell behind its own.

    """

    shifts: Int64Array
    ends: Int64Array

    @staticmethod
    def of(keys: Int64Array, slices: Int64Array, count: int, cells_max: int) -> Shear | None:
        """The cells of rows; None when there are more than a number of them.

        Args:
            keys: The number of each row's key, from 0 on; not empty.
            slices: The number of each row's slice.
            count: How many slices there are, also without rows.

        """
        low = np.full(count, np.iinfo(np.int64).max)
        high = np.full(count, np.iinfo(np.int64).min)
        if bool((slices[1:] >= slices[:-1]).all()):
            starts = _starts(slices)
            at = slices.take(starts)
            low[at] = np.minimum.reduceat(keys, starts)
            high[at] = np.maximum.reduceat(keys, starts)
        else:
            np.minimum.at(low, slices, keys)
            np.maximum.at(high, slices, keys)
        has_rows = low <= high
        spans = np.where(has_rows, high - low + 1, 0)
        # As floats, of which too large a sum is only large.
        if float(spans.sum(dtype=np.float64)) > cells_max:
            return None
        ends = np.cumsum(spans)
        return Shear(np.where(has_rows, ends - spans - low, 0), ends)

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.ends[-1])

    def cells(self, keys: Int64Array, slices: Int64Array) -> Int64Array:
        """The cell of each row."""
        found: Int64Array = keys + self.shifts.take(slices)
        return found

    def of_cells(self, cells: Int64Array) -> tuple[Int64Array, Int64Array]:
        """The slice and the key of each cell; they are ascending."""
        lengths = np.diff(np.append(0, np.searchsorted(cells, self.ends)))
        return (
            np.repeat(np.arange(len(self.ends)), lengths),
            cells - np.repeat(self.shifts, lengths),
        )


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells that have rows.

    Args:
        numbers: Ascending.
        rows: How many rows are in each.
        of: The place of each row's cell among them; None where nobody asks.
        firsts: The first row of each; None where nobody asks.

    """

    numbers: Int64Array
    rows: Int64Array
    of: Int64Array | None = None
    firsts: Int64Array | None = None


def counted_cells(index: Int64Array, count: int) -> Cells:
    """How many rows are in each cell.

    Args:
        index: The cell of each row; not empty.
        count: How many cells there are.

    """
    numbers: Any = index.astype(np.uint32) if count <= _SHORT else index
    if not bool((numbers[1:] >= numbers[:-1]).all()):
        numbers = np.sort(numbers)
    starts = _starts(numbers)
    return Cells(numbers.take(starts).astype(np.int64), _lengths(starts, len(index)))


def placed_cells(index: Int64Array, count: int) -> Cells:
    """The same, with the place of each row's cell, and the first row of each.

    Args:
        index: The cell of each row; not empty.
        count: How many cells there are, less than 2**63.

    """
    shift = np.uint64(64 - count.bit_length())
    order = ascending(index.view(np.uint64) << shift, None)
    numbers = index.take(order)
    starts = _starts(numbers)
    lengths = _lengths(starts, len(index))
    of = np.empty(len(index), dtype=np.int64)
    of[order] = np.repeat(np.arange(len(starts)), lengths)
    # Rows of one cell stay in their order.
    return Cells(numbers.take(starts), lengths, of, order.take(starts))


def _starts(numbers: Any) -> Int64Array:
    return np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))


def _lengths(starts: Int64Array, rows: int) -> Int64Array:
    return np.diff(np.append(starts, rows))

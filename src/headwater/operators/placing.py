"""The places of rows in their partitions, found by sorting whole numbers.

Where the columns of an ORDER BY are numbers, dates or times without nulls, rows are placed by a few
sorts in numpy: by each of these columns and then by the hash of the partition. Only row numbers
move; whole rows are gathered once it is known which are wanted. Where one row of each partition is
wanted, nearly all others are left out before anything is sorted (`meeting`).

Costs a few passes over the order columns; the other columns are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.operators.meeting import meeting
from headwater.plan.nodes import Order
from headwater.state.equality import BoolArray, rows_equal
from headwater.state.run import ascending, times_of


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows by partition and, in each, by place.

    Args:
        rows: Which rows, as they are placed.
        places: Their places, from 0. Rows that the order does not tell apart have places all the
            same, in no order that can be relied on.
        has_ties: Whether there are such rows among these.

    """

    rows: Int64Array
    places: Int64Array
    has_ties: bool

    @property
    def firsts(self) -> Int64Array:
        """The first row of each partition."""
        return self.rows[self.places == 0]

    def gathered(self) -> tuple[Int64Array, Placed]:
        """The rows in the order of their arrival, and the same of these.

        Rows are gathered several times as quickly in that order as in the order of hashes.
        """
        order = np.argsort(self.rows)
        at = np.empty_like(order)
        at[order] = np.arange(len(order))
        return self.rows[order], Placed(at, self.places, self.has_ties)


class Placing:
    """Places rows by columns that are whole numbers inside.

    Args:
        partition: The columns that tell partitions apart.
        order: What rows are ordered by.

    """

    def __init__(self, partition: Sequence[str], order: Sequence[Order]) -> None:
        self._partition = list(partition)
        self._order = list(order)

    def placed(self, rows: pa.RecordBatch, hashes: UInt64Array, stop: int) -> Placed | None:
        """The rows before place `stop`, and those that are tied with one of them.

        Args:
            hashes: The hash of the partition columns.

        Returns:
            None where the rows cannot be placed by numbers.

        """
        values = [_numbers(rows.column(order.column), order) for order in self._order]
        numbers = [value for value in values if value is not None]
        if not numbers or len(numbers) < len(values):
            return None
        keys = rows.select(self._partition).columns
        some = _best_of_meetings(hashes, keys, numbers[0]) if stop == 1 else None
        order = _sorted(hashes, numbers, some)
        same = hashes[order[1:]] == hashes[order[:-1]]
        if not _is_one_partition(keys, order, same):
            return None
        return _first(order, same, numbers, stop)


def _numbers(column: pa.Array, order: Order) -> Int64Array | None:
    """Integers that are ordered, ascending, as the column is asked to be; None if there are none.

    A float's bits are such a number, once those of negative ones are turned round. NaN is above
    all, as in DuckDB.
    """
    kind = column.type
    if column.null_count:
        return None
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        values: Int64Array = times_of(column)
    elif pa.types.is_floating(kind):
        floats = column.to_numpy().astype(np.float64) + 0.0
        bits = np.where(np.isnan(floats), np.nan, floats).view(np.int64)
        values = bits ^ ((bits >> 63) & np.int64((1 << 63) - 1))
    else:
        return None
    return ~values if order.is_descending else values


def _best_of_meetings(
    hashes: UInt64Array, keys: Sequence[pa.Array], values: Int64Array
) -> Int64Array | None:
    """The rows that may be first in their partition; None for all.

    Of the rows at home where they meet those with the least value stay, and so do all strangers.
    """
    met = meeting(hashes, keys)
    if met is None:
        return None
    least = np.full(1 << met.bits, np.iinfo(np.int64).max)
    np.minimum.at(least, met.places[met.is_home], values[met.is_home])
    return np.flatnonzero(~met.is_home | (values == least[met.places]))


def _sorted(
    hashes: UInt64Array, values: Sequence[Int64Array], some: Int64Array | None
) -> Int64Array:
    """The rows by hash and then by each of the values."""
    order = np.arange(len(hashes), dtype=np.int64) if some is None else some
    for value in reversed(values):
        order = order[_stable_order(value[order])]
    return order[ascending(hashes[order], None)]


def _stable_order(values: Int64Array) -> Int64Array:
    """The order of numbers; equal ones stay as they are.

    Numbers are sorted several times as quickly as places by number, so where there is room the
    place is put into the low bits.
    """
    if not len(values) or bool((values[1:] >= values[:-1]).all()):
        return np.arange(len(values), dtype=np.int64)
    low, high, bits = int(values.min()), int(values.max()), len(values).bit_length()
    if (high - low) >> (63 - bits):
        return np.argsort(values, kind="stable")
    packed = (values - low) << bits
    packed |= np.arange(len(values))
    packed.sort()
    return packed & ((1 << bits) - 1)


def _is_one_partition(keys: Sequence[pa.Array], order: Int64Array, same: BoolArray) -> bool:
    """Whether rows of one hash are of one partition."""
    beside = np.flatnonzero(same)
    equal = rows_equal(keys, order[beside], keys, order[beside + 1])
    return equal is None or bool(equal.all())


def _first(order: Int64Array, same: BoolArray, values: Sequence[Int64Array], stop: int) -> Placed:
    """The rows before place `stop` of sorted ones, and those that are tied with one of them."""
    at = np.arange(len(order))
    is_new = np.append(True, ~same)[: len(order)]
    places = at - np.maximum.accumulate(np.where(is_new, at, 0))
    is_tied = ~is_new
    for value in values:
        ordered = value[order]
        is_tied[1:] &= ordered[1:] == ordered[:-1]
    # Rows that are tied are wanted when the first of them is.
    wanted = places[np.maximum.accumulate(np.where(is_tied, 0, at))] < stop
    return Placed(order[wanted], places[wanted], bool((is_tied & wanted).any()))

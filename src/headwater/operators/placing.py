"""The places of rows in their partitions, found by sorting whole numbers.

Where the columns of an ORDER BY are numbers, dates or times without nulls, rows are placed by a few
sorts in numpy: by each of these columns and then by the hash of the partition. Only row numbers
move; whole rows are gathered once it is known which are wanted. Where one row of each partition is
wanted, it is found where the rows of the partition meet, without a sort (`meeting`). Many rows are
placed on two cores, each of which has the partitions of one half of the hashes.

Costs a few passes over the order columns; the other columns are not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from headwater.cores import both
from headwater.delta.delta import Int64Array, UInt64Array
from headwater.operators.meeting import Meeting, meeting
from headwater.plan.nodes import Order
from headwater.state.equality import BoolArray, rows_equal, taken
from headwater.state.run import ascending, times_of

# Fewer rows are sorted twice as quickly.
_ROWS_MIN = 1 << 12
# From so many rows on a second core is worth its start, if each gets a good part of them.
_HALVED_ROWS_MIN = 1 << 16
_LOPSIDED = 4
_MIDDLE = np.uint64(1 << 63)
# So often strangers meet again; the few that are then left are sorted.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Placed:
    """Rows by partition and, in each, by place.

    Args:
        rows: Which rows; those of a partition one after the other, by place.
        places: Their places, from 0. Rows that the order does not tell apart have places all the
            same, in no order that can be relied on.
        has_ties: Whether there are such rows among these.

    """

    rows: Int64Array
    places: Int64Array
    has_ties: bool

    def with_others(self, others: Placed) -> Placed:
        """These and rows of other partitions."""
        return Placed(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.places, others.places]),
            self.has_ties or others.has_ties,
        )

    @property
    def firsts(self) -> Int64Array:
        """The first row of each partition."""
        return self.rows[self.places == 0]

    def gathered(self, rows: int) -> tuple[Int64Array, Placed]:
        """The rows in the order of their arrival, and the same of these.

        Rows are gathered several times as quickly in that order as in the order of hashes.

        Args:
            rows: How many there were before they were placed.

        """
        is_here = np.zeros(rows, dtype=np.bool_)
        is_here[self.rows] = True
        ordered = np.flatnonzero(is_here)
        at = np.empty(rows, dtype=np.int64)
        at[ordered] = np.arange(len(ordered))
        return ordered, Placed(at[self.rows], self.places, self.has_ties)

    def of_partitions(self, numbers: Int64Array) -> Int64Array:
        """The rows of some partitions, which are numbered in the order of their first rows."""
        number = np.cumsum(self.places == 0) - 1
        is_meant = np.zeros(int(number[-1]) + 1 if len(number) else 0, dtype=np.bool_)
        is_meant[numbers] = True
        return self.rows[is_meant[number]]


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
        parts = _halves(hashes)
        if parts is None:
            return _all_placed(hashes, keys, numbers, stop)

        def placed(some: Int64Array) -> Placed | None:
            # The top bit is the same for all of a half, and would be half of where they meet.
            own = hashes.take(some) << np.uint64(1)
            mine = [taken(key, some) for key in keys], [number.take(some) for number in numbers]
            found = _all_placed(own, *mine, stop)
            return None if found is None else replace(found, rows=some.take(found.rows))

        first, second = both(lambda: placed(parts[0]), lambda: placed(parts[1]))
        return None if first is None or second is None else first.with_others(second)


def _halves(hashes: UInt64Array) -> tuple[Int64Array, Int64Array] | None:
    """The rows of some partitions and those of the others; None for too few to be worth it."""
    if len(hashes) < _HALVED_ROWS_MIN:
        return None
    is_high = hashes >= _MIDDLE
    low, high = np.flatnonzero(~is_high), np.flatnonzero(is_high)
    return None if min(len(low), len(high)) * _LOPSIDED < len(hashes) else (low, high)


def _all_placed(
    hashes: UInt64Array, keys: Sequence[pa.Array], values: Sequence[Int64Array], stop: int
) -> Placed | None:
    if stop != 1:
        return _placed(hashes, keys, values, None, stop)
    alone, rest = _best(hashes, keys, values[0])
    found = _placed(hashes, keys, values, rest, stop)
    if found is None:
        return None
    return Placed(alone, np.zeros(len(alone), dtype=np.int64), has_ties=False).with_others(found)


def _placed(
    hashes: UInt64Array,
    keys: Sequence[pa.Array],
    values: Sequence[Int64Array],
    some: Int64Array | None,
    stop: int,
) -> Placed | None:
    """Some rows, or all, placed by sorting; None where partitions share a hash."""
    order = _sorted(hashes, keys, values, some)
    same = hashes[order[1:]] == hashes[order[:-1]]
    if not _is_one_partition(keys, order, same):
        return None
    return _first(order, same, values, stop)


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


def _best(
    hashes: UInt64Array, keys: Sequence[pa.Array], values: Int64Array
) -> tuple[Int64Array, Int64Array | None]:
    """The rows that alone have the least value of their partition, as far as rows meet.

    Of rows at home where they meet the best is found without a sort. Strangers meet again, by other
    bits of their hash.

    Returns:
        Such rows, and those among which the other best rows are to be sought; None for all.

    """
    alone: list[Int64Array] = []
    tied: list[Int64Array] = []
    rows: Int64Array | None = None
    for _ in range(_ROUNDS):
        met = meeting(hashes, keys)
        if met is None:
            break
        is_best = met.is_home & (values == _least(met, values).take(met.places))
        best = np.flatnonzero(is_best)
        is_alone = np.bincount(met.places[best], minlength=1 << met.bits)[met.places[best]] == 1
        alone.append(_of(rows, best[is_alone]))
        tied.append(_of(rows, best[~is_alone]))
        strangers = np.flatnonzero(~met.is_home)
        rows = _of(rows, strangers)
        hashes, values = hashes[strangers] << np.uint64(met.bits), values[strangers]
        keys = [taken(key, strangers) for key in keys]
    if rows is None:
        return np.zeros(0, dtype=np.int64), None
    return np.concatenate(alone), np.concatenate([*tied, rows])


def _least(met: Meeting, values: Int64Array) -> Int64Array:
    """The least value of the rows at home at each place."""
    highest = np.iinfo(np.int64).max
    least = np.full(1 << met.bits, highest)
    np.minimum.at(least, met.places, np.where(met.is_home, values, highest))
    return least


def _of(rows: Int64Array | None, places: Int64Array) -> Int64Array:
    return places if rows is None else rows[places]


def _sorted(
    hashes: UInt64Array,
    keys: Sequence[pa.Array],
    values: Sequence[Int64Array],
    some: Int64Array | None,
) -> Int64Array:
    """The rows by partition and then by each of the values."""
    order = np.arange(len(hashes), dtype=np.int64) if some is None else some
    for value in reversed(values[1:]):
        order = order[_stable_order(value[order])]
    at_once = _by_key_and_value(keys, values[0], order)
    if at_once is not None:
        return order[at_once]
    order = order[_stable_order(values[0][order])]
    return order[ascending(hashes[order], None)]


def _by_key_and_value(
    keys: Sequence[pa.Array], values: Int64Array, order: Int64Array
) -> Int64Array | None:
    """The order of rows by a key and a value in one sort, where both fit into one number.

    With them goes the place of the row, so that rows of equal value stay as they are.
    """
    if len(keys) != 1 or len(order) < _ROWS_MIN:
        return None
    (key,) = keys
    if key.null_count or not pa.types.is_integer(key.type) or pa.types.is_uint64(key.type):
        return None
    numbers = key.to_numpy().astype(np.int64)[order]
    values = values[order]
    least, low = int(numbers.min()), int(values.min())
    spread = int(values.max()) - low + 1
    if (int(numbers.max()) - least + 1) * spread * len(order) >= 1 << 64:
        return None
    rows = np.uint64(len(order))
    packed = (numbers - least).view(np.uint64) * np.uint64(spread)
    packed += (values - low).view(np.uint64)
    packed *= rows
    packed += np.arange(len(order), dtype=np.uint64)
    packed.sort()
    packed %= rows
    return packed.view(np.int64)


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

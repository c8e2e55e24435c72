"""Groups and values as numbers: each pair once, with the conditions that have held for it.

A group has a number, and so has a value; where both fit into 64 bits they are one number, the value
first, so that what is near in the log is near among the numbers too. Groups that have a good part
of the epoch's range of values have a table with a place for each; what else there is is sorted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headwater.delta.delta import Int64Array
from headwater.operators.distinct_reading import Seen
from headwater.state.equality import BoolArray
from headwater.state.flagged import Int32Array, united

_GROUP_BITS, _VALUE_BITS = 24, 39
_VALUE_LOW, _VALUE_HIGH = -(1 << (_VALUE_BITS - 1)), (1 << (_VALUE_BITS - 1)) - 1
# A group has a table when it has this part of the values as rows, and all tables together have at
# most so many places for each row.
_DENSE_SHARE, _TABLE_SHARE = 4, 4
# Arrays of so many rows stay in the processor's cache from one step to the next.
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Pairs:
    """Groups and values, each pair once, by value and then by the number of the group.

    Args:
        group: The place of the group among those of the epoch.
        ids: Its number.
        values: The values; not asked where there is `packed`.
        packed: Group and value as one number; None where some do not fit.

    """

    group: Int64Array
    ids: Int64Array
    values: Int64Array
    flags: Int32Array
    packed: Int64Array | None


def fits(ids: Int64Array, values: Int64Array) -> BoolArray:
    """Which pairs fit into a number."""
    is_near = (values >= _VALUE_LOW) & (values <= _VALUE_HIGH)
    return np.asarray(is_near & (ids < 1 << _GROUP_BITS))


def packed(ids: Int64Array, values: Int64Array) -> Int64Array:
    """Pairs as numbers, in order where they were by value and then by group."""
    return ((values - _VALUE_LOW) << _GROUP_BITS) | ids


def in_order(seen: Seen, ids: Int64Array) -> Pairs:
    """Each pair of a group and a value for which a condition held, once."""
    some = np.flatnonzero(seen.flags)
    values, group, held = seen.values, seen.group, seen.flags
    if len(some) < len(held):
        values, group, held = values.take(some), group.take(some), held.take(some)
    if not len(values):
        nothing = np.zeros(0, dtype=np.int64)
        return Pairs(nothing, nothing, nothing, held, nothing)
    low, high = int(values.min()), int(values.max())
    is_near = low >= _VALUE_LOW and high <= _VALUE_HIGH and int(ids.max()) < 1 << _GROUP_BITS
    if not is_near or (high - low + 1).bit_length() + _GROUP_BITS > 63:
        of_value, values, held = _united_pairs(ids.take(group), values, held)
        return Pairs(_places(ids, of_value), of_value, values, held, None)
    spread, held = _gathered(values - low, (group, ids), held, high - low + 1)
    of_value = spread & ((1 << _GROUP_BITS) - 1)
    spread += (low - _VALUE_LOW) << _GROUP_BITS
    return Pairs(_places(ids, of_value), of_value, values[:0], held, spread)


def _places(ids: Int64Array, sought: Int64Array) -> Int64Array:
    """Where groups stand among those of the epoch."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids[order], sought)]


def _gathered(
    values: Int64Array, groups: tuple[Int64Array, Int64Array], held: Int32Array, span: int
) -> tuple[Int64Array, Int32Array]:
    """Each value of each group once, as one number, ascending, with the flags of all its rows.

    Groups in which a good part of the values from 0 up to `span` comes have a place for each of
    these in a table; the rows of others are sorted.

    Args:
        groups: The place of each value's group, and the number of each group.

    """
    place, ids = groups
    rows = np.bincount(place, minlength=len(ids))
    dense = np.argsort(-rows)[: _TABLE_SHARE * len(values) // span]
    dense = dense[rows[dense] * _DENSE_SHARE >= span]
    if not len(dense):
        return _sorted(values << _GROUP_BITS | ids.take(place), held)
    dense = dense[np.argsort(ids[dense])]
    column = np.full(len(ids), -1)
    column[dense] = np.arange(len(dense))
    table = np.zeros(span * len(dense), dtype=np.int32)
    rest = []
    for start in range(0, len(values), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        value, at, flags_ = values[block], column.take(place[block]), held[block]
        is_dense = at >= 0
        cells = value * len(dense)
        cells += at
        if is_dense.all():
            np.bitwise_or.at(table, cells, flags_)
            continue
        np.bitwise_or.at(table, cells[is_dense], flags_[is_dense])
        other = np.flatnonzero(~is_dense)
        of_other = ids.take(place[block].take(other))
        rest.append((value.take(other) << _GROUP_BITS | of_other, flags_.take(other)))
    found = np.flatnonzero(table)
    value, nth = np.divmod(found, len(dense))
    numbers_, flags_ = value << _GROUP_BITS | ids[dense].take(nth), table.take(found)
    if not rest:
        return numbers_, flags_
    others = _sorted(*(np.concatenate([part[at] for part in rest]) for at in (0, 1)))
    numbers_, flags_ = (
        np.concatenate(pair) for pair in ((numbers_, others[0]), (flags_, others[1]))
    )
    # Linear, as `stable` is Timsort and these are two sorted stretches.
    order = np.argsort(numbers_, kind="stable")
    return numbers_.take(order), flags_.take(order)


def _sorted(found: Int64Array, held: Int32Array) -> tuple[Int64Array, Int32Array]:
    """Numbers in order, each once, with the flags of all that are equal."""
    shift = int(held.max()).bit_length()
    if int(found.max()).bit_length() + shift < 64:
        # One number for both: to sort it takes half as long as to sort the one by the other.
        mixed = found << shift
        mixed |= held
        mixed.sort()
        flags_ = (mixed & ((1 << shift) - 1)).astype(np.int32)
        mixed >>= shift
        return united(mixed, flags_)
    order = np.argsort(found)
    return united(found.take(order), held.take(order))


def _united_pairs(
    ids: Int64Array, values: Int64Array, held: Int32Array
) -> tuple[Int64Array, Int64Array, Int32Array]:
    """Each pair once, by value and then by group, with the flags of all that are equal."""
    order = np.lexsort((ids, values))
    ids, values = ids[order], values[order]
    is_first = np.ones(len(order), dtype=np.bool_)
    is_first[1:] = (ids[1:] != ids[:-1]) | (values[1:] != values[:-1])
    first = np.flatnonzero(is_first)
    return ids[first], values[first], np.bitwise_or.reduceat(held[order], first)

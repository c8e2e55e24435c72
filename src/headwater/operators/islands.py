"""Stretches of time that lie less than a gap apart, joined: what sessions are made of.

All of it is sorting and running maxima over whole columns. Two stretches belong together when one
begins less than the gap after the other's last moment, so that an island's last moment and the gap
are an end that no row of the island lies at or behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.equality import BoolArray, first_alike, rows_equal
from headwater.state.run import ascending


@dataclass(frozen=True, slots=True)
class Sorted:
    """Rows by key and time.

    Args:
        order: Where each row of the order stands among the rows.
        keys: The number of its key; ascending.

    """

    order: Int64Array
    keys: Int64Array


def by_key_and_time(hashes: UInt64Array, columns: Sequence[pa.Array], times: Int64Array) -> Sorted:
    """The order of rows by key, then by time, then by place.

    Args:
        hashes: Equal for rows of equal key.
        columns: The key columns, in which keys that share a hash are told apart.
        times: The time of each row.

    """
    if not len(hashes):
        nothing = np.zeros(0, dtype=np.int64)
        return Sorted(nothing, nothing)
    order = _by_hash_and_time(hashes, times)
    sorted_hashes = hashes.take(order)
    is_new = sorted_hashes[1:] != sorted_hashes[:-1]
    tied = np.flatnonzero(~is_new)
    same = rows_equal(columns, order.take(tied + 1), columns, order.take(tied))
    if same is None or same.all():
        return Sorted(order, _numbered(is_new))
    first = first_alike(sorted_hashes, columns, order)
    assert first is not None
    again = np.lexsort((times.take(order), first))
    keys = first.take(again)
    return Sorted(order.take(again), _numbered(keys[1:] != keys[:-1]))


def islands(keys: Int64Array, first: Int64Array, last: Int64Array, gap: int) -> Int64Array:
    """The number of the island that each stretch belongs to; ascending.

    Args:
        keys: Ascending.
        first: The first moment of each stretch, ascending within a key.
        last: Its last moment.
        gap: How far a stretch may begin after all before it, less one, and still belong to them.

    """
    if not len(keys):
        return keys
    reach = last if last is first else running_max(keys, last)
    is_new = (keys[1:] != keys[:-1]) | (first[1:] - reach[:-1] >= gap)
    return _numbered(is_new)


def running_max(keys: Int64Array, values: Int64Array) -> Int64Array:
    """For each place the greatest value of its key up to there; `keys` ascend from 0 by ones."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = np.arange(len(values))
    # Ranks of a later key are above all those of the earlier ones.
    above = keys * np.int64(len(values))
    highest: Int64Array = np.maximum.accumulate(ranks + above) - above
    return values.take(order).take(highest)


def starts_of(numbers: Int64Array) -> Int64Array:
    """Where each of ascending numbers begins."""
    if not len(numbers):
        return np.zeros(0, dtype=np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.flatnonzero(numbers[1:] != numbers[:-1]) + 1])


def bounds_of(numbers: Int64Array) -> tuple[Int64Array, Int64Array]:
    """The first and the last place of each of ascending numbers."""
    begins = starts_of(numbers)
    ends = np.concatenate([begins[1:], np.full(min(len(begins), 1), len(numbers))]) - 1
    return begins, ends


def _by_hash_and_time(hashes: UInt64Array, times: Int64Array) -> Int64Array:
    if len(times) and bool((times[1:] >= times[:-1]).all()):
        return ascending(hashes, None)
    by_time = np.argsort(times, kind="stable")
    return by_time.take(ascending(hashes.take(by_time), None))


def _numbered(is_new: BoolArray) -> Int64Array:
    """Numbers from 0 that grow by one wherever something new begins, from the second place on."""
    numbers = np.zeros(len(is_new) + 1, dtype=np.int64)
    np.cumsum(is_new, out=numbers[1:])
    return numbers

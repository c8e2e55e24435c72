"""Find hashes in a sorted array of them.

The top bits of a hash lead through a directory to the first place where it may stand, and a few
steps on from there, done for all probes at once, to the place itself. That is several times as
quick as binary search when there are many probes. The directory holds each different hash once, so
that many rows of one key do not crowd it. Codes of keys (`state.codes`) may lie in a few crowds far
from each other: they are mixed first. What is crowded all the same is left to binary search.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.codes import scattered

_STEPS = 6
# Hashes that on average share a bucket with so many are crowded.
_CROWD = 16
# Hashes are sifted by so many top bits.
_SIFT_BITS = 18
_SPARSE_BELOW = 1 << 20


class HashIndex:
    """A directory over a sorted array of hashes.

    Args:
        hashes: Ascending, not empty; repeated where several rows have one key.

    """

    def __init__(self, hashes: UInt64Array) -> None:
        self._heads, self._starts = _different(hashes)
        # Where in the order of hashes those of the directory stand, if they had to be mixed.
        self._order: Int64Array | None = None
        if self._fill() > _CROWD:
            mixed = scattered(self._heads)
            self._order = np.argsort(mixed)
            self._heads = mixed.take(self._order)
            self._fill()

    def _fill(self) -> float:
        """Make the directory; return with how many others a hash shares its bucket on average."""
        count = len(self._heads)
        # With more buckets than hashes most probes need no second step; that is worth the memory
        # only while the directory fits into the processor's cache.
        bits = count.bit_length() + (1 if count < _SPARSE_BELOW else -1)
        bits = max(bits, 1)
        self._low = self._heads[0]
        width = int(self._heads[-1] - self._low).bit_length()
        self._shift = np.uint64(max(0, width - bits))
        self._buckets_last = np.uint64((1 << bits) - 1)
        buckets = ((self._heads - self._low) >> self._shift).astype(np.int64)
        self._directory = np.zeros((1 << bits) + 1, dtype=np.int64)
        sizes = np.bincount(buckets, minlength=1 << bits)
        np.cumsum(sizes, out=self._directory[1:])
        return float(np.dot(sizes, sizes)) / count

    def ranges(self, probes: UInt64Array) -> Ranges:
        """Where the hashes of the probes stand."""
        heads, last = self._heads, len(self._heads) - 1
        if self._order is not None:
            probes = scattered(probes)
        # What is below all hashes wraps around, and is found missing at the end.
        buckets = (probes - self._low) >> self._shift
        np.minimum(buckets, self._buckets_last, out=buckets)
        places = self._directory.take(buckets.view(np.int64))
        np.minimum(places, last, out=places)
        values = heads.take(places)
        behind = np.flatnonzero(values < probes)
        for _ in range(_STEPS):
            if not len(behind):
                break
            at = np.minimum(places[behind] + 1, last)
            value = heads.take(at)
            places[behind], values[behind] = at, value
            behind = behind[(value < probes[behind]) & (at < last)]
        if len(behind):
            at = np.minimum(np.searchsorted(heads, probes[behind]), last)
            places[behind], values[behind] = at, heads.take(at)
        hits = np.flatnonzero(values == probes)
        places = places if len(hits) == len(probes) else places.take(hits)
        if self._order is not None:
            places = self._order.take(places)
        if self._starts is None:
            return Ranges(hits, places, None)
        return Ranges(hits, self._starts.take(places), self._starts.take(places + 1))


def sifted(hashes: UInt64Array, sought: UInt64Array) -> Int64Array:
    """Of many hashes the places of those that begin as one of a few sought ones does."""
    if not len(sought):
        return np.zeros(0, dtype=np.int64)
    low, high = sought.min(), sought.max()
    bits = int(high - low).bit_length()
    shift = np.uint64(max(0, bits - _SIFT_BITS))
    # One more than there are, for what is beyond all that are sought; what is below wraps around.
    is_near = np.zeros((1 << _SIFT_BITS) + 1, dtype=bool)
    is_near[(sought - low) >> shift] = True
    near = (hashes - low) >> shift
    if bits < 64:
        np.minimum(near, np.uint64(1 << _SIFT_BITS), out=near)
    return np.flatnonzero(is_near[near.view(np.int64)])


@dataclass(frozen=True, slots=True)
class Ranges:
    """Where hashes were found.

    Args:
        probes: The probes whose hash is there, ascending.
        first: The first place of each.
        end: The place after its last one; None when each has one place.

    """

    probes: Int64Array
    first: Int64Array
    end: Int64Array | None

    def ends(self) -> Int64Array:
        """The place after the last one of each."""
        return self.first + 1 if self.end is None else self.end

    def pairs(self) -> tuple[Int64Array, Int64Array]:
        """Each probe with each of its places, ordered by probe, then by place."""
        if self.end is None:
            return self.probes, self.first
        return spread(self.probes, self.first, self.end)

    def pieces(self, pairs_max: int) -> Iterator[Ranges]:
        """The same in parts of at most so many pairs, in order; a long range is cut.

        Where each probe has one place there are no more pairs than probes, and one part.
        """
        if self.end is None:
            yield self
            return
        ends = self.ends()
        after = np.cumsum(ends - self.first)
        total = int(after[-1]) if len(after) else 0
        if total <= pairs_max:
            yield self
            return
        for low in range(0, total, pairs_max):
            high = min(low + pairs_max, total)
            start = int(np.searchsorted(after, low, side="right"))
            stop = int(np.searchsorted(after, high)) + 1
            before = after[start:stop] - (ends[start:stop] - self.first[start:stop])
            # How much of the first and of the last range belongs to other parts.
            first = self.first[start:stop] + np.maximum(low - before, 0)
            end = ends[start:stop] - np.maximum(after[start:stop] - high, 0)
            yield Ranges(self.probes[start:stop], first, end)


def everywhere(probes: int, places: int) -> Ranges:
    """Each of so many probes in a range of all places."""
    first = np.zeros(probes, dtype=np.int64)
    return Ranges(np.arange(probes, dtype=np.int64), first, first + places)


def search(hashes: UInt64Array, probes: UInt64Array) -> Ranges:
    """The same as `HashIndex.ranges` by binary search: better for few probes."""
    order: Any = None
    if len(probes) > 64 and len(hashes) > 1 << 16:
        # Neighbours in the array are near in memory: sorted probes share what was loaded.
        order = np.argsort(probes)
        probes = probes[order]
    first = np.searchsorted(hashes, probes)
    hits = np.flatnonzero(hashes.take(np.minimum(first, len(hashes) - 1)) == probes)
    first, end = first[hits], None
    if (hashes.take(np.minimum(first + 1, len(hashes) - 1)) == hashes.take(first)).any():
        end = np.searchsorted(hashes, probes[hits], side="right")
    if order is not None:
        hits = order[hits]
        back = np.argsort(hits)
        hits, first, end = hits[back], first[back], None if end is None else end[back]
    return Ranges(hits, first, end)


def search_times(
    times: Int64Array, first: Int64Array, end: Int64Array, sought: Int64Array, *, after_equal: bool
) -> Int64Array:
    """In each range of ascending times the first place whose time is not before the sought one.

    Args:
        times: All times.
        first: The start of each range.
        end: The place after each range, which is the answer when all its times are before.
        sought: A time for each range.
        after_equal: Pass also over times that are equal to the sought one.

    """
    low, high = first.copy(), end.copy()
    while (open_ := low < high).any():
        middle = (low + high) >> 1
        found = times.take(np.where(open_, middle, 0))
        passes = open_ & ((found <= sought) if after_equal else (found < sought))
        low = np.where(passes, middle + 1, low)
        high = np.where(open_ & ~passes, middle, high)
    return low


def spread(probes: Int64Array, first: Int64Array, end: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Each probe with each place of its range `first <= place < end`."""
    sizes = end - first
    total = int(sizes.sum())
    if total == len(probes) and (not total or int(sizes.min()) == 1):
        return probes, first
    # Places count on by one, but for the jump from the end of a range to the start of the next.
    before = np.cumsum(sizes) - sizes
    places = np.arange(total, dtype=np.int64) + np.repeat(first - before, sizes)
    return np.repeat(probes, sizes), places


def _different(hashes: UInt64Array) -> tuple[UInt64Array, Int64Array | None]:
    """Each different hash once and where it starts; None for that when no two are equal."""
    starts = np.flatnonzero(hashes[1:] != hashes[:-1]) + 1
    if len(starts) == len(hashes) - 1:
        return hashes, None
    starts = np.concatenate([[0], starts, [len(hashes)]])
    return hashes[starts[:-1]], starts

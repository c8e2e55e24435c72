"""Find numbers that are dense in their range: the place of each is looked up, not searched.

For codes (`state.codes`) of keys that were given out one after the other. A table has an entry for
each number between the lowest and the highest that is held; where all of them are held, each once,
not even the table is needed.
"""

from __future__ import annotations

import numpy as np

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.index import Ranges

# Numbers are dense when their range is at most so many times as long as there are of them.
_RANGE_SHARE = 4


def is_dense(codes: UInt64Array) -> bool:
    """Whether ascending numbers, of which there are some, are worth a table."""
    return int(codes[-1]) - int(codes[0]) < _RANGE_SHARE * len(codes)


class DenseIndex:
    """Where in an array of ascending numbers each stands.

    Args:
        codes: Ascending, dense, not empty; repeated where several rows have one key.

    """

    def __init__(self, codes: UInt64Array) -> None:
        self._low = codes[0]
        self._size = int(codes[-1] - self._low) + 1
        self._places: Int64Array | None = None
        self._starts: Int64Array | None = None
        if not (codes[1:] > codes[:-1]).all():
            # Two entries more than there are numbers: nothing stands at the last.
            offsets = (codes - self._low).view(np.int64)
            self._starts = np.zeros(self._size + 2, dtype=np.int64)
            np.cumsum(np.bincount(offsets, minlength=self._size), out=self._starts[1:-1])
            self._starts[-1] = self._starts[-2]
        elif self._size > len(codes):
            self._places = np.full(self._size + 1, -1, dtype=np.int64)
            self._places[codes - self._low] = np.arange(len(codes))

    def ranges(self, probes: UInt64Array) -> Ranges:
        """Where the numbers of the probes stand."""
        # What is below all numbers wraps around, and is beyond the range like what is above.
        offsets = probes - self._low
        size = np.uint64(self._size)
        if self._places is None and self._starts is None:
            hits = _true_at(offsets < size)
            return Ranges(hits, _some(offsets.view(np.int64), hits), None)
        at = np.minimum(offsets, size, out=offsets).view(np.int64)
        if self._starts is None:
            assert self._places is not None
            places = self._places.take(at)
            hits = _true_at(places >= 0)
            return Ranges(hits, _some(places, hits), None)
        first = self._starts.take(at)
        at += 1
        end = self._starts.take(at)
        hits = _true_at(end > first)
        return Ranges(hits, _some(first, hits), _some(end, hits))


def _true_at(mask: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Int64Array:
    return np.arange(len(mask)) if mask.all() else np.flatnonzero(mask)


def _some(values: Int64Array, places: Int64Array) -> Int64Array:
    """The values at ascending places, each once; not copied when these are all."""
    return values if len(places) == len(values) else values.take(places)

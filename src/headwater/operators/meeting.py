"""Rows of equal keys find each other without a sort.

The top bits of a row's hash are the number of a place. The first row that comes to a place is its
host, and all rows whose key is the host's are at home there. Rows of other keys that come to the
same place are strangers: few, as there are more places than rows, and left to who sorts them.

Costs a few passes over the hashes and one over the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.equality import BoolArray, rows_equal

# Fewer rows are sorted at once.
ROWS_MIN = 1 << 12
# There are so many times more places than rows, in bits, up to a number that a cache still holds.
_SPARSE_BITS = 1
BITS_MAX = 20


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where rows met.

    Args:
        bits: The places are numbered with so many.
        places: The place of each row.
        hosts: The row that is the host there.
        is_home: Whether the row has the host's key.

    """

    bits: int
    places: Int64Array
    hosts: Int64Array
    is_home: BoolArray

    def firsts(self) -> Int64Array:
        """The rows that are the first of their key, and all strangers; ascending."""
        return np.flatnonzero(~self.is_home | (self.hosts == np.arange(len(self.hosts))))


def meeting(hashes: UInt64Array, keys: Sequence[pa.Array]) -> Meeting | None:
    """Bring rows together by their keys; None where they are too few to be worth it.

    Args:
        hashes: Of the keys.
        keys: The key columns; none of them when all rows are alike.

    """
    if len(hashes) < ROWS_MIN:
        return None
    bits = min(len(hashes).bit_length() + _SPARSE_BITS, BITS_MAX)
    places = (hashes >> np.uint64(64 - bits)).astype(np.int64)
    host = np.zeros(1 << bits, dtype=np.int64)
    # Of several writes to one place numpy keeps the last, which here is the first row.
    host[places[::-1]] = np.arange(len(hashes))[::-1]
    hosts = host[places]
    is_home = hashes[hosts] == hashes
    alike = rows_equal(keys, None, keys, hosts)
    if alike is not None:
        is_home &= alike
    return Meeting(bits, places, hosts, is_home)

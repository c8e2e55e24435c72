"""Keys that are numbers, days or times, as the numbers that they are.

A code stands in the place of a hash: equal keys have equal codes. Unlike hashes, codes of different
keys differ, so whoever has found a code need not compare keys; they cost nothing to compute; and
keys that are near each other have codes that are near, so rows that came at about the same time,
with numbers that were given out one after the other, lie in a narrow range of them (`state.spine`
passes over the others) and close to each other (`state.dense` finds them without a search). Where
they must not lie close they are scattered, as are hashes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import UInt64Array

# 2**64 over the golden ratio, an odd number.
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def has_codes(kind: pa.DataType) -> bool:
    """Whether keys of a type have codes."""
    is_number = pa.types.is_integer(kind) or pa.types.is_timestamp(kind)
    return bool(is_number or pa.types.is_date32(kind))


def codes_of(keys: pa.Array) -> UInt64Array:
    """The codes of keys; those of nulls are anything.

    Where keys fill eight bytes they are their own memory. Negative numbers stand above the others.
    """
    if pa.types.is_date32(keys.type):
        keys = keys.view(pa.int32())
    elif pa.types.is_timestamp(keys.type):
        keys = keys.view(pa.int64())
    if keys.null_count:
        keys = pc.fill_null(keys, 0)
    values = keys.to_numpy()
    if values.dtype.itemsize < 8:
        values = values.astype(np.int64)
    return np.asarray(values.view(np.uint64))


def scattered(numbers: UInt64Array) -> UInt64Array:
    """Codes or hashes as other numbers: of different ones different, of neighbours far apart.

    The high bits of what comes out depend on all bits of what goes in. It is Fibonacci hashing
    (Knuth, The Art of Computer Programming, volume 3, section 6.4): times an odd number no two
    become equal, and times this one numbers that follow each other spread evenly. State files hold
    what comes out, so it never changes.
    """
    return numbers * _GOLDEN

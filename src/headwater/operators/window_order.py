"""The order of partial results: by slice or by window, and then by the hash of their key.

It is the same whatever they came from, as DuckDB's order of groups depends on its threads.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, Int64Array, UInt64Array
from headwater.operators.layout import SLICE, START
from headwater.state.run import ascending

# Fewer rows are sorted by both at once.
_PACKED_MIN = 1 << 12


def by_slice(partials: pa.RecordBatch, width_us: int) -> pa.RecordBatch:
    """Partial results in the order of their slices, and in a slice of their hashes.

    The second is there because DuckDB's order of groups depends on its threads.
    """
    slices, hashes = (partials.column(name).to_numpy() for name in (SLICE, HASH))
    return partials.take(pa.array(_by_both(slices, hashes, width_us)))


def _by_both(slices: Int64Array, hashes: UInt64Array, width_us: int) -> Int64Array:
    """The order by slice and then by hash.

    Few slices leave room for most of a hash: one sort of such numbers is several times as quick as
    two of both. Where two of them are alike it tells nothing, and both are sorted.
    """
    if len(slices) < _PACKED_MIN:
        return np.lexsort((hashes, slices))
    low = int(slices.min())
    number = ((slices - low) // width_us).view(np.uint64)
    bits = np.uint64((int(number.max()) + 1).bit_length())
    packed = (number << (np.uint64(64) - bits)) | (hashes >> bits)
    order = ascending(packed, None)
    ordered = packed.take(order)
    if (ordered[1:] == ordered[:-1]).any():
        return np.lexsort((hashes, slices))
    return order


def by_window(merged: pa.RecordBatch) -> pa.RecordBatch:
    """Partial results of windows, each with the hash of its key and window, in that order."""
    hashes = window_hashes(merged)
    index = merged.schema.get_field_index(HASH)
    order = ascending(hashes, None)
    hashed = merged.set_column(index, merged.schema.field(index), pa.array(hashes))
    return hashed.take(pa.array(order))


def window_hashes(rows: pa.RecordBatch) -> UInt64Array:
    """The hash of each row's key and window."""
    return mixed(rows.column(HASH).to_numpy(), rows.column(START).to_numpy())


def mixed(hashes: UInt64Array, numbers: Int64Array) -> UInt64Array:
    """The hash of two numbers, say a key's hash and a window start.

    SplitMix64's finalizer (Steele et al., 2014).
    """
    x = hashes ^ (numbers.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

"""The order of partial results: by slice or by window, and then by the hash of their key.

It is the same whatever they came from, as DuckDB's order of groups depends on its threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import HASH, Int64Array, UInt64Array
from headwater.operators.layout import SLICE, START
from headwater.state.codes import scattered
from headwater.state.equality import BoolArray
from headwater.state.run import ascending, times_of

# Fewer rows are sorted by both at once.
_PACKED_MIN = 1 << 12
# So many bits make a number of 64 that can be shifted.
_BITS_MAX = 63


def is_number(kind: pa.DataType) -> bool:
    """Whether `in_slices` orders by values of a type."""
    is_time = pa.types.is_date32(kind) or pa.types.is_timestamp(kind)
    return bool(pa.types.is_integer(kind) or is_time)


def in_slices(
    rows: pa.RecordBatch, numbers: Sequence[str], hash_of: Callable[[], UInt64Array]
) -> pa.RecordBatch:
    """Rows in the order of their slices, then of some columns of numbers, then of their hashes.

    Args:
        rows: With a column of slices; no two are alike in it, the numbers and the hash.
        numbers: The columns; a null is as the least number.
        hash_of: Gives the rows' hashes, if numbers do not tell them apart.

    """
    columns = [rows.column(SLICE).to_numpy(), *(_ordinals(rows.column(n)) for n in numbers)]
    if _are_ascending(columns):
        return rows
    packed = _packed(columns)
    order = _by_each(columns) if packed is None else ascending(packed, None)
    ordered = [column.take(order) for column in columns]
    if (~_differs(ordered)).any():
        order = np.lexsort((hash_of(), *columns[::-1]))
    return rows.take(pa.array(order))


def _ordinals(column: pa.Array) -> Int64Array:
    if not column.null_count:
        return times_of(column)
    least = np.iinfo(np.int64).min
    values = np.full(len(column), least, dtype=np.int64)
    known = np.flatnonzero(np.asarray(pc.is_valid(column)))
    values[known] = times_of(column.take(pa.array(known)))
    return values


def _differs(columns: Sequence[Int64Array]) -> BoolArray:
    """Which rows but the first differ from the one before."""
    differs = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        differs |= column[1:] != column[:-1]
    return differs


def _are_ascending(columns: Sequence[Int64Array]) -> bool:
    """Whether each row is above the one before it."""
    is_alike = np.ones(max(len(columns[0]) - 1, 0), dtype=np.bool_)
    for column in columns:
        if bool(((column[1:] < column[:-1]) & is_alike).any()):
            return False
        is_alike &= column[1:] == column[:-1]
    return not is_alike.any()


def _packed(columns: Sequence[Int64Array]) -> UInt64Array | None:
    """The columns as one number, its highest bits first; None when they do not fit into it."""
    lows = [int(column.min()) for column in columns]
    spans = zip(columns, lows, strict=True)
    bits = [(int(column.max()) - low).bit_length() for column, low in spans]
    if sum(bits) > _BITS_MAX:
        return None
    number = np.zeros(len(columns[0]), dtype=np.uint64)
    for column, low, width in zip(columns, lows, bits, strict=True):
        number <<= np.uint64(width)
        number |= (column - low).view(np.uint64)
    number <<= np.uint64(64 - max(sum(bits), 1))
    return number


def _by_each(columns: Sequence[Int64Array]) -> Int64Array:
    """The order by several columns, of which the last is sorted by first."""
    order = np.arange(len(columns[0]), dtype=np.int64)
    for column in columns[::-1]:
        packed = _packed([column.take(order)])
        if packed is None:
            return np.lexsort(columns[::-1])
        order = order.take(ascending(packed, None))
    return order


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
    x = hashes ^ scattered(numbers.view(np.uint64))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

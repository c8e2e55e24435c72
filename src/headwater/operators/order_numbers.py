"""Whole numbers that are in the order of values, as DuckDB has it.

Of two values the smaller one never has the larger number. Whole numbers, times, truths and floats
are told apart by theirs; of a text the first eight bytes count, and a decimal beyond 64 bits is the
outermost number. Who looks for the first value looks at all that share the first number.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array
from headwater.operators import decimal128
from headwater.state.run import times_of

_PREFIX = 8
_SIGN = np.uint64(1 << 63)


def order_numbers(values: pa.Array) -> Int64Array:
    """A number for each of the values, of which none is null; 0 for all of an unknown kind."""
    kind = values.type
    if pa.types.is_boolean(kind):
        values = values.cast(pa.int8())
    if pa.types.is_time(kind):
        values = values.view(pa.int64() if pa.types.is_time64(kind) else pa.int32())
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
        return times_of(values)
    if pa.types.is_floating(kind):
        return _of_floats(values)
    if pa.types.is_decimal128(kind):
        return _of_decimals(values)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _of_texts(values)
    return np.zeros(len(values), dtype=np.int64)


def _of_floats(values: pa.Array) -> Int64Array:
    """The bits, those of negative ones turned round; NaN is above all, and -0.0 is 0.0."""
    floats = values.to_numpy(zero_copy_only=False).astype(np.float64) + 0.0
    bits = np.where(np.isnan(floats), np.nan, floats).view(np.int64)
    return np.asarray(bits ^ ((bits >> 63) & np.int64((1 << 63) - 1)))


def _of_decimals(values: pa.Array) -> Int64Array:
    words = decimal128.limbs(values)
    low, high = words[:, 0], words[:, 1]
    limits = np.iinfo(np.int64)
    outermost = np.where(high < 0, limits.min, limits.max)
    return np.where(high == low >> 63, low, outermost)


def _of_texts(values: pa.Array) -> Int64Array:
    """The first bytes as one number; what is shorter is filled with zeros."""
    heads = pc.binary_slice(values.cast(pa.binary()), 0, _PREFIX)
    offsets = np.frombuffer(heads.buffers()[1], dtype=np.int32)
    offsets = offsets[heads.offset : heads.offset + len(heads) + 1].astype(np.int64)
    data = heads.buffers()[2]
    source = np.frombuffer(data, dtype=np.uint8) if data else np.zeros(0, dtype=np.uint8)
    places = np.arange(_PREFIX) + offsets[:-1, None]
    is_there = places < offsets[1:, None]
    source = np.append(source, np.uint8(0))
    letters = np.where(is_there, source[np.where(is_there, places, len(source) - 1)], 0)
    numbers = letters.astype(np.uint8).view(">u8").astype(np.uint64).ravel()
    return np.asarray((numbers ^ _SIGN).view(np.int64))

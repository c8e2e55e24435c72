"""Where a row stands in an order, as one integer.

The first column of an ORDER BY becomes an int64 that never decreases along the order, so that rows
can be sorted, searched and cut into ranges with numpy whatever their types are. Rows of one place
may still differ in the order: numbers and times have a place of their own, texts share one with
those that begin with the same eight bytes, and what has no such integer (lists, intervals) stands
all at one place. Whoever works with places takes all rows of a place together.

The order is DuckDB's: NaN is the greatest number, 0.0 and -0.0 are equal, texts are compared by
their bytes.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array
from headwater.plan.nodes import Order

FIRST = int(np.iinfo(np.int64).min)
LAST = int(np.iinfo(np.int64).max)
_TEXT_BYTES = 8


def places(column: pa.Array, order: Order) -> Int64Array:
    """The place of each value.

    Args:
        column: The column that rows are ordered by first.
        order: Its direction, and where its nulls stand.

    """
    if not len(column):
        return np.zeros(0, dtype=np.int64)
    found = _ascending(column)
    if order.is_descending:
        found = ~found
    if column.null_count:
        is_null = pc.is_null(column).to_numpy(zero_copy_only=False)
        found = np.where(is_null, FIRST if order.nulls_first else LAST, found)
    return found


def _ascending(column: pa.Array) -> Int64Array:  # noqa: PLR0911 - one for each kind
    """Integers in the order of the values; those of nulls mean nothing."""
    kind = column.type
    if pa.types.is_floating(kind):
        return _of_floats(column)
    if pa.types.is_decimal128(kind):
        return _of_decimals(column)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _of_texts(column)
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return _filled(column.view(pa.int64()))
    if pa.types.is_date32(kind):
        return _filled(column.view(pa.int32()))
    if pa.types.is_boolean(kind):
        return _filled(column.cast(pa.int8()))
    if pa.types.is_integer(kind):
        return _filled(column)
    return np.zeros(len(column), dtype=np.int64)


def _filled(column: pa.Array) -> Int64Array:
    if column.null_count:
        column = pc.fill_null(column, 0)
    values = column.to_numpy()
    if values.dtype == np.uint64:
        return np.asarray((values ^ np.uint64(1 << 63)).view(np.int64))
    return values.astype(np.int64)


def _of_floats(column: pa.Array) -> Int64Array:
    values = column.cast(pa.float64())
    numbers = pc.fill_null(values, 0.0).to_numpy() + 0.0
    bits = numbers.view(np.int64)
    # Of negative numbers the greater has the lesser bits.
    found = np.where(bits < 0, ~bits | FIRST, bits)
    return np.where(np.isnan(numbers), LAST, found)


def _of_decimals(column: pa.Array) -> Int64Array:
    """The unscaled number, cut to what an int64 holds."""
    words = np.frombuffer(column.buffers()[1], dtype=np.int64)
    words = words.reshape(-1, 2)[column.offset : column.offset + len(column)]
    low, high = words[:, 0], words[:, 1]
    fits = high == low >> 63
    return np.where(fits, low, np.where(high < 0, FIRST, LAST))


def _of_texts(column: pa.Array) -> Int64Array:
    """The first eight bytes, as a number."""
    _, starts, data = column.buffers()
    count = len(column)
    bounds = np.frombuffer(starts, dtype=np.int32)[column.offset : column.offset + count + 1]
    if data is None or not len(data):
        return np.full(count, FIRST)
    text = np.frombuffer(data, dtype=np.uint8)
    at = bounds[:-1, None] + np.arange(_TEXT_BYTES)
    is_inside = at < bounds[1:, None]
    letters = np.where(is_inside, text.take(np.where(is_inside, at, 0)), 0).astype(np.uint8)
    numbers = np.ascontiguousarray(letters).view(">u8").reshape(count).astype(np.uint64)
    return np.asarray((numbers ^ np.uint64(1 << 63)).view(np.int64))

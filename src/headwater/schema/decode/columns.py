"""Whole columns of values: at once when they are plainly right, one by one when they are not.

A list of values whose Python types all fit is stored by Arrow in one call. Only when a value has
another type, or Arrow refuses, does `values` judge each. Both ways give the same column.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headwater.schema.instants import DAY_FIRST, DAY_LAST, DAY_S, NANOS, UnfitError
from headwater.schema.types import DECIMAL_DIGITS_MAX, DataType
from headwater.schema.values import Read, plain, value_reader

_NONE = type(None)
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_PLAIN_KINDS: dict[str, frozenset[type]] = {
    **{name: frozenset({int, _NONE}) for name in (*_INTEGERS, "UBIGINT")},
    "DOUBLE": frozenset({float, int, _NONE}),
    "BOOLEAN": frozenset({bool, _NONE}),
    "VARCHAR": frozenset({str, _NONE}),
}
_TEXTS = frozenset({str, _NONE})


def column_of_values(values: Sequence[Any], data_type: DataType) -> tuple[pa.Array, dict[int, str]]:
    """The column of these values, and the reason for each index that does not fit (null there)."""
    array = _at_once(values, data_type)
    if array is not None:
        return array, {}
    return _one_by_one(values, data_type, value_reader(data_type).from_value)


def column_of_texts(values: Sequence[Any], data_type: DataType) -> tuple[pa.Array, dict[int, str]]:
    """The same for fields of CSV: each value is a text or None."""
    if data_type.kind == "VARCHAR" or pa.types.is_timestamp(data_type.arrow):
        return column_of_values(values, data_type)
    return _one_by_one(values, data_type, value_reader(data_type).from_text)


def _at_once(values: Sequence[Any], data_type: DataType) -> pa.Array | None:
    kinds = set(map(type, values))
    try:
        if kinds <= _PLAIN_KINDS.get(data_type.kind, frozenset()):
            array = pa.array(values, data_type.arrow)
            return settled(array) if is_in_range(array) else None
        if kinds <= _TEXTS:
            return texts_at_once(pa.array(values, pa.string()), data_type)
    except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):
        pass
    return None


def texts_at_once(texts: pa.Array, data_type: DataType) -> pa.Array | None:
    """Texts as dates or instants, when Arrow reads all of them; None when it may not."""
    arrow = data_type.arrow
    # Arrow wraps around when an instant does not fit nanoseconds, so those are read one by one.
    if not pa.types.is_date32(arrow) and (not pa.types.is_timestamp(arrow) or arrow.unit == "ns"):
        return None
    try:
        if pa.types.is_date32(arrow):
            array = texts.cast(arrow)
        else:
            zone = "UTC" if _has_offset(texts) else None
            array = texts.cast(pa.timestamp(arrow.unit, zone)).cast(arrow)
    except pa.ArrowInvalid:
        return None
    return array if is_in_range(array) else None


def _has_offset(texts: pa.Array) -> bool:
    """True when the first text has an offset; a column that mixes both is read one by one."""
    first = pc.index(pc.is_valid(texts), True).as_py()
    if first < 0:
        return False
    tail = texts[first].as_py()[11:]
    return "Z" in tail or "+" in tail or "-" in tail


def is_in_range(array: pa.Array) -> bool:
    """True when all values are finite, of so many digits, and in the years 1 to 9999.

    Arrow's JSON reader checks the digits of a decimal before it moves the point, and so lets some
    in that have more than the column's precision.
    """
    kind = array.type
    if pa.types.is_decimal(kind):
        limit = Decimal(10) ** (kind.precision - kind.scale)
        return _is_between(array, -limit, limit, is_open=True)
    if pa.types.is_floating(kind):
        return bool(pc.all(pc.is_finite(array), min_count=0).as_py())
    if pa.types.is_date32(kind):
        return _is_between(array.view(pa.int32()), DAY_FIRST, DAY_LAST)
    if pa.types.is_timestamp(kind) and kind.unit != "ns":
        second = NANOS["s"] // NANOS[kind.unit]
        first, last = DAY_FIRST * DAY_S * second, (DAY_LAST + 1) * DAY_S * second - 1
        return _is_between(array.view(pa.int64()), first, last)
    return True


def is_decimal_safe(data_type: DataType) -> bool:
    """True when Arrow's readers cannot overflow 128 bits unseen in moving a decimal's point.

    They check that a number has no more digits than the precision, then multiply it by ten to the
    scale, and do not look whether that still fits.
    """
    arrow = data_type.arrow
    return not pa.types.is_decimal(arrow) or arrow.precision + arrow.scale <= DECIMAL_DIGITS_MAX


def settled(array: pa.Array) -> pa.Array:
    """The column with minus zero as zero: the two are equal, and must have the same bytes."""
    if not pa.types.is_floating(array.type):
        return array
    return pc.add(array, pa.scalar(0.0, array.type))


def _is_between(array: pa.Array, low: Any, high: Any, *, is_open: bool = False) -> bool:
    least, most = pc.min_max(array).as_py().values()
    if least is None:
        return True
    return bool(low < least and most < high) if is_open else bool(low <= least and most <= high)


def _one_by_one(
    values: Sequence[Any], data_type: DataType, read: Read
) -> tuple[pa.Array, dict[int, str]]:
    kept: list[Any] = []
    reasons: dict[int, str] = {}
    for index, value in enumerate(values):
        try:
            kept.append(None if value is None else read(plain(value)))
        except UnfitError as unfit:
            reasons[index] = str(unfit)
            kept.append(None)
    return pa.array(kept, data_type.arrow), reasons

"""Which type may take the place of another, so that no value is lost.

A type is widened to one that has all of its values, and in which they stand in the same order: then
rows that were written before are cast when they are read, and what a comparison said of them it
still says. The rules, which compose:

    integers      to an integer with room for the whole range; HUGEINT has room for all
    integers      to a DECIMAL with so many digits before its point, and to a FLOAT or DOUBLE whose
                  mantissa holds them
    DECIMAL       to a DECIMAL with no fewer digits before the point, and no fewer after it
    FLOAT         to DOUBLE
    DATE          to TIMESTAMP_S, TIMESTAMP_MS and TIMESTAMP; each of these to those after it
    UUID, JSON    to VARCHAR
    nested        where each inner type is widened, and names and order of fields are the same

TIMESTAMP_NS takes none of the others, because it ends in the year 2262; nothing becomes a TIMESTAMP
WITH TIME ZONE, because a zone would have to be invented. VARCHAR has no length.
"""

from __future__ import annotations

import pyarrow as pa

from headwater.schema.types import DataType

_DIGITS = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "UTINYINT": 3,
    "USMALLINT": 5,
    "UINTEGER": 10,
    "UBIGINT": 20,
    "HUGEINT": 38,
}
# Whole numbers of so many bits are exact in them.
_EXACT_BITS = {"FLOAT": 24, "DOUBLE": 53}
_TIMES = ("DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP")


def widens(old: DataType, new: DataType) -> bool:
    """Whether every value of `old` is a value of `new`, in the same order.

    >>> from headwater.schema.types import parse_type
    >>> widens(parse_type("INTEGER"), parse_type("BIGINT"))
    True
    >>> widens(parse_type("BIGINT"), parse_type("DOUBLE"))
    False

    A type widens to itself.
    """
    if old.sql == new.sql:
        return True
    if old.kind in _DIGITS or old.kind == "DECIMAL":
        return _number_widens(old, new)
    if old.kind in _TIMES and new.kind in _TIMES:
        return _TIMES.index(old.kind) < _TIMES.index(new.kind)
    if new.kind == "VARCHAR":
        return old.kind in ("UUID", "JSON")
    if old.kind == "FLOAT":
        return new.kind == "DOUBLE"
    return _nested_widens(old, new)


def widened(array: pa.Array, new: DataType) -> pa.Array:
    """The same values as ones of a wider type."""
    return array if array.type == new.arrow else array.cast(new.arrow)


def _number_widens(old: DataType, new: DataType) -> bool:
    """Of an exact number: an integer or a DECIMAL."""
    if new.kind in _EXACT_BITS:
        return old.kind in _DIGITS and _bits(old) <= _EXACT_BITS[new.kind]
    if new.kind == "DECIMAL" or old.kind in ("DECIMAL", "HUGEINT"):
        is_decimal = new.kind in ("DECIMAL", "HUGEINT")
        before, after = _places(old)
        return is_decimal and before <= _places(new)[0] and after <= _places(new)[1]
    return new.kind == "HUGEINT" or (new.kind in _DIGITS and _has_room(old, new))


def _bits(integer: DataType) -> int:
    """How many bits the largest value has."""
    if integer.kind == "HUGEINT":
        return 127
    width: int = integer.arrow.bit_width
    return width - 1 if pa.types.is_signed_integer(integer.arrow) else width


def _has_room(old: DataType, new: DataType) -> bool:
    """Whether the range of an integer type lies in that of another."""
    has_sign = pa.types.is_signed_integer(old.arrow)
    return _bits(old) <= _bits(new) and (not has_sign or pa.types.is_signed_integer(new.arrow))


def _places(exact: DataType) -> tuple[int, int]:
    """The digits before and after the point of an integer or a DECIMAL."""
    if exact.kind in _DIGITS:
        return _DIGITS[exact.kind], 0
    return exact.arrow.precision - exact.arrow.scale, exact.arrow.scale


def _nested_widens(old: DataType, new: DataType) -> bool:
    if old.kind != new.kind or not old.parts or len(old.parts) != len(new.parts):
        return False
    return all(
        name == name_now and widens(part, part_now)
        for (name, part), (name_now, part_now) in zip(old.parts, new.parts, strict=True)
    )

"""The types of columns, with their SQL and Arrow spellings in one table.

SQL spellings are DuckDB's: `sql` is what its DESCRIBE prints, `arrow` what it exports. A type is
known by its SQL spelling; the Arrow type is what batches of it carry. Both directions are total
over the types listed here: what is not listed is refused.

Arrow knows less than SQL: UUID and JSON travel as strings, and HUGEINT as decimal128(38, 0). From
Arrow, a string is VARCHAR, and decimal128(38, 0) is HUGEINT, because sums of integers are the
usual reason for one.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pyarrow as pa

from headwater.errors import DefinitionError
from headwater.schema.names import quoted
from headwater.schema.tokens import Cursor, Kind, Token


@dataclass(frozen=True, slots=True)
class DataType:
    """One column type.

    Args:
        sql: The canonical DuckDB spelling, for example `DECIMAL(12,6)` or `STRUCT(a BIGINT)[]`.
        arrow: The Arrow type of a batch's column.

    """

    sql: str
    arrow: pa.DataType

    def __str__(self) -> str:
        return self.sql

    @property
    def kind(self) -> str:
        """The type's family: LIST, STRUCT, MAP, DECIMAL, or a simple type's own spelling."""
        return "LIST" if self.sql.endswith("[]") else self.sql.partition("(")[0]

    @property
    def parts(self) -> tuple[tuple[str, DataType], ...]:
        """Of a nested type the inner types: fields by name, `key` and `value`, or `element`."""
        return _parts(self.sql)


@dataclass(frozen=True, slots=True)
class Column:
    """A named, typed column.

    Args:
        name: As the author spelled it. Names are compared without regard to case.
        type: Its type.
        nullable: False when a row with a null here must be rejected.
        default: The value a missing field takes (a plain Python value), or None for no default.
        is_optional: Whether a missing field is null where there is no other default.
        aliases: Other names under which a record may have it: those that it had before.

    """

    name: str
    type: DataType
    nullable: bool = True
    default: Any = None
    is_optional: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def may_miss(self) -> bool:
        """Whether a record may leave it out."""
        return self.is_optional or self.default is not None


DECIMAL_DIGITS_MAX = 38

# Canonical spelling, Arrow type, other spellings that DuckDB reads as the same.
_TABLE: tuple[tuple[str, pa.DataType, str], ...] = (
    ("BOOLEAN", pa.bool_(), "BOOL LOGICAL"),
    ("TINYINT", pa.int8(), "INT1"),
    ("SMALLINT", pa.int16(), "INT2 INT16 SHORT"),
    ("INTEGER", pa.int32(), "INT INT4 INT32 INTEGRAL SIGNED"),
    ("BIGINT", pa.int64(), "INT8 INT64 LONG"),
    ("UTINYINT", pa.uint8(), "UINT8"),
    ("USMALLINT", pa.uint16(), "UINT16"),
    ("UINTEGER", pa.uint32(), "UINT32"),
    ("UBIGINT", pa.uint64(), "UINT64"),
    ("HUGEINT", pa.decimal128(38, 0), "INT128"),
    ("FLOAT", pa.float32(), "FLOAT4 REAL"),
    ("DOUBLE", pa.float64(), "FLOAT8"),
    ("VARCHAR", pa.string(), "TEXT STRING CHAR BPCHAR NVARCHAR"),
    ("BLOB", pa.binary(), "BYTEA BINARY VARBINARY"),
    ("DATE", pa.date32(), ""),
    ("TIME", pa.time64("us"), ""),
    ("TIMESTAMP", pa.timestamp("us"), "DATETIME TIMESTAMP_US"),
    ("TIMESTAMP WITH TIME ZONE", pa.timestamp("us", "UTC"), "TIMESTAMPTZ"),
    ("TIMESTAMP_S", pa.timestamp("s"), ""),
    ("TIMESTAMP_MS", pa.timestamp("ms"), ""),
    ("TIMESTAMP_NS", pa.timestamp("ns"), ""),
    ("INTERVAL", pa.month_day_nano_interval(), ""),
    ("UUID", pa.string(), "GUID"),
    ("JSON", pa.string(), ""),
)

_SIMPLE = {sql: DataType(sql, arrow) for sql, arrow, _ in _TABLE}
_BY_NAME = {alias: _SIMPLE[sql] for sql, _, more in _TABLE for alias in (sql, *more.split())}
_DECIMAL_NAMES = ("DECIMAL", "NUMERIC", "DEC")
_NESTED_NAMES = ("STRUCT", "ROW", "MAP")
_SPELLED = (*_BY_NAME, *_DECIMAL_NAMES, *_NESTED_NAMES)

# The first of two SQL types with one Arrow type wins: VARCHAR before UUID and JSON.
_BY_ARROW = {data.arrow: data for data in reversed(_SIMPLE.values())}
_NEAR_ARROW: dict[pa.DataType, pa.DataType] = {
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
    pa.time32("s"): pa.time64("us"),
    pa.time32("ms"): pa.time64("us"),
}


def parse_type(text: str, source: str = "type") -> DataType:
    """The type that `text` spells, in any spelling DuckDB takes for the types listed here.

    >>> str(parse_type("numeric(12, 6)"))
    'DECIMAL(12,6)'

    Raises:
        DefinitionError: It is no type, or one that Headwater does not carry.

    """
    cursor = Cursor(text, source)
    data_type = read_type(cursor)
    if not cursor.is_at_end:
        raise cursor.error_here(f"expected the type to end after {data_type}")
    return data_type


def from_arrow(arrow: pa.DataType) -> DataType:
    """The type whose rows an Arrow column of type `arrow` can carry.

    Raises:
        DefinitionError: There is none.

    """
    known = _BY_ARROW.get(_NEAR_ARROW.get(arrow, arrow))
    if known is not None:
        return known
    for matches, build in _ARROW_FAMILIES:
        if matches(arrow):
            return build(arrow)
    raise DefinitionError(
        f"no column can have the Arrow type {arrow}",
        hint=f"cast it to one of: {', '.join(sorted(_SIMPLE))}",
    )


def decimal_type(digits: int, scale: int) -> DataType:
    """DECIMAL of `digits` digits, `scale` of them after the point."""
    return DataType(f"DECIMAL({digits},{scale})", pa.decimal128(digits, scale))


def list_type(element: DataType) -> DataType:
    """A list of `element`s."""
    return DataType(f"{element.sql}[]", pa.list_(element.arrow))


def map_type(key: DataType, value: DataType) -> DataType:
    """A map from `key` to `value`."""
    return DataType(f"MAP({key.sql}, {value.sql})", pa.map_(key.arrow, value.arrow))


def struct_type(fields: tuple[tuple[str, DataType], ...]) -> DataType:
    """A struct of named fields, in order."""
    inside = ", ".join(f"{quoted(name)} {field.sql}" for name, field in fields)
    arrow = pa.struct([pa.field(name, field.arrow) for name, field in fields])
    return DataType(f"STRUCT({inside})", arrow)


def _arrow_timestamp(arrow: pa.DataType) -> DataType:
    # A zone other than UTC changes how the same instant is printed, not which instant it is.
    return _SIMPLE["TIMESTAMP WITH TIME ZONE"] if arrow.tz else _BY_ARROW[arrow]


def _arrow_struct(arrow: pa.DataType) -> DataType:
    return struct_type(tuple((field.name, from_arrow(field.type)) for field in arrow))


_ARROW_FAMILIES: tuple[
    tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], DataType]], ...
] = (
    (pa.types.is_timestamp, _arrow_timestamp),
    (pa.types.is_decimal128, lambda arrow: decimal_type(arrow.precision, arrow.scale)),
    (pa.types.is_dictionary, lambda arrow: from_arrow(arrow.value_type)),
    (pa.types.is_list, lambda arrow: list_type(from_arrow(arrow.value_type))),
    (pa.types.is_large_list, lambda arrow: list_type(from_arrow(arrow.value_type))),
    (pa.types.is_struct, _arrow_struct),
    (pa.types.is_map, lambda a: map_type(from_arrow(a.key_type), from_arrow(a.item_type))),
)


def read_type(cursor: Cursor) -> DataType:
    """Take one type from `cursor`, which then stands behind it.

    Raises:
        DefinitionError: What stands there is no type.

    """
    head = cursor.take()
    if head.kind is not Kind.NAME:
        found = f"found {head.text!r}" if head.text else "the text ends here"
        raise cursor.error(
            f"expected a type, {found}", head.start, head.end, "for example BIGINT or VARCHAR"
        )
    data_type = _read_named(cursor, head, head.text.upper())
    while cursor.takes("["):
        if not cursor.sees("]"):
            raise cursor.error_here(
                "a list has no fixed length", f"write {data_type}[] for a list of {data_type}"
            )
        cursor.take()
        data_type = list_type(data_type)
    return data_type


def _read_named(cursor: Cursor, head: Token, name: str) -> DataType:
    if name in _DECIMAL_NAMES:
        return _read_decimal(cursor)
    if name in ("STRUCT", "ROW"):
        return _read_struct(cursor)
    if name == "MAP":
        return _read_map(cursor)
    name = _read_long_name(cursor, name)
    if name in _BY_NAME:
        _skip_length(cursor, _BY_NAME[name])
        return _BY_NAME[name]
    near = difflib.get_close_matches(name, _SPELLED, n=1)
    hint = f"did you mean {near[0]}?" if near else f"the types are: {', '.join(_SPELLED)}"
    spelled = cursor.text[head.start : cursor.last.end]
    raise cursor.error(f"there is no type {spelled}", head.start, cursor.last.end, hint)


def _read_long_name(cursor: Cursor, name: str) -> str:
    """The spelling of a type whose name may be several words."""
    if name in ("TIMESTAMP", "TIME") and cursor.takes("WITHOUT", "TIME", "ZONE"):
        return name
    if name in ("TIMESTAMP", "TIME") and cursor.takes("WITH", "TIME", "ZONE"):
        return f"{name} WITH TIME ZONE"
    if name == "DOUBLE" and cursor.takes("PRECISION"):
        return name
    if name in ("CHARACTER", "CHAR"):
        cursor.takes("VARYING")
        return "VARCHAR"
    return name


def _skip_length(cursor: Cursor, data_type: DataType) -> None:
    """Pass over the length of VARCHAR(n), which DuckDB ignores too."""
    if data_type.sql == "VARCHAR" and cursor.takes("("):
        _read_count(cursor)
        cursor.expect(")", "for example VARCHAR(10)")


def _read_decimal(cursor: Cursor) -> DataType:
    if not cursor.takes("("):
        return decimal_type(18, 3)
    first = cursor.here
    digits = _read_count(cursor)
    scale = _read_count(cursor) if cursor.takes(",") else 0
    if not 1 <= digits <= DECIMAL_DIGITS_MAX or scale > digits:
        raise cursor.error(
            f"DECIMAL({digits},{scale}) cannot be: it has 1 to {DECIMAL_DIGITS_MAX} digits, and no "
            "more of them after the point than in all",
            first.start,
            cursor.last.end,
            "for example DECIMAL(18,6)",
        )
    cursor.expect(")", "for example DECIMAL(12,6)")
    return decimal_type(digits, scale)


def _read_count(cursor: Cursor) -> int:
    if cursor.here.kind is not Kind.NUMBER or not cursor.here.text.isdigit():
        raise cursor.error_here("expected a whole number", "for example DECIMAL(12,6)")
    return int(cursor.take().text)


def _read_struct(cursor: Cursor) -> DataType:
    cursor.expect("(", "for example STRUCT(a BIGINT, b VARCHAR)")
    fields: list[tuple[str, DataType]] = []
    while True:
        if not cursor.here.is_name:
            raise cursor.error_here("expected a field's name", "for example STRUCT(a BIGINT)")
        name = cursor.take()
        if any(name.text.lower() == other.lower() for other, _ in fields):
            raise cursor.error(
                f"the struct has two fields {name.text}",
                name.start,
                name.end,
                "give one of them another name",
            )
        fields.append((name.text, read_type(cursor)))
        if not cursor.takes(","):
            break
    cursor.expect(")", "separate fields by commas, and close the bracket")
    return struct_type(tuple(fields))


def _read_map(cursor: Cursor) -> DataType:
    hint = "for example MAP(VARCHAR, BIGINT)"
    cursor.expect("(", hint)
    key = read_type(cursor)
    cursor.expect(",", hint)
    value = read_type(cursor)
    cursor.expect(")", hint)
    return map_type(key, value)


@lru_cache(maxsize=1024)
def _parts(sql: str) -> tuple[tuple[str, DataType], ...]:
    if sql.endswith("[]"):
        return (("element", parse_type(sql[:-2])),)
    if sql.startswith("STRUCT("):
        return _struct_parts(sql)
    if sql.startswith("MAP("):
        cursor = Cursor(sql[len("MAP(") : -1], "type")
        key = read_type(cursor)
        cursor.take()
        return (("key", key), ("value", read_type(cursor)))
    return ()


def _struct_parts(sql: str) -> tuple[tuple[str, DataType], ...]:
    cursor = Cursor(sql[len("STRUCT(") : -1], "type")
    parts = []
    while not cursor.is_at_end:
        name = cursor.take().text
        parts.append((name, read_type(cursor)))
        cursor.takes(",")
    return tuple(parts)

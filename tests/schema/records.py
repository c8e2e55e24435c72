"""Random schemas, and texts of values for them: right ones, and many kinds of wrong ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from hypothesis import strategies as st

from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type

INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
    "UBIGINT": (0, 2**64 - 1),
}
OTHERS = [
    "HUGEINT",
    "FLOAT",
    "DOUBLE",
    "DECIMAL(12,6)",
    "DECIMAL(4,0)",
    "DECIMAL(38,30)",
    "DECIMAL(38,38)",
    "BOOLEAN",
    "VARCHAR",
    "BLOB",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "TIMESTAMP_S",
    "TIMESTAMP_MS",
    "TIMESTAMP_NS",
    "INTERVAL",
    "UUID",
    "JSON",
    "BIGINT[]",
    "VARCHAR[]",
    "DOUBLE[]",
]
NESTED = ("STRUCT(a BIGINT, b VARCHAR)", "MAP(VARCHAR, BIGINT)", "STRUCT(a DATE)[]")
TYPES = (*INTEGERS, *OTHERS, *NESTED)
SIMPLE = tuple(
    name for name in TYPES if "(" not in name.replace("DECIMAL(", "") and "[" not in name
)
DEFAULTS = {"BIGINT": 7, "VARCHAR": "none", "DOUBLE": 1, "TIMESTAMP": "2024-01-01", "BOOLEAN": True}


@st.composite
def schemas(draw: st.DrawFn, types: Sequence[str] = TYPES) -> Schema:
    columns = []
    for index, name in enumerate(draw(st.lists(st.sampled_from(types), min_size=1, max_size=4))):
        default = DEFAULTS.get(name) if draw(st.integers(0, 3)) == 0 else None
        nullable = draw(st.booleans())
        columns.append(Column("abCd"[index], parse_type(name), nullable, default))
    return Schema(tuple(columns))


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(str)


_TEXT = st.text(max_size=8) | st.sampled_from(["", "a,b", "null", ":", '":', "}{", "a\nb", '"'])
_DAYS = st.dates().map(str)
_CLOCKS = st.times().map(lambda t: t.replace(tzinfo=None).isoformat()) | st.sampled_from(
    ["00:00", "03:04:05.1", "23:59:59.000000", "03:04:05.120"]
)
_ZONES = st.sampled_from(["", "", "Z", "+01:00", "-0530", "+14"])
_INSTANTS = st.builds("{}{}{}{}".format, _DAYS, st.sampled_from("T "), _CLOCKS, _ZONES) | _DAYS
_DECIMALS = st.decimals(-(10**6), 10**6, places=6, allow_nan=False).map(lambda d: f"{d:f}")
_FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr)
_FIELD_TEXTS = {
    "HUGEINT": numbers(-(10**38), 10**38),
    "FLOAT": _FLOATS,
    "DOUBLE": st.floats(allow_nan=False, allow_infinity=False).map(repr) | numbers(-5, 5),
    "DECIMAL": _DECIMALS | numbers(-9999, 9999),
    "BOOLEAN": st.sampled_from(["true", "false"]),
    "VARCHAR": _TEXT,
    "BLOB": st.sampled_from(["", "aGk=", "AAAA"]),
    "DATE": _DAYS,
    "TIME": _CLOCKS,
    "INTERVAL": st.sampled_from(["1 day", "2 months 00:00:01.5", "-3 years 4 hours"]),
    "UUID": st.uuids().map(str),
}
IN_QUOTES = ("VARCHAR", "BLOB", "DATE", "TIME", "INTERVAL", "UUID")


def field_texts(column: Column) -> st.SearchStrategy[str]:
    """Right values of a simple column as plain text, as CSV has them."""
    kind = column.type.kind
    if kind in INTEGERS:
        return numbers(*INTEGERS[kind])
    return _INSTANTS if kind.startswith("TIMESTAMP") else _FIELD_TEXTS[kind]


def _object(items: Iterable[tuple[str, str]]) -> str:
    return "{" + ", ".join(f'"{name}": {item}' for name, item in items) + "}"


_ANY_JSON = st.recursive(
    st.sampled_from(["null", "true", "1", "-0", "1.50", "1e3", '"x"', '"\\u00e9"', '""']),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.lists(inner, max_size=3).map(lambda items: _object(zip("abc", items, strict=False)))
    ),
    max_leaves=5,
)


def json_texts(column: Column) -> st.SearchStrategy[str]:
    """Right values of a column as JSON text."""
    kind = column.type.kind
    if kind == "JSON":
        return _ANY_JSON
    if kind in ("LIST", "STRUCT", "MAP"):
        return _nested(column)
    texts = field_texts(column)
    if kind == "DECIMAL":
        return texts | texts.map(json.dumps)
    if kind in IN_QUOTES or kind.startswith("TIMESTAMP"):
        return texts.map(json.dumps) | texts.map(lambda t: json.dumps(t, ensure_ascii=False))
    return texts


def _nested(column: Column) -> st.SearchStrategy[str]:
    parts = [json_texts(Column(name, inner)) | st.just("null") for name, inner in column.type.parts]
    if column.type.kind == "LIST":
        return st.lists(parts[0], max_size=3).map(lambda items: f"[{','.join(items)}]")
    if column.type.kind == "MAP":
        return st.lists(parts[1], max_size=2).map(
            lambda items: _object(zip("xy", items, strict=False))
        )
    names = [name for name, _ in column.type.parts]
    return st.tuples(*parts).map(lambda items: _object(zip(names, items, strict=True)))


WRONG_NUMBERS = [
    "-0",
    "0.0",
    "-0.0",
    "1.0",
    "1e2",
    "1E-2",
    "01",
    "+1",
    "1.",
    ".5",
    "1e400",
    "-1e400",
    "1e-400",
    "1e39",
    "3.5e38",
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "inf",
    "9223372036854775808",
    "18446744073709551616",
    "128",
    "256",
    "65536",
    "4294967296",
    "-1",
    "-129",
    "0x1F",
    "1_000",
    "99999999999999999999999999999999999999",
    "100000000000000000000000000000000000000",
    "0.1234567",
    "0.1000000",
    "1234567.5",
    "12345.5e-1",
    "12345678",
    "123456789",
    "0.99",
    "170141183460469231731687303715884105728",
    "9.9e37",
    "12345678901234567890",
    "1234567890.123456789012345678901234567890",
    "1e-38",
    "1e37",
    "1e7",
    "1e60",
    "12e37",
    "1e38",
    "0.5e38",
    "1e99999999999999999999",
    "1e-99999999999999999999",
]
WRONG_TEXTS = (
    "",
    " ",
    " 1",
    "1 ",
    "\t1",
    "NULL",
    "null",
    "True",
    "TRUE",
    "t",
    "yes",
    "2024-02-30",
    "2024-1-2",
    "0000-12-31T23:00:00-02:00",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59.999999",
    "9999-12-31T23:59:59-00:01",
    "10000-01-01",
    "-001-01-01",
    "2024-01-02t03:04:05z",
    "2024-01-02T03:04:05.123456789Z",
    "2024-01-02T03:04:05.123456000",
    "2024-01-02T24:00:00",
    "2024-01-02T23:59:60",
    "2024-01-02T03Z",
    "2024-01-02Z",
    "2024-01-02T03:04:05+24:00",
    "2024-01-02T03:04:05 Z",
    " 2024-01-02",
    "2024-01-02 ",
    "1677-09-21T00:12:43",
    "2262-04-11T23:47:17",
    "24:00:00",
    "1:2:3",
    "03",
    "03:04:05.1234567",
    "1 fortnight",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
    "a0eebc999c0b4ef8bb6d6bb9bd380a11",
    "a,b",
    "a b",
    "é😀",
    "x\x7fy",
)
WRONG_JSON = (
    *WRONG_NUMBERS,
    *(json.dumps(text) for text in (*WRONG_TEXTS, *WRONG_NUMBERS)),
    *["null", "true", "false", "[]", "{}", "[1]", "[null]", "[1.5]", "[[1]]", "tru"],
    '{"x":1}',
    '{"a":1}',
    '"\\ud800"',
    '"\\udc00"',
    '"\\u0000"',
    '"\\x"',
    '"a\tb"',
    '"x',
)

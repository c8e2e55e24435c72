"""A wider type has every value of the narrower one, in the same order, and a cast loses none."""

from __future__ import annotations

import itertools
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from headwater.schema.types import parse_type
from headwater.schema.widening import widened, widens

# Values of each type, in order: the ends of its range, and what other types would round or refuse.
VALUES: dict[str, list[Any]] = {
    "BOOLEAN": [False, True],
    "TINYINT": [-128, -1, 0, 127],
    "SMALLINT": [-(1 << 15), 0, (1 << 15) - 1],
    "INTEGER": [-(1 << 31), -1, 0, (1 << 24) + 1, (1 << 31) - 1],
    "BIGINT": [-(1 << 63), 0, (1 << 53) + 1, (1 << 63) - 1],
    "UTINYINT": [0, 255],
    "USMALLINT": [0, (1 << 16) - 1],
    "UINTEGER": [0, (1 << 24) + 1, (1 << 32) - 1],
    "UBIGINT": [0, (1 << 53) + 1, (1 << 64) - 1],
    "HUGEINT": [Decimal(-(10**38) + 1), Decimal(0), Decimal(10**38 - 1)],
    "DECIMAL(3,0)": [Decimal(-999), Decimal(0), Decimal(999)],
    "DECIMAL(10,0)": [Decimal(-(10**10) + 1), Decimal(10**10 - 1)],
    "DECIMAL(12,2)": [Decimal("-9999999999.99"), Decimal("0.01"), Decimal("9999999999.99")],
    "DECIMAL(12,6)": [Decimal("-999999.999999"), Decimal("0.000001"), Decimal("999999.999999")],
    "DECIMAL(20,6)": [Decimal("-99999999999999.999999"), Decimal("0.000001")],
    "DECIMAL(38,0)": [Decimal(-(10**38) + 1), Decimal(10**38 - 1)],
    "FLOAT": [-3.4028234663852886e38, -0.10000000149011612, 1.401298464324817e-45],
    "DOUBLE": [-1.7976931348623157e308, 5e-324, 0.1, 9007199254740993.0],
    "VARCHAR": ["", "a", "zebra"],
    "BLOB": [b"", b"\x00\xff"],
    "DATE": [date(1, 1, 1), date(2025, 6, 1), date(9999, 12, 31)],
    "TIMESTAMP_S": [datetime(1, 1, 1), datetime(2025, 6, 1, 1, 2, 3)],
    "TIMESTAMP_MS": [datetime(1, 1, 1), datetime(2025, 6, 1, 1, 2, 3, 4000)],
    "TIMESTAMP": [datetime(1, 1, 1), datetime(2025, 6, 1, 1, 2, 3, 4005)],
    "UUID": [str(UUID(int=1)), str(UUID(int=1 << 127))],
    "JSON": ['{"a":1}'],
    "INTEGER[]": [[], [1, None], [(1 << 31) - 1]],
    "BIGINT[]": [[(1 << 63) - 1]],
    "STRUCT(a INTEGER, b VARCHAR)": [{"a": 1, "b": "x"}, {"a": None, "b": None}],
    "STRUCT(a BIGINT, b VARCHAR)": [{"a": 1 << 40, "b": "x"}],
    "STRUCT(b VARCHAR, a BIGINT)": [{"b": "x", "a": 1 << 40}],
    "MAP(VARCHAR, INTEGER)": [[("a", 1), ("b", None)]],
    "MAP(VARCHAR, BIGINT)": [[("a", 1 << 40)]],
}
PAIRS = list(itertools.product(VALUES, VALUES))


def column(name: str) -> pa.Array:
    return pa.array([*VALUES[name], None], parse_type(name).arrow)


def is_kept(old: str, new: str) -> bool:
    """Whether every value is the same again after a cast to the other type and back."""
    before, target = column(old), parse_type(new).arrow
    try:
        there = before.cast(target)
        return bool(there.cast(before.type).equals(before))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False


@pytest.mark.parametrize(("old", "new"), [p for p in PAIRS if widens(*map(parse_type, p))])
def test_a_wider_type_loses_no_value_and_keeps_their_order(old: str, new: str) -> None:
    there = widened(column(old), parse_type(new))
    assert there.type == parse_type(new).arrow
    assert there.cast(column(old).type).equals(column(old))
    if not parse_type(old).parts:
        values = there.to_pylist()[:-1]
        assert values == sorted(values)


@pytest.mark.parametrize(("old", "new"), [p for p in PAIRS if widens(*map(parse_type, p))])
def test_a_wider_type_is_what_duckdb_casts_to(old: str, new: str) -> None:
    connection = duckdb.connect()
    table = pa.table({"x": column(old)})
    cast = connection.from_arrow(table).query("t", f"SELECT CAST(x AS {new}) AS x FROM t")
    expected = cast.to_arrow_table().column("x").cast(parse_type(new).arrow)
    assert widened(column(old), parse_type(new)).equals(expected.combine_chunks())


EXACT = [n for n in VALUES if pa.types.is_integer(parse_type(n).arrow) or "DECIMAL" in n]
NUMBERS = [*EXACT, "HUGEINT", "FLOAT", "DOUBLE"]


@pytest.mark.parametrize(("old", "new"), list(itertools.product(NUMBERS, NUMBERS)))
def test_of_numbers_every_type_that_loses_none_is_wider(old: str, new: str) -> None:
    is_wider = widens(parse_type(old), parse_type(new))
    # A float is exact too, but what it was rounded from is not.
    if not (old in ("FLOAT", "DOUBLE") or "DECIMAL" in old or old == "HUGEINT"):
        assert is_wider == is_kept(old, new)
    elif new not in ("FLOAT", "DOUBLE"):
        assert is_wider <= is_kept(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("BOOLEAN", "INTEGER"),
        ("INTEGER", "VARCHAR"),
        ("DECIMAL(12,2)", "DOUBLE"),
        ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
        ("TIMESTAMP", "TIMESTAMP_NS"),
        ("TIMESTAMP", "DATE"),
        ("VARCHAR", "BLOB"),
        ("VARCHAR", "UUID"),
        ("INTEGER[]", "INTEGER"),
        ("STRUCT(a INTEGER, b VARCHAR)", "STRUCT(b VARCHAR, a BIGINT)"),
        ("STRUCT(a INTEGER)", "STRUCT(a INTEGER, b INTEGER)"),
    ],
)
def test_what_invents_or_reorders_is_no_widening(old: str, new: str) -> None:
    assert not widens(parse_type(old), parse_type(new))


@pytest.mark.parametrize("middle", NUMBERS)
def test_widening_twice_is_a_widening(middle: str) -> None:
    for old, new in itertools.product(NUMBERS, NUMBERS):
        a, b, c = parse_type(old), parse_type(middle), parse_type(new)
        assert not (widens(a, b) and widens(b, c)) or widens(a, c)

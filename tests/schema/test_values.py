from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.schema.instants import UnfitError, interval_text
from headwater.schema.types import parse_type
from headwater.schema.values import plain, value_reader


def read(spelling: str, value: Any) -> Any:
    """The value as Arrow gives it back from a column of this type."""
    data_type = parse_type(spelling)
    stored = value_reader(data_type).from_value(plain(value))
    return pa.array([stored], data_type.arrow).to_pylist()[0]


@pytest.mark.parametrize(
    ("spelling", "value", "expected"),
    [
        ("UBIGINT", 2**64 - 1, 2**64 - 1),
        ("TINYINT", np.int64(-128), -128),
        ("HUGEINT", 10**38 - 1, Decimal(10**38 - 1)),
        ("DECIMAL(4,2)", "1.5", Decimal("1.50")),
        ("DECIMAL(4,2)", 0.1, Decimal("0.10")),
        ("DECIMAL(4,2)", Decimal("1.5000"), Decimal("1.50")),
        ("DOUBLE", 3, 3.0),
        ("FLOAT", 0.1, float(np.float32(0.1))),
        ("BLOB", "aGk=", b"hi"),
        ("BLOB", b"\xff", b"\xff"),
        ("DATE", date(2024, 1, 2), date(2024, 1, 2)),
        ("TIME", time(1, 2, 3), time(1, 2, 3)),
        ("TIME", "23:59:59.5", time(23, 59, 59, 500_000)),
        ("TIMESTAMP", datetime(2024, 1, 2), datetime(2024, 1, 2)),
        (
            "TIMESTAMP",
            datetime(2024, 1, 2, tzinfo=timezone(timedelta(hours=1))),
            datetime(2024, 1, 1, 23),
        ),
        ("TIMESTAMP", date(2024, 1, 2), datetime(2024, 1, 2)),
        ("TIMESTAMP", np.datetime64("2024-01-02", "us"), datetime(2024, 1, 2)),
        ("TIMESTAMPTZ", "2024-01-02T00:00:00-05:00", datetime(2024, 1, 2, 5, tzinfo=UTC)),
        ("INTERVAL", timedelta(days=1, seconds=2), (0, 1, 2 * 10**9)),
        ("INTERVAL", "1 year 2 months 3 days -04:05:06.5", (14, 3, -14_706_500_000_000)),
        ("UUID", uuid.UUID(int=10), "00000000-0000-0000-0000-00000000000a"),
        ("UUID", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("JSON", {"a": [1, Decimal("1.50"), None, "é"]}, '{"a":[1,1.50,null,"é"]}'),
        ("DATE[]", ["2024-01-02", None], [date(2024, 1, 2), None]),
        ("STRUCT(a BIGINT, b BLOB)", {"b": "aGk=", "a": None}, {"a": None, "b": b"hi"}),
        ("MAP(BIGINT, DATE)", {"5": "2024-01-02"}, [(5, date(2024, 1, 2))]),
        ("MAP(BIGINT, DATE)", [(5, date(2024, 1, 2))], [(5, date(2024, 1, 2))]),
    ],
)
def test_a_value_that_fits_is_stored_exactly(spelling: str, value: Any, expected: Any) -> None:
    assert read(spelling, value) == expected


@pytest.mark.parametrize(
    ("spelling", "value", "reason"),
    [
        ("BIGINT", True, "True is not a BIGINT"),
        ("BIGINT", 1.0, "1.0 is not a BIGINT"),
        ("BIGINT", "1", "'1' is not a BIGINT"),
        ("TINYINT", 128, "128 is out of range for TINYINT: -128 to 127"),
        ("HUGEINT", 10**38, "does not fit HUGEINT: it has at most 38 digits"),
        ("DECIMAL(4,2)", "1.234", "'1.234' does not fit DECIMAL(4,2): it has at most 4 digits, 2"),
        ("DECIMAL(4,2)", 100, "100 does not fit DECIMAL(4,2)"),
        ("DECIMAL(4,2)", float("nan"), "'nan' does not fit"),
        ("DECIMAL(4,2)", Decimal("Infinity"), "Infinity does not fit"),
        ("DECIMAL(4,2)", "1_0", "'1_0' is not a DECIMAL(4,2)"),
        ("DOUBLE", float("nan"), "nan is out of range"),
        ("DOUBLE", 10**400, "is out of range for DOUBLE"),
        ("FLOAT", 1e39, "1e+39 is out of range for FLOAT"),
        ("DOUBLE", "1", "'1' is not a DOUBLE"),
        ("VARCHAR", 5, "5 is not a VARCHAR"),
        ("VARCHAR", "\ud800", "is not valid Unicode"),
        ("BOOLEAN", 1, "1 is not a BOOLEAN"),
        ("BLOB", "a", "is not base64"),
        ("DATE", datetime(2024, 1, 2), "is not a DATE"),
        ("DATE", "0000-01-01", "the years are 0001 to 9999"),
        ("TIME", "24:00:00", "a time of day that does not exist"),
        ("TIME", time(1, tzinfo=UTC), "has an offset"),
        ("TIMESTAMP", 5, "5 is not a TIMESTAMP"),
        ("TIMESTAMP", "2024-02-30", "'2024-02-30' names a day that does not exist"),
        ("TIMESTAMP", "10000-01-01", "out of range: the years are 0001 to 9999"),
        ("TIMESTAMP", "9999-12-31T23:59:59-00:01", "the years are 0001 to 9999"),
        ("TIMESTAMP", "2024-01-01T00:00:00.0000001", "is finer than the column"),
        ("TIMESTAMP_S", "2024-01-01T00:00:00.5", "is finer than the column, which counts in s"),
        ("TIMESTAMP_NS", "2263-01-01", "nanoseconds reach from 1677 to 2262"),
        ("INTERVAL", "1 fortnight", "no unit fortnight"),
        ("INTERVAL", "", "is not an interval"),
        ("UUID", "x", "'x' is not a UUID"),
        ("JSON", {"a": float("nan")}, "has no form in JSON"),
        ("BIGINT[]", [1, "x"], "'x' is not a BIGINT"),
        ("BIGINT[]", {"a": 1}, "is not a BIGINT[]"),
        ("STRUCT(a BIGINT, b BLOB)", {"a": 1}, "lacks b"),
        ("STRUCT(a BIGINT)", {"a": 1, "b": 1}, "has other fields"),
        ("MAP(VARCHAR, BIGINT)", [1], "is not a MAP(VARCHAR, BIGINT)"),
        ("MAP(BIGINT, BIGINT)", {"1": 1, "01": 2}, "has the key 1 twice"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_the_value(
    spelling: str, value: Any, reason: str
) -> None:
    with pytest.raises(UnfitError) as refused:
        read(spelling, value)

    assert reason in str(refused.value)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(UnfitError) as refused:
        read("BIGINT", "x" * 10_000)

    assert len(str(refused.value)) < 120


def test_minus_zero_is_zero() -> None:
    assert str(read("DOUBLE", -0.0)) == "0.0"


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((0, 0, 0), "00:00:00"),
        ((14, 3, 3_661_500_000_000), "1 year 2 months 3 days 01:01:01.5"),
        ((-1, -2, -1_000_000_000), "-1 month -2 days -00:00:01"),
    ],
)
def test_a_printed_interval_is_read_back(parts: tuple[int, int, int], text: str) -> None:
    assert interval_text(*parts) == text
    assert read("INTERVAL", text) == parts

"""Values, times and sizes as the command line shows them."""

from __future__ import annotations

import pytest

from headwater.cli import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (True, "true"),
        (1.5, "1.5"),
        ("a\nb", "a\\nb"),
        (["é", 1], '["é", 1]'),
        ({"a": None}, '{"a": null}'),
    ],
)
def test_a_value_is_shown_on_one_line(value: object, shown: str) -> None:
    assert text.cell(value) == shown


@pytest.mark.parametrize(
    ("sql_type", "is_number"),
    [
        ("BIGINT", True),
        ("DECIMAL(12,6)", True),
        ("DOUBLE", True),
        ("UTINYINT", True),
        ("VARCHAR", False),
        ("BIGINT[]", False),
        ("INTERVAL", False),
        ("TIMESTAMP", False),
        ("STRUCT(a BIGINT)", False),
    ],
)
def test_only_numbers_stand_flush_right(sql_type: str, is_number: bool) -> None:
    assert text.is_number(sql_type) is is_number


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (0.6, "1s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h"), (7205, "2h 5s")],
)
def test_a_duration_has_its_two_largest_units(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


def test_times_and_sizes() -> None:
    assert text.moment(None) == "-"
    assert text.moment(1_356_998_400_000_000) == "2013-01-01 00:00:00"
    assert text.moment(-1) == "1969-12-31 23:59:59"
    assert [text.size(n) for n in (0, 999, 1500, 2_000_000, 5_000_000_000_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.0 MB",
        "5000.0 GB",
    ]


def test_bytes_are_shown_as_text_where_they_are_text() -> None:
    assert text.readable("eyJhIjogIsOpIn0=", "BLOB") == '{"a": "é"}'
    assert text.readable("/3g=", "BLOB") == "\\xffx"
    assert text.readable("/3g=", "VARCHAR") == "/3g="
    assert text.readable(None, "BLOB") is None


def test_a_long_text_is_cut_and_says_so() -> None:
    assert text.cut("abcd", 4) == "abcd"
    assert text.cut("abcde", 4) == "abc…"

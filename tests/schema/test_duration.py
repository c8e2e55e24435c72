from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import DefinitionError
from headwater.schema.duration import format_duration, format_time, parse_duration


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("30 seconds", 30_000_000),
        ("1 hour", 3_600_000_000),
        ("500 ms", 500_000),
        ("2 days", 172_800_000_000),
        ("1 week", 604_800_000_000),
        ("1.5s", 1_500_000),
        ("1 Hour 30 MINUTES", 5_400_000_000),
        ("00:00:30", 30_000_000),
        ("1:30", 5_400_000_000),
        ("00:00:00.25", 250_000),
        (" 7 us ", 7),
        ("0 seconds", 0),
        (timedelta(seconds=1, microseconds=1), 1_000_001),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str | timedelta, us: int) -> None:
    assert parse_duration(text) == us


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("30", "'30' is not a duration"),
        (30, "it has no unit"),
        ("", "is empty"),
        ("1 fortnight", "no unit 'fortnight'"),
        ("1 month", "months differ"),
        ("-1 second", "is not a duration"),
        ("0.1 us", "finer than a microsecond"),
        ("seconds", "is not a duration"),
        ("99999999 days 9999999999 weeks", "too long"),
        (timedelta(-1), "negative"),
    ],
)
def test_what_is_no_duration_is_refused(value: object, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as refused:
        parse_duration(value)

    assert refused.value.hint


@given(st.integers(0, 2**62))
def test_a_printed_duration_is_read_back(us: int) -> None:
    assert parse_duration(format_duration(us)) == us


@given(st.datetimes())
def test_a_printed_time_is_read_back(time: datetime) -> None:
    time = time.replace(tzinfo=UTC)
    us = (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    text = format_time(us)

    assert text.endswith("Z")
    assert datetime.fromisoformat(text) == time


def test_a_time_that_no_calendar_has_is_printed_as_a_number() -> None:
    assert format_time(10**18) == "1000000000000000000 us"

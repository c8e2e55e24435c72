"""Dates, times of day, instants and intervals as text: read strictly, into whole units.

The grammar of an instant is the one of Arrow's own parsers (`2024-01-02`, then optionally `T` or
a space, hours, minutes, seconds, a fraction, and `Z` or an offset), so that a value reads the same
whether a whole body goes through Arrow or one record goes through here. An instant without an
offset is UTC. Digits finer than the column's unit must be zeros: nothing is rounded.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa

NANOS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
DAY_S = 86_400
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_FIRST = date.min.toordinal() - _EPOCH_DAY
DAY_LAST = date.max.toordinal() - _EPOCH_DAY
_INT64 = 2**63
_ERA_DAYS = 146_097

_CLOCK = r"([0-9]{2})(?::([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,9}))?)?)?"
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_INSTANT = re.compile(
    rf"{_DATE.pattern}(?:[ T]{_CLOCK}(?:(Z)|([+-])([0-9]{{2}})(?::?([0-9]{{2}}))?)?)?"
)
# Years of more than four digits, and how Arrow prints an instant that no calendar has.
_FAR = re.compile(r"[+-]?[0-9]{5,}-|[+-][0-9]{4}-|<value out of range")
_TIME = re.compile(_CLOCK)
_INTERVAL_PART = re.compile(r"\s*([+-]?[0-9]+)\s*([a-zA-Z]+)\s*,?")
_INTERVAL_CLOCK = re.compile(r"\s*(-)?([0-9]+):([0-5][0-9]):([0-5][0-9])(?:\.([0-9]{1,9}))?\s*")

# Months, days and nanoseconds of each unit of an interval.
_INTERVAL_UNITS: dict[str, tuple[int, int, int]] = {
    "year": (12, 0, 0),
    "month": (1, 0, 0),
    "mon": (1, 0, 0),
    "week": (0, 7, 0),
    "day": (0, 1, 0),
    "hour": (0, 0, 3_600 * NANOS["s"]),
    "minute": (0, 0, 60 * NANOS["s"]),
    "second": (0, 0, NANOS["s"]),
    "millisecond": (0, 0, NANOS["ms"]),
    "microsecond": (0, 0, NANOS["us"]),
}


class UnfitError(ValueError):
    """A value does not fit its column; the message says why, with the value."""


def instant(value: str | datetime | date, unit: str) -> int:
    """Units since 1970 UTC of an instant."""
    if isinstance(value, str):
        nanos = _instant_nanos(value)
    elif isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        nanos = (aware - _EPOCH) // timedelta(microseconds=1) * 1_000
    else:
        nanos = (value.toordinal() - _EPOCH_DAY) * DAY_S * NANOS["s"]
    return in_unit(nanos, unit, value)


def in_unit(nanos: int, unit: str, value: Any) -> int:
    """Nanoseconds since 1970 in `unit`, within the years 1 to 9999 and 64 bits.

    Raises:
        UnfitError: They do not fit; the message names `value`.

    """
    whole, rest = divmod(nanos, NANOS[unit])
    if rest:
        raise UnfitError(f"{str(value)!r} is finer than the column, which counts in {unit}")
    if not DAY_FIRST <= nanos // (DAY_S * NANOS["s"]) <= DAY_LAST:
        raise UnfitError(f"{str(value)!r} is out of range: the years are 0001 to 9999")
    if not -_INT64 <= whole < _INT64:
        raise UnfitError(f"{str(value)!r} is out of range: nanoseconds reach from 1677 to 2262")
    return whole


def _instant_nanos(text: str) -> int:
    match = _INSTANT.fullmatch(text)
    if _FAR.match(text):
        raise UnfitError(f"{text!r} is out of range: the years are 0001 to 9999")
    if match is None:
        raise UnfitError(f"{text!r} is not a time such as 2024-01-31T23:59:59.5Z")
    nanos = _day(text, match[1], match[2], match[3]) * DAY_S * NANOS["s"]
    nanos += _clock_nanos(text, match[4], match[5], match[6], match[7])
    if match[9]:
        hours, minutes = int(match[10]), int(match[11] or 0)
        if hours > 23 or minutes > 59:
            raise UnfitError(f"{text!r} has no such offset from UTC")
        offset = (hours * 60 + minutes) * 60 * NANOS["s"]
        nanos += -offset if match[9] == "+" else offset
    return nanos


def _day(text: str, year: str, month: str, day: str) -> int:
    """Days since 1970, also for the year 0, in which an instant with an offset may be written."""
    era = 0 if int(year) else 400
    try:
        ordinal = date(int(year) + era, int(month), int(day)).toordinal()
    except ValueError:
        raise UnfitError(f"{text!r} names a day that does not exist") from None
    return ordinal - _EPOCH_DAY - era // 400 * _ERA_DAYS


def _clock_nanos(
    text: str, hour: str | None, minute: str | None, second: str | None, fraction: str | None
) -> int:
    hours, minutes, seconds = int(hour or 0), int(minute or 0), int(second or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise UnfitError(f"{text!r} names a time of day that does not exist")
    nanos = int(fraction.ljust(9, "0")) if fraction else 0
    return ((hours * 60 + minutes) * 60 + seconds) * NANOS["s"] + nanos


def day(value: str | date) -> int:
    """Days since 1970 of a date."""
    if isinstance(value, date):
        return value.toordinal() - _EPOCH_DAY
    match = _DATE.fullmatch(value)
    if match is None:
        raise UnfitError(f"{value!r} is not a date such as 2024-01-31")
    days = _day(value, match[1], match[2], match[3])
    if days < DAY_FIRST:
        raise UnfitError(f"{value!r} is out of range: the years are 0001 to 9999")
    return days


def clock_us(value: str | time) -> int:
    """Microseconds since midnight of a time of day."""
    if isinstance(value, time):
        if value.tzinfo:
            raise UnfitError(f"{str(value)!r} has an offset, and a TIME has none")
        return ((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond
    match = _TIME.fullmatch(value)
    if match is None or match[2] is None:
        raise UnfitError(f"{value!r} is not a time of day such as 23:59:59.5")
    us, rest = divmod(_clock_nanos(value, *match.groups()), 1_000)
    if rest:
        raise UnfitError(f"{value!r} is finer than a microsecond")
    return us


def interval(value: str | timedelta) -> pa.MonthDayNano:
    """Months, days and nanoseconds of an interval such as `1 month 2 days 03:04:05.5`."""
    if isinstance(value, timedelta):
        rest = value - timedelta(days=value.days)
        return _month_day_nano(0, value.days, rest // timedelta(microseconds=1) * 1_000, value)
    months = days = nanos = position = 0
    while match := _INTERVAL_PART.match(value, position):
        unit = match[2].lower()
        sizes = _INTERVAL_UNITS.get(unit) or _INTERVAL_UNITS.get(unit.removesuffix("s"))
        if sizes is None:
            raise UnfitError(f"{value!r} is not an interval: there is no unit {match[2]}")
        count = int(match[1])
        months, days, nanos = (
            total + count * size for total, size in zip((months, days, nanos), sizes, strict=True)
        )
        position = match.end()
    if position < len(value) or not value:
        nanos += _interval_clock(value, position)
    return _month_day_nano(months, days, nanos, value)


def _interval_clock(text: str, position: int) -> int:
    match = _INTERVAL_CLOCK.fullmatch(text, position)
    if match is None:
        raise UnfitError(f"{text!r} is not an interval such as 1 month 2 days 03:04:05")
    seconds = (int(match[2]) * 60 + int(match[3])) * 60 + int(match[4])
    nanos = seconds * NANOS["s"] + int((match[5] or "").ljust(9, "0"))
    return -nanos if match[1] else nanos


def _month_day_nano(months: int, days: int, nanos: int, value: Any) -> pa.MonthDayNano:
    if nanos % 1_000:
        raise UnfitError(f"{str(value)!r} is finer than a microsecond")
    if not (abs(months) < 2**31 and abs(days) < 2**31 and abs(nanos) < _INT64):
        raise UnfitError(f"{str(value)!r} is out of range for an interval")
    return pa.MonthDayNano([months, days, nanos])


def interval_text(months: int, days: int, nanos: int) -> str:
    """The interval as `interval` reads it back."""
    years, months = (abs(months) // 12 * (1 if months >= 0 else -1)), _signed_rest(months, 12)
    words = [
        f"{count} {unit}{'' if abs(count) == 1 else 's'}"
        for count, unit in ((years, "year"), (months, "month"), (days, "day"))
        if count
    ]
    if nanos or not words:
        seconds, rest = divmod(abs(nanos), NANOS["s"])
        fraction = f".{rest:09d}".rstrip("0").rstrip(".") if rest else ""
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{fraction}"
        words.append(f"{'-' if nanos < 0 else ''}{clock}")
    return " ".join(words)


def _signed_rest(value: int, size: int) -> int:
    return abs(value) % size * (1 if value >= 0 else -1)

"""Durations and times as people write them, to and from whole microseconds.

A duration has no months or years: their length depends on when they begin, and a delay or a
window's size must not. Times are printed as ISO 8601 in UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from headwater.errors import DefinitionError

SECOND_US = 1_000_000
_UNITS_US = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": SECOND_US,
    "minute": 60 * SECOND_US,
    "hour": 3_600 * SECOND_US,
    "day": 86_400 * SECOND_US,
    "week": 7 * 86_400 * SECOND_US,
}
_ALIASES = {
    "us": "microsecond",
    "µs": "microsecond",
    "μs": "microsecond",
    "ms": "millisecond",
    "s": "second",
    "sec": "second",
    "m": "minute",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
    "w": "week",
}
_PART = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([^\W\d]+)\s*")
_CLOCK = re.compile(r"\s*([0-9]+):([0-5][0-9])(?::([0-5][0-9](?:\.[0-9]{1,6})?))?\s*")
_DURATION_US_MAX = 2**62
_EXAMPLES = "for example '30 seconds', '500 ms', '1 hour 30 minutes' or '2 days'"


def parse_duration(value: str | timedelta) -> int:
    """Microseconds of a duration.

    >>> parse_duration("1 hour 30 minutes"), parse_duration("500 ms"), parse_duration("00:00:30")
    (5400000000, 500000, 30000000)

    Args:
        value: Numbers with units, or a clock reading as DuckDB prints intervals, or a timedelta.

    Raises:
        DefinitionError: It is not a duration, is negative, is finer than a microsecond, or is in
            months or years.

    """
    if isinstance(value, timedelta):
        us = value // timedelta(microseconds=1)
    elif isinstance(value, str):
        us = _from_text(value)
    else:
        raise DefinitionError(f"{value!r} is not a duration: it has no unit", hint=_EXAMPLES)
    if not 0 <= us <= _DURATION_US_MAX:
        problem = "negative" if us < 0 else "too long"
        raise DefinitionError(f"the duration {value!s} is {problem}", hint=_EXAMPLES)
    return us


def _from_text(text: str) -> int:
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds = int(clock[1]), int(clock[2]), Decimal(clock[3] or 0)
        return (hours * 60 + minutes) * 60 * SECOND_US + int(seconds * SECOND_US)
    total, position = 0, 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise DefinitionError(f"{text!r} is not a duration", hint=_EXAMPLES)
        total += _part_us(text, match[1], match[2].lower())
        position = match.end()
    if not position:
        raise DefinitionError("the duration is empty", hint=_EXAMPLES)
    return total


def _part_us(text: str, number: str, unit: str) -> int:
    name = _ALIASES.get(unit) or _ALIASES.get(unit.removesuffix("s")) or unit.removesuffix("s")
    if name in ("month", "year"):
        raise DefinitionError(
            f"{text!r} has no fixed length: {name}s differ", hint="write it in days, or less"
        )
    if name not in _UNITS_US:
        raise DefinitionError(
            f"{text!r} is not a duration: there is no unit {unit!r}",
            hint=f"the units are {', '.join(f'{u}s' for u in _UNITS_US)}",
        )
    us = Decimal(number) * _UNITS_US[name]
    if us != int(us):
        raise DefinitionError(f"{text!r} is finer than a microsecond", hint=_EXAMPLES)
    return int(us)


def format_duration(us: int) -> str:
    """The shortest exact spelling in whole units, which `parse_duration` reads back.

    >>> format_duration(5_400_000_000), format_duration(0), format_duration(1_500)
    ('1 hour 30 minutes', '0 seconds', '1 millisecond 500 microseconds')
    """
    if us < 0:
        return f"-{format_duration(-us)}"
    parts = []
    for unit, size in reversed(_UNITS_US.items()):
        count, rest = divmod(us, size)
        # Weeks are read as such and never printed: "14 days" is what people say.
        if count and unit != "week":
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
            us = rest
    return " ".join(parts) or "0 seconds"


def format_time(us: int) -> str:
    """Microseconds since 1970 as ISO 8601 in UTC, with as many digits as are needed.

    >>> format_time(1_704_164_645_500_000)
    '2024-01-02T03:04:05.500Z'

    Args:
        us: Any integer. One outside the years 1 to 9999 is printed as a number of microseconds.

    """
    try:
        time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    except OverflowError:
        return f"{us} us"
    micros = time.microsecond
    spec = "seconds" if micros == 0 else "milliseconds" if micros % 1000 == 0 else "microseconds"
    return time.replace(tzinfo=None).isoformat(timespec=spec) + "Z"

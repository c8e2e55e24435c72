"""What code of the author's keeps for a key, as text and back.

Kept is plain data: None, bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal,
UUID, and lists, tuples and dicts of these. What comes back is equal to what was given, of the same
types and in the same order, so that an answer cannot depend on when it was stored. What would not
come back so is refused: a set has another order in another run of the program, an object of a class
would need its code.

The text is JSON; what JSON has no word for is an object with the single name `$` and its kind.
Reading it back runs no code but this.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

_AS_THEY_ARE = (str, int, float, bool, type(None))
_MARK = "$"


def encoded(value: Any) -> str:
    """The value as text.

    Raises:
        TypeError: It holds something that is not plain data.

    """
    return json.dumps(_written(value), separators=(",", ":"))


def decoded(text: str) -> Any:
    """The value of a text that `encoded` made."""
    return json.loads(text, object_hook=_read)


def _written(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is list:
        return [_written(item) for item in value]
    if kind is dict:
        if all(type(key) is str for key in value) and _MARK not in value:
            return {key: _written(item) for key, item in value.items()}
        return {_MARK: ["dict", [[_written(k), _written(v)] for k, v in value.items()]]}
    writer = _WRITERS.get(kind)
    if writer is None:
        raise TypeError(
            f"a {kind.__name__} cannot be kept: plain data is numbers, texts, bytes, dates and "
            "times, and lists, tuples and dicts of these"
        )
    return {_MARK: [kind.__name__, writer(value)]}


def _read(found: dict[str, Any]) -> Any:
    if _MARK not in found:
        return found
    kind, value = found[_MARK]
    return _READERS[kind](value)


def _moment(value: datetime) -> str:
    if value.tzinfo is not None and value.utcoffset() != timedelta(0):
        raise TypeError(f"a datetime in another zone than UTC cannot be kept: {value}")
    return value.isoformat()


def _moment_back(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is None else moment.replace(tzinfo=UTC)


_WRITERS: dict[type, Callable[[Any], Any]] = {
    tuple: lambda value: [_written(item) for item in value],
    bytes: lambda value: b64encode(value).decode(),
    datetime: _moment,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: lambda value: [value.days, value.seconds, value.microseconds],
    Decimal: str,
    UUID: str,
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "dict": dict,
    "tuple": tuple,
    "bytes": b64decode,
    "datetime": _moment_back,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda parts: timedelta(*parts),
    "Decimal": Decimal,
    "UUID": UUID,
}

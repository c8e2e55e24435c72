"""Values and times as the command line shows them."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

NUMBERS = ("INT", "DECIMAL", "DOUBLE", "FLOAT", "REAL", "NUMERIC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def cell(value: Any) -> str:
    """A value of a row, on one line. A null is empty, so that it differs from the text `null`."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.replace("\n", "\\n")
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=float)
    return str(value)


def cut(text: str, characters_max: int) -> str:
    """The text, or its beginning and an ellipsis if it is longer."""
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"


def readable(value: Any, sql_type: str) -> Any:
    """A value as people read it: bytes, which JSON has in base64, are text where they can be."""
    if sql_type.upper() != "BLOB" or not isinstance(value, str):
        return value
    return b64decode(value).decode(errors="backslashreplace")


def is_number(sql_type: str) -> bool:
    """True for a column whose values stand flush right."""
    head = sql_type.upper().partition("(")[0]
    return "[" not in sql_type and any(word in head for word in NUMBERS) and head != "INTERVAL"


def moment(time_us: int | None) -> str:
    """A time to the second, without `T` and zone; `-` for none."""
    if time_us is None:
        return "-"
    return (EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """A duration in its two largest units: `3h 20m`, `12s`."""
    parts: list[str] = []
    left = round(seconds)
    for unit, size in UNITS:
        amount, left = divmod(left, size)
        if amount or (unit == "s" and not parts):
            parts.append(f"{amount}{unit}")
    return " ".join(parts[:2])


def size(amount_bytes: int) -> str:
    """Bytes in a unit that keeps the number short."""
    amount = float(amount_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit takes all")

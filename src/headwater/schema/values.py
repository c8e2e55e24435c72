"""One value at a time: does it fit its column, and what does Arrow store of it?

Two readers a type. `from_value` takes what JSON or Python gave (a number, a string, a datetime)
and refuses another type of value: a number is not a text, a text is no number. `from_text` takes a
field of CSV, where all is text. Both give a plain Python value that `pa.array(..., type)` stores
without change, or raise UnfitError with the value in the message.

No NaN and no infinity gets in: a sum that has once met one cannot be withdrawn from, so an
incremental answer would differ from batch for ever. This is the slow and exact way, about half a
microsecond a value; whole columns that are plainly right never come here.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal, DecimalException, Inexact, InvalidOperation
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.schema import jsontext
from headwater.schema.instants import UnfitError, clock_us, day, instant, interval
from headwater.schema.types import DataType

Read = Callable[[Any], Any]

_SHOWN_MAX = 80
_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NAN = Decimal("NaN")
_TRUTH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class ValueReader:
    """Reads the values of one type; null is its caller's to judge."""

    from_value: Read
    from_text: Read


def shown(value: Any) -> str:
    """The value for a message, cut when it is long."""
    try:
        text = repr(value) if isinstance(value, str | bytes) else str(value)
    except ValueError:
        text = "a number of very many digits"
    return text if len(text) <= _SHOWN_MAX else text[: _SHOWN_MAX - 1] + "…"


def _wrong(value: Any, data_type: DataType) -> UnfitError:
    return UnfitError(f"{shown(value)} is not {_an(data_type.sql)}")


def _an(name: str) -> str:
    return f"{'an' if name[0] in 'AEIO' else 'a'} {name}"


@lru_cache(maxsize=1024)
def value_reader(data_type: DataType) -> ValueReader:
    """The reader of values of `data_type`."""
    kind = data_type.kind
    if pa.types.is_integer(data_type.arrow):
        return _integer_reader(data_type)
    if kind in ("DECIMAL", "HUGEINT"):
        read = partial(_decimal, data_type)
        return ValueReader(read, read)
    if pa.types.is_timestamp(data_type.arrow):
        read = partial(_typed, data_type, (str, datetime, date), _instant_of(data_type))
        return ValueReader(read, read)
    if kind in _NESTED:
        from_value = _NESTED[kind](data_type)
        return ValueReader(from_value, lambda text: from_value(jsontext.parse(text)))
    return _SIMPLE[kind](data_type)


def _instant_of(data_type: DataType) -> Read:
    unit = data_type.arrow.unit
    return lambda value: instant(value, unit)


def _typed(data_type: DataType, kinds: tuple[type, ...], read: Read, value: Any) -> Any:
    """Read a value that must be one of `kinds`; a bool is never taken for a number."""
    if isinstance(value, kinds) and not isinstance(value, bool):
        return read(value)
    raise _wrong(value, data_type)


def _same(data_type: DataType, kinds: tuple[type, ...], read: Read) -> ValueReader:
    both = partial(_typed, data_type, kinds, read)
    return ValueReader(both, both)


def _integer_reader(data_type: DataType) -> ValueReader:
    bits = data_type.arrow.bit_width
    signed = pa.types.is_signed_integer(data_type.arrow)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)

    def from_value(value: Any) -> int:
        if type(value) is not int:
            raise _wrong(value, data_type)
        if not low <= value <= high:
            raise UnfitError(f"{shown(value)} is out of range for {data_type}: {low} to {high}")
        return value

    def from_text(text: str) -> int:
        text = text.strip(" \t")
        if not _INTEGER.fullmatch(text):
            raise _wrong(text, data_type)
        return from_value(int(text))

    return ValueReader(from_value, from_text)


def _decimal(data_type: DataType, value: Any) -> Decimal:
    """Exactly the number that was written, or not at all: nothing passes through a float."""
    if isinstance(value, str):
        value = value.strip(" \t")
        if not _NUMBER.fullmatch(value):
            raise _wrong(value, data_type)
    elif isinstance(value, float):
        value = repr(value)
    elif type(value) is not int and not isinstance(value, Decimal):
        raise _wrong(value, data_type)
    arrow = data_type.arrow
    unit, context = _exactly(arrow.precision, arrow.scale)
    try:
        number = Decimal(value).quantize(unit, context=context)
    except (DecimalException, ValueError):
        number = _NAN
    if number.is_nan():
        raise UnfitError(
            f"{shown(value)} does not fit {data_type}: it has at most {arrow.precision} digits, "
            f"{arrow.scale} of them after the point"
        )
    return number


@lru_cache
def _exactly(digits: int, scale: int) -> tuple[Decimal, Context]:
    # Inexact is trapped: a digit that would be rounded away refuses the value.
    return Decimal(1).scaleb(-scale), Context(prec=digits, traps=[Inexact, InvalidOperation])


def _boolean_reader(data_type: DataType) -> ValueReader:
    def from_value(value: Any) -> bool:
        if type(value) is not bool:
            raise _wrong(value, data_type)
        return value

    def from_text(text: str) -> bool:
        truth = _TRUTH.get(text.strip(" \t").lower())
        if truth is None:
            raise UnfitError(f"{shown(text)} is not true or false")
        return truth

    return ValueReader(from_value, from_text)


def _float_reader(data_type: DataType) -> ValueReader:
    is_single = data_type.kind == "FLOAT"

    def from_value(value: Any) -> float:
        if type(value) not in (int, float, Decimal):
            raise _wrong(value, data_type)
        return _finite(str(value) if is_single else value, value)

    def from_text(text: str) -> float:
        text = text.strip(" \t")
        if not _NUMBER.fullmatch(text):
            raise _wrong(text, data_type)
        return _finite(text, text)

    def _finite(number: Any, value: Any) -> float:
        try:
            nearest = _single(number) if is_single else float(number)
        except (OverflowError, ValueError):
            nearest = math.inf
        if not math.isfinite(nearest):
            raise UnfitError(f"{shown(value)} is out of range for {data_type}")
        # Minus zero is stored as zero: the two are equal, and must then have the same bytes.
        return nearest + 0.0

    return ValueReader(from_value, from_text)


def _single(text: str) -> float:
    """The nearest 32-bit float of a decimal text: through a double it could be off by one."""
    return pa.array([text]).cast(pa.float32())[0].as_py()


def _text_reader(data_type: DataType) -> ValueReader:
    def read(value: str) -> str:
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UnfitError(f"{shown(ascii(value))} is not valid Unicode") from None
        return value

    return _same(data_type, (str,), read)


def _blob_reader(data_type: DataType) -> ValueReader:
    def read(value: str | bytes) -> bytes:
        if isinstance(value, bytes):
            return value
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise UnfitError(f"{shown(value)} is not base64, as a BLOB is written") from None

    return _same(data_type, (str, bytes), read)


def _date_reader(data_type: DataType) -> ValueReader:
    def read(value: Any) -> int:
        if isinstance(value, datetime):
            raise _wrong(value, data_type)
        return day(value)

    return _same(data_type, (str, date), read)


def _uuid_reader(data_type: DataType) -> ValueReader:
    def read(value: str | uuid.UUID) -> str:
        if isinstance(value, str) and not _UUID.fullmatch(value):
            raise _wrong(value, data_type)
        return str(value).lower()

    return _same(data_type, (str, uuid.UUID), read)


def _json_reader(_: DataType) -> ValueReader:
    return ValueReader(jsontext.dump, lambda text: jsontext.dump(jsontext.parse(text)))


def _list(data_type: DataType) -> Read:
    ((_, element),) = data_type.parts
    read = value_reader(element).from_value

    def from_value(value: Any) -> list[Any]:
        if not isinstance(value, list | tuple):
            raise _wrong(value, data_type)
        return [None if item is None else read(plain(item)) for item in value]

    return from_value


def _struct(data_type: DataType) -> Read:
    parts = [(name, value_reader(part).from_value) for name, part in data_type.parts]
    names = {name for name, _ in parts}

    def from_value(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(value, data_type)
        if value.keys() != names:
            missing = sorted(names - value.keys())
            problem = f"lacks {missing[0]}" if missing else "has other fields"
            raise UnfitError(f"{shown(value)} {problem}: it is {_an(data_type.sql)}")
        return {
            name: None if value[name] is None else read(plain(value[name])) for name, read in parts
        }

    return from_value


def _map(data_type: DataType) -> Read:
    (_, key_type), (_, item_type) = data_type.parts
    key, item = value_reader(key_type), value_reader(item_type)

    def from_value(value: Any) -> list[tuple[Any, Any]]:
        pairs = value.items() if isinstance(value, dict) else value
        if not isinstance(value, dict | list):
            raise _wrong(value, data_type)
        entries: dict[Any, Any] = {}
        for pair in pairs:
            if not isinstance(pair, tuple | list) or len(pair) != 2 or pair[0] is None:
                raise _wrong(value, data_type)
            # The keys of a JSON object are texts, whatever the type of the map's keys.
            name = (key.from_text if isinstance(pair[0], str) else key.from_value)(plain(pair[0]))
            hashable = str(name)
            if hashable in entries:
                raise UnfitError(f"{shown(value)} has the key {shown(name)} twice")
            entries[hashable] = (
                name,
                None if pair[1] is None else item.from_value(plain(pair[1])),
            )
        return list(entries.values())

    return from_value


def plain(value: Any) -> Any:
    """A numpy scalar as the Python value it stands for; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


_SIMPLE: dict[str, Callable[[DataType], ValueReader]] = {
    "BOOLEAN": _boolean_reader,
    "FLOAT": _float_reader,
    "DOUBLE": _float_reader,
    "VARCHAR": _text_reader,
    "BLOB": _blob_reader,
    "DATE": _date_reader,
    "TIME": lambda data_type: _same(data_type, (str, time), clock_us),
    "INTERVAL": lambda data_type: _same(data_type, (str, timedelta), interval),
    "UUID": _uuid_reader,
    "JSON": _json_reader,
}
_NESTED: dict[str, Callable[[DataType], Read]] = {"LIST": _list, "STRUCT": _struct, "MAP": _map}

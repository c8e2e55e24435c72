"""JSON text, strictly: no NaN, no name twice in an object, and no digit of a number lost.

Python's parser is lenient in just these points. Numbers with a point or an exponent are read as
Decimal, so that what a DECIMAL column stores, and what a JSON column keeps, is what was written.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from headwater.schema.instants import UnfitError


class JsonError(UnfitError):
    """A text is not JSON; the message says where."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JsonError(f"the name {twice!r} stands twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise JsonError(f"{name} is not JSON")


def _number(text: str) -> Decimal | float:
    try:
        return Decimal(text)
    except ArithmeticError:
        # An exponent of more than 18 digits: nothing but zero or out of range to any column.
        return float(text)


# `scan_once` is what JSONDecoder.raw_decode itself calls; typeshed does not list it.
_EXACT: Any = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_number, parse_constant=_no_constant
)
_FLOATS: Any = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
_SPACE = " \t\r\n"


# Finds only where a value ends that the strict decoders refuse for its content.
_LENIENT: Any = json.JSONDecoder(parse_int=str, parse_float=str)


def extent(text: str, start: int) -> int | None:
    """The index after the value that begins at `start`, or None when it has no end."""
    try:
        return int(_LENIENT.scan_once(text, start)[1])
    except (StopIteration, ValueError, RecursionError):
        return None


def scan(text: str, start: int, *, floats: bool = False) -> tuple[Any, int]:
    """The JSON value that begins at `start`, and the index after it.

    Args:
        text: `start` stands on the value's first character, after any white space.
        floats: Read numbers with a point as float, which is quicker, instead of Decimal.

    Raises:
        JsonError: There is none, or not a valid one.

    """
    try:
        value, end = (_FLOATS if floats else _EXACT).scan_once(text, start)
    except StopIteration as stop:
        at = int(stop.value) if stop.value is not None else start
        raise JsonError(_expecting(text, at)) from None
    except json.JSONDecodeError as error:
        raise JsonError(f"{error.msg} at character {error.pos - start + 1}") from None
    except RecursionError:
        raise JsonError("it is nested too deeply") from None
    except JsonError:
        raise
    except ValueError:
        # Python refuses to read integers of more than 4,300 digits.
        raise JsonError("it has a number of very many digits") from None
    return value, end


def _expecting(text: str, at: int) -> str:
    if at >= len(text):
        return "it ends too early"
    return f"expected a value, found {text[at : at + 10]!r}"


def parse(text: str, *, floats: bool = False) -> Any:
    """The one JSON value that is all of `text`.

    Raises:
        JsonError: The text is not JSON.

    """
    body = text.strip(_SPACE)
    value, end = scan(body, 0, floats=floats)
    if end != len(body):
        raise JsonError(f"more follows after the value, at character {end + 1}")
    return value


def dump(value: Any) -> str:
    """The value as compact JSON text, each number as it was written.

    Raises:
        UnfitError: The value has no JSON form.

    """
    try:
        return _dump(value)
    except RecursionError:
        raise UnfitError("it is nested too deeply") from None


def _dump(value: Any) -> str:
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise UnfitError("an object's names must be texts in JSON")
        items = (f"{_text(name)}:{_dump(item)}" for name, item in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_dump(item) for item in value) + "]"
    if isinstance(value, str):
        return _text(value)
    return _scalar(value)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UnfitError(f"{value!a} is not valid Unicode") from None
    return json.dumps(value, ensure_ascii=False)


def _scalar(value: Any) -> str:
    if isinstance(value, Decimal) and value.is_finite():
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        try:
            return json.dumps(value, allow_nan=False)
        except ValueError:
            raise UnfitError(f"{value} has no form in JSON") from None
    raise UnfitError(f"{value!r} has no form in JSON")


def dump_any(value: Any) -> str:
    """The value as JSON text for a reader; what JSON cannot say as its text in quotes."""
    return json.dumps(value, default=str, skipkeys=True)

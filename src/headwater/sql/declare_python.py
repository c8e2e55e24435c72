"""Declare what is written in Python: the types of a function, read and checked.

A function's types are said as in SQL, `"(celsius DOUBLE) -> DOUBLE"`, or by its annotations:
Python's own types, or texts with types of SQL.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from headwater.errors import DefinitionError, Place
from headwater.plan.python import FunctionDefinition
from headwater.schema.ddl import parse_columns
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType, parse_type

_EXAMPLE = 'say the types, for example @app.function("(celsius DOUBLE) -> DOUBLE")'
_PYTHON_TYPES = {
    bool: "BOOLEAN",
    int: "BIGINT",
    float: "DOUBLE",
    str: "VARCHAR",
    bytes: "BLOB",
    date: "DATE",
    time: "TIME",
    datetime: "TIMESTAMP",
    timedelta: "INTERVAL",
}
# Under `from __future__ import annotations` an annotation is the text of itself.
_BY_NAME = {kind.__name__: sql for kind, sql in _PYTHON_TYPES.items()}
_WINDOWS = ("tumble", "hop", "cumulate", "session")


def function(
    call: Callable[..., Any], signature: str | None = None, name: str | None = None
) -> FunctionDefinition:
    """Declare a function for SQL.

    Args:
        call: Takes and returns Arrow arrays.
        signature: `(name TYPE, ...) -> TYPE`; None: what the annotations say.
        name: What SQL calls it; None: its own name.

    Raises:
        DefinitionError: A type is missing or unknown, or SQL cannot call a function of that name.

    """
    called = name or str(getattr(call, "__name__", ""))
    _check_name(called)
    read = _annotated if signature is None else _signed
    parameters, returns = read(call, called, signature or "")
    if not len(parameters):
        raise DefinitionError(
            f"function {called} has no parameters",
            hint="give it at least one: its length says how many results there are",
        )
    return FunctionDefinition(called, parameters, returns, call)


def _check_name(name: str) -> None:
    """Refuse a name that SQL reads as something else."""
    try:
        parsed = sqlglot.parse_one(f"SELECT {name}(a)", dialect="duckdb")
    except SqlglotError:
        parsed = None
    found = parsed.expressions[0] if isinstance(parsed, exp.Select) else None
    is_plain = re.fullmatch(r"[A-Za-z_]\w*", name) is not None
    if not is_plain or not isinstance(found, exp.Anonymous) or name.lower() in _WINDOWS:
        raise DefinitionError(
            f"{name or 'what has no name'} cannot be a function of the author's",
            hint="SQL has a meaning for it already; say name='...', letters, digits and _",
        )


def _signed(call: Callable[..., Any], name: str, signature: str) -> tuple[Schema, DataType]:
    """The types that a signature says; it must fit the function."""
    source = f"function {name}"
    found = re.fullmatch(r"\s*\((.*)\)\s*->\s*(.+?)\s*", signature, re.DOTALL)
    if found is None:
        place = Place(signature, 0, max(1, len(signature)), source)
        raise DefinitionError("this is no signature", place=place, hint=_EXAMPLE)
    columns = found.group(1)
    parameters = parse_columns(columns, source).schema if columns.strip() else Schema(())
    try:
        inspect.signature(call).bind(*parameters.names)
    except TypeError as error:
        raise DefinitionError(
            f"function {name} does not take what its signature says: {error}",
            place=Place(signature, 0, len(signature), source),
            hint="name one type for each of its parameters",
        ) from None
    return parameters, parse_type(found.group(2), source)


def _annotated(call: Callable[..., Any], name: str, _signature: str) -> tuple[Schema, DataType]:
    """The types that the annotations say."""
    signature = inspect.signature(call)
    columns = tuple(
        Column(parameter.name, _type(parameter.annotation, name, f"parameter {parameter.name}"))
        for parameter in signature.parameters.values()
    )
    return Schema(columns), _type(signature.return_annotation, name, "result")


def _type(annotation: Any, name: str, what: str) -> DataType:
    source = f"function {name}, {what}"
    if annotation in _PYTHON_TYPES:
        return parse_type(_PYTHON_TYPES[annotation], source)
    if isinstance(annotation, str):
        text = annotation.strip("'\"")
        return parse_type(_BY_NAME.get(text, text), source)
    raise DefinitionError(f"the type of the {what} of function {name} is not said", hint=_EXAMPLE)

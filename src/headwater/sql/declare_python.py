"""Declare what is written in Python: functions for SQL, transforms and processes.

A transform or a process is a view over the rows of a query. A function's types are said as in SQL,
`"(celsius DOUBLE) -> DOUBLE"`, or by its annotations: Python's own types, or texts with types of
SQL.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from headwater.errors import DefinitionError, Place
from headwater.plan.pipeline import ViewDefinition
from headwater.plan.python import FunctionDefinition, PythonStep, RowOrder, StepKind
from headwater.schema.ddl import parse_columns
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType, parse_type
from headwater.sql.declare import is_timestamp, view
from headwater.sql.places import hint_for

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


def transform(
    name: str,
    call: Callable[..., Any],
    *,
    reads: str,
    columns: str,
    event_time: str | None = None,
) -> ViewDefinition:
    """Declare a view that a function makes, batch by batch, of the rows that it reads.

    Args:
        name: Unique in the pipeline.
        call: Takes a `pyarrow.RecordBatch` and returns one, or a table.
        reads: A relation, or a SELECT.
        columns: The columns of what it returns, as in SQL.
        event_time: The column of `columns` that carries an event time. What the function returns
            then has a further column `_row`: which row of the batch each row was made of.

    Raises:
        DefinitionError: The columns or the query cannot be read.

    """
    source = f"transform {name}"
    schema = _nullable(parse_columns(columns, source).schema)
    _check_event_time(source, event_time, schema)
    step = PythonStep(StepKind.TRANSFORM, call, schema, event_time=event_time)
    return replace(_view(name, reads), python=step)


def process(  # noqa: PLR0913 - what it reads and makes, by keyword
    name: str,
    call: Any,
    *,
    reads: str,
    key: str | tuple[str, ...] | list[str],
    columns: str,
    order: str = RowOrder.LOG,
    event_time: str | None = None,
) -> ViewDefinition:
    """Declare a view that code makes, key by key, of the rows that it reads and of the time.

    Args:
        name: Unique in the pipeline.
        call: A function of a row and a key, or a class with methods `row` and `timer`.
        reads: A relation, or a SELECT.
        key: The column or columns of the key.
        columns: The columns of what it emits, as in SQL.
        order: `log` or `time`.
        event_time: The column of `columns` that carries an event time.

    Raises:
        DefinitionError: The columns or the query cannot be read, or a setting is unknown.

    """
    source = f"process {name}"
    schema = _nullable(parse_columns(columns, source).schema)
    keys = (key,) if isinstance(key, str) else tuple(key)
    if order not in tuple(RowOrder):
        raise DefinitionError(f"order is {order!r}", hint="use order='log' or order='time'")
    if not callable(getattr(call, "row", None) if isinstance(call, type) else call):
        raise DefinitionError(
            f"{source} has nothing to call with a row",
            hint="write a function of (row, key), or a class with a method row(self, row, key)",
        )
    _check_event_time(source, event_time, schema)
    step = PythonStep(StepKind.PROCESS, call, schema, keys, RowOrder(order), event_time)
    return replace(_view(name, reads), python=step)


def _check_event_time(source: str, event_time: str | None, schema: Schema) -> None:
    if event_time is None:
        return
    if event_time not in schema:
        raise DefinitionError(
            f"{source} makes no column {event_time} for its event time",
            hint=hint_for(event_time, schema.names, "its columns are"),
        )
    found = schema[event_time].type.sql
    if not is_timestamp(found):
        raise DefinitionError(
            f"the event time {event_time} of {source} is {found}, not a TIMESTAMP",
            hint=f"declare it as {event_time} TIMESTAMP",
        )


def _view(name: str, reads: str) -> ViewDefinition:
    """The view of the rows that a step reads."""
    if re.fullmatch(r"\s*\w+\s*", reads):
        relation = exp.to_identifier(reads.strip(), quoted=True)
        return view(name, exp.select("*").from_(exp.Table(this=relation)).sql("duckdb"))
    return view(name, reads)


def _nullable(schema: Schema) -> Schema:
    return Schema(tuple(Column(column.name, column.type) for column in schema))

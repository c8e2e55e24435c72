"""The author's functions, inside DuckDB.

Each is registered as a vectorised function over Arrow arrays and sees nulls like any other value.
DuckDB hands over 2,048 rows at a time, which costs about 0.2 microseconds a row beside the
function's own time. It may come with several threads; they call one after another.

What a function raises is the fault of the rows that it was given: a `RecordError` in one line, by
which they are isolated. A result of another length or type is the fault of the function: a
`DefinitionError`, which no leaving out of rows can mend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import Parameter, Signature
from threading import Lock
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from duckdb import func

from headwater.errors import DefinitionError, HeadwaterError, RecordError
from headwater.plan.python import FunctionDefinition
from headwater.schema.types import DataType


class Functions:
    """The functions of one engine.

    Args:
        definitions: What the author declared.

    """

    def __init__(self, definitions: Sequence[FunctionDefinition] = ()) -> None:
        self._definitions = tuple(definitions)
        self._raised: HeadwaterError | None = None
        self._turn = Lock()

    def register(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let SQL on this connection call the functions.

        Raises:
            DefinitionError: DuckDB has a function of that name already.

        """
        self._check_names(connection)
        for definition in self._definitions:
            connection.create_function(
                definition.name,
                self._guarded(definition),
                [column.type.sql for column in definition.parameters],
                definition.returns.sql,
                type=func.PythonUDFType.ARROW,
                null_handling=func.FunctionNullHandling.SPECIAL,
            )

    def fault(self, error: duckdb.Error) -> HeadwaterError:
        """What a failed statement is to be told as: a function's own words, if one raised."""
        raised, self._raised = self._raised, None
        return raised or RecordError(str(error).strip())

    def _check_names(self, connection: duckdb.DuckDBPyConnection) -> None:
        """DuckDB would take some names a second time, and then call one of the two."""
        names = [definition.name.lower() for definition in self._definitions]
        query = (
            "SELECT function_name FROM duckdb_functions() WHERE list_contains($1, function_name)"
        )
        found = connection.execute(query, [names]).fetchone() if names else None
        if found is not None:
            raise DefinitionError(
                f"DuckDB has a function {found[0]} of its own",
                hint="give yours another name: @app.function(..., name='...')",
            )

    def _guarded(self, definition: FunctionDefinition) -> Callable[..., pa.Array]:
        def call(*columns: pa.ChunkedArray) -> pa.Array:
            with self._turn:
                try:
                    return checked_call(definition, [whole(column) for column in columns])
                except HeadwaterError as error:
                    self._raised = error
                    raise

        # DuckDB counts the parameters.
        parameters = [
            Parameter(f"p{number}", Parameter.POSITIONAL_ONLY)
            for number in range(len(definition.parameters))
        ]
        call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return call


def checked_call(definition: FunctionDefinition, columns: Sequence[pa.Array]) -> pa.Array:
    """What the function says of some rows.

    Raises:
        RecordError: It raised, or a value does not fit the declared type.
        DefinitionError: Its result is of another length, or of a type that does not fit.

    """
    name = definition.name
    try:
        result = definition.call(*columns)
    except Exception as error:
        raise RecordError(f"function {name} raised {last_line(error)}") from error
    array = _array(result, name, definition.returns)
    if len(array) != len(columns[0]):
        raise DefinitionError(
            f"function {name} returned {len(array)} values for {len(columns[0])} rows",
            hint="return an array with one value for each row",
        )
    return array


def last_line(error: BaseException) -> str:
    """The last line of a traceback, on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column as one array."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _array(result: Any, name: str, wanted: DataType) -> pa.Array:
    """The result as an array of the wanted type."""
    if isinstance(result, np.ndarray):
        result = pa.array(result)
    if not isinstance(result, pa.Array | pa.ChunkedArray):
        raise DefinitionError(
            f"function {name} returned {type(result).__name__}, not an Arrow array",
            hint="return a pyarrow.Array, or a numpy array",
        )
    array = whole(result)
    return array if array.type.equals(wanted.arrow) else fitted(array, wanted, f"function {name}")


def fitted(array: pa.Array, wanted: DataType, who: str) -> pa.Array:
    """An array of a like type, cast without loss.

    Raises:
        RecordError: A value has no place in the wanted type.
        DefinitionError: The types are not alike: a number is not taken for a text, say.

    """
    is_fit = any(is_like(array.type) and is_like(wanted.arrow) for is_like in _ALIKE)
    # An array of nothing but nulls may not say what it has none of.
    if not is_fit and not pa.types.is_null(array.type):
        raise DefinitionError(
            f"{who} returned {array.type}, and {wanted} was declared",
            hint=f"return an array of type {wanted.arrow}",
        )
    try:
        return array.cast(wanted.arrow)
    except pa.ArrowInvalid as error:
        raise RecordError(f"{who} returned {array.type}: {last_line(error)}") from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


# Families within which a result is cast to the declared type.
_ALIKE: tuple[Callable[[pa.DataType], bool], ...] = (
    _is_number,
    _is_text,
    _is_bytes,
    pa.types.is_timestamp,
    pa.types.is_time,
    pa.types.is_date,
    pa.types.is_nested,
)

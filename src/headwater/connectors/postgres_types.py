"""Columns and values as PostgreSQL has them: types for CREATE TABLE, rows as CSV for COPY.

| column | in PostgreSQL |
|---|---|
| TINYINT, SMALLINT, UTINYINT | smallint |
| INTEGER, USMALLINT; BIGINT, UINTEGER | integer; bigint |
| UBIGINT, HUGEINT, DECIMAL(p, s) | numeric |
| VARCHAR, BLOB, UUID | text, bytea, uuid |
| DATE, TIME, INTERVAL | the same |
| TIMESTAMP (also _S and _MS), TIMESTAMP WITH TIME ZONE | timestamp, timestamptz |
| JSON, lists, structs, maps | jsonb, spelled as `schema.encode` spells them |

TIMESTAMP_NS is refused: PostgreSQL has microseconds. Arrow writes the CSV; what it cannot write as
PostgreSQL reads it is made text before, column by column; only nested values cost a step in Python
each.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from headwater.errors import DefinitionError
from headwater.schema.encode import json_texts
from headwater.schema.schema import Schema
from headwater.schema.types import DataType

_SIMPLE = {
    "BOOLEAN": "boolean",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "UTINYINT": "smallint",
    "INTEGER": "integer",
    "USMALLINT": "integer",
    "BIGINT": "bigint",
    "UINTEGER": "bigint",
    "UBIGINT": "numeric(20,0)",
    "HUGEINT": "numeric(39,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "VARCHAR": "text",
    "BLOB": "bytea",
    "DATE": "date",
    "TIME": "time without time zone",
    "TIMESTAMP": "timestamp without time zone",
    "TIMESTAMP_S": "timestamp without time zone",
    "TIMESTAMP_MS": "timestamp without time zone",
    "TIMESTAMP WITH TIME ZONE": "timestamp with time zone",
    "INTERVAL": "interval",
    "UUID": "uuid",
    "JSON": "jsonb",
    "LIST": "jsonb",
    "STRUCT": "jsonb",
    "MAP": "jsonb",
}
# NAMEDATALEN of every usual build, less one: longer names are cut off silently.
_NAME_BYTES_MAX = 63
_ROWS_AT_ONCE = 1 << 16
_HEX = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype="S2")
_INTERVAL = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])


def type_of(kind: DataType) -> str:
    """The type as PostgreSQL's `format_type` spells it.

    Raises:
        KeyError: It has none that keeps every value.
    """
    if kind.kind == "DECIMAL":
        return "numeric" + kind.sql.removeprefix("DECIMAL")
    return _SIMPLE[kind.kind]


def types_of(schema: Schema, *, sink: str) -> dict[str, str]:
    """The columns of a table for rows of this schema, by name.

    Raises:
        DefinitionError: A column cannot be one in PostgreSQL.
    """
    types = {}
    for column in schema:
        if len(column.name.encode()) > _NAME_BYTES_MAX:
            raise DefinitionError(
                f"sink {sink}: PostgreSQL has no names as long as {column.name}",
                hint="give the column another name: SELECT ... AS shorter",
            )
        try:
            types[column.name] = type_of(column.type)
        except KeyError:
            raise DefinitionError(
                f"sink {sink}: PostgreSQL has no type for {column.name}, a {column.type}",
                hint=f"CAST({column.name} AS TIMESTAMP) in the view's query",
            ) from None
    return types


def copied(rows: pa.Table) -> pa.Table:
    """The rows with columns that `csv_pieces` can write; equal values stay equal."""
    columns = [
        pa.chunked_array([_writable(chunk) for chunk in column.chunks], _writable_type(column.type))
        for column in rows.columns
    ]
    return pa.Table.from_arrays(columns, names=rows.column_names)


def csv_pieces(rows: pa.Table) -> Iterator[bytes]:
    """Rows of `copied` as CSV for `COPY`: a null is nothing, an empty text is quoted."""
    options = csv.WriteOptions(include_header=False, quoting_style="needed")
    for start in range(0, rows.num_rows, _ROWS_AT_ONCE):
        piece = io.BytesIO()
        csv.write_csv(rows.slice(start, _ROWS_AT_ONCE), piece, options)
        yield piece.getvalue()


def _writable_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_binary(kind):
        return pa.large_string()
    return pa.string() if pa.types.is_nested(kind) or pa.types.is_interval(kind) else kind


def _writable(column: pa.Array) -> pa.Array:
    if pa.types.is_nested(column.type):
        return json_texts(column)
    if pa.types.is_interval(column.type):
        return _interval_texts(column)
    if pa.types.is_binary(column.type):
        return _hex_texts(column)
    return column


def _interval_texts(column: pa.Array) -> pa.Array:
    """`1 months 2 days 3 microseconds`: each part keeps its sign and is not turned into another."""
    values = np.frombuffer(column.buffers()[1], dtype=_INTERVAL)
    values = values[column.offset : column.offset + len(column)]
    months, days = values["months"], values["days"]
    parts = [pa.array(part).cast(pa.string()) for part in (months, days)]
    micros = pa.array(values["nanoseconds"] // 1000).cast(pa.string())
    texts = pc.binary_join_element_wise(
        parts[0], " months ", parts[1], " days ", micros, " microseconds", ""
    )
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.string()))


def _hex_texts(column: pa.Array) -> pa.Array:
    r"""Two digits a byte, after `\x`: as PostgreSQL writes bytes."""
    filled = pc.fill_null(column, b"")
    _, places, data = filled.buffers()
    ends = np.frombuffer(places, dtype=np.int32)[filled.offset :][: len(filled) + 1]
    letters = np.frombuffer(data or b"", dtype=np.uint8)[ends[0] : ends[-1]]
    offsets = pa.py_buffer((ends.astype(np.int64) - ends[0]) * 2)
    texts = pa.LargeStringArray.from_buffers(
        len(filled), offsets, pa.py_buffer(np.take(_HEX, letters).tobytes())
    )
    opening, nothing = (pa.scalar(text, pa.large_string()) for text in ("\\x", ""))
    texts = pc.binary_join_element_wise(opening, texts, nothing)
    return pc.if_else(column.is_valid(), texts, pa.scalar(None, pa.large_string()))

"""How a table of rows is spelled in an answer, and which spelling a client asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum

import pyarrow as pa
import pyarrow.csv
from fastapi import Request, Response

from headwater.errors import DefinitionError
from headwater.schema.encode import to_ndjson
from headwater.schema.types import from_arrow
from headwater.serve.failures import RequestError


def sql_type(arrow: pa.DataType) -> str:
    """The type as SQL spells it; one that only Arrow has, as Arrow spells it."""
    try:
        return from_arrow(arrow).sql
    except DefinitionError:
        return str(arrow)


class Format(Enum):
    """A spelling of rows, with its media type."""

    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    ARROW = "application/vnd.apache.arrow.stream"
    CSV = "text/csv"
    SSE = "text/event-stream"


_ALSO = {"application/ndjson": Format.NDJSON, "application/jsonl": Format.NDJSON}


def wanted(request: Request, name: str | None, offered: tuple[Format, ...]) -> Format:
    """The format of the answer: what `?format=` names, else what Accept prefers, else the first.

    Raises:
        RequestError: 400, `?format=` names one that is not offered.

    """
    if name is not None:
        for offer in offered:
            if offer.name.lower() == name.lower():
                return offer
        names = ", ".join(offer.name.lower() for offer in offered)
        raise RequestError(400, "request", f"there is no format {name} here", hint=f"use {names}")
    for media_type in _preferences(request.headers.get("accept", "")):
        for offer in offered:
            if media_type == offer.value or _ALSO.get(media_type) is offer:
                return offer
    return offered[0]


def _preferences(accept: str) -> list[str]:
    """The media types of an Accept header, the most wanted first."""
    ranked: list[tuple[float, str]] = []
    for part in accept.split(","):
        media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            ranked.append((-float(quality), media_type))
        except ValueError:
            continue
    return [media_type for rank, media_type in sorted(ranked, key=lambda r: r[0]) if rank < 0]


def response(table: pa.Table, form: Format) -> Response:
    """The answer that carries the table."""
    media_type = "text/csv; charset=utf-8" if form is Format.CSV else form.value
    distinct = table.rename_columns(distinct_names(table.column_names))
    return Response(_ENCODERS[form](distinct), media_type=media_type)


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, numbered from the second of a name on: an object has each name only once."""
    taken = set(names)
    found: dict[str, None] = {}
    # Where each name's numbers have come to: there may be thousands of the same name.
    numbers: dict[str, int] = {}
    for name in names:
        candidate, number = name, numbers.get(name, 0)
        while candidate in found or (number and candidate in taken):
            number += 1
            candidate = f"{name}_{number}"
        numbers[name] = number
        found[candidate] = None
    return list(found)


def _json(table: pa.Table) -> bytes:
    columns = [{"name": field.name, "type": sql_type(field.type)} for field in table.schema]
    # A line feed inside a value is escaped in JSON, so each one here ends a row.
    rows = to_ndjson(table).rstrip(b"\n").replace(b"\n", b",")
    return b'{"columns":' + json.dumps(columns).encode() + b',"rows":[' + rows + b"]}"


def _arrow(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue().to_pybytes()


def _csv(table: pa.Table) -> bytes:
    """CSV with a header line. What CSV has no spelling for is spelled as in JSON."""
    columns = [_flat(table.select([i])) for i in range(table.num_columns)]
    buffer = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.table(columns, names=table.column_names), buffer)
    return buffer.getvalue().to_pybytes()


def _flat(column: pa.Table) -> pa.ChunkedArray:
    if any(is_flat(column.schema.types[0]) for is_flat in _FLAT):
        return column.column(0)
    lines = to_ndjson(column.rename_columns(["value"])).splitlines()
    values = [json.loads(line)["value"] for line in lines]
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pa.chunked_array([pa.array(texts, pa.string())])


_FLAT = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_boolean,
    pa.types.is_decimal,
    pa.types.is_string,
    pa.types.is_date,
)

_ENCODERS = {
    Format.JSON: _json,
    Format.NDJSON: to_ndjson,
    Format.ARROW: _arrow,
    Format.CSV: _csv,
}

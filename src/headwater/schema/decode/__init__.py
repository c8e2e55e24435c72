"""Bytes, dicts and Arrow tables into rows of a schema: each record is accepted or rejected.

One file a form (`ndjson_body`, `json_body`, `csv_body`, `arrow_body`); `rows` is the careful path
under all of them, and `columns` stores whole columns. A form's quick path must give the careful
path's answer, or leave the records to it; a property test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.errors import RecordError
from headwater.schema.decode.arrow_body import decode_arrow, decode_table
from headwater.schema.decode.csv_body import decode_csv
from headwater.schema.decode.decoded import Decoded, RejectedRecord
from headwater.schema.decode.json_body import decode_json
from headwater.schema.decode.ndjson_body import decode_ndjson
from headwater.schema.decode.rows import decode_records
from headwater.schema.jsontext import dump_any
from headwater.schema.schema import Schema

__all__ = ["FORMS", "Decoded", "RejectedRecord", "decode", "decode_rows", "decode_table"]

_DECODERS: dict[str, Callable[[bytes, Schema], Decoded]] = {
    "json": decode_json,
    "ndjson": decode_ndjson,
    "csv": decode_csv,
    "arrow": decode_arrow,
}
FORMS = tuple(_DECODERS)


def decode(form: str, body: bytes, schema: Schema) -> Decoded:
    """Decode a body.

    Args:
        form: One of `FORMS`: json, ndjson, csv, arrow.
        body: All of it.
        schema: What the rows must be.

    Raises:
        RecordError: The body is empty, or as a whole not of the form.

    """
    if form not in _DECODERS:
        raise RecordError(f"there is no form {form!r}", hint=f"use one of: {', '.join(FORMS)}")
    return _DECODERS[form](body, schema)


def decode_rows(rows: Sequence[Mapping[str, Any]], schema: Schema) -> Decoded:
    """Decode rows of Python values: what JSON has, and datetime, Decimal, bytes, UUID and so on.

    The bytes of a rejected row are its JSON text; what JSON cannot say is there as its `repr`.
    """
    records = (
        row
        if isinstance(row, Mapping)
        else (f"the row is a {type(row).__name__}, not a dict", None)
        for row in rows
    )
    return decode_records(records, schema, lambda position: dump_any(rows[position]).encode())

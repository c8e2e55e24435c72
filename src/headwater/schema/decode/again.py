"""Rejected records, decoded again: each by itself, from the bytes that were kept of it.

A record of JSON is its own text. One of CSV is kept with the header line of its body before it, or
nobody could say which field is which. What begins with a brace or a bracket is JSON, what has
several lines and does not is CSV; all else is no record of any form, and stays rejected.

However many records were given, so many come out, accepted or rejected with their bytes: what is
decoded again is neither lost nor told apart otherwise than before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from headwater.errors import RecordError
from headwater.schema.decode.csv_body import decode_csv
from headwater.schema.decode.decoded import Decoded, RejectedRecord, chained
from headwater.schema.decode.json_body import decode_json
from headwater.schema.decode.ndjson_body import decode_ndjson
from headwater.schema.decode.rows import decode_records
from headwater.schema.schema import Schema


def decode_again(records: Sequence[bytes | None], schema: Schema) -> Decoded:
    """Decode records that were rejected.

    Args:
        records: The bytes of each, as `RejectedRecord` and `with_header` have them.

    """
    pieces = [
        _together(form, [record or b"" for _, record in run], schema)
        for (form, _), run in groupby(enumerate(records), lambda item: _kind(*item))
    ]
    return chained(pieces, schema) if pieces else _rejected([], "", schema)


def with_header(decoded: Decoded, body: bytes) -> Decoded:
    """What was decoded of a body of CSV, with its header line before each rejected record."""
    if not decoded.rejected:
        return decoded
    header = body[: body.find(b"\n") + 1]
    rejected = tuple(replace(r, record=header + r.record) for r in decoded.rejected)
    return replace(decoded, rejected=rejected)


def _kind(position: int, record: bytes | None) -> tuple[str, int]:
    """How a record is read, and what differs between those that must be read by themselves."""
    start = (record or b"").lstrip()[:1]
    if start == b"{":
        return "ndjson", -1
    if start == b"[":
        return "json", position
    if record and b"\n" in record.strip():
        # Of fields without quotes each line is a record, whatever stands beside it.
        return "csv", position if b'"' in record else hash(_header(record))
    return "none", -1


def _header(record: bytes) -> bytes:
    return record[: record.find(b"\n") + 1]


def _together(form: str, records: list[bytes], schema: Schema) -> Decoded:
    try:
        decoded = _decoded(form, records, schema)
    except RecordError as error:
        return _rejected(records, error.message, schema)
    if decoded.count == len(records):
        return decoded
    if len(records) > 1:
        return chained([_together(form, [record], schema) for record in records], schema)
    return _rejected(records, f"the record holds {decoded.count} rows and not one", schema)


def _decoded(form: str, records: list[bytes], schema: Schema) -> Decoded:
    if form == "ndjson":
        # A line break in a value of JSON is written as \n, so those here are white space.
        lines = [record.replace(b"\r", b" ").replace(b"\n", b" ") for record in records]
        return decode_ndjson(b"\n".join(lines), schema)
    if form == "json":
        return _as_given(decode_json(records[0], schema), records[0])
    if form == "csv":
        header = _header(records[0])
        body = header + b"\n".join(record.removeprefix(header) for record in records)
        return with_header(decode_csv(body, schema), body)
    return _rejected(records, "the record is not valid JSON or CSV", schema)


def _as_given(decoded: Decoded, record: bytes) -> Decoded:
    """What is wrong with one value of an array is said of the record that holds it, whole."""
    rejected = tuple(replace(found, record=record) for found in decoded.rejected)
    return replace(decoded, rejected=rejected)


def _rejected(records: list[bytes], reason: str, schema: Schema) -> Decoded:
    rejected = [RejectedRecord(n, reason, None, record) for n, record in enumerate(records)]
    nothing = decode_records([], schema, lambda _: b"").rows
    return Decoded(nothing, np.empty(0, np.int64), tuple(rejected))

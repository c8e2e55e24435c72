"""JSON: one object, or an array of objects.

An array whose objects can be parted at `},{` is read as NDJSON, at the same speed. That is safe to
try: a place inside a string or a list looks the same, but parting there leaves broken JSON, which
Arrow refuses. Then the elements are read one after the other.

A body that is not JSON has no records that could be told apart: it is rejected as one record.
"""

from __future__ import annotations

import re

import numpy as np

from headwater.errors import RecordError
from headwater.schema import jsontext
from headwater.schema.decode.decoded import Decoded, RejectedRecord, chained
from headwater.schema.decode.ndjson_body import (
    BYTE_ORDER_MARK,
    as_record,
    blocks,
    decode_quickly,
    reads_floats,
)
from headwater.schema.decode.rows import Fault, Record, decode_records
from headwater.schema.instants import UnfitError
from headwater.schema.schema import Schema

_SPACE = b" \t\r\n"
_BETWEEN = re.compile(rb"\}[ \t\r\n]*,[ \t\r\n]*\{")
_GAP = re.compile(r"[ \t\r\n]*")


def decode_json(body: bytes, schema: Schema) -> Decoded:
    """Decode a body of one JSON object, or an array of them.

    Raises:
        RecordError: The body is empty, or holds several values.

    """
    body = body.removeprefix(BYTE_ORDER_MARK).strip(_SPACE)
    if not body:
        raise RecordError(
            "the body is empty", hint='send an object such as {"a": 1}, or an array of them'
        )
    if body.startswith(b"["):
        decoded = _decode_array_quickly(body, schema)
        if decoded is not None:
            return decoded
    return _decode_carefully(body, schema)


def _decode_array_quickly(body: bytes, schema: Schema) -> Decoded | None:
    if not body.endswith(b"]"):
        return None
    lines, parted = _BETWEEN.subn(b"}\n{", body[1:-1].strip(_SPACE))
    if lines.count(b"\n") != parted:
        return None
    pieces = []
    for block in blocks(lines):
        decoded = decode_quickly(block.rstrip(b"\n"), schema)
        if decoded is None:
            return None
        pieces.append(decoded)
    return chained(pieces, schema) if pieces else None


def _decode_carefully(body: bytes, schema: Schema) -> Decoded:
    try:
        text = body.decode()
        records, spans = _records(text, floats=reads_floats(schema))
    except UnicodeDecodeError as error:
        return _refused(body, f"the body is not valid UTF-8 at byte {error.start + 1}", schema)
    except UnfitError as unfit:
        return _refused(body, f"the body is not valid JSON: {unfit}", schema)

    def bytes_of(position: int) -> bytes:
        start, end = spans[position]
        return text[start:end].encode()

    return decode_records(records, schema, bytes_of)


def _refused(body: bytes, reason: str, schema: Schema) -> Decoded:
    nothing = decode_records([], schema, lambda _: b"").rows
    return Decoded(nothing, np.empty(0, np.int64), (RejectedRecord(0, reason, None, body),))


def _records(text: str, *, floats: bool) -> tuple[list[Record | Fault], list[tuple[int, int]]]:
    """Each record with the span of its text."""
    if not text.startswith("["):
        record, end = _record(text, 0, floats=floats)
        if end != len(text):
            raise _several(text, end)
        return [record], [(0, end)]
    return _elements(text, floats=floats)


def _elements(text: str, *, floats: bool) -> tuple[list[Record | Fault], list[tuple[int, int]]]:
    records: list[Record | Fault] = []
    spans: list[tuple[int, int]] = []
    at = _after_gap(text, 1)
    is_open = text[at : at + 1] != "]"
    while is_open:
        record, end = _record(text, at, floats=floats)
        records.append(record)
        spans.append((at, end))
        at = _after_gap(text, end)
        sign = text[at : at + 1]
        if sign not in (",", "]"):
            raise jsontext.JsonError(f"expected , or ] at character {at + 1}")
        is_open = sign == ","
        at = _after_gap(text, at + 1) if is_open else at
    if at + 1 != len(text):
        raise _several(text, at + 1)
    return records, spans


def _record(text: str, start: int, *, floats: bool) -> tuple[Record | Fault, int]:
    """The record at `start` and where it ends. Content that is refused is this record's fault."""
    try:
        value, end = jsontext.scan(text, start, floats=floats)
    except jsontext.JsonError as unfit:
        found = jsontext.extent(text, start)
        if found is None:
            raise jsontext.JsonError(f"in the value at character {start + 1}: {unfit}") from None
        return (f"the record is not valid JSON: {unfit}", None), found
    return as_record(value), end


def _after_gap(text: str, start: int) -> int:
    match = _GAP.match(text, start)
    return match.end() if match else start


def _several(text: str, end: int) -> Exception:
    rest = text[_after_gap(text, end) :][:1]
    if rest != "{":
        return jsontext.JsonError(f"more follows after the value, at character {end + 1}")
    return RecordError(
        "the body holds more than one JSON value",
        hint="send it as NDJSON (Content-Type: application/x-ndjson), or as an array",
    )

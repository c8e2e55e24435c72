"""CSV: a header line with the columns' names, then a record a line, parted by commas.

A field that is not quoted and empty is null; a quoted empty field is the empty text. A field that
begins with a quote must end with one, and a quote in it is doubled; a record that breaks this is
rejected by itself, and reading goes on at the next line. A quote inside a field that does not begin
with one is a character like any other. White space around numbers is ignored.

Arrow's CSV reader takes a block at once where it is sure to agree with the careful path; it knows
also hexadecimal numbers and badly closed quotes, so blocks that may hold these are read record by
record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.csv

from headwater.errors import RecordError
from headwater.schema.decode.columns import (
    column_of_texts,
    is_decimal_safe,
    is_in_range,
    settled,
    texts_at_once,
)
from headwater.schema.decode.decoded import Decoded, accepted, chained
from headwater.schema.decode.ndjson_body import BYTE_ORDER_MARK, blocks
from headwater.schema.decode.rows import Fault, Record, batch_of, decode_records, shape_of
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType

_RECORDS_AT_ONCE = 4_096
_QUOTED = rb'"(?:[^"]|"")*+"'
_RECORD = re.compile(
    rb'(?:%b|[^",\n][^,\n]*+|)(?:,(?:%b|[^",\n][^,\n]*+|))*+\r?\n?' % (_QUOTED, _QUOTED)
)
_FIELD = re.compile(r'(?:"((?:[^"]|"")*+)"|([^,]*+))(?:,|\Z)', re.DOTALL)
_HEXADECIMAL = re.compile(rb"0[xX]")
_NUMBERS = [
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "UTINYINT",
    "USMALLINT",
    "UINTEGER",
    "UBIGINT",
]
_AS_IS = frozenset((*_NUMBERS, "FLOAT", "DOUBLE", "DECIMAL", "HUGEINT", "VARCHAR", "BOOLEAN"))


def decode_csv(body: bytes, schema: Schema) -> Decoded:
    """Decode a body of CSV.

    Raises:
        RecordError: The body is empty, or its first line does not name the schema's columns.

    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    if not body.strip():
        raise RecordError("the body is empty", hint=_hint(schema))
    first, start = _first_record(body)
    header = _header(first, schema)
    rest = body[start:] if start else body
    pieces = [
        _decode_block(block, header, schema)
        for block in (_quoted_blocks(rest) if b'"' in rest else _plain_blocks(rest))
    ]
    return chained(pieces, schema)


@dataclass(frozen=True, slots=True)
class _Block:
    """Some records.

    Args:
        body: Their bytes, line ends and all.
        records: Each record's bytes and whether it is properly quoted, when they had to be told
            apart.

    """

    body: bytes
    records: tuple[tuple[bytes, bool], ...] | None


def _hint(schema: Schema) -> str:
    return f"the first line names the columns: {','.join(schema.names)}"


def _first_record(body: bytes) -> tuple[bytes, int]:
    """The first record that is not blank, and where the next begins."""
    end = 0
    for record, end, _ in _records(body, 0):
        return record, end
    return b"", end


def _header(record: bytes, schema: Schema) -> tuple[str, ...]:
    try:
        names = tuple((name or "").strip() for name in _fields(record.decode()))
    except UnicodeDecodeError:
        raise RecordError("the body is not CSV in UTF-8", hint=_hint(schema)) from None
    shape = shape_of(schema)
    known = [shape.resolve(name) for name in names]
    if not any(known):
        shown = record[:80].decode(errors="replace")
        raise RecordError(f"the first line names no column: {shown!r}", hint=_hint(schema))
    twice = [name for name in known if name is not None and known.count(name) > 1]
    if twice or len(set(names)) < len(names):
        raise RecordError(
            f"the first line names {twice[0] if twice else 'a column'} twice", hint=_hint(schema)
        )
    return names


def _plain_blocks(body: bytes) -> Iterator[_Block]:
    """Blocks of a body without any quote: each line is a record."""
    for block in blocks(body):
        yield _Block(block, None)


def _quoted_blocks(body: bytes) -> Iterator[_Block]:
    """Blocks of a body with quotes, which are cut where records end."""
    found: list[tuple[bytes, bool]] = []
    start = end = 0
    for record, end, is_proper in _records(body, 0):
        found.append((record, is_proper))
        if len(found) == _RECORDS_AT_ONCE:
            yield _Block(body[start:end], tuple(found))
            found, start = [], end
    if found:
        yield _Block(body[start:end], tuple(found))


def _records(body: bytes, start: int) -> Iterator[tuple[bytes, int, bool]]:
    """Each record that is not blank, where the next begins, and whether it is properly quoted."""
    while start < len(body):
        line_end = body.find(b"\n", start) + 1 or len(body)
        end, is_proper = line_end, True
        if body.find(b'"', start, line_end) >= 0:
            match = _RECORD.match(body, start)
            is_proper = match is not None and _is_whole(body, start, match.end())
            if match is not None and is_proper:
                end = match.end()
        record = body[start:end].removesuffix(b"\n").removesuffix(b"\r")
        if record:
            yield record, end, is_proper
        start = end


def _is_whole(body: bytes, start: int, end: int) -> bool:
    """True when a match from `start` to `end` is a record and not the beginning of a broken one."""
    return end > start and (end == len(body) or body[end - 1 : end] == b"\n")


def _fields(record: str) -> list[str | None]:
    """The fields of a record that is properly quoted; None for an empty one without quotes."""
    if '"' not in record:
        return [field or None for field in record.split(",")]
    fields: list[str | None] = []
    position = 0
    while True:
        match = _FIELD.match(record, position)
        assert match is not None
        quoted = match[1]
        fields.append(match[2] or None if quoted is None else quoted.replace('""', '"'))
        if match.end() == len(record) and not match[0].endswith(","):
            return fields
        if match.end() == len(record):
            return [*fields, None]
        position = match.end()


def _decode_block(block: _Block, header: tuple[str, ...], schema: Schema) -> Decoded:
    decoded = _decode_quickly(block, header, schema)
    if decoded is not None:
        return decoded
    found = block.records
    if found is None:
        found = tuple((record, True) for record, _, _ in _records(block.body, 0))
    records = [_read(record, header, is_proper=is_proper) for record, is_proper in found]
    return decode_records(records, schema, lambda at: found[at][0], are_texts=True)


def _read(record: bytes, header: tuple[str, ...], *, is_proper: bool) -> Record | Fault:
    if not is_proper:
        return "the record has a quote that does not enclose a whole field", None
    try:
        fields = _fields(record.decode())
    except UnicodeDecodeError as error:
        return f"the record is not valid UTF-8 at byte {error.start + 1}", None
    if len(fields) != len(header):
        return f"the record has {len(fields)} fields, and the first line {len(header)}", None
    return dict(zip(header, fields, strict=True))


def _decode_quickly(block: _Block, header: tuple[str, ...], schema: Schema) -> Decoded | None:
    options = _wire(schema, header)
    if options is None or not _is_safe(block):
        return None
    body = block.body.replace(b"\r\n", b"\n") if b"\r" in block.body else block.body
    if not body.endswith(b"\n"):
        # Arrow takes an empty field at the very end for quoted when the field before it was.
        body += b"\n"
    read = pa.csv.ReadOptions(
        use_threads=False, block_size=len(body) + 1, column_names=list(header)
    )
    parse = pa.csv.ParseOptions(newlines_in_values=block.records is not None)
    try:
        table = pa.csv.read_csv(pa.BufferReader(body), read, parse, options)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    names = {shape_of(schema).resolve(name): name for name in header}
    arrays = [_column(table, names.get(column.name), column) for column in schema]
    if any(array is None for array in arrays):
        return None
    return accepted(batch_of(arrays, schema))


def _is_safe(block: _Block) -> bool:
    """True when Arrow reads the block as the careful path does."""
    body = block.body
    if b"\0" in body or _HEXADECIMAL.search(body):
        return False
    if body.count(b"\r") != body.count(b"\r\n"):
        return False
    # A line end inside of quotes would be changed with those between the records.
    if block.records is not None and b"\r" in body:
        return False
    if not all(is_proper for _, is_proper in block.records or ()):
        return False
    try:
        return body.isascii() or bool(body.decode())
    except UnicodeDecodeError:
        return False


@lru_cache(maxsize=256)
def _wire(schema: Schema, header: tuple[str, ...]) -> pa.csv.ConvertOptions | None:
    """How Arrow is to read a body with this header; None when it cannot."""
    shape = shape_of(schema)
    types: dict[str, pa.DataType] = {}
    for given in header:
        name = shape.resolve(given)
        if name is None:
            return None
        types[given] = _wire_type(schema[name].type)
    known = {shape.resolve(given) for given in header}
    if any(name not in known and name not in shape.defaults for name in shape.names):
        return None
    return pa.csv.ConvertOptions(
        column_types=types,
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true", "True", "TRUE"],
        false_values=["false", "False", "FALSE"],
    )


def _wire_type(data_type: DataType) -> pa.DataType:
    return data_type.arrow if _is_as_is(data_type) else pa.string()


def _is_as_is(data_type: DataType) -> bool:
    """True when Arrow reads the values of a field as the careful path does."""
    return data_type.kind in _AS_IS and is_decimal_safe(data_type)


def _column(table: pa.Table, name: str | None, column: Column) -> pa.Array | None:
    """A column of the schema, or None when a value in it needs the careful path."""
    if name is None:
        text = shape_of(Schema((column,)), are_texts=True).defaults[column.name]
        default = column_of_texts([text], column.type)[0][0]
        return pa.repeat(default, table.num_rows)
    array = table.column(name).combine_chunks()
    array = array if isinstance(array, pa.Array) else array.chunk(0)
    if not column.nullable and array.null_count:
        return None
    if _is_as_is(column.type):
        return settled(array) if is_in_range(array) else None
    quick = texts_at_once(array, column.type)
    if quick is not None:
        return quick
    array, reasons = column_of_texts(array.to_pylist(), column.type)
    return None if reasons else array

"""NDJSON: a record a line.

The body is cut at line ends into blocks of about 256 KB, so memory beyond the rows themselves is
bounded. Each block goes through Arrow's JSON reader with the schema given, which takes about one
microsecond a row; its answer is kept only where it is surely the careful path's own:

- Arrow does not care where lines end, so every line must hold exactly one object.
- Arrow takes a missing name for a null, so rows with nulls are judged by the careful path, unless
  counting the names shows that none is missing in the whole block.
- Arrow takes NaN, any year, and bytes that are no UTF-8, so these are looked for.

Where Arrow refuses, or one of these fails, the careful path decides the block, line by line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from headwater.errors import RecordError
from headwater.schema import jsontext
from headwater.schema.decode.columns import (
    column_of_values,
    is_decimal_safe,
    is_in_range,
    settled,
    texts_at_once,
)
from headwater.schema.decode.decoded import Decoded, accepted, chained
from headwater.schema.decode.rows import (
    Fault,
    Record,
    batch_of,
    decode_records,
    shape_of,
)
from headwater.schema.instants import UnfitError
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType

BLOCK_BYTES = 256 * 1024
# A call of Arrow's reader takes as long as the careful path takes for about so much.
SMALL_BYTES = 2 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_AS_IS = frozenset(
    [
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "VARCHAR",
    ]
)
_EXACT_KINDS = frozenset(["FLOAT", "DECIMAL", "HUGEINT", "JSON", "LIST", "STRUCT", "MAP"])


def decode_ndjson(body: bytes, schema: Schema) -> Decoded:
    """Decode a body of one JSON object a line; blank lines are skipped.

    Raises:
        RecordError: The body is empty.

    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    if not body.strip(_SPACE):
        raise RecordError("the body is empty", hint="send one JSON object a line")
    if len(body) < SMALL_BYTES:
        return decode_carefully(lines_of(body), schema)
    return chained([decode_block(block, schema) for block in blocks(body)], schema)


def blocks(body: bytes) -> Iterator[bytes]:
    """The body in pieces that end where lines end."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start + BLOCK_BYTES) + 1 or len(body)
        yield body[start:end]
        start = end


def decode_block(block: bytes, schema: Schema) -> Decoded:
    """Decode whole lines."""
    block = block.strip(_SPACE)
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    decoded = decode_quickly(block, schema)
    return decode_carefully(lines_of(block), schema) if decoded is None else decoded


def lines_of(block: bytes) -> list[bytes]:
    """The lines that are not blank, without the white space around them."""
    stripped = (line.strip(_SPACE) for line in block.split(b"\n"))
    return [line for line in stripped if line]


def decode_carefully(lines: Sequence[bytes], schema: Schema) -> Decoded:
    """Decode each line by itself."""
    floats = reads_floats(schema)
    records = (read_line(line, floats=floats) for line in lines)
    return decode_records(records, schema, lines.__getitem__)


def reads_floats(schema: Schema) -> bool:
    """True when no column needs the digits of a number as they were written."""
    return not any(column.type.kind in _EXACT_KINDS for column in schema)


def read_line(line: bytes, *, floats: bool) -> Record | Fault:
    """The object that a line holds."""
    try:
        return as_record(jsontext.parse(line.decode(), floats=floats))
    except UnicodeDecodeError as error:
        return f"the record is not valid UTF-8 at byte {error.start + 1}", None
    except UnfitError as unfit:
        return f"the record is not valid JSON: {unfit}", None


def as_record(value: object) -> Record | Fault:
    """The value if it is an object."""
    if isinstance(value, dict):
        return value
    kind = {list: "an array", str: "a text", bool: "true or false", type(None): "null"}
    return f"the record is {kind.get(type(value), 'a number')}, not an object", None


def decode_quickly(block: bytes, schema: Schema) -> Decoded | None:
    """Decode a block through Arrow, or None when the careful path must decide it.

    Args:
        block: Lines, with nothing before the first and after the last.

    """
    names = _names(block)
    options = None if names is None else _wire(schema, names)
    if options is None or b"\0" in block or not _is_utf8(block):
        return None
    try:
        table = pa.json.read_json(
            pa.BufferReader(block),
            read_options=pa.json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            parse_options=options.parse,
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    if not _has_a_row_a_line(block, table.num_rows):
        return None
    arrays = [options.column(table, column) for column in schema]
    if any(array is None for array in arrays):
        return None
    rows = batch_of(arrays, schema)
    doubtful = _doubtful(rows, schema, options, block)
    return accepted(rows) if doubtful is None else _judged_again(rows, doubtful, block, schema)


def _names(block: bytes) -> tuple[str, ...] | None:
    """The names in the first line, as its sender spells them."""
    first = read_line(block.partition(b"\n")[0], floats=True)
    return None if isinstance(first, tuple) else tuple(first)


def _is_utf8(block: bytes) -> bool:
    if block.isascii():
        return True
    try:
        block.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_a_row_a_line(block: bytes, rows: int) -> bool:
    """True when each line is exactly one object.

    Arrow has parsed the block, so a line end stands in no string. Where one stands between `}` and
    `{`, two objects meet.
    """
    return block.count(b"\n") == rows - 1 == block.count(b"}\n{")


class Wire:
    """How Arrow is to read the records that spell the schema's names in one way.

    Args:
        spelled: The sender's spelling of each column of the schema; a name that it leaves out has
            a default.

    """

    def __init__(self, schema: Schema, spelled: dict[str, str]) -> None:
        self._spelled = spelled
        self.count = len(spelled)
        self.defaults = {
            column.name: column_of_values([column.default], column.type)[0][0]
            for column in schema
            if column.name not in spelled
        }
        fields = [(spelled[c.name], _wire_type(c.type)) for c in schema if c.name in spelled]
        self.parse = pa.json.ParseOptions(
            explicit_schema=pa.schema(fields), unexpected_field_behavior="error"
        )

    def column(self, table: pa.Table, column: Column) -> pa.Array | None:
        """A column of the schema, or None when a value in it needs the careful path."""
        if column.name not in self._spelled:
            return pa.repeat(self.defaults[column.name], table.num_rows)
        chunks = table.column(self._spelled[column.name])
        array = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()
        if array.type == column.type.arrow and column.type.kind != "UUID":
            return settled(array) if is_in_range(array) else None
        quick = texts_at_once(array, column.type)
        if quick is not None:
            return quick
        array, reasons = column_of_values(array.to_pylist(), column.type)
        return None if reasons else array


@lru_cache(maxsize=256)
def _wire(schema: Schema, names: tuple[str, ...]) -> Wire | None:
    """How to read records with these names, or None when Arrow cannot or must not."""
    shape = shape_of(schema)
    spelled: dict[str, str] = {}
    for given in names:
        name = shape.resolve(given)
        if name is None or name in spelled:
            return None
        spelled[name] = given
    if any(name not in spelled and name not in shape.defaults for name in shape.names):
        return None
    if not spelled or any(_wire_type(schema[name].type) is None for name in spelled):
        return None
    return Wire(schema, spelled)


def _wire_type(data_type: DataType) -> pa.DataType | None:
    """What Arrow reads a column as; None when it cannot say what the careful path would."""
    kind = data_type.kind
    if not is_decimal_safe(data_type):
        return None
    if kind in _AS_IS or kind in ("FLOAT", "DOUBLE", "DECIMAL", "HUGEINT"):
        return data_type.arrow
    if kind in ("DATE", "TIME", "TIMESTAMP_NS", "INTERVAL", "UUID", "BLOB"):
        return pa.string()
    if pa.types.is_timestamp(data_type.arrow):
        return data_type.arrow
    if kind == "LIST" and data_type.parts[0][1].kind in _AS_IS:
        return data_type.arrow
    return None


def _doubtful(rows: pa.RecordBatch, schema: Schema, wire: Wire, block: bytes) -> pa.Array | None:
    """Which rows may lack a name, or have a null where none may be; None for no row."""
    holed = [
        (column, array)
        for column, array in zip(schema, rows.columns, strict=True)
        if array.null_count
    ]
    if not holed:
        return None
    if all(c.nullable for c, _ in holed) and _has_every_name(block, rows.num_rows * wire.count):
        return None
    masks = [array.is_null() for _, array in holed]
    result = masks[0]
    for mask in masks[1:]:
        result = pc.or_(result, mask)
    return result


def _has_every_name(block: bytes, names: int) -> bool:
    """True when the block surely has so many names: colons outside of strings."""
    if b"\\" in block:
        return False
    codes = np.frombuffer(block, np.uint8)
    # Bytes wrap around, and their lowest bit still tells the inside of a string from the outside.
    quotes = np.cumsum(codes == ord('"'), dtype=np.uint8)
    colons = np.count_nonzero((codes == ord(":")) & (quotes & 1 == 0))
    return int(colons) == names


def _judged_again(
    rows: pa.RecordBatch, doubtful: pa.Array, block: bytes, schema: Schema
) -> Decoded:
    """The rows, with the doubtful ones as the careful path decides them, in their places."""
    lines = block.split(b"\n")
    mask = np.asarray(doubtful)
    places = np.flatnonzero(mask)
    again = decode_carefully([lines[place] for place in places], schema)
    sure = rows.filter(pa.array(~mask))
    positions = np.concatenate([np.flatnonzero(~mask), places[again.positions]])
    order = np.argsort(positions, kind="stable")
    both = pa.Table.from_batches([sure, again.rows], schema=schema.arrow)
    taken = both.take(pa.array(order)).combine_chunks().to_batches()
    batch = taken[0] if taken else again.rows.slice(0, 0)
    rejected = tuple(
        type(r)(int(places[r.position]), r.reason, r.column, r.record) for r in again.rejected
    )
    return Decoded(batch, positions[order].astype(np.int64), rejected)

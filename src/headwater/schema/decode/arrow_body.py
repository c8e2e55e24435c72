"""Arrow: an IPC stream (or file) of batches, and Arrow tables that are already in memory.

Columns are matched by name. A column that is missing (without a default) or unknown refuses the
whole body, because no row of it can be right. Values are cast column by column without loss; where
Arrow's cast of a column fails, the careful path judges its values, and only the rows that hold a
wrong one are rejected.

Bytes from outside are validated before they are used: a wrong offset would otherwise read foreign
memory.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.errors import RecordError
from headwater.schema.decode.columns import (
    column_of_texts,
    column_of_values,
    is_in_range,
    settled,
    texts_at_once,
)
from headwater.schema.decode.decoded import Decoded, RejectedRecord, accepted, chained
from headwater.schema.decode.rows import batch_of, null_reason, shape_of
from headwater.schema.encode import to_ndjson
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType

_FILE_MAGIC = b"ARROW1"
_HINT = "send an Arrow IPC stream, as pyarrow.ipc.new_stream writes it"


def decode_arrow(body: bytes, schema: Schema) -> Decoded:
    """Decode an Arrow IPC stream.

    Raises:
        RecordError: The body is empty, is no Arrow stream, is damaged, or has other columns.

    """
    if not body:
        raise RecordError("the body is empty", hint=_HINT)
    try:
        source = pa.BufferReader(body)
        is_file = body.startswith(_FILE_MAGIC)
        table = (pa.ipc.open_file if is_file else pa.ipc.open_stream)(source).read_all()
        table.validate()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise RecordError(f"the body is not an Arrow stream: {error}", hint=_HINT) from None
    return decode_table(table, schema, is_trusted=False)


def decode_table(table: pa.Table, schema: Schema, *, is_trusted: bool = True) -> Decoded:
    """Decode an Arrow table.

    Args:
        is_trusted: The table was made in this process, and not read from somebody's bytes.

    Raises:
        RecordError: It lacks a column, or has another.

    """
    places = _places(table.schema, schema)
    pieces = []
    for batch in table.to_batches():
        if not is_trusted:
            batch = _validated(batch)  # noqa: PLW2901
        pieces.append(_decode_batch(batch, schema, places))
    return chained(pieces, schema) if pieces else accepted(_nothing(schema))


def _nothing(schema: Schema) -> pa.RecordBatch:
    return batch_of([pa.array([], column.type.arrow) for column in schema], schema)


def _places(given: pa.Schema, schema: Schema) -> dict[str, int]:
    """Where the column of each name stands in the table; a name with a default may be missing."""
    shape = shape_of(schema)
    places: dict[str, int] = {}
    for index, name in enumerate(given.names):
        known = shape.resolve(name)
        if known is None and shape.is_dropped(name):
            continue
        if known is None:
            near = difflib.get_close_matches(name, schema.names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"send {', '.join(schema.names)}"
            raise RecordError(f"there is no column {name!r}", hint=hint)
        if known in places:
            raise RecordError(f"column {known} is given twice", hint="send each column once")
        places[known] = index
    for column in schema:
        if column.name not in places and column.name not in shape.defaults:
            raise RecordError(
                f"column {column.name} is missing", hint=f"send {', '.join(schema.names)}"
            )
    return places


def _validated(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its bytes checked; a text that is no UTF-8 stays as bytes, to be refused."""
    arrays: list[pa.Array] = []
    for field, array in zip(batch.schema, batch.columns, strict=True):
        try:
            array.validate(full=True)
            arrays.append(array)
        except pa.ArrowInvalid as error:
            arrays.append(_as_bytes(field.name, array, error))
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _as_bytes(name: str, array: pa.Array, error: pa.ArrowInvalid) -> pa.Array:
    try:
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise error
        is_large = pa.types.is_large_string(array.type)
        raw = array.view(pa.large_binary() if is_large else pa.binary())
        raw.validate(full=True)
    except pa.ArrowInvalid as damage:
        raise RecordError(f"column {name} is damaged: {damage}", hint=_HINT) from None
    return raw


def _decode_batch(batch: pa.RecordBatch, schema: Schema, places: dict[str, int]) -> Decoded:
    arrays: list[pa.Array] = []
    faults: dict[int, tuple[str, str]] = {}
    for column in schema:
        if column.name in places:
            given = batch.column(places[column.name])
            array, reasons = _column(given, column)
            if not column.nullable and array.null_count:
                for hole in np.flatnonzero(np.asarray(given.is_null())):
                    reasons[int(hole)] = null_reason(column)
        else:
            default = column_of_values([column.default], column.type)[0][0]
            array, reasons = pa.repeat(default, batch.num_rows), {}
        arrays.append(array)
        for index, reason in reasons.items():
            faults.setdefault(index, (reason, column.name))
    rows = batch_of(arrays, schema)
    return _without(rows, batch, faults) if faults else accepted(rows)


def _without(
    rows: pa.RecordBatch, given: pa.RecordBatch, faults: dict[int, tuple[str, str]]
) -> Decoded:
    bad = sorted(faults)
    keep = np.ones(rows.num_rows, dtype=bool)
    keep[bad] = False
    records = to_ndjson(pa.Table.from_batches([given.take(pa.array(bad))])).splitlines()
    rejected = tuple(
        RejectedRecord(index, faults[index][0], faults[index][1], record)
        for index, record in zip(bad, records, strict=True)
    )
    return Decoded(rows.filter(pa.array(keep)), np.flatnonzero(keep).astype(np.int64), rejected)


def _column(given: pa.Array, column: Column) -> tuple[pa.Array, dict[int, str]]:
    """The column in the schema's type, null where a value does not fit, and why not."""
    array = _plain_form(given)
    quick = _cast(array, column.type)
    if quick is not None and is_in_range(quick):
        return settled(quick), {}
    build = column_of_texts if column.type.kind == "JSON" else column_of_values
    array, reasons = build(_values(array, column.type), column.type)
    return array, {index: f"column {column.name}: {reason}" for index, reason in reasons.items()}


def _plain_form(array: pa.Array) -> pa.Array:
    """The same values without an encoding."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_large_string(array.type) or array.type == pa.string_view():
        return array.cast(pa.string())
    if pa.types.is_large_binary(array.type) or array.type == pa.binary_view():
        return array.cast(pa.binary())
    return array


def _cast(array: pa.Array, data_type: DataType) -> pa.Array | None:
    """The column at once, or None when its values must be judged."""
    given, wanted = array.type, data_type.arrow
    if pa.types.is_null(given):
        return pa.nulls(len(array), wanted)
    if pa.types.is_nested(wanted) or data_type.kind in ("UUID", "JSON"):
        return array if given == wanted and _needs_no_look(data_type) else None
    if pa.types.is_string(given) and given != wanted:
        return texts_at_once(array, data_type)
    try:
        return array.cast(wanted, safe=True) if _is_safe(given, wanted) else None
    except pa.ArrowInvalid:
        return None


def _needs_no_look(data_type: DataType) -> bool:
    """True when every value of the Arrow type is a value of this type."""
    if data_type.kind in ("UUID", "JSON", "FLOAT", "DOUBLE", "DATE"):
        return False
    if pa.types.is_timestamp(data_type.arrow):
        return False
    return all(_needs_no_look(part) for _, part in data_type.parts)


def _is_safe(given: pa.DataType, wanted: pa.DataType) -> bool:
    """True when Arrow's safe cast loses nothing that we would keep, and invents nothing."""
    if given == wanted:
        return True
    if _is_number(given) and _is_number(wanted):
        # A float becomes a decimal by rounding; judged one by one it must print exactly.
        return not (pa.types.is_floating(given) and pa.types.is_decimal(wanted))
    times = (pa.types.is_timestamp, pa.types.is_time, pa.types.is_date)
    if any(matches(given) and matches(wanted) for matches in times):
        return True
    return bool(pa.types.is_date(given) and pa.types.is_timestamp(wanted))


def _is_number(arrow: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_decimal(arrow)
    )


def _values(array: pa.Array, data_type: DataType) -> Sequence[Any]:
    """The values in a form that the careful path knows."""
    given = array.type
    if pa.types.is_timestamp(given):
        # As text, because Python's own times have no nanoseconds and end with the year 9999.
        return array.cast(pa.timestamp(given.unit)).cast(pa.string()).to_pylist()
    if pa.types.is_time(given):
        return array.cast(pa.string()).to_pylist()
    values = array.to_pylist()
    if pa.types.is_integer(data_type.arrow) and _is_number(given):
        return [_whole(value) for value in values]
    if pa.types.is_binary(given) and pa.types.is_string(data_type.arrow):
        return [_text(value) for value in values]
    return values


def _whole(value: Any) -> Any:
    """A number without a fraction as an int."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return int(value) if isinstance(value, Decimal) and value % 1 == 0 else value


def _text(value: bytes | None) -> str | bytes | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value

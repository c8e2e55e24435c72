"""Rows as JSON text, one spelling for each value, column by column.

| type | written as |
|---|---|
| integers, HUGEINT, DECIMAL | a number with all its digits, however many |
| FLOAT, DOUBLE | the shortest number that reads back as the same; NaN and infinities as null |
| VARCHAR, UUID, JSON | a text (Arrow does not know JSON from text) |
| BLOB | base64 |
| DATE, TIME | `2024-01-31`, `23:59:59.5` |
| TIMESTAMP | `2024-01-31T23:59:59.5`: `T`, no zeros at the end of the fraction |
| TIMESTAMP WITH TIME ZONE | the same in UTC, with `Z` |
| INTERVAL | `1 year 2 months 3 days 04:05:06.5` |
| lists, structs, maps | arrays; objects; objects, with keys as texts |
| unions | the value that it is |

What `decode` accepts is written so that it reads back the same, but for JSON columns, and for keys
of maps that are not texts. A column of plain values costs about 0.2 microseconds a value; blobs,
intervals and nested values are written one by one.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headwater.schema.instants import interval_text

_ROWS_AT_ONCE = 65_536
_NEEDS_ESCAPE = r'["\\\x00-\x1f]'


def to_ndjson(table: pa.Table) -> bytes:
    """Every row as a JSON object on its own line, with the table's names in order."""
    return b"".join(ndjson_pieces(table))


def ndjson_pieces(table: pa.Table) -> Iterator[bytes]:
    """The same in pieces of whole lines, for answers too large to hold at once."""
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        if batch.num_rows:
            yield _line(batch) if batch.num_rows == 1 else _lines(batch)


def to_json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """Every row as a dict that `json.dumps` takes, spelled as `to_ndjson` spells it.

    A DECIMAL is a float where that prints the same digits, and a text where it does not.
    """
    reader = _EXACT if any(map(_has_decimals, table.schema.types)) else _FLOATS
    lines = to_ndjson(table).removesuffix(b"\n").replace(b"\n", b",")
    rows: list[dict[str, Any]] = reader.decode(f"[{lines.decode()}]")
    return rows


def _has_decimals(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_decimals(kind.field(at).type) for at in range(kind.num_fields))
    return bool(pa.types.is_decimal(kind) and kind.scale)


def _number(text: str) -> float | str:
    number = float(text)
    return number if Decimal(repr(number)) == Decimal(text) else text


_EXACT = json.JSONDecoder(parse_float=_number)
_FLOATS = json.JSONDecoder()


def _lines(batch: pa.RecordBatch) -> bytes:
    pieces: list[Any] = []
    for index, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
        opening = ("," if index else "{") + json.dumps(name, ensure_ascii=False) + ":"
        pieces += (pa.scalar(opening), pc.fill_null(json_texts(column), "null"))
    if not pieces:
        return b"{}\n" * batch.num_rows
    # Large strings: the lines of many rows may be longer than 2 GB together.
    large = [piece.cast(pa.large_string()) for piece in (*pieces, pa.scalar("}\n"))]
    lines = pc.binary_join_element_wise(*large, pa.scalar("", pa.large_string()))
    # A string array's bytes stand in a row: joined, they are the text of all lines.
    _, _, content = lines.buffers()
    return content.to_pybytes()[: pc.sum(pc.binary_length(lines)).as_py()]


def _line(batch: pa.RecordBatch) -> bytes:
    """The same of one row, for which each of Arrow's calls takes longer than all of this."""
    names = [json.dumps(name, ensure_ascii=False) for name in batch.schema.names]
    pairs = zip(names, map(_only_text, batch.columns), strict=True)
    return f"{{{','.join(f'{name}:{text}' for name, text in pairs)}}}\n".encode()


def _only_text(column: pa.Array) -> str:
    """The JSON text of the only value of a column."""
    kind = column.type
    if column.null_count:
        return "null"
    if pa.types.is_integer(kind):
        return str(column[0].as_py())
    if pa.types.is_string(kind):
        return json.dumps(column[0].as_py(), ensure_ascii=False)
    if kind == pa.timestamp("us"):
        with suppress(ValueError, OverflowError):
            # Python's times end with the year 9999.
            text = column[0].as_py().isoformat()
            return f'"{text.rstrip("0") if "." in text else text}"'
    return json_texts(column)[0].as_py() or "null"


def json_texts(column: pa.Array) -> pa.Array:
    """The JSON text of every value of a column; null for null."""
    for matches, write in _WRITERS:
        if matches(column.type):
            return write(column)
    texts = [None if value is None else _json_text(value) for value in _python(column)]
    return pa.array(texts, pa.string())


def interval_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """INTERVALs as texts, for what has no such type: `1 year 2 months 3 days 04:05:06.5`."""
    texts = [None if v is None else interval_text(*v) for v in column.to_pylist()]
    return pa.chunked_array([texts], pa.string())


def _integers(column: pa.Array) -> pa.Array:
    return column.cast(pa.string())


def _floats(column: pa.Array) -> pa.Array:
    finite = pc.if_else(pc.is_finite(column), column, pa.scalar(None, column.type))
    return finite.cast(pa.string())


def _decimals(column: pa.Array) -> pa.Array:
    texts = column.cast(pa.string())
    if not pc.any(pc.match_substring(texts, "E"), min_count=0).as_py():
        return texts
    plain = [None if value is None else f"{value:f}" for value in column.to_pylist()]
    return pa.array(plain, pa.string())


def _strings(column: pa.Array) -> pa.Array:
    column = column.cast(pa.string())
    if pc.any(pc.match_substring_regex(column, _NEEDS_ESCAPE), min_count=0).as_py():
        texts = [
            None if v is None else json.dumps(v, ensure_ascii=False) for v in column.to_pylist()
        ]
        return pa.array(texts, pa.string())
    return _in_quotes(column)


def _in_quotes(texts: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise('"', texts, '"', "")


def _dates(column: pa.Array) -> pa.Array:
    return _in_quotes(column.cast(pa.string()))


def _times(column: pa.Array) -> pa.Array:
    return _in_quotes(_without_zeros(column.cast(pa.string())))


def _timestamps(column: pa.Array) -> pa.Array:
    zone = "Z" if column.type.tz else ""
    texts = column.cast(pa.timestamp(column.type.unit)).cast(pa.string())
    texts = _without_zeros(pc.replace_substring(texts, " ", "T", max_replacements=1))
    return pc.binary_join_element_wise('"', texts, f'{zone}"', "")


def _without_zeros(texts: pa.Array) -> pa.Array:
    """Times without the zeros at the end of their fraction, and without an empty fraction."""
    if not pc.any(pc.match_substring(texts, "."), min_count=0).as_py():
        return texts
    return pc.utf8_rtrim(pc.utf8_rtrim(texts, "0"), ".") if _all_have_fraction(texts) else texts


def _all_have_fraction(texts: pa.Array) -> bool:
    return bool(pc.all(pc.match_substring(texts, "."), min_count=0).as_py())


def _python(column: pa.Array) -> list[Any]:
    """The values as Python's; times inside of lists and structs as their texts."""
    return [_value(scalar) for scalar in column]


def _value(scalar: pa.Scalar) -> Any:
    kind = scalar.type
    if not scalar.is_valid:
        return None
    if pa.types.is_nested(kind):
        return _nested_value(scalar)
    if pa.types.is_interval(kind):
        return interval_text(*scalar.as_py())
    if pa.types.is_temporal(kind):
        return json.loads(json_texts(pa.array([scalar]))[0].as_py())
    return scalar.as_py()


def _nested_value(scalar: pa.Scalar) -> Any:
    kind = scalar.type
    if pa.types.is_struct(kind):
        return {name: _value(scalar[name]) for name in kind.names}
    if pa.types.is_map(kind):
        keys, values = scalar.values.field(0), scalar.values.field(1)
        return {_key(key): _value(value) for key, value in zip(keys, values, strict=True)}
    if pa.types.is_union(kind):
        return _value(scalar.value)
    return [_value(item) for item in scalar.values]


def _key(scalar: pa.Scalar) -> str:
    value = _value(scalar)
    return value if isinstance(value, str) else _json_text(value)


def _json_text(value: Any) -> str:
    if isinstance(value, dict):
        items = (f"{json.dumps(k, ensure_ascii=False)}:{_json_text(v)}" for k, v in value.items())
        return "{" + ",".join(items) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json_text, value)) + "]"
    if isinstance(value, bytes):
        return json.dumps(base64.b64encode(value).decode())
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float) and not math.isfinite(value):
        return "null"
    return json.dumps(value, ensure_ascii=False)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


_WRITERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.Array], pa.Array]], ...] = (
    (pa.types.is_integer, _integers),
    (pa.types.is_boolean, _integers),
    (pa.types.is_floating, _floats),
    (pa.types.is_decimal, _decimals),
    (_is_text, _strings),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_date, _dates),
    (pa.types.is_time, _times),
    (pa.types.is_dictionary, lambda column: json_texts(column.dictionary_decode())),
)

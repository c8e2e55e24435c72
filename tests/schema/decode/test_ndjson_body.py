from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import RecordError
from headwater.schema.ddl import parse_columns
from headwater.schema.decode import decode
from headwater.schema.decode.decoded import Decoded
from headwater.schema.decode.ndjson_body import (
    BLOCK_BYTES,
    decode_block,
    decode_carefully,
    decode_quickly,
    lines_of,
)
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from schema.records import NESTED, TYPES, WRONG_JSON, json_texts, schemas

CLICKS = parse_columns("ad BIGINT NOT NULL, who VARCHAR, cost DECIMAL(8,2) DEFAULT 0").schema

# The types that Arrow's reader can be trusted with.
WITH_WIRE = tuple(name for name in TYPES if name not in (*NESTED, "JSON", "DOUBLE[]"))

WRONG_LINES = (
    b"",
    b"  \t ",
    b"{}",
    b"[]",
    b"5",
    b"null",
    b"{",
    b'{"a":1}{"a":2}',
    b'{"a":1} x',
    b'{"a":\xff}',
    b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":1}\0',
    b'{"\\u0061":1}',
    b'{"a":1,"a":2}',
    b'{"a":null,"a":1}',
    b'{"a":1,"A":1}',
    b'{"A":1}',
    b'{"a":1,"zz":null}',
    b'{"a":1,}',
    b"[" * 5000,
    b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"a":' + b"9" * 5000 + b"}",
)


@st.composite
def lines(draw: st.DrawFn, schema: Schema, mistakes: int) -> bytes:
    """A line with about so many mistakes in a hundred fields."""
    if draw(st.integers(0, 99)) < mistakes:
        return draw(st.sampled_from(WRONG_LINES))
    fields = []
    for column in schema:
        name, text = column.name, draw(json_texts(column))
        if draw(st.integers(0, 99)) < mistakes:
            name = draw(st.sampled_from(["", name.swapcase(), name]))
            text = draw(st.sampled_from(WRONG_JSON))
        elif column.nullable and draw(st.integers(0, 4)) == 0:
            text = "null"
        if name:
            fields.append(f'"{name}":{text}')
    gap = draw(st.sampled_from(["", "", " "]))
    line = "{" + f",{gap}".join(fields) + "}" + gap
    return line.encode("utf-8", "surrogatepass")


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Schema, bytes]:
    schema = draw(schemas(draw(st.sampled_from([TYPES, WITH_WIRE]))))
    end = draw(st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\n\n"]))
    mistakes = draw(st.sampled_from([0, 0, 3, 20]))
    return schema, end.join(draw(st.lists(lines(schema, mistakes), min_size=1, max_size=8)))


def assert_same(quick: Decoded, careful: Decoded) -> None:
    assert quick.rows.equals(careful.rows), (quick.rows.to_pylist(), careful.rows.to_pylist())
    assert quick.rows.schema.equals(careful.rows.schema)
    assert quick.positions.tolist() == careful.positions.tolist()
    assert quick.rejected == careful.rejected


@settings(max_examples=100, deadline=None)
@given(bodies())
def test_the_quick_way_answers_as_the_careful_way(drawn: tuple[Schema, bytes]) -> None:
    schema, body = drawn

    decoded = decode_block(body, schema)

    assert_same(decoded, decode_carefully(lines_of(body), schema))
    decoded.rows.validate(full=True)
    assert decoded.count == len(lines_of(body))


@pytest.mark.parametrize("name", TYPES)
def test_every_kind_of_wrong_value_is_judged_alike(name: str) -> None:
    schema = Schema((Column("a", parse_type(name)),))
    for text in WRONG_JSON:
        body = f'{{"a":{text}}}'.encode()

        assert_same(decode_block(body, schema), decode_carefully([body], schema))


def test_plain_rows_go_the_quick_way() -> None:
    schema = parse_columns(
        "a BIGINT, b VARCHAR, c DECIMAL(8,2), d TIMESTAMP, e DOUBLE, f BOOLEAN, g DATE, h BIGINT[]"
    ).schema
    row = {"a": 1, "b": "é", "c": 1.25, "d": "2024-01-02T03:04:05.1Z", "e": 1, "f": True}
    body = json.dumps({**row, "g": "2024-01-02", "h": [1, None]}).encode()

    assert decode_quickly(b"\n".join([body] * 3), schema) is not None


def test_rows_in_another_spelling_and_without_defaults_go_the_quick_way() -> None:
    decoded = decode_quickly(b'{"AD": 1, "Who": "x"}\n{"AD": 2, "Who": null}', CLICKS)

    assert decoded is not None
    assert decoded.rows.column("cost").to_pylist() == [0, 0]


def test_only_rows_with_a_missing_name_are_rejected_among_nulls() -> None:
    body = b'{"ad":1,"who":null}\n{"ad":2}\n{"ad":3,"who":":null,"}\n{"ad":null,"who":"x"}\n'

    decoded = decode("ndjson", body, CLICKS)

    assert decoded.positions.tolist() == [0, 2]
    assert decoded.rows.column("ad").to_pylist() == [1, 3]
    assert [(r.position, r.reason) for r in decoded.rejected] == [
        (1, "column who is missing"),
        (3, "column ad is null, and is declared NOT NULL"),
    ]


def test_a_rejected_line_keeps_its_bytes() -> None:
    decoded = decode("ndjson", b'{"ad":1,"who":"x"}\r\n\n{"ad":"\xff"}\r\n', CLICKS)

    (rejected,) = decoded.rejected
    assert rejected.record == b'{"ad":"\xff"}'
    assert rejected.position == 1


def test_a_body_of_many_blocks_keeps_order_and_positions() -> None:
    rows = 3 * BLOCK_BYTES // 20
    body = b"".join(
        b'{"ad":%d,"who":"x"}\n' % n if n % 5000 else b'{"ad":"no"}\n' for n in range(rows)
    )

    decoded = decode("ndjson", body, CLICKS)

    expected = [n for n in range(rows) if n % 5000]
    assert decoded.positions.tolist() == expected
    assert decoded.rows.column("ad").to_pylist() == expected
    assert [r.position for r in decoded.rejected] == list(range(0, rows, 5000))


@pytest.mark.parametrize("body", [b"", b" \n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_body_is_refused(body: bytes) -> None:
    with pytest.raises(RecordError, match="empty"):
        decode("ndjson", body, CLICKS)

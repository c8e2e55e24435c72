from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import RecordError
from headwater.schema.ddl import parse_columns
from headwater.schema.decode import csv_body, decode
from headwater.schema.decode.decoded import Decoded
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from schema.records import SIMPLE, WRONG_NUMBERS, WRONG_TEXTS, field_texts, json_texts, schemas

CLICKS = parse_columns("ad BIGINT NOT NULL, who VARCHAR, cost DECIMAL(8,2) DEFAULT 0").schema


def carefully(body: bytes, schema: Schema) -> Decoded:
    """The same with Arrow's reader out of the way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_body, "_decode_quickly", lambda *_: None)
        return decode("csv", body, schema)


def assert_same(quick: Decoded, careful: Decoded) -> None:
    assert quick.rows.equals(careful.rows), (quick.rows.to_pylist(), careful.rows.to_pylist())
    assert quick.positions.tolist() == careful.positions.tolist()
    assert quick.rejected == careful.rejected


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@st.composite
def lines(draw: st.DrawFn, schema: Schema, mistakes: int) -> str:
    fields = []
    for column in schema:
        simple = column.type.kind != "JSON"
        text = draw(field_texts(column) if simple else json_texts(column))
        choice = draw(st.integers(0, 99))
        if choice < mistakes:
            fields.append(draw(st.sampled_from([*WRONG_TEXTS, *WRONG_NUMBERS, 'a"b', '"a"b', '"'])))
        elif choice > 95:
            fields.append("")
        else:
            is_plain = not set(text) & set('",\r\n') and choice % 4
            fields.append(text if is_plain else quoted(text))
    return ",".join(fields)


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Schema, bytes]:
    schema = draw(schemas(SIMPLE))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\n\n"]))
    mistakes = draw(st.sampled_from([0, 0, 5, 30]))
    records = draw(st.lists(lines(schema, mistakes), min_size=1, max_size=6))
    text = end.join([",".join(schema.names), *records])
    return schema, text.encode("utf-8", "surrogatepass")


@settings(max_examples=100, deadline=None)
@given(bodies())
def test_the_quick_way_answers_as_the_careful_way(drawn: tuple[Schema, bytes]) -> None:
    schema, body = drawn

    decoded = decode("csv", body, schema)

    assert_same(decoded, carefully(body, schema))
    decoded.rows.validate(full=True)


TEXTS = parse_columns("a VARCHAR, b VARCHAR").schema


@given(
    st.lists(st.tuples(*[st.text('ab",\n é', max_size=5)] * 2), min_size=1, max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_another_program_writes_is_read_as_it_was(
    rows: list[tuple[str, str]], end: str, quoting: int
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end, quoting=quoting)
    writer.writerows([("a", "b"), *rows])

    decoded = decode("csv", out.getvalue().encode(), TEXTS)

    read = [(row["a"] or "", row["b"] or "") for row in decoded.rows.to_pylist()]
    assert read == rows
    assert not decoded.rejected


@given(st.text('a",\r\n', max_size=30))
def test_any_body_is_read_to_its_end(text: str) -> None:
    body = f"a,b\n{text}".encode()

    decoded = decode("csv", body, TEXTS)

    assert_same(decoded, carefully(body, TEXTS))
    place = 0
    for rejected in decoded.rejected:
        place = body.index(rejected.record, place) + len(rejected.record)


@pytest.mark.parametrize("name", SIMPLE)
def test_every_kind_of_wrong_value_is_judged_alike(name: str) -> None:
    schema = Schema((Column("a", parse_type(name)), Column("b", parse_type("BIGINT"))))
    for text in (*WRONG_TEXTS, *WRONG_NUMBERS):
        for field in (text, quoted(text)):
            body = f"a,b\n{field},1".encode()

            assert_same(decode("csv", body, schema), carefully(body, schema))


def test_an_empty_field_is_null_and_a_quoted_one_is_the_empty_text() -> None:
    decoded = decode("csv", b'ad,who,cost\n1,,\n2,"",1.5\n', CLICKS)

    assert decoded.rows.column("who").to_pylist() == [None, ""]
    assert decoded.rows.column("cost").to_pylist() == [None, 1.5]


def test_quotes_enclose_commas_line_ends_and_doubled_quotes() -> None:
    decoded = decode("csv", b'ad,who,cost\r\n1,"a,\n""b""",1\r\n2,c,2\r\n', CLICKS)

    assert decoded.rows.column("who").to_pylist() == ['a,\n"b"', "c"]
    assert not decoded.rejected


def test_a_broken_quote_spoils_only_its_own_line() -> None:
    decoded = decode("csv", b'ad,who,cost\n1,"a,1\n2,"b"c,2\n3,d"e,3\n', CLICKS)

    assert decoded.rows.column("who").to_pylist() == ['d"e']
    assert [r.record for r in decoded.rejected] == [b'1,"a,1', b'2,"b"c,2']


def test_columns_stand_in_any_order_and_a_missing_one_takes_its_default() -> None:
    decoded = decode("csv", b"WHO,Ad\nx,1\ny,2\n", CLICKS)

    assert decoded.rows.to_pylist() == [
        {"ad": 1, "who": "x", "cost": 0},
        {"ad": 2, "who": "y", "cost": 0},
    ]


def test_an_unknown_column_rejects_each_row_with_its_name() -> None:
    decoded = decode("csv", b"ad,who,csot\n1,x,2\n", CLICKS)

    assert decoded.rejected[0].reason == "there is no column 'csot'; did you mean cost?"


@pytest.mark.parametrize("body", [b"", b"\n\n", b"1,2,3\n", b"ad,ad,who\n", b"\xff,ad\n"])
def test_a_body_without_a_header_is_refused_with_the_columns(body: bytes) -> None:
    with pytest.raises(RecordError) as refused:
        decode("csv", body, CLICKS)

    assert refused.value.hint == "the first line names the columns: ad,who,cost"


def test_a_header_alone_is_a_body_of_no_records() -> None:
    assert decode("csv", b"ad,who,cost\n", CLICKS).count == 0


def test_a_body_of_many_blocks_keeps_order_and_positions() -> None:
    rows = 40_000
    body = b"ad,who,cost\n" + b"".join(
        b'%d,"x",1.25\n' % n if n % 9000 else b"no,x,1\n" for n in range(rows)
    )

    decoded = decode("csv", body, CLICKS)

    expected = [n for n in range(rows) if n % 9000]
    assert decoded.positions.tolist() == expected
    assert decoded.rows.column("ad").to_pylist() == expected

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import RecordError
from headwater.schema.ddl import parse_columns
from headwater.schema.decode import decode, json_body
from headwater.schema.schema import Schema
from schema.records import TYPES, WRONG_JSON, json_texts, schemas

CLICKS = parse_columns("ad BIGINT NOT NULL, who VARCHAR").schema


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Schema, list[str], str]:
    schema = draw(schemas(TYPES))
    mistakes = draw(st.sampled_from([0, 0, 5, 30]))
    objects = []
    for _ in range(draw(st.integers(0, 5))):
        fields = [
            f'"{column.name}":'
            + draw(
                st.sampled_from(WRONG_JSON)
                if draw(st.integers(0, 99)) < mistakes
                else json_texts(column)
            )
            for column in schema
        ]
        objects.append("{" + ",".join(fields) + "}")
    return schema, objects, draw(st.sampled_from([",", ", ", "\n,\n  ", "\n", ""]))


@settings(max_examples=80, deadline=None)
@given(bodies())
def test_the_quick_way_answers_as_the_careful_way(drawn: tuple[Schema, list[str], str]) -> None:
    schema, objects, gap = drawn
    body = f"[{gap.join(objects)}]".encode("utf-8", "surrogatepass")

    decoded = decode("json", body, schema)

    careful = json_body._decode_carefully(body, schema)
    assert decoded.rows.equals(careful.rows)
    assert decoded.positions.tolist() == careful.positions.tolist()
    assert decoded.rejected == careful.rejected


def test_plain_arrays_go_the_quick_way() -> None:
    rows = [{"ad": n, "who": "x"} for n in range(3)]
    for body in (json.dumps(rows), json.dumps(rows, separators=(",", ":"))):
        assert json_body._decode_array_quickly(body.encode(), CLICKS) is not None


def test_one_object_is_one_row() -> None:
    decoded = decode("json", b' {"ad": 1,\n "who": "x"}\n', CLICKS)

    assert decoded.rows.to_pylist() == [{"ad": 1, "who": "x"}]


def test_wrong_elements_are_rejected_with_their_own_bytes() -> None:
    body = '[{"ad":1,"who":"},{"}, {"ad": NaN, "who":"x"} ,5,{"ad":2,"who":"é"},{"ad":"é"}]'

    decoded = decode("json", body.encode(), CLICKS)

    assert decoded.rows.column("who").to_pylist() == ["},{", "é"]
    assert decoded.positions.tolist() == [0, 3]
    assert [(r.position, r.record.decode()) for r in decoded.rejected] == [
        (1, '{"ad": NaN, "who":"x"}'),
        (2, "5"),
        (4, '{"ad":"é"}'),
    ]


def test_two_objects_without_a_comma_are_not_an_array() -> None:
    decoded = decode("json", b'[{"ad":1,"who":"x"}\n{"ad":2,"who":"x"}]', CLICKS)

    assert decoded.rows.num_rows == 0
    assert decoded.rejected[0].reason == (
        "the body is not valid JSON: expected , or ] at character 21"
    )


@pytest.mark.parametrize(
    "body", [b"{", b"[", b'[{"ad":1,"who":"x"},', b"nope", b'{"ad":"\xff"}', b"[1] 2", b"[" * 9999]
)
def test_a_body_that_is_no_json_is_one_rejected_record(body: bytes) -> None:
    decoded = decode("json", body, CLICKS)

    assert decoded.rows.num_rows == 0
    (rejected,) = decoded.rejected
    assert (rejected.position, rejected.record) == (0, body)


def test_an_empty_array_has_no_records() -> None:
    assert decode("json", b" [ ] ", CLICKS).count == 0


def test_an_empty_body_is_refused() -> None:
    with pytest.raises(RecordError, match="empty"):
        decode("json", b" ", CLICKS)


def test_ndjson_sent_as_json_is_refused_with_the_right_name() -> None:
    with pytest.raises(RecordError) as refused:
        decode("json", b'{"ad":1,"who":"x"}\n{"ad":2,"who":"x"}', CLICKS)

    assert "ndjson" in str(refused.value.hint)

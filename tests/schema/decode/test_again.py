"""What was rejected is decoded again from the bytes that were kept: as many come out as went in."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from headwater.schema.decode import RejectedRecord, decode
from headwater.schema.decode.again import decode_again, with_header
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type

NARROW = Schema((Column("id", parse_type("TINYINT")), Column("name", parse_type("VARCHAR"))))
WIDE = Schema((Column("id", parse_type("BIGINT")), Column("name", parse_type("VARCHAR"))))


def rejected(form: str, body: bytes) -> list[RejectedRecord]:
    found = decode(form, body, NARROW)
    return list((with_header(found, body) if form == "csv" else found).rejected)


def test_rows_of_every_form_fit_once_the_schema_is_wider() -> None:
    bodies = {
        "ndjson": b'{"id": 1000, "name": "a"}\n',
        "json": b'[{"id": 1001,\n "name": "b\\n"}]',
        "csv": b'name,id\n"c\n,""",1002\nd,1003\ne,1004\n',
    }
    records = [r.record for form, body in bodies.items() for r in rejected(form, body)]

    found = decode_again(records, WIDE)

    assert found.rejected == ()
    assert found.rows.column("id").to_pylist() == [1000, 1001, 1002, 1003, 1004]
    assert found.rows.column("name").to_pylist() == ["a", "b\n", 'c\n,"', "d", "e"]


JUNK = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.sampled_from(
        [
            b'{"id": 1, "name": "x"}',
            b'{"id": 1, "name": ',
            b'{"id": 1,\n"name": "x"}',
            b'{"id": 1, "name": "x"} {"id": 2, "name": "y"}',
            b'[{"id": 1, "name": "x"}, {"id": 2, "name": "y"}]',
            b"[]",
            b"id,name\n1,x",
            b"name,id\nx,1",
            b'id,name\n1,"x',
            b"id,name\n1,x\n2,y",
            b"id,name\n",
            b"who,what\n1,x",
            b"\n\n1",
            b"",
        ]
    ),
)


@example([b"\t[", b" [1] ", b"\n[]"])
@given(st.lists(JUNK, max_size=12))
def test_none_is_lost_and_none_is_told_apart(records: list[bytes | None]) -> None:
    found = decode_again(records, WIDE)

    places = {r.position: r.record for r in found.rejected}
    assert sorted([*places, *found.positions.tolist()]) == list(range(len(records)))
    for position, record in places.items():
        given = records[position] or b""
        if given.lstrip()[:1] == b"{":
            given = given.replace(b"\r", b" ").replace(b"\n", b" ")
            assert record.split() == given.split()
        elif b"\n" not in given.strip() or given.lstrip()[:1] == b"[":
            assert record == given


@given(st.lists(JUNK, max_size=12))
def test_a_row_is_judged_by_itself_whatever_stands_beside_it(records: list[bytes | None]) -> None:
    alone = [decode_again([record], WIDE) for record in records]

    found = decode_again(records, WIDE)

    assert found.rows.to_pylist() == [row for one in alone for row in one.rows.to_pylist()]
    assert json.dumps([r.reason for r in found.rejected]) == json.dumps(
        [r.reason for one in alone for r in one.rejected]
    )

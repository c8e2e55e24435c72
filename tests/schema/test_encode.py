from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.schema.decode import decode
from headwater.schema.encode import ndjson_pieces, to_json_rows, to_ndjson
from headwater.schema.schema import Schema
from schema.records import TYPES, json_texts, schemas


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Schema, bytes]:
    # Arrow does not know a JSON column from a text, so these do not read back as they were.
    schema = draw(schemas([name for name in TYPES if name != "JSON"]))
    records = []
    for _ in range(draw(st.integers(1, 5))):
        fields = [f'"{column.name}":{draw(json_texts(column))}' for column in schema]
        records.append("{" + ",".join(fields) + "}")
    return schema, "\n".join(records).encode("utf-8", "surrogatepass")


@settings(max_examples=100, deadline=None)
@given(bodies())
def test_rows_that_were_written_are_read_back(drawn: tuple[Schema, bytes]) -> None:
    schema, body = drawn
    rows = decode("ndjson", body, schema).rows

    written = to_ndjson(pa.Table.from_batches([rows]))

    if rows.num_rows:
        again = decode("ndjson", written, schema)
        assert not again.rejected
        assert again.rows.equals(rows)
    assert written.count(b"\n") == rows.num_rows


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (pa.array([2**63 - 1]), "9223372036854775807"),
        (pa.array([Decimal("0.0000001")], pa.decimal128(10, 7)), "0.0000001"),
        (pa.array([Decimal(10**37)], pa.decimal128(38, 0)), "1" + "0" * 37),
        (pa.array([1.0, 0.1, 1e300, float("nan"), float("-inf")]), "1 0.1 1e+300 null null"),
        (pa.array([0.1], pa.float32()), "0.1"),
        (pa.array([True, None]), "true null"),
        (pa.array(['"\\\n\x01é']), '"\\"\\\\\\n\\u0001é"'),
        (pa.array([b"hi"]), '"aGk="'),
        (pa.array([date(2024, 1, 2)]), '"2024-01-02"'),
        (
            pa.array([time(3, 4, 5), time(3, 4, 5, 120_000)]),
            '"03:04:05" "03:04:05.12"',
        ),
        (
            pa.array([datetime(2024, 1, 2, 3, 4), datetime(2024, 1, 2, 0, 0, 0, 500_000)]),
            '"2024-01-02T03:04:00" "2024-01-02T00:00:00.5"',
        ),
        (
            pa.array([datetime(2024, 1, 2, tzinfo=UTC)], pa.timestamp("us", "Asia/Tokyo")),
            '"2024-01-02T00:00:00Z"',
        ),
        (pa.array([0], pa.timestamp("s")), '"1970-01-01T00:00:00"'),
        (pa.array([pa.MonthDayNano([14, 3, 10**9])]), '"1 year 2 months 3 days 00:00:01"'),
        (pa.array([[1, None], []], pa.list_(pa.int8())), "[1,null] []"),
        (pa.array([{"a": date(2024, 1, 2), "b": None}]), '{"a":"2024-01-02","b":null}'),
        (
            pa.array([[(1, Decimal("1.50"))]], pa.map_(pa.int8(), pa.decimal128(4, 2))),
            '{"1":1.50}',
        ),
        (pa.array(["a", None]).dictionary_encode(), '"a" null'),
        (pa.array([None], pa.null()), "null"),
    ],
)
def test_each_value_has_one_spelling(array: pa.Array, text: str) -> None:
    lines = to_ndjson(pa.table({"v": array})).decode().splitlines()

    assert [line.removeprefix('{"v":').removesuffix("}") for line in lines] == text.split(
        " " if " days" not in text else "\0"
    )


@pytest.mark.parametrize("name", ['"', "x y", "é"])
def test_names_are_written_as_json(name: str) -> None:
    assert json.loads(to_ndjson(pa.table({name: [1]}))) == {name: 1}


def test_the_rows_are_what_json_reads() -> None:
    table = pa.table(
        {
            "i": [2**62],
            "d": pa.array([Decimal("1.10")], pa.decimal128(4, 2)),
            "long": pa.array([Decimal("0.12345678901234567890")], pa.decimal128(38, 20)),
            "t": ["x"],
        }
    )

    assert to_json_rows(table) == [
        {"i": 2**62, "d": 1.1, "long": "0.12345678901234567890", "t": "x"}
    ]
    assert to_json_rows(table.slice(0, 0)) == []


def test_many_rows_come_in_pieces_of_whole_lines() -> None:
    table = pa.table({"n": range(150_000)})

    pieces = list(ndjson_pieces(table))

    assert len(pieces) > 1
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert b"".join(pieces) == b"".join(b'{"n":%d}\n' % n for n in range(150_000))


@settings(max_examples=60, deadline=None)
@given(bodies())
def test_one_row_alone_is_written_as_among_others(drawn: tuple[Schema, bytes]) -> None:
    schema, body = drawn
    found = decode("ndjson", body, schema).rows
    rows = pa.concat_tables([pa.Table.from_batches([found])] * 2).combine_chunks()

    assert to_ndjson(rows) == b"".join(to_ndjson(rows.slice(n, 1)) for n in range(rows.num_rows))


@pytest.mark.parametrize("micros", [-(2**62), -1, 0, 10, 1_500_000, 10**16, 2**62])
def test_a_time_alone_is_written_as_among_others_in_any_year(micros: int) -> None:
    rows = pa.table({"at": pa.array([micros] * 2, pa.timestamp("us"))})

    assert to_ndjson(rows) == 2 * to_ndjson(rows.slice(0, 1))


def test_a_slice_of_a_table_writes_only_its_rows() -> None:
    table = pa.table({"n": ["a", "b", "c", "d"]}).slice(1, 2)

    assert to_ndjson(table) == b'{"n":"b"}\n{"n":"c"}\n'


def test_what_duckdb_answers_can_be_written() -> None:
    table = duckdb.sql(
        "SELECT sum(i) s, avg(i) a, list(i) l, {'x': max(i)} m, MAP {'k': 1} k, count(*) n, "
        "'2024-01-02'::TIMESTAMPTZ t, INTERVAL '1 day' v, uuid() IS NULL u FROM range(3) r(i)"
    ).to_arrow_table()

    (row,) = to_json_rows(table)

    assert row.pop("t").endswith("Z")
    assert row == {
        "s": 3,
        "a": 1.0,
        "l": [0, 1, 2],
        "m": {"x": 2},
        "k": {"k": 1},
        "n": 3,
        "v": "1 day",
        "u": False,
    }


def test_a_union_is_written_as_the_value_that_it_is() -> None:
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array([1, None]), pa.array([None, "x"])]
    )
    table = pa.table({"u": union, "l": pa.ListArray.from_arrays([0, 2, 2], union)})

    assert to_ndjson(table) == b'{"u":1,"l":[1,"x"]}\n{"u":"x","l":[]}\n'

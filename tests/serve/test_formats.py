from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pytest

from headwater.serve.formats import Format, distinct_names, response, sql_type


def body(table: pa.Table, form: Format) -> bytes:
    return bytes(response(table, form).body)


@pytest.mark.parametrize(
    ("names", "distinct"),
    [
        (["a", "b"], ["a", "b"]),
        (["a", "a", "a"], ["a", "a_1", "a_2"]),
        (["a", "a", "a_1"], ["a", "a_2", "a_1"]),
        (["a_1", "a", "a"], ["a_1", "a", "a_2"]),
    ],
)
def test_a_name_that_comes_twice_is_numbered(names: list[str], distinct: list[str]) -> None:
    assert distinct_names(names) == distinct


def test_no_column_is_lost_to_its_namesake() -> None:
    table = pa.table([[1], [2]], names=["a", "a"])

    assert json.loads(body(table, Format.JSON))["rows"] == [{"a": 1, "a_1": 2}]


def test_a_line_feed_in_a_value_ends_no_row() -> None:
    table = pa.table({"text": ["one\ntwo", 'three"\r\n', "\u2028"]})

    rows = json.loads(body(table, Format.JSON))["rows"]

    assert [row["text"] for row in rows] == ["one\ntwo", 'three"\r\n', "\u2028"]


def test_a_number_keeps_all_its_digits() -> None:
    table = pa.table({"n": pa.array([2**62 + 1]), "d": pa.array([Decimal("12345678901234567.89")])})

    assert b'{"n":4611686018427387905,"d":12345678901234567.89}' in body(table, Format.JSON)


def test_csv_spells_what_it_has_no_spelling_for_as_json_does() -> None:
    moment = dt.datetime(2026, 1, 1, 12, 0, 0, 500_000, dt.UTC)
    table = pa.table(
        {
            "list": [[1, 2]],
            "struct": [{"a": 'x"y'}],
            "blob": [b"\x00\xff"],
            "at": pa.array([moment], pa.timestamp("us", "UTC")),
            "none": pa.nulls(1),
        }
    )

    assert body(table, Format.CSV).decode() == (
        '"list","struct","blob","at","none"\n'
        '"[1, 2]","{""a"": ""x\\""y""}","AP8=","2026-01-01T12:00:00.5Z",\n'
    )


def test_a_type_that_only_arrow_has_is_spelled_as_arrow_does() -> None:
    assert (sql_type(pa.int64()), sql_type(pa.null())) == ("BIGINT", "null")


def test_thousands_of_columns_of_one_name_take_no_longer_than_others() -> None:
    names = distinct_names(["n"] * 50_000 + ["n_3"])

    assert names[:3] == ["n", "n_1", "n_2"]
    assert len(set(names)) == 50_001
    assert names[-1] == "n_3"

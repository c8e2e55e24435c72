from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import pytest

from headwater.errors import RecordError
from headwater.schema.ddl import parse_columns
from headwater.schema.decode import FORMS, decode, decode_rows

CLICKS = parse_columns("ad BIGINT NOT NULL, who VARCHAR, cost DECIMAL(8,2) DEFAULT 0").schema
GOOD = {"ad": 1, "who": "x", "cost": Decimal("1.5")}


@pytest.mark.parametrize(
    ("row", "reason", "column"),
    [
        ({**GOOD, "ad": None}, "column ad is null, and is declared NOT NULL", "ad"),
        ({"ad": 1}, "column who is missing", "who"),
        ({**GOOD, "cots": 1}, "there is no column 'cots'; did you mean cost?", "cots"),
        ({**GOOD, "Ad": 1}, "column ad is given twice", "ad"),
        ({**GOOD, 5: 1}, "there is no column 5", "5"),
        ({**GOOD, "ad": "1"}, "column ad: '1' is not a BIGINT", "ad"),
        ({"ad": "1", "who": 1, "cost": 1}, "column ad: '1' is not a BIGINT", "ad"),
    ],
)
def test_a_row_that_is_not_right_is_rejected_with_its_reason(
    row: dict[object, object], reason: str, column: str
) -> None:
    decoded = decode_rows([GOOD, row, GOOD], CLICKS)

    assert decoded.positions.tolist() == [0, 2]
    (rejected,) = decoded.rejected
    assert (rejected.position, rejected.reason, rejected.column) == (1, reason, column)


def test_a_missing_column_with_a_default_takes_it_and_a_null_does_not() -> None:
    decoded = decode_rows([{"ad": 1, "who": "x"}, {**GOOD, "cost": None}], CLICKS)

    assert decoded.rows.column("cost").to_pylist() == [0, None]


def test_names_are_matched_without_regard_to_case() -> None:
    assert decode_rows([{"AD": 1, "Who": "x", "cost": 1}], CLICKS).rows.num_rows == 1


def test_a_rejected_row_is_kept_as_json_even_when_json_cannot_say_it() -> None:
    decoded = decode_rows([{"ad": date(2024, 1, 2)}, 5], CLICKS)

    assert [r.record for r in decoded.rejected] == [b'{"ad": "2024-01-02"}', b"5"]
    assert decoded.rejected[1].reason == "the row is a int, not a dict"


def test_rows_of_python_values_are_taken_as_they_are() -> None:
    schema = parse_columns("t TIMESTAMP, d DATE, b BLOB, l DOUBLE[]").schema

    decoded = decode_rows(
        [{"t": datetime(2024, 1, 2), "d": date(2024, 1, 2), "b": b"\0", "l": [1, 2.5]}], schema
    )

    assert decoded.rows.to_pylist() == [
        {"t": datetime(2024, 1, 2), "d": date(2024, 1, 2), "b": b"\0", "l": [1.0, 2.5]}
    ]


def test_no_rows_are_no_rows() -> None:
    decoded = decode_rows([], CLICKS)

    assert decoded.count == 0
    assert decoded.rows.schema.equals(CLICKS.arrow)


def test_an_unknown_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(RecordError) as refused:
        decode("xml", b"x", CLICKS)

    assert refused.value.hint == f"use one of: {', '.join(FORMS)}"

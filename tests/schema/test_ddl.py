from __future__ import annotations

from decimal import Decimal

import pytest

from headwater.errors import DefinitionError
from headwater.schema.ddl import Watermark, parse_columns


def test_a_column_list_gives_schema_key_and_watermark() -> None:
    declared = parse_columns("""
        ad BIGINT, cost DECIMAL(12, 6) NOT NULL DEFAULT 0.5, "x y" STRUCT(a INT)[],  -- a comment
        Ts TIMESTAMP, WATERMARK FOR ts AS ts - INTERVAL '30 seconds', PRIMARY KEY (AD, ts)
    """)

    assert declared.schema.ddl() == (
        'ad BIGINT NOT NULL, "cost" DECIMAL(12,6) NOT NULL, "x y" STRUCT(a INTEGER)[], '
        "Ts TIMESTAMP NOT NULL"
    )
    assert declared.key == ("ad", "Ts")
    assert declared.watermark == Watermark("Ts", 30_000_000)
    assert declared.schema["cost"].default == Decimal("0.5")


def test_a_ddl_that_was_printed_is_read_back() -> None:
    schema = parse_columns('"select" BIGINT NOT NULL, b MAP(VARCHAR, DATE), c TIMESTAMPTZ').schema

    assert parse_columns(schema.ddl()).schema == schema


def test_a_column_may_be_the_primary_key() -> None:
    declared = parse_columns("id VARCHAR PRIMARY KEY, name VARCHAR")

    assert declared.key == ("id",)
    assert [column.nullable for column in declared.schema] == [False, True]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a BIGINT DEFAULT -5", -5),
        ("a VARCHAR DEFAULT 'it''s'", "it's"),
        ("a BOOLEAN DEFAULT true", True),
        ("a DOUBLE DEFAULT 1e3", Decimal(1000)),
        ("a TIMESTAMP DEFAULT '2024-01-01'", "2024-01-01"),
        ("a BIGINT DEFAULT NULL", None),
    ],
)
def test_a_default_is_a_plain_value(text: str, value: object) -> None:
    default = parse_columns(text).schema["a"].default

    assert default == value
    assert isinstance(default, type(value))


@pytest.mark.parametrize(
    ("clause", "delay_us"),
    [
        ("ts", 0),
        ("ts - INTERVAL '1 minute'", 60_000_000),
        ("ts - INTERVAL '5' SECOND", 5_000_000),
        ("ts - INTERVAL 2 HOURS", 7_200_000_000),
    ],
)
def test_a_watermark_has_a_delay(clause: str, delay_us: int) -> None:
    declared = parse_columns(f"ts TIMESTAMPTZ, WATERMARK FOR ts AS {clause}")

    assert declared.watermark == Watermark("ts", delay_us)


@pytest.mark.parametrize(
    ("text", "at_fault", "message"),
    [
        ("a BIGNIT", "BIGNIT", "there is no type BIGNIT"),
        ("a INT, b INT, A INT", "A", "there are two columns A"),
        ("_weight INT", "_weight", "'_weight' cannot be a column's name"),
        ('"__x" INT', '"__x"', "'__x' cannot be a column's name"),
        ("a INT PRIMARY KEY, b INT PRIMARY KEY", "KEY", "there are two primary keys"),
        ("a INT, PRIMARY KEY (b)", "b", "there is no column b"),
        ("a INT, PRIMARY KEY (a, A)", "A", "the primary key names a twice"),
        ("a INT UNIQUE", "UNIQUE", "column a cannot have this, found 'UNIQUE'"),
        ("a INT DEFAULT 'x'", "'x'", "the default of a does not fit: 'x' is not an INTEGER"),
        ("a TINYINT DEFAULT 300", "300", "the default of a does not fit: 300 is out of range"),
        ("a INT DEFAULT now()", "now", "expected a plain value, found 'now'"),
        ("a INT, WATERMARK FOR a AS a", "a", "the event time a is INTEGER, not a TIMESTAMP"),
        ("t TIMESTAMP, WATERMARK FOR t AS s", "s", "the watermark of t must follow it"),
        ("t TIMESTAMP, WATERMARK FOR t AS t - INTERVAL '1 month'", "'1 month'", "no fixed length"),
        ("t TIMESTAMP, WATERMARK FOR u AS u", "u", "there is no column u"),
        ("a INT,, b INT", ",", "expected a column's name, found ','"),
        ("a INT b INT", "b", "column a cannot have this, found 'b'"),
        ("a INT)", ")", "expected a comma or the end, found ')'"),
        ("a 'x", "'x", "this quote is never closed"),
        ("", "", "there are no columns"),
        ("PRIMARY KEY (a)", "PRIMARY KEY (a)", "there are no columns"),
    ],
)
def test_a_wrong_list_is_refused_at_its_place(text: str, at_fault: str, message: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        parse_columns(text, "topic clicks")

    error = refused.value
    assert message in error.message
    assert error.place is not None
    assert error.place.source == "topic clicks"
    assert text[error.place.start : error.place.end] == at_fault
    assert error.hint or "closed" in message


def test_reserved_words_are_free_without_the_underscore() -> None:
    assert parse_columns("weight INT, epoch INT, _other INT").schema.names == (
        "weight",
        "epoch",
        "_other",
    )

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater.errors import DefinitionError
from headwater.operators.describe import Describer, describe
from operators.running import query, schema

CLICKS = schema(**{"ad": "BIGINT", "Cost": "DECIMAL(12,6)", "order": "VARCHAR[]"})


@pytest.fixture(scope="module")
def describer() -> Iterator[Describer]:
    with Describer() as opened:
        yield opened


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("SELECT * FROM clicks", [(c.name, c.type.sql) for c in CLICKS]),
        ("SELECT sum(ad) AS s, avg(cost) AS m FROM clicks", [("s", "HUGEINT"), ("m", "DOUBLE")]),
        ('SELECT len("order") AS n FROM Clicks', [("n", "BIGINT")]),
        ("SELECT list_transform(\"order\", x -> x || '!') AS l FROM clicks", [("l", "VARCHAR[]")]),
    ],
)
def test_columns_are_what_duckdb_says(
    describer: Describer, sql: str, columns: list[tuple[str, str]]
) -> None:
    described = describer(query(sql), {"clicks": CLICKS})

    assert [(column.name, column.type.sql) for column in described] == columns


def test_a_refused_query_says_why_and_leaves_nothing_behind(describer: Describer) -> None:
    for _ in range(2):
        with pytest.raises(DefinitionError, match='Referenced column "adv" not found'):
            describer(query("SELECT adv FROM clicks"), {"clicks": CLICKS})

    with pytest.raises(DefinitionError, match="clicks does not exist"):
        describer(query("SELECT 1 FROM clicks"), {})


def test_one_question_needs_no_describer() -> None:
    assert describe(query("SELECT 1 AS a"), {}).names == ("a",)

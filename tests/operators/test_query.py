"""A question from outside reads what it is given, and reaches nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from headwater.errors import DefinitionError
from headwater.operators.query import Rows, answer

CLICKS = pa.table({"ad": [1, 2, 2], "who": ["ann", "bob", "zoe"]})
RELATIONS = {
    "clicks": Rows(CLICKS.schema, CLICKS.to_batches),
    "clicks$rejected": Rows(CLICKS.schema, CLICKS.to_batches),
}


def test_a_relation_may_be_read_more_than_once() -> None:
    found = answer("SELECT count(*) AS n FROM clicks a JOIN clicks b USING (ad)", RELATIONS)
    assert found.to_pylist() == [{"n": 5}]


def test_names_with_a_dollar_need_no_quotes() -> None:
    assert answer("SELECT who FROM clicks$rejected LIMIT 1", RELATIONS).num_rows == 1


@pytest.mark.parametrize(
    "sql",
    [
        "COPY clicks TO '{file}'",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_blob('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sniff_csv('{secret}')",
        "SELECT * FROM query('SELECT * FROM read_text(''{secret}'')')",
        "ATTACH '{file}'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "PRAGMA version",
        "EXPORT DATABASE '{file}'",
        "CREATE TABLE t AS SELECT 1",
        "INSERT INTO clicks VALUES (1, 'x')",
        "CALL pragma_version()",
        "SELECT getenv('HOME')",
        "SELECT 1; SELECT 2",
        "",
        "SELECT * FROM CLICKS_TABLE",
    ],
)
def test_nothing_else_is_reached(sql: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not for you")
    file = tmp_path / "out"

    with pytest.raises(DefinitionError):
        answer(sql.format(secret=secret, file=file), RELATIONS)

    assert not file.exists()


def test_python_objects_are_out_of_reach() -> None:
    hidden = CLICKS
    assert hidden.num_rows
    with pytest.raises(DefinitionError, match="hidden"):
        answer("SELECT * FROM hidden", RELATIONS)


def test_a_question_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(DefinitionError, match=r"longer than 0\.2 seconds"):
        answer("SELECT sum(a.range) FROM range(9999999999) a", RELATIONS, seconds_max=0.2)


def test_a_wrong_name_is_underlined_and_a_near_one_given() -> None:
    with pytest.raises(DefinitionError) as error:
        answer("SELECT * FROM clcks", RELATIONS)

    assert str(error.value) == (
        "query, line 1: Catalog Error: Table with name clcks does not exist\n"
        "    SELECT * FROM clcks\n"
        "                  ─────\n"
        "  hint: did you mean clicks?"
    )


def test_an_approximate_aggregate_is_the_one_of_the_views() -> None:
    query = "SELECT approx_count_distinct(ad), approx_quantile(ad, 1) AS q FROM clicks"

    found = answer(query, RELATIONS)

    assert found.schema.names == ["approx_count_distinct(ad)", "q"]
    assert found.to_pylist() == [{"approx_count_distinct(ad)": 2, "q": 1.993661701417345}]

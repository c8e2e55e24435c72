"""The lists of functions are DuckDB's own."""

from __future__ import annotations

import duckdb
from sqlglot import parse_one

from headwater.sql.functions import AGGREGATES, VOLATILE, aggregates


def catalogue(condition: str) -> set[str]:
    rows = duckdb.sql(f"SELECT DISTINCT function_name FROM duckdb_functions() WHERE {condition}")
    return {name for (name,) in rows.fetchall()}


def test_every_aggregate_of_duckdb_is_known_as_one() -> None:
    assert catalogue("function_type = 'aggregate'") - AGGREGATES == set()


def test_every_function_that_is_not_consistent_is_known_as_volatile() -> None:
    changing = catalogue("function_type = 'scalar' AND stability <> 'CONSISTENT'")

    # It answers nothing: it only raises an error, the same each time.
    assert changing - VOLATILE == {"error"}


def test_an_aggregate_is_found_with_its_filter_and_not_inside_a_window() -> None:
    select = parse_one(
        "SELECT sum(x) FILTER (WHERE y), rank() OVER (ORDER BY max(z)), histogram(w) + 1,"
        " (SELECT min(v) FROM u)",
        read="duckdb",
    )

    found = [call.sql("duckdb") for item in select.expressions for call in aggregates(item)]

    assert found == ["SUM(x) FILTER(WHERE y)", "MAX(z)", "HISTOGRAM(w)"]

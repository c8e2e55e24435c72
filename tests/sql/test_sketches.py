"""The approximate aggregates: what they promise, whatever the values."""

from __future__ import annotations

import math
import random
from collections import Counter
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import DefinitionError
from headwater.sql.sketches import exactly_text
from sql.planning import planned, refusal, tree

quick = settings(max_examples=60, deadline=None)
NORMAL_MIN, LARGEST = 2.2250738585072014e-308, 1.7976931348623157e308
finite = st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
nasty = st.sampled_from(
    [
        0.0,
        -0.0,
        1.0,
        -1.0,
        NORMAL_MIN,
        -NORMAL_MIN,
        LARGEST,
        -LARGEST,
        math.inf,
        -math.inf,
        math.nan,
    ]
)
numbers = finite | nasty | st.floats(0.5, 2.0)


def asked(query: str, **columns: Any) -> tuple[Any, ...]:
    """The one row that answers a query over `t`, whose columns are lists of a type and values."""
    with duckdb.connect(":memory:", config={"lambda_syntax": "ENABLE_SINGLE_ARROW"}) as connection:
        lists = [f"unnest(${name}::{kind}[]) AS {name}" for name, (kind, _) in columns.items()]
        values = {name: list(value) for name, (_, value) in columns.items()}
        connection.execute(f"CREATE TABLE t AS SELECT {', '.join(lists)}", values)
        found = connection.execute(exactly_text(query)).fetchone()
        assert found is not None
        return found


def is_near(found: float, exact: float, error: float) -> bool:
    if math.isnan(exact):
        return math.isnan(found)
    if math.isinf(exact) or exact == 0:
        return found == exact
    # A rounded logarithm may put a value that is a bound into the next bucket.
    return abs(found - exact) <= abs(exact) * error * (1 + 1e-7)


@quick
@given(
    values=st.lists(st.none() | numbers, min_size=1, max_size=40),
    fraction=st.sampled_from(["0.0", "0.01", "0.25", "0.5", "0.9", "0.999", "1.0"]),
    error=st.sampled_from([None, "0.001", "0.05", "0.5"]),
)
def test_a_quantile_is_within_its_relative_error(values: Any, fraction: str, error: Any) -> None:
    third = "" if error is None else f", {error}"

    found, exact = asked(
        f"SELECT approx_quantile(x, {fraction}{third}), quantile_disc(x, {fraction}) FROM t",
        x=("DOUBLE", values),
    )

    if exact is None:
        assert found is None
    else:
        assert is_near(found, exact, float(error or 0.01))


@quick
@given(values=st.lists(st.integers(-(2**127), 2**127 - 1), min_size=1, max_size=20))
def test_quantiles_of_integers_and_several_at_once(values: Any) -> None:
    found, exact = asked(
        "SELECT approx_quantile(x, [0.1, 0.5, 1]), quantile_disc(x, [0.1, 0.5, 1.0]) FROM t",
        x=("HUGEINT", values),
    )

    assert all(is_near(one, other, 0.01) for one, other in zip(found, exact, strict=True))


@pytest.mark.parametrize("count", [0, 1, 2, 10, 100, 1000, 5_000, 20_000, 100_000, 1_000_000])
@pytest.mark.parametrize("value", ["i", "i * 3.5", "'user-' || i", "hash(i)", "-i * 1000"])
def test_a_distinct_count_is_within_three_standard_errors(count: int, value: str) -> None:
    query = exactly_text(
        f"SELECT approx_count_distinct({value}) FROM (SELECT unnest(range({count})) AS i)"
    )

    with duckdb.connect(":memory:") as connection:
        (found,) = connection.execute(query).fetchone() or ()

    # The standard error is 1.53 %, and of a few values two may share a coupon.
    assert abs(found - count) <= max(count * 3 * 0.0153, 1 if count > 1 else 0)


def test_distinct_counts_are_right_on_average() -> None:
    errors = []
    with duckdb.connect(":memory:") as connection:
        for seed in range(60):
            count = random.Random(seed).randrange(500, 60_000)
            rows = f"(SELECT unnest(range({count})) * 7919 + {seed} * 1000003 AS x)"
            query = exactly_text(f"SELECT approx_count_distinct(x) FROM {rows}")
            (found,) = connection.execute(query).fetchone() or ()
            errors.append(found / count - 1)

    assert abs(sum(errors) / len(errors)) < 0.006
    assert math.sqrt(sum(e * e for e in errors) / len(errors)) < 0.02


def test_equal_values_and_nulls_are_counted_once_and_not_at_all() -> None:
    query = "SELECT approx_count_distinct(x), approx_count_distinct(DISTINCT x) FROM t"
    assert asked(query, x=("VARCHAR", ["a", None, "a", "b", None])) == (2, 2)
    assert asked(query, x=("DOUBLE", [math.nan, math.nan, 0.0, -0.0])) == (2, 2)


@quick
@given(values=st.lists(st.none() | st.sampled_from("abcdef"), max_size=40), k=st.integers(1, 4))
def test_the_top_are_exact_and_of_equal_counts_the_least(values: Any, k: int) -> None:
    counts = Counter(value for value in values if value is not None)
    expected = sorted(counts, key=lambda value: (-counts[value], value))[:k]

    found = asked(f"SELECT approx_top_k(x, {k}) FROM t", x=("VARCHAR", values))

    assert found == (expected or None,)


def test_an_unnamed_column_is_called_as_it_is_written() -> None:
    query = "SELECT ad, approx_quantile(price, 0.5), approx_count_distinct(visitor) AS n"
    plan = planned(f"{query} FROM clicks GROUP BY ad")
    assert plan.schema.names == ("ad", "approx_quantile(price, 0.5)", "n")


def test_one_aggregate_keeps_the_buckets_of_several_quantiles() -> None:
    query = "SELECT ad, approx_quantile(price, 0.5) AS p50, approx_quantile(price, 0.99) AS p99"

    assert tree(f"{query}, count(*) AS n FROM clicks GROUP BY ad") == (
        "map ad, MIDDLE(quantile_disc_argument) AS p50, "
        "MIDDLE(quantile_disc_argument_1) AS p99, count AS n\n"
        "  aggregate by ad: quantile_disc(argument, 0.5) AS quantile_disc_argument, "
        "quantile_disc(argument, 0.99) AS quantile_disc_argument_1, count(*) AS count\n"
        "      keeps one row for each group and in it a count for each value of argument\n"
        "    map ad, BUCKET(price) AS argument\n"
        "      scan clicks: rows of ad, price"
    )


def test_coupons_are_rows_without_windows_and_kept_by_slice_with_them() -> None:
    alone = tree("SELECT approx_count_distinct(visitor) AS n FROM clicks")
    windowed = tree(
        "SELECT window_end, approx_count_distinct(visitor) AS n "
        "FROM HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '1 hour') GROUP BY window_end",
        emit="final",
    )

    assert "distinct distinct_value" in alone
    assert "keeps rows until their window closes" not in windowed
    assert "aggregate and window: count(DISTINCT argument)" in windowed


def test_a_quantile_over_other_rows_is_recomputed_from_the_same_buckets() -> None:
    found = tree("SELECT ad, approx_quantile(n, 0.5) OVER (PARTITION BY ad) AS m FROM shows")
    assert "recomputed because quantile_disc looks at other rows of its partition" in found
    assert "QUANTILE_DISC(BUCKET(n), 0.5) OVER (PARTITION BY ad) AS result" in found


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("approx_quantile(price, 1.5)", "takes a number from 0 to 1"),
        ("approx_quantile(price, ad)", "takes a number from 0 to 1"),
        ("approx_quantile(price, 0.5, 0)", "is a number from 0.0001 to 0.5"),
        ("approx_quantile(price, 0.5, ad)", "is a number from 0.0001 to 0.5"),
        ("approx_quantile(DISTINCT price, 0.5)", "takes no DISTINCT"),
        ("approx_quantile(ts, 0.5)", "approx_quantile is of numbers"),
    ],
)
def test_what_is_refused_is_underlined(call: str, message: str) -> None:
    found = refusal(f"SELECT {call} AS a FROM clicks")

    assert message in found
    assert "─" in found
    assert "hint:" in found


def test_a_question_in_which_a_number_is_wrong_is_refused() -> None:
    with pytest.raises(DefinitionError, match="takes a number from 0 to 1"):
        exactly_text("SELECT approx_quantile(price, 2) FROM clicks")


def test_a_text_that_mentions_no_sketch_is_not_touched() -> None:
    for sql in ("select  1 -- approx", "SELECT approx_quantile(x, FROM", "select 'approx_top_k('"):
        assert exactly_text(sql).lower() == sql.lower()

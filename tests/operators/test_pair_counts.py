"""Pairs that are grouped by the row that has their keys make the groups that DuckDB makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import WEIGHT
from headwater.operators import pair_counts as module
from headwater.operators.describe import Describer
from headwater.operators.pair_counts import PairCounts, numbered
from headwater.operators.statement import Engine
from headwater.plan.nodes import Node
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic
from headwater.state.afar import Unread
from operators.running import answer, changelog, run, schema, table

COLUMNS = "k VARCHAR, g INTEGER, x BIGINT, p BIGINT, i INTEGER"
ROWS = schema(k="VARCHAR", g="INTEGER", x="BIGINT", p="BIGINT", i="INTEGER")
TOPIC, TABLE = declare.topic("t", COLUMNS), declare.topic("t", COLUMNS, key="i")
SUMS = "count(*) AS n, count(b.x) AS m, sum(b.x) AS total, avg(b.x) AS mean"
EXTREMES = "max(b.x) AS most, min(b.g) AS least"
QUERIES = (
    f"SELECT a.p, {SUMS} FROM t AS a JOIN t AS b ON a.p = b.x GROUP BY a.p",
    f"SELECT a.p, a.k, {SUMS}, {EXTREMES} FROM t AS a JOIN t AS b ON a.p = b.p GROUP BY a.p, a.k",
    f"SELECT a.k, a.g, {EXTREMES}, {SUMS} FROM t AS a JOIN t AS b ON a.p = b.x AND a.g <= b.g "
    "GROUP BY ALL",
    "SELECT b.k, max(a.x) AS most, count(*) FILTER (WHERE a.x > 1) AS n, sum(b.g) AS own "
    "FROM t AS a JOIN t AS b ON a.p = b.x GROUP BY b.k",
    f"SELECT a.g, {EXTREMES} FROM t AS a JOIN t AS b ON a.p = b.p WHERE a.g + b.g > 0 GROUP BY a.g",
    f"SELECT a.g, b.g AS h, {SUMS} FROM t AS a JOIN t AS b ON a.p = b.p GROUP BY a.g, b.g",
    f"SELECT a.g + 1 AS h, {SUMS} FROM t AS a JOIN t AS b ON a.p = b.p GROUP BY h",
    f"SELECT a.g, {SUMS} FROM t AS a LEFT JOIN t AS b ON a.p = b.x GROUP BY a.g",
)
far = st.sampled_from([2**40, -(2**62), 2**63 - 1])
row = st.tuples(
    st.none() | st.sampled_from(["a", "b", "é"]),
    st.none() | st.integers(-1, 1),
    st.none() | st.integers(0, 3) | far,
    st.none() | st.integers(0, 3) | far,
)
slow = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def describe() -> Iterator[Describer]:
    with Describer() as opened:
        yield opened


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pairs are counted too, in blocks of a few."""
    monkeypatch.setattr(module, "_ROWS_MIN", 1)
    monkeypatch.setattr(module, "_BLOCK_ROWS", 3)


@pytest.fixture(name="counted")
def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many groups came out of pairs, each time that there were any."""
    found: list[int] = []
    partials = PairCounts.partials

    def spied(self: PairCounts, rows: Unread) -> pa.RecordBatch | None:
        groups = partials(self, rows)
        found.extend([] if groups is None else [groups.num_rows])
        return groups

    monkeypatch.setattr(PairCounts, "partials", spied)
    return found


def plan_of(query: str, describe: Describer, *, is_table: bool = False) -> Node:
    topic = TABLE if is_table else TOPIC
    relations = {topic.name: relation_of_topic(topic)}
    return plan_view(declare.view("v", query), relations, describe).root


def whole(rows: list[Any]) -> list[Any]:
    """The rows without nulls, numbered."""
    return [(*entry, number) for number, entry in enumerate(rows) if None not in entry]


@slow
@given(
    rows=st.lists(row, max_size=16),
    cuts=st.lists(st.integers(1, 16), max_size=3),
    saved_after=st.integers(0, 3),
    has_nulls=st.booleans(),
)
@pytest.mark.parametrize("query", QUERIES)
def test_the_sum_of_changes_is_the_batch_answer(
    engine: Engine,
    describe: Describer,
    query: str,
    *,
    rows: list[Any],
    cuts: list[int],
    saved_after: int,
    has_nulls: bool,
) -> None:
    numbered_rows = [(*entry, n) for n, entry in enumerate(rows)] if has_nulls else whole(rows)
    given_rows = table(ROWS, numbered_rows)

    outcome = run(engine, plan_of(query, describe), given_rows, cuts=cuts, saved_after=saved_after)

    assert outcome.total == answer(query, t=given_rows)


@slow
@given(
    steps=st.lists(st.tuples(row, st.booleans()), max_size=16),
    cuts=st.lists(st.integers(1, 16), max_size=3),
)
@pytest.mark.parametrize("query", QUERIES)
def test_so_it_is_when_rows_are_withdrawn(
    engine: Engine, describe: Describer, query: str, *, steps: list[Any], cuts: list[int]
) -> None:
    changes = [((*entry, n), is_gone) for n, (entry, is_gone) in enumerate(steps)]
    log, weights, live = changelog([step for step in changes if None not in step[0]])
    given_rows = table(ROWS, log, **{WEIGHT: weights})

    outcome = run(engine, plan_of(query, describe, is_table=True), given_rows, cuts=cuts)

    assert outcome.total == answer(query, t=table(ROWS, live))


def test_pairs_are_counted_by_the_rows_of_their_keys(
    engine: Engine, describe: Describer, counted: list[int]
) -> None:
    rows = table(ROWS, [("a", 1, 7, 7, 0), ("b", 1, 8, 8, 1), ("a", 2, 7, 7, 2), ("b", 1, 7, 9, 3)])
    query = QUERIES[0]

    outcome = run(engine, plan_of(query, describe), rows)

    # Five pairs of the two rows of key 7 and one of key 8, of three rows, make two groups.
    assert counted == [2]
    assert outcome.total == answer(query, t=rows)


@pytest.mark.parametrize("query", QUERIES[5:])
def test_other_pairs_are_grouped_one_by_one(
    engine: Engine, describe: Describer, counted: list[int], query: str
) -> None:
    rows = table(ROWS, [("a", 1, 7, 7, 0), ("b", 1, 8, 8, 1), ("a", 2, 7, 7, 2)])

    outcome = run(engine, plan_of(query, describe), rows)

    assert counted == []
    assert outcome.total == answer(query, t=rows)


@given(places=st.lists(st.integers(0, 9) | st.integers(10**6, 10**6 + 3), min_size=1, max_size=20))
def test_each_place_has_a_number(places: list[int]) -> None:
    given_places = np.array(places, dtype=np.int64)

    cells, index = numbered(given_places)

    assert cells[index].tolist() == places
    assert (np.diff(cells) > 0).all()
    assert len(cells) <= len(places)

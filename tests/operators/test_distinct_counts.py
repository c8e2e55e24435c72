"""Counts of distinct values are those of DuckDB, by number, by key, and read in either way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators import distinct_pairs, distinct_reading
from headwater.operators.dataflow import Dataflow
from headwater.operators.describe import Describer
from headwater.operators.distinct_counts import DistinctCountsOperator
from headwater.operators.distinct_values import values_of
from headwater.operators.statement import Engine
from headwater.plan.nodes import Node, walk
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic
from operators.running import answer, run, schema, table

TOPIC = declare.topic("t", "k VARCHAR, g INTEGER, x BIGINT, p INTEGER, d DATE, ts TIMESTAMP")
TABLE = declare.topic("s", "k VARCHAR, g INTEGER, x BIGINT, p INTEGER", key="x")
ROWS = schema(k="VARCHAR", g="INTEGER", x="BIGINT", p="INTEGER", d="DATE", ts="TIMESTAMP")
FEW, SOME = "FILTER (WHERE p < 2)", "FILTER (WHERE p >= 2 AND p <= 3)"
QUERIES = (
    "SELECT k, count(DISTINCT x) AS n FROM t GROUP BY k",
    "SELECT k, count(*), count(DISTINCT x) AS n FROM t GROUP BY k",
    f"SELECT k, count(DISTINCT x) {FEW} AS n FROM t GROUP BY k",
    f"SELECT k, g, max(p), count(DISTINCT x) AS n, count(DISTINCT x) {FEW} AS a, "
    f"count(DISTINCT x) {SOME} AS b, count(DISTINCT d) AS c FROM t GROUP BY k, g",
    f"SELECT strftime(ts, '%Y-%m-%d') AS day, count(DISTINCT x) {FEW} AS a, "
    f"count(DISTINCT x) {SOME} AS b FROM t GROUP BY day",
    f"SELECT count(DISTINCT x) AS n, count(DISTINCT ts) {FEW} AS a FROM t",
    "SELECT g + 1 AS h, count(DISTINCT p) AS n FROM t WHERE x > 0 GROUP BY h",
    "SELECT k, count(DISTINCT x) AS n FROM t GROUP BY k HAVING count(DISTINCT x) > 1",
)
FAR = [2**38 - 1, 2**38, -(2**38), 2**40, -(2**62), 2**63 - 1]
row = st.tuples(
    st.none() | st.sampled_from(["a", "b", "é"]),
    st.none() | st.integers(-1, 1),
    st.none() | st.integers(-3, 3) | st.sampled_from(FAR),
    st.none() | st.integers(0, 4),
    st.none() | st.integers(0, 2).map(lambda n: datetime(2024, 1, 1 + n).date()),
    st.none() | st.integers(0, 3).map(lambda n: datetime(2024, 1, 1) + timedelta(hours=20 * n)),
)


@pytest.fixture(scope="module")
def describe() -> Iterator[Describer]:
    with Describer() as opened:
        yield opened


def plan_of(query: str, describe: Describer) -> Node:
    relations = {topic.name: relation_of_topic(topic) for topic in (TOPIC, TABLE)}
    return plan_view(declare.view("v", query), relations, describe).root


def counts_by_number(plan: Node, engine: Engine) -> bool:
    stages = Dataflow(plan, engine)._stages
    return any(isinstance(stage.operator, DistinctCountsOperator) for stage in stages)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(row, max_size=24),
    cuts=st.lists(st.integers(1, 24), max_size=4),
    saved_after=st.integers(0, 3),
    without_nulls=st.booleans(),
    rows_min=st.sampled_from([1, 1 << 14]),
    group_bits=st.sampled_from([24, 1]),
    dense_share=st.sampled_from([0, 2, 1_000]),
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
    without_nulls: bool,
    rows_min: int,
    group_bits: int,
    dense_share: int,
) -> None:
    if without_nulls:
        rows = [entry for entry in rows if None not in entry]
    given_rows = table(ROWS, rows)
    plan = plan_of(query, describe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distinct_reading, "_ROWS_MIN", rows_min)
        patch.setattr(distinct_reading, "_CELLS_MAX_SHARE", 1_000)
        patch.setattr(distinct_pairs, "_GROUP_BITS", group_bits)
        patch.setattr(distinct_pairs, "_DENSE_SHARE", dense_share)
        patch.setattr(distinct_pairs, "_TABLE_SHARE", 1_000)
        patch.setattr(distinct_pairs, "_BLOCK_ROWS", 3)
        outcome = run(engine, plan, given_rows, cuts=cuts, saved_after=saved_after)

    assert counts_by_number(plan, engine)
    assert outcome.total == answer(query, t=given_rows)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT g, count(DISTINCT k) AS n FROM t GROUP BY g",
        "SELECT k, sum(DISTINCT x) AS n FROM t GROUP BY k",
        "SELECT k, count(DISTINCT x) AS n FROM s GROUP BY k",
        "SELECT k, count(x) AS n FROM (SELECT DISTINCT k, x, p FROM t) GROUP BY k",
    ],
)
def test_texts_sums_and_rows_that_are_withdrawn_are_kept_by_key(
    engine: Engine, describe: Describer, query: str
) -> None:
    plan = plan_of(query, describe)

    assert all(values_of(node) is None or "FROM s" in query for node in walk(plan))
    assert not counts_by_number(plan, engine)


def test_a_value_that_comes_again_says_nothing(engine: Engine, describe: Describer) -> None:
    plan = plan_of("SELECT k, count(DISTINCT x) AS n FROM t GROUP BY k", describe)
    rows = table(ROWS, [("a", 1, 5, 1, None, None)] * 3)

    outcome = run(engine, plan, rows, cuts=[1, 2])

    assert [len(change) for change in outcome.changes] == [1, 0, 0, 0]
    assert outcome.flow is not None and outcome.flow.state_size()[0] == 3


def test_both_ways_to_read_say_the_same(
    engine: Engine, describe: Describer, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(QUERIES[3], describe)
    entries = [("ab"[n % 2], n % 3, n % 7, n % 5, *([datetime(2024, 1, 1)] * 2)) for n in range(90)]
    outcomes: list[list[Counter[Any]]] = []
    for rows_min in (1, 1 << 20):
        monkeypatch.setattr(distinct_reading, "_ROWS_MIN", rows_min)
        outcome = run(engine, plan, table(ROWS, entries), cuts=[30, 60])
        outcomes.append([Counter(map(repr, c.rows.to_pylist())) for c in outcome.changes])

    assert outcomes[0] == outcomes[1]
    assert isinstance(outcome.changes[0].rows, pa.RecordBatch | pa.Table)

"""MATCH_RECOGNIZE: epoch by epoch, in batch, and by trying all ways."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.operators.describe import Describer
from headwater.operators.statement import Engine
from headwater.plan.nodes import Node
from headwater.plan.pipeline import Pipeline
from headwater.replay.batch import batch
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic
from operators.running import Outcome, run, zset
from replay.naive_match import Clause, Row, answer, clauses

SECOND_US = 1_000_000
START = datetime(2026, 1, 1, tzinfo=UTC)
TOPIC = declare.topic("t", "k BIGINT, x BIGINT, id BIGINT, ts TIMESTAMP", event_time="ts")
DESCRIBE = Describer()


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine() as made:
        yield made


def plan(sql: str) -> Node:
    return plan_view(declare.view("v", sql), {"t": relation_of_topic(TOPIC)}, DESCRIBE).root


def table(rows: list[Row]) -> pa.Table:
    times = [(START + timedelta(seconds=row.t)).replace(tzinfo=None) for row in rows]
    columns = [[row.k for row in rows], [row.x for row in rows], [row.id for row in rows], times]
    fields = zip(TOPIC.schema.names, columns, TOPIC.schema, strict=True)
    return pa.table({n: pa.array(c, column.type.arrow) for n, c, column in fields})


def stepped(engine: Engine, sql: str, rows: list[Row], **how: Any) -> Outcome:
    ticks = pa.array(range(len(rows)), pa.int64())
    return run(engine, plan(sql), table(rows).append_column("__tick", ticks), **how)


def seconds(rows: Counter[Any]) -> Counter[Any]:
    """Times as seconds since the start."""
    return Counter(
        {
            tuple(
                int((cell.replace(tzinfo=UTC) - START).total_seconds())
                if isinstance(cell, datetime)
                else cell
                for cell in row
            ): count
            for row, count in rows.items()
        }
    )


def in_batch(sql: str, rows: list[Row]) -> Counter[Any]:
    view = declare.view("v", sql)
    found = batch(Pipeline("p", (TOPIC,), (view,)), {"t": table(rows)})["v"]
    return seconds(zset(found))


def watermarks(rows: list[Row]) -> list[int]:
    """The highest watermark after each row that makes none of the later ones late."""
    base = int(START.timestamp()) * SECOND_US
    lows = [row.t for row in rows[1:]] + [1_000]
    for place in range(len(lows) - 2, -1, -1):
        lows[place] = min(lows[place], lows[place + 1])
    return [base + low * SECOND_US for low in lows]


rows_of = st.lists(
    st.builds(
        lambda k, x, t: (k, x, t),
        st.integers(1, 2),
        st.one_of(st.none(), st.integers(0, 4)),
        st.integers(0, 14),
    ),
    max_size=14,
).map(lambda rows: [Row(k, x, i % 9, t) for i, (k, x, t) in enumerate(rows)])


def repeat(part: Any, least: int, most: int | None, *, greedy: bool = True) -> Any:
    return ("repeat", part, least, most, greedy)


# Parts that may take no row, preferred or not, within repetitions that need not be.
_ANY = repeat("A", 0, None, greedy=False)
NULLABLE = [
    ("follow", "A", repeat(_ANY, 0, 1)),
    ("follow", "A", repeat(_ANY, 0, 3)),
    ("follow", "A", repeat(_ANY, 1, 2)),
    ("follow", "A", repeat(_ANY, 0, 1, greedy=False), "B"),
    ("follow", "A", repeat(("choice", _ANY, "B"), 0, 2)),
    ("follow", "A", repeat(("follow", _ANY, repeat("B", 0, 1)), 0, 2)),
    ("follow", "A", repeat(repeat(repeat("A", 0, 1, greedy=False), 2, 2), 0, 1)),
    ("follow", "A", repeat(("follow", _ANY, "$"), 0, 1)),
]


@pytest.mark.parametrize("pattern", NULLABLE, ids=str)
def test_a_repetition_that_takes_no_row_is_none(engine: Engine, pattern: Any) -> None:
    rows = [Row(1, None, number, number) for number in range(5)]
    within_s = 3 if "$" in str(pattern) else None
    clause = Clause(pattern, needs=(), skip="PAST LAST ROW", within_s=within_s, all_rows=False)

    out = stepped(engine, clause.sql, rows, cuts=[2], times_us=watermarks(rows), saved_after=1)

    assert seconds(out.total) == Counter(answer(clause, rows)) == in_batch(clause.sql, rows)


@settings(max_examples=50, deadline=None)
@given(
    clause=clauses(),
    rows=rows_of,
    cuts=st.lists(st.integers(0, 14), max_size=5),
    saved=st.integers(0, 5),
)
def test_the_matches_are_those_of_all_ways_tried(
    engine: Engine, clause: Clause, rows: list[Row], cuts: list[int], saved: int
) -> None:
    expected = Counter(answer(clause, rows))

    out = stepped(engine, clause.sql, rows, cuts=cuts, times_us=watermarks(rows), saved_after=saved)

    assert seconds(out.total) == expected, clause.sql
    assert not out.late
    assert all(weight > 0 for weight in out.total.values())


@settings(max_examples=25, deadline=None)
@given(clause=clauses(), rows=rows_of)
def test_batch_finds_the_matches_of_all_ways_tried(clause: Clause, rows: list[Row]) -> None:
    assert in_batch(clause.sql, rows) == Counter(answer(clause, rows)), clause.sql


@settings(max_examples=25, deadline=None)
@given(clause=clauses(), rows=rows_of, cuts=st.lists(st.integers(0, 14), max_size=5))
def test_late_rows_match_nothing_and_are_kept(
    engine: Engine, clause: Clause, rows: list[Row], cuts: list[int]
) -> None:
    in_time, late, newest = [], Counter[Any](), -1
    for row in rows:
        if row.t < newest:
            late[(row.k, row.x, row.id, row.t, newest)] += 1
        else:
            in_time.append(row)
        newest = max(newest, row.t)
    base = int(START.timestamp()) * SECOND_US

    out = stepped(
        engine, clause.sql, rows, cuts=cuts, times_us=[base + r.t * SECOND_US for r in rows]
    )

    assert seconds(out.late_rows) == late
    assert seconds(out.total) == Counter(answer(clause, in_time)), clause.sql


def rows_at(*times: int, x: int = 1) -> list[Row]:
    return [Row(1, x, number, t) for number, t in enumerate(times)]


def test_a_partition_in_which_nothing_has_begun_remembers_nothing(engine: Engine) -> None:
    sql = (
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES a.id AS id "
        "PATTERN (a b) WITHIN INTERVAL '5 seconds' DEFINE a AS x > 5)"
    )

    out = stepped(engine, sql, rows_at(*range(20)), times_us=watermarks(rows_at(*range(20))))

    assert out.flow is not None
    assert out.flow.state_size() == (0, 0)


def test_within_bounds_what_is_remembered(engine: Engine) -> None:
    sql = (
        "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES a.id AS id "
        "AFTER MATCH SKIP TO NEXT ROW PATTERN (a b* c) WITHIN INTERVAL '5 seconds' "
        "DEFINE c AS x > 5)"
    )
    rows = rows_at(*range(200))

    out = stepped(
        engine, sql, rows, cuts=range(0, 200, 3), times_us=watermarks(rows), is_ended=False
    )

    assert out.flow is not None
    assert 0 < out.flow.state_size()[0] < 40
    assert not out.total


def test_a_long_match_is_found_without_a_deep_stack(engine: Engine) -> None:
    sql = (
        "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES count(*) AS n "
        "PATTERN ((a | b)* c) DEFINE c AS id = 8)"
    )
    rows = [Row(1, 1, 8 if t == 4_999 else 0, t) for t in range(5_000)]

    assert stepped(engine, sql, rows, times_us=watermarks(rows)).total == Counter({(5_000,): 1})


QUERIES = (
    # over a query, with a name of its own
    "SELECT m.n + 1 AS n FROM (SELECT *, x * 2 AS y FROM t WHERE k = 1) MATCH_RECOGNIZE ("
    "ORDER BY ts MEASURES count(*) AS n, max(y) AS y PATTERN (a+) "
    "WITHIN INTERVAL '4 seconds') AS m WHERE m.y > 2",
    # over a common table expression, and one in it
    "WITH s AS (SELECT k, ts, x FROM t), m AS (SELECT * FROM s MATCH_RECOGNIZE (PARTITION BY k "
    "ORDER BY ts MEASURES a.x AS x, b.ts AS at PATTERN (a b))) "
    "SELECT k, count(*) AS n, sum(x) AS x FROM m GROUP BY k",
    # joined with another match, and in a part that is computed again
    "SELECT a.k, median(b.x) AS x FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts "
    "MEASURES last(u.id) AS id PATTERN (u v?)) AS a JOIN t MATCH_RECOGNIZE (PARTITION BY k "
    "ORDER BY ts MEASURES w.x AS x PATTERN (w) DEFINE w AS x > 1) AS b USING (k) GROUP BY a.k",
    # what measures may be
    "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES "
    "list(a.x) AS xs, string_agg(b.id::VARCHAR, '-') AS ids, median(x) AS mid, "
    "count(*) FILTER (WHERE x > 2) AS more, last(b.ts) - first(a.ts) AS took, "
    "CASE WHEN count(b.*) > 1 THEN 'many' ELSE classifier() END AS said, next(last(b.x)) AS n "
    "PATTERN (a+? b{1,2}) DEFINE b AS b.x >= 2)",
    "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES "
    "first(a.x, 1) AS second, last(x, 2) AS third, FINAL last(b.id) AS l, FINAL count(a.*) AS c, "
    "sum(a.x * 2) AS twice ALL ROWS PER MATCH AFTER MATCH SKIP TO FIRST b PATTERN (a+ b+))",
    # what conditions may be
    "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES a.id AS a, b.id AS b "
    "PATTERN (a c*? b) DEFINE b AS b.ts - a.ts > INTERVAL '3 seconds' AND b.x / a.x >= 1.5 "
    "OR avg(x) BETWEEN 1 AND 2.5 AND NOT b.x IN (a.x, 3), c AS abs(c.x - a.x) < 3)",
    "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts, id DESC MEASURES a.id AS a "
    "PATTERN (a b) DEFINE a AS x < next(x), b AS greatest(a.x, 2) >= least(b.x, 4) "
    "AND coalesce(prev(a.x), -1) < b.x AND format('{}', a.x) <> 'z')",
    "SELECT * FROM t MATCH_RECOGNIZE (ORDER BY ts MEASURES first(id) AS f, last(id) AS l "
    "PATTERN (PERMUTE(one, two, three)) DEFINE one AS k = 1, two AS k = 2, three AS x = 3)",
)


@pytest.mark.parametrize("sql", QUERIES)
def test_a_query_with_matches_is_the_batch_answer(engine: Engine, sql: str) -> None:
    rows = [Row(1 + i * 7 % 2, (i * 5 % 11) % 5, i, (i * 3) % 17) for i in range(30)]

    out = stepped(engine, sql, rows, cuts=range(0, 30, 4), times_us=watermarks(rows))

    assert seconds(out.total) == in_batch(sql, rows)
    assert out.total

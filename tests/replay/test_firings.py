"""Views that accumulate or discard: over any cut what batch says over the whole input."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.describe import Describer
from headwater.operators.statement import Engine
from headwater.plan.nodes import Panes, SessionPanes, walk
from headwater.plan.pipeline import Pipeline
from headwater.replay.batch import batch
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic, relation_of_view
from operators.running import run
from replay.rows import tuples

START = datetime(2026, 1, 1)
TOPIC = declare.topic(
    "t", "who VARCHAR, x INTEGER, price DOUBLE, ts TIMESTAMP", event_time="ts", delay="5 seconds"
)
QUERIES = (
    "SELECT who, count(*) AS n, sum(x), avg(price), max(x) FROM t GROUP BY who "
    "EMIT CHANGES EVERY INTERVAL '10 seconds'",
    "SELECT sum(x) * 2 AS s, count(price), bool_or(x > 2) FROM t WHERE who IS NOT NULL "
    "HAVING count(*) > 1 EMIT CHANGES EVERY INTERVAL '25 seconds'",
    "SELECT who || '!' AS k, sum(x) FILTER (WHERE x > 1) FROM good GROUP BY k "
    "EMIT CHANGES EVERY INTERVAL '7 seconds'",
    "SELECT window_end, who, count(*) FROM HOP(t, ts, INTERVAL '10 seconds', "
    "INTERVAL '30 seconds') GROUP BY ALL EMIT CHANGES EVERY INTERVAL '20 seconds'",
    "SELECT window_start, sum(x) AS s, quantile_disc(x, 0.5) FROM "
    "TUMBLE(t, ts, INTERVAL '30 seconds') GROUP BY window_start EMIT FINAL",
    "SELECT who, window_end - window_start AS length, min(price), count(*) FROM "
    "CUMULATE(good, ts, INTERVAL '10 seconds', INTERVAL '30 seconds') "
    "GROUP BY who, window_start, window_end EMIT FINAL",
    "SELECT who, window_start, window_end, count(*), sum(x), max(price) FROM "
    "SESSION(t PARTITION BY who, ts, INTERVAL '6 seconds') "
    "GROUP BY who, window_start, window_end EMIT FINAL",
    "SELECT window_end, count(*) AS n, quantile_disc(x, 0.5), avg(price) FROM "
    "SESSION(good, ts, INTERVAL '4 seconds') GROUP BY window_start, window_end "
    "HAVING count(*) > 1 EMIT FINAL",
    "SELECT who, window_start, window_end, count(*), sum(x), min(price) FROM "
    "SESSION(t PARTITION BY who, ts, INTERVAL '8 seconds') GROUP BY ALL "
    "EMIT CHANGES EVERY INTERVAL '10 seconds'",
    "SELECT who, max(s) FROM (SELECT who, x + 1 AS s, window_end AS e, window_start AS b FROM "
    "HOP(t, ts, INTERVAL '15 seconds', INTERVAL '30 seconds')) "
    "WHERE b > TIMESTAMP '2026-01-01 00:00:30' GROUP BY who, e EMIT FINAL",
)

rows_of = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]),
        st.integers(0, 4) | st.none(),
        st.sampled_from([0.5, 1.25, None]),
        st.integers(0, 8),
        st.integers(0, 40),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine() as opened:
        yield opened


def arrow_of(rows: list[Any]) -> pa.Table:
    """Rows whose times go on, some of them far out of order."""
    told, at = [], START
    for who, x, price, step, back in rows:
        at += timedelta(seconds=step)
        told.append({"who": who, "x": x, "price": price, "ts": at - timedelta(seconds=back)})
    schema = pa.schema([pa.field(c.name, c.type.arrow) for c in TOPIC.schema])
    return pa.Table.from_pylist(told, schema)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=rows_of,
    query=st.sampled_from(QUERIES),
    mode=st.sampled_from(["accumulating", "discarding"]),
    cuts=st.lists(st.integers(1, 30), max_size=6) | st.just(range(30)),
    saved_after=st.none() | st.integers(0, 3),
)
def test_any_cut_gives_the_rows_of_batch(
    engine: Engine, *, rows: Any, query: str, mode: str, cuts: Any, saved_after: Any
) -> None:
    table = arrow_of(rows)
    # `good` passes on rows with their places; the view over it is stepped over its rows.
    good = declare.view("good", "SELECT who, x, price, ts FROM t")
    late = "1 hour" if "FINAL" in query or ("SESSION" in query and len(rows) % 2) else None
    view = declare.view("v", query, lateness=late, accumulation=mode)
    relations = {"t": relation_of_topic(TOPIC)}
    plans = [plan_view(good, relations, Describer())]
    relations["good"] = relation_of_view(plans[0], relations)
    plans.append(plan_view(view, relations, Describer()))
    assert any(isinstance(node, Panes | SessionPanes) for node in walk(plans[1].root))

    over = (
        view
        if "good" not in query
        else declare.view("v", query.replace("good", "t"), lateness=late, accumulation=mode)
    )
    stepped = plan_view(over, relations, Describer())
    times = [None if t is None else _us(t) - 5_000_000 for t in table.column("ts").to_pylist()]
    ticks = pa.array(range(table.num_rows), pa.int64())
    outcome = run(
        engine,
        stepped.root,
        table.append_column("__tick", ticks),
        cuts=cuts,
        times_us=times,
        saved_after=saved_after,
    )

    answer = batch(Pipeline("test", (TOPIC,), (good, view)), {"t": table}, plans)["v"]
    found: Counter[Any] = Counter()
    for change in outcome.changes:
        found.update(tuples(change.visible()))
    assert found == Counter(tuples(answer))


def test_the_last_of_what_accumulates_is_what_retracts() -> None:
    rows = arrow_of([("a", 1, 0.5, 4, 0)] * 12 + [("b", 2, None, 30, 0)] * 3)
    text = "SELECT who, sum(x) AS s, count(*) AS n FROM t GROUP BY who EMIT CHANGES EVERY "
    modes = ("retracting", "accumulating", "discarding")
    views = tuple(
        declare.view(mode, f"{text} INTERVAL '10 seconds'", accumulation=mode) for mode in modes
    )
    relations = {"t": relation_of_topic(TOPIC)}
    plans = [plan_view(view, relations, Describer()) for view in views]

    answers = batch(Pipeline("test", (TOPIC,), views), {"t": rows}, plans)

    total = {who: (s, n) for who, s, n in tuples(answers["retracting"])}
    largest = {who: (s, n) for who, s, n in sorted(tuples(answers["accumulating"]))}
    added: dict[Any, tuple[Any, Any]] = {}
    for who, s, n in tuples(answers["discarding"]):
        before = added.get(who, (0, 0))
        added[who] = (before[0] + s, before[1] + n)
    assert total == largest == added
    assert answers["discarding"].num_rows > len(total)


def _us(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)

"""Final windows over windows: the same rows for any cut, and those of batch if none is late."""

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
from headwater.plan.pipeline import Pipeline
from headwater.replay.batch import batch
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic
from operators.running import frozen, run
from replay.rows import tuples

START = datetime(2026, 1, 1)
TOPIC = declare.topic(
    "t", "who VARCHAR, x INTEGER, ts TIMESTAMP", event_time="ts", delay="5 seconds"
)
_INNER = (
    "(SELECT who, window_start AS s, window_end AS e, sum(x) AS x, count(*) AS n, "
    "window_end - INTERVAL '1 millisecond' AS at "
    "FROM {inner} GROUP BY who, window_start, window_end)"
)
_TEN = "TUMBLE(t, ts, INTERVAL '10 seconds')"
_HOP = "HOP(t, ts, INTERVAL '5 seconds', INTERVAL '15 seconds')"
_SESSION = "SESSION(t PARTITION BY who, ts, INTERVAL '6 seconds')"
_GROWING = "CUMULATE(t, ts, INTERVAL '5 seconds', INTERVAL '20 seconds')"
NESTED = (
    (_TEN, "TUMBLE({rows}, s, INTERVAL '30 seconds')", "window_end, sum(n), count(*), sum(x)"),
    (_TEN, "TUMBLE({rows}, e, INTERVAL '25 seconds')", "who, window_end, max(n), min(x)"),
    (_HOP, "TUMBLE({rows}, e, INTERVAL '20 seconds')", "window_start, count(*), sum(n)"),
    (
        _GROWING,
        "HOP({rows}, e, INTERVAL '10 seconds', INTERVAL '20 seconds')",
        "window_end, sum(n)",
    ),
    (
        _TEN,
        "CUMULATE({rows}, s, INTERVAL '10 seconds', INTERVAL '30 seconds')",
        "window_end, sum(n)",
    ),
    (_SESSION, "TUMBLE({rows}, e, INTERVAL '25 seconds')", "window_end, sum(n), count(*), max(x)"),
    (_SESSION, "HOP({rows}, e, INTERVAL '10 seconds', INTERVAL '20 seconds')", "who, min(n)"),
    (_SESSION, "CUMULATE({rows}, e, INTERVAL '9 seconds', INTERVAL '27 seconds')", "sum(n)"),
    (_SESSION, "SESSION({rows} PARTITION BY who, e, INTERVAL '9 seconds')", "who, sum(n)"),
    (_SESSION, "TUMBLE({rows}, at, INTERVAL '20 seconds')", "window_start, count(*)"),
    (_HOP, "HOP({rows}, s, INTERVAL '7 seconds', INTERVAL '21 seconds')", "window_end, sum(n)"),
    (_TEN, "TUMBLE({rows}, at, INTERVAL '30 seconds')", "window_end, sum(n), count(*)"),
    (_TEN, "SESSION({rows} PARTITION BY who, s, INTERVAL '12 seconds')", "who, window_end, sum(n)"),
    (_TEN, "SESSION({rows} PARTITION BY who, e, INTERVAL '12 seconds')", "who, window_end, sum(n)"),
)

rows_of = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 4) | st.none(),
        st.integers(0, 8),
        st.integers(0, 12) | st.integers(0, 40),
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine() as opened:
        yield opened


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=rows_of,
    nested=st.sampled_from(NESTED),
    lateness=st.sampled_from([None, "7 seconds", "1 hour"]),
    cuts=st.lists(st.integers(1, 30), max_size=6) | st.just(range(30)),
    saved_after=st.none() | st.integers(0, 3),
)
def test_any_cut_gives_the_same_rows(
    engine: Engine, *, rows: Any, nested: Any, lateness: Any, cuts: Any, saved_after: Any
) -> None:
    inner, outer, items = nested
    source = outer.format(rows=_INNER.format(inner=inner))
    view = declare.view(
        "v",
        f"SELECT {items} FROM {source} GROUP BY who, window_start, window_end EMIT FINAL",
        lateness=lateness,
    )
    plan = plan_view(view, {"t": relation_of_topic(TOPIC)}, Describer())
    table, times = _table(rows)
    ticked = table.append_column("__tick", pa.array(range(len(rows)), pa.int64()))

    whole = run(engine, plan.root, ticked, times_us=times)
    cut = run(engine, plan.root, ticked, cuts=cuts, times_us=times, saved_after=saved_after)

    assert cut.total == whole.total
    assert cut.late_rows == whole.late_rows
    # What the inner windows took is never late for the outer ones, whose rows have a count.
    assert all("n" not in told.schema.names for told in (*cut.late, *whole.late))
    if lateness == "1 hour":
        answer = batch(Pipeline("test", (TOPIC,), (view,)), {"t": table})["v"]
        assert cut.total == Counter(frozen(row) for row in tuples(answer))
        assert not cut.late_rows


def _table(rows: list[Any]) -> tuple[pa.Table, list[int]]:
    """Rows whose times go on, some of them far out of order, and how far time has come."""
    told, times, at = [], [], START
    for who, x, step, back in rows:
        at += timedelta(seconds=step)
        ts = at - timedelta(seconds=back)
        told.append({"who": who, "x": x, "ts": ts})
        times.append((ts - datetime(1970, 1, 1)) // timedelta(microseconds=1) - 5_000_000)
    schema = pa.schema([pa.field(c.name, c.type.arrow) for c in TOPIC.schema])
    return pa.Table.from_pylist(told, schema), times

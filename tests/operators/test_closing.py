"""What is closed is not heard of again, and to forget it changes no answer and bounds the state."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import TICK
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.dataflow import Dataflow
from headwater.operators.describe import Describer
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan import closing
from headwater.plan.closing import closed_columns
from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import ViewPlan
from headwater.plan.sources import sources_of
from headwater.plan.ticks import with_ticks
from headwater.runtime.curves import less_delay, lowest, rising
from headwater.runtime.view import as_input
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic, relation_of_view
from headwater.testing.checkpoint import MemoryCheckpoint
from operators.running import added, zset

SECOND_US = 1_000_000
DELAY_US = 5 * SECOND_US
TOPICS = tuple(
    declare.topic(name, "k BIGINT, v BIGINT, ts TIMESTAMP", event_time="ts", delay="5 seconds")
    for name in ("a", "b")
)
TUMBLED_A, TUMBLED_B = (f"TUMBLE({name}, ts, INTERVAL '10 seconds')" for name in "ab")
COUNTS = f"SELECT k, window_start, count(*) AS n FROM {TUMBLED_A} GROUP BY k, window_start"
BY_WINDOW = "x.k = y.k AND x.window_start = y.window_start"

QUERIES = (
    f"SELECT x.k, x.v, y.v AS w FROM {TUMBLED_A} x JOIN {TUMBLED_B} y ON {BY_WINDOW}",
    f"SELECT x.k, x.v, y.v AS w FROM {TUMBLED_A} x LEFT JOIN {TUMBLED_B} y ON {BY_WINDOW} "
    "AND x.window_end = y.window_end",
    f"SELECT x.k, x.window_start FROM {TUMBLED_A} x SEMI JOIN {TUMBLED_B} y ON {BY_WINDOW}",
    f"SELECT x.k, x.window_end FROM {TUMBLED_A} x ANTI JOIN {TUMBLED_B} y ON {BY_WINDOW}",
    f"SELECT x.k, x.n, y.n AS m FROM ({COUNTS}) x JOIN ({COUNTS.replace('(a,', '(b,')}) y "
    f"ON {BY_WINDOW}",
    f"WITH c AS ({COUNTS}) SELECT c.* FROM c JOIN (SELECT window_start, max(n) AS most FROM c "
    "GROUP BY window_start) m ON c.window_start = m.window_start AND c.n = m.most",
    f"SELECT window_start, sum(n), count(*) FROM ({COUNTS}) GROUP BY window_start",
    f"SELECT DISTINCT k, window_end FROM {TUMBLED_A}",
    f"SELECT k, v, window_end FROM {TUMBLED_A} QUALIFY row_number() OVER "
    "(PARTITION BY window_end, k ORDER BY ts DESC, v) <= 2",
    f"SELECT * FROM ({COUNTS}) QUALIFY rank() OVER (PARTITION BY window_start ORDER BY n) = 1",
    f"SELECT x.k, x.v, y.v AS w FROM {TUMBLED_A} x FULL JOIN {TUMBLED_B} y ON {BY_WINDOW} "
    "AND x.v < y.v",
    f"SELECT k, window_end FROM {TUMBLED_A} EXCEPT SELECT k, window_end FROM {TUMBLED_B}",
    "SELECT window_start, median(v) FROM HOP(a, ts, INTERVAL '5 seconds', INTERVAL '10 seconds') "
    "GROUP BY window_start",
    "SELECT window_end, count(DISTINCT k) FROM (SELECT k, window_end, count(*) FROM SESSION(a "
    "PARTITION BY k, ts, INTERVAL '3 seconds') GROUP BY k, window_start, window_end) GROUP BY 1",
    "SELECT x.v, y.w FROM a x JOIN (SELECT max(v) AS v, window_end AS w FROM "
    f"{TUMBLED_A} GROUP BY window_start, window_end) y ON x.v = y.v "
    "AND x.ts BETWEEN y.w - INTERVAL '10 seconds' AND y.w",
    "SELECT x.k, x.ts, count(*) FROM a x JOIN b y ON x.k = y.k AND y.ts BETWEEN x.ts AND x.ts + "
    "INTERVAL '4 seconds' GROUP BY x.k, x.ts",
    f"SELECT window_start, sum(n), count(*) FROM TUMBLE((SELECT window_start AS t, n FROM "
    f"({COUNTS})), t, INTERVAL '20 seconds') GROUP BY window_start",
    f"SELECT window_start, max(n) AS most, min(n) AS least FROM ({COUNTS}) GROUP BY window_start",
    f"SELECT x.window_start, max(y.v) AS v FROM {TUMBLED_A} x LEFT JOIN {TUMBLED_B} y "
    f"ON {BY_WINDOW} AND x.window_end = y.window_end GROUP BY x.window_start",
    "SELECT k, v, window_end, sum(v) OVER (PARTITION BY window_end, k ORDER BY ts, v) AS s "
    f"FROM {TUMBLED_A}",
    f"SELECT k, n, window_start, lag(n) OVER (PARTITION BY window_start ORDER BY k) AS before "
    f"FROM ({COUNTS})",
    "SELECT x.k, y.v, count(*) FROM a x ASOF LEFT JOIN b y ON x.k = y.k AND x.ts >= y.ts "
    "GROUP BY x.k, y.v, x.ts",
)
# A view over a final view knows what is closed as well.
OVER_VIEWS = (
    "SELECT c.* FROM first c JOIN (SELECT window_start, max(n) AS most FROM first GROUP BY "
    "window_start) m ON c.window_start = m.window_start AND c.n = m.most",
    "SELECT window_start, sum(n) FROM first GROUP BY window_start",
)
# What comes when its window has closed matches rows of that window, of which older ones may go.
HIGHEST = (
    f"SELECT window_start, window_end, max(v) AS v FROM {TUMBLED_A} GROUP BY window_start, "
    "window_end"
)
OF_WINDOWS = (
    "SELECT x.k, x.v, x.ts, h.window_end FROM a x JOIN first h ON x.v = h.v "
    "AND x.ts >= h.window_start AND x.ts < h.window_end",
    "SELECT x.k, h.v, x.ts FROM first h JOIN a x ON x.ts BETWEEN h.window_start AND h.window_end "
    "AND h.v = x.v",
    "SELECT x.k, h.v, x.ts FROM a x JOIN first h ON x.ts BETWEEN h.window_start AND h.window_end "
    "AND h.v <> x.v",
    "SELECT x.k, x.v, x.ts FROM a x SEMI JOIN first h ON x.v = h.v AND x.ts >= h.window_start "
    "AND x.ts < h.window_end",
    "SELECT x.k, x.v, x.ts FROM a x WHERE NOT EXISTS (SELECT 1 FROM first h WHERE x.v = h.v "
    "AND x.ts >= h.window_start AND x.ts < h.window_end)",
    "SELECT x.k, h.v, x.ts FROM a x LEFT JOIN first h ON x.v = h.v AND x.ts >= h.window_start "
    "AND x.ts < h.window_end",
)
PIPELINES = (
    *(((query, "final"),) for query in QUERIES),
    *(((COUNTS, "final"), (query, "changes")) for query in OVER_VIEWS),
    *(((HIGHEST, "final"), (query, "changes")) for query in OF_WINDOWS),
)

Row = tuple[str, int | None, int | None, int]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as made:
        yield made


def plans_of(views: Sequence[tuple[str, str]], lateness: str | None = None) -> list[ViewPlan]:
    relations = {topic.name: relation_of_topic(topic) for topic in TOPICS}
    plans: list[ViewPlan] = []
    with Describer() as describe:
        for name, (query, emit) in zip(("first", "second"), views, strict=False):
            late = lateness if emit == "final" else None
            definition = declare.view(name, query, emit=emit, lateness=late)
            plans.append(plan_view(definition, relations, describe))
            relations[name] = relation_of_view(plans[-1], relations)
    return plans


class Pipeline:
    """Views stepped over a log of rows of both topics: (topic, k, v, seconds)."""

    def __init__(self, plans: Sequence[ViewPlan], engine: Engine) -> None:
        self._engine, self._plans = engine, plans
        ticked = {
            n.relation for p in plans for n in walk(p.root) if isinstance(n, Scan) and n.ticks
        }
        self._roots = {p.name: with_ticks(p.root) if p.name in ticked else p.root for p in plans}
        self._has_ticks = {p.name: p.name in ticked for p in plans}
        self._flows = {name: self._new(name) for name in self._roots}
        self._sources = {
            s for root in self._roots.values() for n in walk(root) for s in sources_of(n)
        }
        self._high = dict.fromkeys(("a", "b"), BEFORE_ALL)
        self._tick = self._number = 0
        self.last: dict[str, pa.RecordBatch] = {}

    def step(self, rows: Sequence[Row], *, is_end: bool = False) -> Epoch:
        """One epoch."""
        first, self._tick = self._tick, self._tick + len(rows) + 1
        curves = {name: self._curve(name, rows, first, is_end=is_end) for name in ("a", "b")}
        changes = {name: _table(name, rows, first) for name in ("a", "b")}
        sets = {s: lowest([curves[name] for name in s]) for s in self._sources}
        self._number += 1
        epoch = Epoch(self._number, 0, self._tick - 1, sets)
        for name, flow in self._flows.items():
            change = flow.step(changes, epoch)
            changes[name] = as_input(change, epoch.tick_last)
            self.last[name] = change.rows
        return epoch

    def restart(self) -> None:
        """All state goes through a checkpoint."""
        checkpoint = MemoryCheckpoint()
        for name, flow in self._flows.items():
            manifest = flow.save(checkpoint)
            self._flows[name] = self._new(name)
            self._flows[name].load(manifest, checkpoint)

    def state_rows(self) -> int:
        return sum(flow.state_size()[0] for flow in self._flows.values())

    def _new(self, name: str) -> Dataflow:
        return Dataflow(self._roots[name], self._engine, has_ticks=self._has_ticks[name])

    def _curve(self, name: str, rows: Sequence[Row], first: int, *, is_end: bool) -> WatermarkCurve:
        start, points = self._high[name], []
        for place, (topic, _, _, seconds) in enumerate(rows):
            if topic == name:
                self._high[name] = max(self._high[name], seconds * SECOND_US)
                points.append((first + place, self._high[name]))
        low = int(less_delay(np.array([start]), DELAY_US)[0])
        if is_end:
            return WatermarkCurve(low, np.array([first]), np.array([AFTER_ALL]))
        ticks, highs = (np.array([p[i] for p in points], dtype=np.int64) for i in (0, 1))
        return rising(low, ticks, less_delay(highs, DELAY_US))


def _table(name: str, rows: Sequence[Row], first: int) -> pa.Table:
    mine = [(place, row) for place, row in enumerate(rows) if row[0] == name]
    times = pa.array([row[3] * SECOND_US for _, row in mine], pa.timestamp("us"))
    return pa.table(
        {
            "k": pa.array([row[1] for _, row in mine], pa.int64()),
            "v": pa.array([row[2] for _, row in mine], pa.int64()),
            "ts": times,
            TICK: pa.array([first + place for place, _ in mine], pa.int64()),
        }
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Rows nearly in the order of time; a few are later than the delay."""
    rows: list[Row] = []
    clock = 0
    for _ in range(draw(st.integers(5, 60))):
        clock += draw(st.integers(0, 4))
        behind = draw(st.sampled_from([0, 0, 1, 3, 5, 5, 9, 14]))
        key = draw(st.none() | st.integers(0, 2))
        rows.append((draw(st.sampled_from("ab")), key, draw(st.integers(0, 2)), clock - behind))
    return rows


def run(
    plans: Sequence[ViewPlan], engine: Engine, log: Sequence[Row], epochs: int, restart_after: int
) -> list[tuple[Epoch, dict[str, pa.RecordBatch]]]:
    pipeline, outputs = Pipeline(plans, engine), []
    size = -(-len(log) // epochs)
    for first in range(0, len(log), size):
        epoch = pipeline.step(log[first : first + size])
        outputs.append((epoch, dict(pipeline.last)))
        if len(outputs) == restart_after:
            pipeline.restart()
    outputs.append((pipeline.step([], is_end=True), dict(pipeline.last)))
    return outputs


@pytest.mark.parametrize("views", PIPELINES)
@settings(max_examples=4, deadline=None)
@given(
    log=logs(),
    lateness=st.sampled_from([None, "4 seconds"]),
    epochs=st.sampled_from([4, 12, 30]),
    restart_after=st.integers(0, 5),
)
def test_forgetting_changes_nothing_and_what_is_closed_stays_so(
    engine: Engine,
    views: Any,
    *,
    log: list[Row],
    lateness: str | None,
    epochs: int,
    restart_after: int,
) -> None:
    plans = plans_of(views, lateness)
    outputs = run(plans, engine, log, epochs, restart_after)
    with pytest.MonkeyPatch.context() as patch:
        closed = {plan.name: closed_columns(plan.root) for plan in plans}
        patch.setattr(closing, "_RULES", {})
        kept = run(plans, engine, log, epochs, 0)

    for plan in plans:
        assert _content(outputs, plan.name) == _content(kept, plan.name)
        for (epoch, _), (_, later) in itertools.pairwise(outputs):
            for column, frontier in closed[plan.name].items():
                times = later[plan.name].column(column).drop_null().cast(pa.int64()).to_numpy()
                if frontier.sources in epoch.watermarks:
                    assert (times >= epoch.passed(frontier).end_us).all(), column


def _content(outputs: Any, name: str) -> Counter[Any]:
    return added(zset(batches[name]) for _, batches in outputs)


@pytest.mark.parametrize("views", PIPELINES[: -len(OF_WINDOWS)])
def test_the_state_is_bounded_however_long_the_log(engine: Engine, views: Any) -> None:
    random = Random(7)
    pipeline, sizes = Pipeline(plans_of(views), engine), []

    for second in range(0, 800, 10):
        rows = [
            (topic, random.randrange(3), random.randrange(3), second + random.randrange(10))
            for topic in "ab"
            for _ in range(4)
        ]
        pipeline.step(rows)
        sizes.append(pipeline.state_rows())

    assert max(sizes[40:]) <= 1.3 * max(sizes[:40]) < 400


@pytest.mark.parametrize("query", OF_WINDOWS)
def test_rows_of_closed_windows_wait_for_no_result(engine: Engine, query: str) -> None:
    pipeline, first = Pipeline(plans_of(((HIGHEST, "final"), (query, "changes"))), engine), []

    for second in range(0, 800, 4):
        pipeline.step([("a", 1, value, second + value) for value in range(4)])
        first.append(pipeline.state_rows())

    # A row is remembered for each of eighty windows, and the rows of the last two or three.
    assert max(first) <= 80 + 60

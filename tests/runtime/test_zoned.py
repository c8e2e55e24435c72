"""A watermark that looks at zones only runs as the one that looks at each row."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.delta.watermark import AFTER_ALL, WatermarkCurve
from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.operators import counting
from headwater.operators.windowed import WindowedOperator
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime import zoned
from headwater.runtime.ingest import Ingest
from headwater.runtime.records import Fact, FactKind
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.watermarks import TopicWatermark, times_us_of
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.storage.blobs import Blobs
from headwater.testing.clock import ManualClock
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk

SCHEMA = Schema((Column("ts", parse_type("TIMESTAMP")),))
DELAY_US = 10
CLICKS = TopicDefinition("clicks", SCHEMA, event_time="ts", delay_us=DELAY_US)

# The times of each append: how much further than the one before, and what is done afterwards.
appends = st.lists(
    st.tuples(
        st.lists(st.none() | st.integers(-14, 20), min_size=1, max_size=6),
        st.sampled_from(["", "", "flush", "seal"]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=10,
)


def topic_of(steps: list[tuple[list[int | None], str, int]]) -> tuple[Topic, int]:
    """A topic with all rows in files, and the tick after the last."""
    topic = Topic(CLICKS, Blobs(FakeDisk(1)), "topics/clicks", seal_at=SealAt(rows=9))
    tick = time = 0
    for number, (further, upkeep, gap) in enumerate(steps):
        times: list[int | None] = []
        for step in further:
            time += step or 0
            times.append(None if step is None else time)
        rows = pa.record_batch([pa.array(times, pa.timestamp("us"))], schema=SCHEMA.arrow)
        topic.append(Chunk(0, topic.next_offset(0), tick, number, rows))
        tick += len(times) + gap
        if upkeep:
            topic.flush()
        if upkeep == "seal":
            topic.seal()
    topic.flush()
    return topic, tick


def asked(curve: WatermarkCurve, span: tuple[int, int]) -> list[list[int]]:
    """All that a curve can be asked of an epoch; when it reached a time first."""
    times, ticks = np.arange(-90, 210), np.arange(span[0], span[1] + 1)
    reached = [curve.tick_of(times[n : n + 1])[0] for n in range(len(times))]
    again = curve.tick_of(times)
    return [reached, again.tolist(), curve.before(ticks).tolist(), [curve.start_us, curve.end_us]]


@settings(max_examples=120, deadline=None)
@given(
    steps=appends,
    cuts=st.sets(st.integers(0, 60), max_size=4),
    advances=st.lists(st.integers(-20, 90), max_size=2),
    zones_max=st.sampled_from([0, 2, 256]),
)
def test_zones_tell_what_rows_tell(
    steps: list[tuple[list[int | None], str, int]],
    cuts: set[int],
    advances: list[int],
    zones_max: int,
) -> None:
    topic, end = topic_of(steps)
    lazy, eager = TopicWatermark(CLICKS), TopicWatermark(CLICKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoned, "_ZONES_MAX", zones_max)
        for low, high in pairwise([0, *sorted(cut for cut in cuts if cut < end), end]):
            facts = [Fact(FactKind.ADVANCE, "clicks", -1, at, low) for at in advances[:1]]
            advances = advances[1:]
            for mark in (lazy, eager):
                mark.curve([], facts)
            chunks = topic.read_ticks(low, high, joined=True)
            assert all(chunk.zones is not None for chunk in chunks)

            found = lazy.curve(chunks, [])
            expected = eager.curve([replace(chunk, zones=None) for chunk in chunks], [])

            assert not eager.is_in_time
            if chunks and lazy.is_in_time:
                assert not are_late(chunks, expected).any()
            assert asked(found, (low, high)) == asked(expected, (low, high))
            assert asked(found.behind(3), (low, high)) == asked(expected.behind(3), (low, high))
            assert lazy.save() == eager.save()


def are_late(chunks: list[Chunk], curve: WatermarkCurve) -> Any:
    times = np.concatenate([times_us_of(chunk.rows.column("ts")) for chunk in chunks])
    return times < curve.before(np.concatenate([chunk.ticks() for chunk in chunks]))


@pytest.mark.parametrize(
    ("times", "is_in_time"),
    [
        # Neighbours are further apart than the delay, but no row is behind another.
        ([[0, 50, 100], [150, 300]], True),
        ([[0, 50, 40], [60, 55]], True),
        ([[0, 50, 39]], False),
        ([[0, 50], [41, 60]], True),
        ([[0, 50], [39]], False),
        ([[0, None]], False),
    ],
)
def test_zones_know_that_no_row_is_late(times: list[list[int | None]], is_in_time: bool) -> None:
    topic = Topic(CLICKS, Blobs(FakeDisk(1)), "topics/clicks")
    for values in times:
        rows = pa.record_batch([pa.array(values, pa.timestamp("us"))], schema=SCHEMA.arrow)
        topic.append(Chunk(0, topic.next_offset(0), topic.next_offset(0), 0, rows))
    topic.flush()
    mark = TopicWatermark(CLICKS)

    mark.curve(topic.read_ticks(0, 99, joined=True), [])

    assert mark.is_in_time == is_in_time


ROWS = 400


def app() -> hw.App:
    app = hw.App("zoned")
    app.topic("clicks", "ad BIGINT, cost BIGINT, ts TIMESTAMP", event_time="ts", delay="10 seconds")
    columns = "ad, window_start, count(*) AS n, sum(cost) AS cost"
    grouped = "GROUP BY ad, window_start, window_end"
    tumbling = "TUMBLE(clicks, ts, INTERVAL '20 seconds')"
    app.view("tumbling", f"SELECT {columns} FROM {tumbling} {grouped}", emit="final")
    hopping = "HOP(clicks, ts, INTERVAL '5 seconds', INTERVAL '20 seconds')"
    app.view("hopping", f"SELECT {columns} FROM {hopping} {grouped}", emit="final")
    app.view(
        "dear",
        f"SELECT {columns} FROM TUMBLE((SELECT * FROM clicks WHERE cost > 3), ts, "
        f"INTERVAL '20 seconds') {grouped}",
        emit="final",
        lateness="5 seconds",
    )
    app.view("changing", f"SELECT {columns} FROM {tumbling} {grouped}", lateness="5 seconds")
    # Rows that are withdrawn: the epochs are stepped in parts.
    counted = (
        "SELECT c.ts, g.n FROM clicks AS c JOIN "
        "(SELECT ad, count(*) AS n FROM clicks GROUP BY ad) AS g ON c.ad = g.ad"
    )
    app.view(
        "parted",
        f"SELECT window_start, n, count(*) FROM TUMBLE(({counted}), ts, INTERVAL '20 seconds') "
        "GROUP BY window_start, window_end, n",
        emit="final",
    )
    app.view("most", "SELECT window_start, max(n) AS n FROM tumbling GROUP BY window_start")
    return app


def rows_of(disorder: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    seconds = np.arange(ROWS) // 3 + rng.integers(0, disorder + 1, ROWS)
    return pa.table(
        {
            "ad": rng.integers(0, 5, ROWS),
            "cost": rng.integers(0, 9, ROWS),
            "ts": [datetime(2025, 6, 1) + timedelta(seconds=int(at)) for at in seconds],
        }
    )


def computed(rows: pa.Table, *, in_files: bool, seed: int) -> dict[str, tuple[pa.Table, pa.Table]]:
    """The content and the late rows of each view."""
    compiled = app().compile()
    settings = Settings(epoch_rows_max=110)
    runtime = Runtime(compiled.pipeline, compiled.plans, FakeDisk(0), ManualClock(), settings)
    assert [v.name for v in runtime.loop.stepper.views if v.dataflow._steps] == ["parted"]
    ingest = Ingest(runtime.intake, runtime.clock)
    at = np.sort(np.random.default_rng(seed).integers(0, ROWS, 12)).tolist()
    for low, high in pairwise([0, *at, ROWS]):
        ingest.send(runtime.topics["clicks"].definition, rows.slice(low, high - low))
    if in_files:
        runtime.checkpoint()
    while runtime.loop.run_epoch():
        pass
    runtime.intake.advance("clicks", AFTER_ALL)
    while runtime.loop.run_epoch():
        pass
    assert not runtime.problems
    found = {}
    for view in runtime.loop.stepper.views:
        schema = view.plan.schema.arrow
        late = pa.table({}) if view.late is None else view.late.read(0, 1 << 30)
        found[view.name] = (pa.Table.from_batches(view.content().batches(), schema), late)
    runtime.close()
    return found


@pytest.mark.parametrize("disorder", [0, 9, 25])
@pytest.mark.parametrize("seed", range(3))
def test_views_over_files_are_those_over_rows_in_memory(
    disorder: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "_ROWS_MIN", 1)
    spared: list[bool] = []
    step = WindowedOperator.step_in_time

    def noted(operator: WindowedOperator, *given: Any) -> Any:
        found = step(operator, *given)
        spared.append(found is not None)
        return found

    monkeypatch.setattr(WindowedOperator, "step_in_time", noted)
    rows = rows_of(disorder, seed)

    found = computed(rows, in_files=True, seed=seed)
    # The way without places is taken where no row is late, and there alone.
    assert bool(spared) == any(spared)
    assert any(spared) or disorder == 25
    spared.clear()
    expected = computed(rows, in_files=False, seed=seed)
    assert not spared

    for name, (content, late) in expected.items():
        assert content.num_rows
        assert_same(found[name][0], content)
        assert found[name][1] == late
    assert (expected["tumbling"][1].num_rows > 0) == (disorder == 25)

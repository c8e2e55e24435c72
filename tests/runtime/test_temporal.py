"""A view that compares with now() holds at every moment what DuckDB answers for that moment."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import DefinitionError
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.testing.clock import ManualClock
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk

NOON = datetime(2026, 1, 1, 12)
COLUMNS = "k BIGINT, v BIGINT, ts TIMESTAMP, at TIMESTAMPTZ, day DATE"
QUERIES = (
    "SELECT k, v FROM events WHERE ts > now() - INTERVAL '10 minutes'",
    "SELECT k, v FROM events WHERE now() - INTERVAL '10 minutes' <= ts AND v > 3",
    "SELECT k, v FROM events WHERE ts < now()",
    "SELECT k, at FROM events WHERE at <= current_timestamp + INTERVAL '5 minutes'",
    "SELECT k, ts FROM events WHERE ts BETWEEN now() - INTERVAL '15 minutes' AND now()",
    "SELECT k, ts FROM events WHERE now() BETWEEN ts AND at",
    "SELECT k, ts FROM events WHERE ts + INTERVAL '3 minutes' > (now()::TIMESTAMP)",
    "SELECT k, day FROM events WHERE day < now() - INTERVAL '12 hours'",
    "SELECT k, ts FROM events WHERE ts > now() - INTERVAL '20 minutes' "
    "AND ts > now() - INTERVAL '9 minutes' AND at > now()",
    "SELECT k, count(*) AS n, sum(v) AS v FROM events "
    "WHERE ts > now() - INTERVAL '10 minutes' GROUP BY k",
    "SELECT count(*) AS n FROM events WHERE ts > now() - INTERVAL '10 minutes'",
    "SELECT k, median(e.v) AS middle FROM events AS e "
    "WHERE e.ts > now() - INTERVAL '10 minutes' AND v < 8 GROUP BY k",
    "SELECT k, max(ts) AS newest FROM events GROUP BY k "
    "HAVING max(ts) < now() - INTERVAL '5 minutes'",
    "SELECT a.k, b.name FROM events AS a JOIN names AS b USING (k) "
    "WHERE a.ts > now() - INTERVAL '10 minutes' AND b.since < now()",
    "SELECT k, name FROM names WHERE since < now()",
    "SELECT k, ts FROM events WHERE ts > now() - INTERVAL '10 minutes' ORDER BY ts DESC, k LIMIT 3",
    "SELECT k FROM events WHERE k IN (SELECT k FROM names WHERE since > now() - INTERVAL '1 hour')",
    "WITH fresh AS (SELECT k, v FROM events WHERE ts > now() - INTERVAL '5 minutes') "
    "SELECT k, string_agg(v::VARCHAR, ',' ORDER BY v) AS vs FROM fresh GROUP BY k",
)


def app() -> hw.App:
    app = hw.App("temporal")
    app.topic("events", COLUMNS, event_time="ts")
    app.table("names", "k BIGINT PRIMARY KEY, name VARCHAR, since TIMESTAMP")
    for number, query in enumerate(QUERIES):
        app.view(f"v{number}", query)
    app.view("above", "SELECT k, count(*) AS n FROM v0 GROUP BY k")
    return app


def events(rng: random.Random, at: datetime) -> pa.Table:
    def moment() -> datetime | None:
        if rng.random() < 0.1:
            return None
        return at + timedelta(seconds=rng.randint(-1_200, 600), microseconds=rng.randint(0, 9))

    count = rng.randint(1, 12)
    return pa.table(
        {
            "k": pa.array([rng.randint(0, 3) for _ in range(count)], pa.int64()),
            "v": pa.array([rng.randint(0, 9) for _ in range(count)], pa.int64()),
            "ts": pa.array([moment() for _ in range(count)], pa.timestamp("us")),
            "at": pa.array([moment() for _ in range(count)], pa.timestamp("us", "UTC")),
            "day": pa.array(
                [at.date() - timedelta(days=rng.randint(0, 2)) for _ in range(count)], pa.date32()
            ),
        }
    )


def names(rng: random.Random, at: datetime) -> pa.Table:
    keys = [rng.randint(0, 3) for _ in range(rng.randint(0, 2))]
    since = [at + timedelta(minutes=rng.randint(-90, 20)) for _ in keys]
    return pa.table(
        {
            "k": pa.array(keys, pa.int64()),
            "name": pa.array([rng.choice("abc") for _ in keys], pa.string()),
            "since": pa.array(since, pa.timestamp("us")),
        }
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_at_every_moment_the_answer_is_that_of_batch_also_after_crashes(seed: int) -> None:
    rng, declared = random.Random(seed), app()
    compiled = declared.compile()
    clock = ManualClock(round(NOON.replace(tzinfo=UTC).timestamp()) * 1_000_000)
    disk = FakeDisk(seed)
    sent: dict[str, list[pa.Table]] = {"events": [], "names": []}
    runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, Settings())
    for number in range(6):
        now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC)
        for topic, rows in (("events", events), ("names", names)):
            sent[topic].append(rows(rng, now.replace(tzinfo=None)))
            Ingest(runtime.intake, clock).send(runtime.topics[topic].definition, sent[topic][-1])
        while runtime.loop.run_epoch():
            pass
        if number % 2:
            # Nothing is sent, and time alone moves rows.
            clock.advance(rng.choice([0.000_001, 60, 400]))
            now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC)
            while runtime.loop.run_epoch():
                pass
        expected = declared.batch({n: pa.concat_tables(t) for n, t in sent.items()}, now=now)
        for view in runtime.loop.stepper.views:
            found = pa.Table.from_batches(view.content().batches(), view.plan.schema.arrow)
            assert_same(found, expected[view.name])
        if number == 3:
            runtime.checkpoint()
        if number in (2, 4):
            disk = disk.crash()
            runtime.journal.close()
            runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, Settings())
        clock.advance(rng.randint(1, 500))
    runtime.close()


def test_rows_leave_though_nothing_is_sent(tmp_path: Path) -> None:
    clock = ManualClock(round(NOON.replace(tzinfo=UTC).timestamp()) * 1_000_000)
    app = hw.App("leaving")
    app.topic("events", "k BIGINT, ts TIMESTAMP")
    app.view("recent", "SELECT k FROM events WHERE ts > now() - INTERVAL '1 minute'")
    with app.start(tmp_path, listen=None, clock=clock) as live:
        live.send("events", [{"k": 1, "ts": "2026-01-01T12:00:00"}])
        live.settle()
        clock.advance(59.999_999)
        assert live.query("SELECT * FROM recent").num_rows == 1
        clock.advance(0.000_001)
        change = live.changes("recent", 1, wait_seconds=30)

        assert change.select(["k", "_weight"]).to_pylist() == [{"k": 1, "_weight": -1}]
        assert live.query("SELECT * FROM recent").num_rows == 0
    with app.start(tmp_path, listen=None, clock=clock) as live:
        assert live.query("SELECT * FROM recent").num_rows == 0
        assert live.changes("recent").num_rows == 2


def test_a_paused_view_wakes_nobody() -> None:
    clock = ManualClock(round(NOON.replace(tzinfo=UTC).timestamp()) * 1_000_000)
    app = hw.App("paused")
    app.topic("events", "v BIGINT, ts TIMESTAMP")
    app.view(
        "total", "SELECT sum(v)::TINYINT AS v FROM events WHERE ts > now() - INTERVAL '1 minute'"
    )
    compiled = app.compile()
    runtime = Runtime(compiled.pipeline, compiled.plans, FakeDisk(1), clock, Settings())
    rows = [{"v": 1, "ts": "2026-01-01T12:00:00"}]
    Ingest(runtime.intake, clock).send(runtime.topics["events"].definition, rows)
    runtime.loop.run_epoch()
    runtime.loop.stepper.paused["total"] = "it was paused by hand"
    clock.advance(61)

    assert not runtime.loop.run_epoch()
    runtime.close()


def test_a_clock_that_steps_back_brings_nothing_back() -> None:
    clock = ManualClock(round(NOON.replace(tzinfo=UTC).timestamp()) * 1_000_000)
    app = hw.App("back")
    app.topic("events", "v BIGINT, ts TIMESTAMP")
    app.view("recent", "SELECT v FROM events WHERE ts > now() - INTERVAL '1 minute'")
    compiled = app.compile()
    runtime = Runtime(compiled.pipeline, compiled.plans, FakeDisk(1), clock, Settings())

    for minutes in (0, -10):
        clock.set_wall(clock.now_us() + minutes * 60_000_000)
        rows = [{"v": minutes, "ts": "2026-01-01T11:55:00"}]
        Ingest(runtime.intake, clock).send(runtime.topics["events"].definition, rows)
        runtime.loop.run_epoch()

    assert runtime.loop.stepper.views[0].content().count() == 0
    runtime.close()


def test_final_windows_do_not_decide_over_rows_that_come_and_go() -> None:
    app = hw.App("final")
    app.topic("events", "v BIGINT, ts TIMESTAMP", event_time="ts")
    app.view(
        "n",
        "SELECT window_start, count(*) AS n FROM TUMBLE((SELECT * FROM events "
        "WHERE ts > now() - INTERVAL '1 hour'), ts, INTERVAL '1 minute') GROUP BY ALL",
        emit="final",
    )

    with pytest.raises(DefinitionError, match="rows come and go with now") as caught:
        app.compile()

    assert caught.value.hint == "compare with now() in a view over the windows"


def test_now_in_a_part_that_is_computed_as_a_whole_is_refused() -> None:
    app = hw.App("whole")
    app.topic("events", "v BIGINT, ts TIMESTAMP")
    app.view(
        "n",
        "WITH RECURSIVE down AS (SELECT v FROM events WHERE ts > now() "
        "UNION ALL SELECT v - 1 FROM down WHERE v > 0) FROM down",
    )

    with pytest.raises(DefinitionError, match="computed as a whole") as caught:
        app.compile()

    assert "a view of their own" in str(caught.value.hint)

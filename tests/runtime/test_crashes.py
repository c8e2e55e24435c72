"""Whatever is killed, and whenever: no result is lost or doubled, and what was seen stays seen.

A pipeline of every kind of state runs over a disk that goes off inside one of its calls. A new run
over what survived must hold every acknowledged batch, repeat every change that readers had seen at
its old offset, and, when all is sent, answer as DuckDB does in batch.
"""

from __future__ import annotations

import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw
from headwater.clock import Clock
from headwater.delta.watermark import AFTER_ALL
from headwater.errors import HeadwaterError, StateError
from headwater.run.compile import Compiled
from headwater.runtime import loop
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.testing.clock import ManualClock
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk

START = datetime(2025, 6, 1)
TOPICS = ("clicks", "prices", "hits", "ads", "offers")


class Runs:
    """What an ad costs from its first click until it is silent for a minute."""

    def row(self, row: dict[str, Any], key: Any) -> None:
        costs = key.state.setdefault("costs", [])
        costs.append(row["cost"])
        key.timers.set(row["ts"] + timedelta(minutes=1))

    def timer(self, name: str, at: datetime, key: Any) -> Any:
        costs = key.state.pop("costs")
        yield {"n": len(costs), "cost": sum(costs)}


def app() -> hw.App:
    app = hw.App("crashes")
    app.topic("clicks", "ad BIGINT, cost BIGINT, ts TIMESTAMP", event_time="ts", delay="1 minute")
    app.topic("prices", "ad BIGINT, price DOUBLE, ts TIMESTAMP", event_time="ts")
    app.topic(
        "hits",
        "server BIGINT, ts TIMESTAMP",
        event_time="ts",
        idle="10 seconds",
        watermark_by="server",
        ready=0.6,
    )
    app.table("ads", "ad BIGINT PRIMARY KEY, name VARCHAR")
    app.table("offers", "id BIGINT PRIMARY KEY, ad BIGINT, price BIGINT")
    app.view("offered", "SELECT o.id, o.price, a.name FROM offers o JOIN ads a USING (ad)")
    app.view("dear", "SELECT ad, cost * 2 AS cost FROM clicks WHERE cost > 5")
    app.view(
        "per_minute",
        "SELECT name, window_start, count(*) AS n, sum(cost) AS cost "
        "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') JOIN ads USING (ad) "
        "GROUP BY name, window_start, window_end",
        emit="final",
        lateness="1 day",
    )
    app.view(
        "per_server",
        "SELECT server, window_start, count(*) AS n FROM TUMBLE(hits, ts, INTERVAL '1 minute') "
        "GROUP BY server, window_start, window_end",
        emit="final",
        lateness="1 day",
    )
    app.view("by_name", "SELECT name, avg(n) AS n FROM per_minute GROUP BY name")
    # Rows leave while the test runs: its clock begins 214 days after the first of them.
    app.view(
        "newest", "SELECT ad, cost, ts FROM clicks WHERE ts > now() - INTERVAL '308158 minutes'"
    )
    app.view("newest_costs", "SELECT ad, sum(cost) AS cost FROM newest GROUP BY ad")
    app.view("top", "SELECT ad, cost, ts FROM clicks ORDER BY cost DESC, ts, ad LIMIT 3")
    app.view(
        "worth",
        "SELECT c.ad, c.ts, p.price FROM clicks AS c ASOF JOIN prices AS p "
        "ON c.ad = p.ad AND c.ts >= p.ts",
    )
    app.function("(cost BIGINT) -> BIGINT", name="doubled")(lambda cost: pc.multiply(cost, 2))
    app.view("twice", "SELECT ad, doubled(cost) AS cost FROM clicks WHERE doubled(cost) > 10")
    app.transform("ad_names", reads="ads", columns="name VARCHAR")(lambda rows: rows.select([1]))
    app.process("runs", reads="clicks", key="ad", columns="ad BIGINT, n BIGINT, cost BIGINT")(Runs)
    app.view("spread", "SELECT ad, median(cost) AS middle FROM clicks GROUP BY ad")
    return app


class Run:
    """One life of the pipeline, stepped by hand."""

    def __init__(self, compiled: Compiled, disk: FakeDisk, clock: Clock) -> None:
        settings = Settings(epoch_rows_max=50)
        self.runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, settings)
        self.ingest = Ingest(self.runtime.intake, clock)
        self.runtime.loop.watch_silence()

    def send(self, topic: str, rows: pa.Table) -> None:
        receipt = self.ingest.send(self.runtime.topics[topic].definition, rows)
        assert receipt.accepted == rows.num_rows

    def count(self, topic: str) -> int:
        return self.runtime.topics[topic].rows_total

    def changes(self) -> dict[str, pa.Table]:
        views = self.runtime.loop.stepper.views
        return {view.name: view.changes.read(0, 1 << 40) for view in views}

    def contents(self) -> dict[str, pa.Table]:
        found = {}
        for view in self.runtime.loop.stepper.views:
            batches = view.content().batches()
            found[view.name] = pa.Table.from_batches(batches, view.plan.schema.arrow)
        return found


def batches(seed: int) -> list[tuple[str, pa.Table]]:
    """What the senders send, in order."""
    rng = random.Random(seed)
    sent = []
    for number in range(14):
        at = START + timedelta(seconds=20 * number)
        topic = rng.choice(["clicks", "clicks", "clicks", "prices", "ads", "offers", "hits"])
        count = rng.randint(1, 40)
        times = pa.array(
            [
                at + timedelta(seconds=rng.randint(-40, 40), microseconds=rng.randint(0, 999_999))
                for _ in range(count)
            ],
            pa.timestamp("us"),
        )
        ads = pa.array([rng.randint(1, 4) for _ in range(count)], pa.int64())
        if topic == "clicks":
            costs = pa.array([rng.randint(0, 20) for _ in range(count)], pa.int64())
            sent.append((topic, pa.table({"ad": ads, "cost": costs, "ts": times})))
        elif topic == "prices":
            prices = pa.array([rng.random() for _ in range(count)])
            sent.append((topic, pa.table({"ad": ads, "price": prices, "ts": times})))
        elif topic == "hits":
            sent.append((topic, pa.table({"server": ads, "ts": times})))
        elif topic == "offers":
            ids = pa.array([rng.randint(1, 9) for _ in range(count)], pa.int64())
            sent.append((topic, pa.table({"id": ids, "ad": ads, "price": range(count)})))
        else:
            names = pa.array([rng.choice("abc") for _ in range(count)])
            sent.append((topic, pa.table({"ad": ads, "name": names})))
    return sent


def live(
    compiled: Compiled,
    disk: FakeDisk,
    clock: ManualClock,
    sent: list[tuple[str, pa.Table]],
    done: int,
) -> tuple[int, dict[str, pa.Table]]:
    """Run until the disk goes off or all is sent; what was acknowledged and what was seen."""
    rng = random.Random(done)
    seen: dict[str, pa.Table] = {}
    run: Run | None = None
    try:
        run = Run(compiled, disk, clock)
        done = acknowledged(run, sent, done)
        while done < len(sent):
            run.send(*sent[done])
            done += 1
            while rng.random() < 0.7 and run.runtime.loop.run_epoch():
                seen = run.changes()
            if rng.random() < 0.3:
                run.runtime.checkpoint()
            if rng.random() < 0.3:
                clock.advance(8.0)
                run.runtime.intake.note_idle()
        for topic in ("clicks", "prices", "hits"):
            run.runtime.intake.advance(topic, AFTER_ALL)
        while run.runtime.loop.run_epoch():
            seen = run.changes()
    except StateError:
        pass
    finally:
        if run is not None:
            close(run)
    return done, seen


def acknowledged(run: Run, sent: list[tuple[str, pa.Table]], done: int) -> int:
    """How many batches the log has: those acknowledged, and perhaps the one that was in flight."""
    totals = {topic: run.count(topic) for topic in TOPICS}
    for number, (topic, rows) in enumerate(sent):
        if totals[topic] < rows.num_rows:
            assert number >= done, f"batch {number} was acknowledged and is gone"
            return number
        totals[topic] -= rows.num_rows
    return len(sent)


def close(run: Run) -> None:
    # The disk may be off.
    with suppress(HeadwaterError):
        run.runtime.close()


@pytest.mark.parametrize("seed", range(24))
def test_a_crash_in_any_call_changes_no_answer(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Epochs are committed behind the next one's step, as large ones are.
    monkeypatch.setattr(loop, "_LARGE_ROWS_MIN", seed % 2 or 1 << 16)
    compiled, sent, clock = app().compile(), batches(seed), ManualClock()
    rng = random.Random(seed)
    disk, done = FakeDisk(seed), 0
    seen: dict[str, pa.Table] = {}
    for _ in range(3):
        disk.crash_at(disk.calls + rng.randint(1, 160))
        done, now_seen = live(compiled, disk, clock, sent, done)
        check_repeats(seen, now_seen)
        seen = now_seen or seen
        disk = disk.crash()

    run = Run(compiled, disk, clock)
    done = acknowledged(run, sent, done)
    check_repeats(seen, run.changes())
    for topic, rows in sent[done:]:
        run.send(topic, rows)
    for topic in ("clicks", "prices", "hits"):
        run.runtime.intake.advance(topic, AFTER_ALL)
    while run.runtime.loop.run_epoch():
        pass

    check_repeats(seen, run.changes())
    inputs = {
        name: pa.concat_tables([rows for topic, rows in sent if topic == name])
        for name in {topic for topic, _ in sent}
    }
    contents = run.contents()
    now = datetime.fromtimestamp(clock.now_us() / 1e6, UTC)
    for name, expected in app().batch(inputs, now=now).items():
        assert_same(contents[name], expected)
    close(run)


def check_repeats(seen: dict[str, pa.Table], now: dict[str, pa.Table]) -> None:
    """What readers saw is there again, at the same offsets, in the same epochs."""
    for name, table in seen.items():
        if now:
            again = now[name].slice(0, table.num_rows)
            assert again.combine_chunks().equals(table.combine_chunks()), name

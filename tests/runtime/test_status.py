"""The status says of a window that has not closed who holds it, since when, and what it needs."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import headwater as hw
from headwater.log.chunk import Chunk
from headwater.run.live import Live
from headwater.runtime.holding import held, held_by
from headwater.runtime.records import Fact, FactKind
from headwater.runtime.senders import SenderWatermark
from headwater.runtime.status import Held, TopicStatus, ViewStatus
from headwater.testing.clock import ManualClock

NOON = 1_767_268_800_000_000
SECOND = 1_000_000


def app() -> hw.App:
    app = hw.App("status")
    app.topic(
        "clicks", "who VARCHAR, ts TIMESTAMP", event_time="ts", delay="10 seconds", partitions=2
    )
    app.topic(
        "hits",
        "server VARCHAR, ts TIMESTAMP",
        event_time="ts",
        idle="1 hour",
        watermark_by="server",
        ready=0.6,
    )
    for topic in ("clicks", "hits"):
        app.view(
            f"{topic}_per_minute",
            f"SELECT window_start, count(*) AS n FROM TUMBLE({topic}, ts, INTERVAL '1 minute') "
            "GROUP BY ALL",
            emit="final",
        )
    app.view("recent", "SELECT * FROM clicks")
    app.view("listed", "SELECT * FROM TUMBLE(hits, ts, INTERVAL '1 minute')", emit="final")
    return app


def topic(live: Live, name: str) -> TopicStatus:
    return next(told for told in live.status().topics if told.name == name)


def view(live: Live, name: str) -> ViewStatus:
    return next(told for told in live.status().views if told.name == name)


def send(live: Live, name: str, column: str, *rows: tuple[str, str], partition: int = 0) -> None:
    records = [{column: who, "ts": f"2026-01-01T{at}"} for who, at in rows]
    live.send(name, records, partition=partition)
    live.settle()


def test_a_partition_that_has_not_spoken_is_named() -> None:
    with app().start(listen=None, clock=ManualClock(NOON)) as live:
        send(live, "clicks", "who", ("ann", "12:00:05"))

        told, waiting = topic(live, "clicks"), view(live, "clicks_per_minute")

    assert told.held == Held("clicks", partition=1)
    assert told.held_by == "partition 1: no event yet"
    assert waiting.held == told.held
    assert waiting.window_end_us == NOON + 60 * SECOND
    assert waiting.waits_for == (
        "clicks to pass 2026-01-01T12:01:00Z, the end of its next window, by an event of "
        "2026-01-01T12:01:10Z or later; it is nowhere yet "
        "(partition 1: no event yet)"
    )


def test_the_slowest_partition_is_named_with_the_time_since_when(tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    with app().start(tmp_path, listen=None, clock=clock) as live:
        send(live, "clicks", "who", ("ann", "12:00:05"))
        send(live, "clicks", "who", ("bob", "12:00:02"), partition=1)
        clock.advance(30)
        send(live, "clicks", "who", ("ann", "12:05:05"))

        before = view(live, "clicks_per_minute")
    with app().start(tmp_path, listen=None, clock=clock) as live:
        after = view(live, "clicks_per_minute")

    held = Held("clicks", partition=1, at_us=NOON - 8 * SECOND, heard_us=NOON, since_us=NOON)
    assert before.held == after.held == held
    assert before.waits_for is not None
    assert "it stands since 2026-01-01T12:00:00Z" in before.waits_for
    assert "partition 1: its newest event is of 2026-01-01T12:00:02Z" in before.waits_for
    assert after.waits_for == before.waits_for


def test_the_sender_that_would_make_it_ready_is_named() -> None:
    with app().start(listen=None, clock=ManualClock(NOON)) as live:
        send(live, "hits", "server", ("a", "12:00:03"), ("b", "12:00:02"), ("c", "12:00:01"))
        send(live, "hits", "server", ("a", "12:01:30"))

        told = view(live, "hits_per_minute")
        listed = view(live, "listed")

    # Two of three are enough: the quicker of the two that are behind decides.
    assert told.held is not None
    assert told.held.sender == "b"
    assert told.completeness == 1 / 3
    assert told.waits_for is not None
    assert "server b: its newest event is of 2026-01-01T12:00:02Z" in told.waits_for
    assert "1 of 3 are further" in told.waits_for
    assert listed.waits_for == told.waits_for


def test_nothing_is_waited_for_where_no_window_is_open() -> None:
    with app().start(listen=None, clock=ManualClock(NOON)) as live:
        empty = view(live, "hits_per_minute")
        send(live, "hits", "server", ("a", "12:00:03"))
        live.advance("hits", "2026-01-01T12:01:00")
        live.settle()
        closed = view(live, "hits_per_minute")
        changes = view(live, "recent")

    for told in (empty, closed, changes):
        assert (told.waits_for, told.held, told.window_end_us) == (None, None, None)


def test_when_all_are_idle_that_is_said() -> None:
    (definition,) = [t for t in app().pipeline.topics if t.name == "hits"]
    mark = SenderWatermark(definition)
    rows = pa.record_batch(
        {"server": ["a"], "ts": pa.array([NOON], pa.timestamp("us"))},
    )
    mark.curves([Chunk(0, 0, 0, NOON, rows)], [Fact(FactKind.IDLE, "hits", -1, 0, 1, "a")])
    mark.risen_us = NOON

    assert held(mark) == Held("hits", since_us=NOON)
    assert held_by(mark) == "all its senders are idle; it stands since 2026-01-01T12:00:00Z"


def everything_that_waits() -> hw.App:
    app = hw.App("waits")
    app.sql("""
        CREATE TOPIC shown (id BIGINT, ts TIMESTAMP, WATERMARK FOR ts AS ts);
        CREATE TOPIC hits (server VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts)
        WITH (watermark_by = 'server', ready = 0.5);
        CREATE VIEW sessions AS
        SELECT server, window_end FROM SESSION(hits PARTITION BY server, ts, INTERVAL '30 seconds')
        GROUP BY server, window_start, window_end EMIT FINAL;
        CREATE VIEW pattern AS SELECT * FROM hits MATCH_RECOGNIZE (
            PARTITION BY server ORDER BY ts MEASURES a.ts AS at
            PATTERN (a b) WITHIN INTERVAL '1 minute' DEFINE b AS b.ts > a.ts);
        CREATE VIEW matched AS
        SELECT s.id, h.server FROM shown s LEFT JOIN hits h
        ON h.ts BETWEEN s.ts AND s.ts + INTERVAL '10 seconds' EMIT FINAL;
        CREATE VIEW either AS
        SELECT s.id, h.server FROM shown s FULL JOIN hits h
        ON s.id = length(h.server) + 6 AND h.ts BETWEEN s.ts AND s.ts + INTERVAL '10 seconds'
        EMIT FINAL;
        CREATE VIEW newest AS
        SELECT s.id, h.server FROM shown s ASOF LEFT JOIN hits h ON s.ts >= h.ts EMIT FINAL;
        CREATE VIEW paced AS SELECT count(*) AS n FROM shown
        EMIT CHANGES EVERY INTERVAL '20 seconds';
        CREATE VIEW parts WITH (accumulation = 'discarding') AS SELECT count(*) AS n FROM shown
        EMIT CHANGES EVERY INTERVAL '20 seconds';
        CREATE VIEW early AS SELECT completeness(window_end) AS share, count(*) AS n
        FROM TUMBLE(hits, ts, INTERVAL '1 minute') GROUP BY window_end;
        CREATE VIEW recent AS SELECT id FROM shown WHERE ts > now() - INTERVAL '1 hour';
    """)

    @app.process(
        "alarms", reads="SELECT server, ts FROM hits", key="server", columns="at TIMESTAMP"
    )
    class Alarm:
        def row(self, row: Any, key: hw.Key) -> None:
            key.timers.set(row["ts"] + timedelta(seconds=45))

        def timer(self, name: str, at: datetime, key: hw.Key) -> Any:
            yield {"at": at}

    assert Alarm

    return app


def test_all_that_waits_says_what_for_and_who_holds_it() -> None:
    with everything_that_waits().start(listen=None, clock=ManualClock(NOON)) as live:
        live.send("shown", [{"id": i, "ts": f"2026-01-01T12:00:0{i}"} for i in (1, 2)])
        hits = [("a", "12:00:03"), ("b", "12:00:02"), ("c", "12:00:01")]
        send(live, "hits", "server", *hits)
        live.send("shown", [{"id": 3, "ts": "2026-01-01T12:00:03"}])
        live.settle()
        waits = {told.name: told.waits for told in live.status().views}

    found = {
        name: [
            (w.what, (w.until_us - NOON) / SECOND, w.held and (w.held.topic, w.held.sender))
            for w in told
        ]
        for name, told in waits.items()
    }
    b, slowest, shown = ("hits", "b"), ("hits", "c"), ("shown", None)
    assert found == {
        "sessions": [("session", 31.0, b)],
        "pattern": [("pattern", 3.000001, slowest)],
        "matched": [("join", 11.000001, slowest)],
        "either": [("join", 3.000001, shown), ("join", 11.000001, slowest)],
        "newest": [("join", 3.000001, slowest)],
        "paced": [("stretch", 20.0, shown)],
        "parts": [("stretch", 20.0, shown)],
        "early": [("completeness", 60.0, slowest)],
        "recent": [("time", 3601.0, None)],
        "alarms": [("timer", 46.0, slowest)],
    }
    texts = {name: told[0].text for name, told in waits.items()}
    assert texts["recent"].startswith("the clock to reach 2026-01-01T13:00:01Z")
    assert texts["early"] == (
        "hits to pass 2026-01-01T12:01:00Z, the end of its first window that is not complete, by "
        "an event of 2026-01-01T12:01:00Z or later; it is at 2026-01-01T12:00:03Z (server c: its "
        "newest event is of 2026-01-01T12:00:01Z, the delay is 0 seconds; 2 of 3 are further; it "
        "stands since 2026-01-01T12:00:00Z)"
    )

"""A watermark per sender is what following each row by hand gives, wherever an epoch is cut."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import headwater as hw
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.log.chunk import Chunk
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime import senders
from headwater.runtime.ingest import Ingest
from headwater.runtime.records import Fact, FactKind
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.senders import SenderWatermark
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

SCHEMA = Schema(
    (
        Column("server", DataType("VARCHAR", pa.string())),
        Column("ts", DataType("TIMESTAMP", pa.timestamp("us"))),
    )
)
DELAY_US = 10
Row = tuple[str, int | None]


def definition(ready: float = 1.0) -> TopicDefinition:
    return TopicDefinition(
        "logs", SCHEMA, event_time="ts", delay_us=DELAY_US, watermark_by="server", ready=ready
    )


def chunk(tick: int, rows: list[Row], *, arrived_us: int = 7) -> Chunk:
    names, times = zip(*rows, strict=True)
    batch = pa.record_batch(
        {"server": pa.array(names, pa.string()), "ts": pa.array(times, pa.timestamp("us"))}
    )
    return Chunk(0, 0, tick, arrived_us, batch)


def idle(sender: str, tick: int) -> Fact:
    return Fact(FactKind.IDLE, "logs", -1, 0, tick, sender)


def advance(until_us: int, tick: int, sender: str | None = None) -> Fact:
    return Fact(FactKind.ADVANCE, "logs", -1, until_us, tick, sender)


def values_at(curve: WatermarkCurve, ticks: range) -> list[int]:
    return curve.before(np.array(ticks, dtype=np.int64)).tolist()


def test_the_slowest_sender_holds_it() -> None:
    mark = SenderWatermark(definition())

    complete, ready = mark.curves([chunk(0, [("a", 100), ("b", 50), ("a", 200), ("b", 120)])], [])

    # `a` alone is all that is known at first; a watermark never goes back.
    assert values_at(complete, range(5)) == [BEFORE_ALL, 90, 90, 90, 110]
    assert ready is complete
    assert mark.current_us == mark.complete_us == 110


def test_it_is_ready_when_the_wanted_share_has_passed() -> None:
    mark = SenderWatermark(definition(ready=0.5))
    rows: list[Row] = [("a", 10), ("b", 10), ("c", 10), ("d", 10), ("a", 90), ("b", 70)]

    complete, ready = mark.curves([chunk(0, rows)], [])

    assert values_at(complete, range(4, 7)) == [0, 0, 0]
    assert values_at(ready, range(4, 7)) == [0, 0, 60]
    assert mark.shares().of(np.array([0, 1, 60, 61, 80, 81])).tolist() == [
        1.0,
        0.5,
        0.5,
        0.25,
        0.25,
        0.0,
    ]


def test_an_idle_sender_does_not_hold_it_until_it_speaks_again() -> None:
    mark = SenderWatermark(definition())
    mark.curves([chunk(0, [("a", 100), ("b", 20)])], [])

    silent, _ = mark.curves([chunk(2, [("a", 210)])], [idle("b", 2)])
    spoken, _ = mark.curves([chunk(3, [("b", 150), ("a", 400)])], [])

    assert silent.end_us == 200
    assert spoken.end_us == 200
    assert mark.active == ["a", "b"]


def test_a_sender_can_be_declared_before_it_speaks() -> None:
    mark = SenderWatermark(definition())

    waiting, _ = mark.curves([chunk(0, [("a", 100)])], [advance(30, 0, "b")])
    heard, _ = mark.curves([chunk(1, [("b", 80)])], [])

    assert waiting.end_us == 30
    assert heard.end_us == 70


def test_who_is_waited_for_is_told() -> None:
    mark = SenderWatermark(definition())
    mark.curves([chunk(0, [("a", 100), ("b", 50), ("c", 80)], arrived_us=77)], [])

    holder = mark.holder()

    assert holder is not None
    assert (holder.sender, holder.at_us, holder.heard_us) == ("b", 40, 77)
    assert (holder.ahead, holder.count) == (2, 3)


def test_nobody_is_waited_for_when_all_are_idle() -> None:
    mark = SenderWatermark(definition())
    mark.curves([chunk(0, [("a", 100)])], [idle("a", 1)])

    assert mark.holder() is None
    assert mark.current_us == 90


@pytest.mark.parametrize("ready", [0.07, 0.95, 1.0])
def test_a_share_of_a_hundred_is_a_whole_number_of_them(ready: float) -> None:
    mark = SenderWatermark(definition(ready=ready))

    mark.curves([chunk(0, [(f"s{n}", 1_000 + n) for n in range(100)])], [])
    mark.curves([chunk(100, [(f"s{n}", 2_000 + n) for n in range(100)])], [])

    passed = sum(2_000 + n - DELAY_US >= mark.current_us for n in range(100))
    assert passed == round(ready * 100)


class ByHand:
    """The definition, row by row."""

    def __init__(self, ready: float) -> None:
        self.ready = ready
        self.lows: dict[str, int] = {}
        self.active: set[str] = set()
        self.advanced = BEFORE_ALL
        self.now = [BEFORE_ALL, BEFORE_ALL]

    def row(self, sender: str, time: int | None) -> None:
        if time is not None:
            self.lows[sender] = max(self.lows.get(sender, BEFORE_ALL), time - DELAY_US)
            self.active.add(sender)
            self.move()

    def fact(self, fact: Fact) -> None:
        if fact.kind is FactKind.IDLE:
            self.active.discard(str(fact.sender))
        elif fact.sender is None:
            self.advanced = max(self.advanced, fact.until_us)
        else:
            self.lows[fact.sender] = max(self.lows.get(fact.sender, BEFORE_ALL), fact.until_us)
            self.active.add(fact.sender)
        self.move()

    def move(self) -> None:
        lows = sorted((self.lows[s] for s in self.active), reverse=True)
        count = math.ceil(round(self.ready * len(lows), 6))
        reached = [lows[-1], lows[count - 1]] if lows else [BEFORE_ALL, BEFORE_ALL]
        self.now = [max(n, r, self.advanced) for n, r in zip(self.now, reached, strict=True)]


rows_strategy = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 90)), min_size=1, max_size=12
)
facts_strategy = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from(["idle", "advance", "sender"]),
        st.sampled_from("abcg"),
        st.integers(0, 90),
    ),
    max_size=5,
)


@given(
    st.lists(rows_strategy, max_size=6),
    facts_strategy,
    st.sets(st.integers(0, 6)),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
    st.sampled_from([1, 3, 128]),
)
def test_it_is_what_each_row_by_hand_gives_whatever_the_cut(
    appends: list[list[Row]],
    facts_drawn: list[tuple[int, str, str, int]],
    cuts: set[int],
    ready: float,
    block: int,
) -> None:
    chunks, tick = [], 0
    for rows in appends:
        chunks.append(chunk(tick, rows))
        tick += len(rows)
    starts = [c.tick_first for c in chunks] + [tick]
    facts = sorted(
        (
            idle(who, starts[min(at, len(chunks))])
            if kind == "idle"
            else advance(us, starts[min(at, len(chunks))], who if kind == "sender" else None)
            for at, kind, who, us in facts_drawn
        ),
        key=lambda fact: fact.tick,
    )

    by_hand, expected = ByHand(ready), []
    for c, rows in zip(chunks, appends, strict=True):
        for fact in facts:
            if fact.tick == c.tick_first:
                by_hand.fact(fact)
        for sender, time in rows:
            expected.append(list(by_hand.now))
            by_hand.row(sender, time)
    for fact in facts:
        if fact.tick == tick:
            by_hand.fact(fact)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(senders, "_BLOCK", block)
        mark = SenderWatermark(definition(ready))
        edges = [0, *sorted(c for c in cuts if c < len(chunks)), len(chunks)]
        found, given_facts = [], 0
        for low, high in pairwise(edges):
            some = [f for f in facts[given_facts:] if f.tick <= starts[high]]
            given_facts += len(some)
            complete, early = mark.curves(chunks[low:high], some)
            at = range(starts[low], starts[high])
            found += [
                list(pair)
                for pair in zip(values_at(complete, at), values_at(early, at), strict=True)
            ]
            saved = json.loads(json.dumps(mark.save()))
            mark = SenderWatermark(definition(ready))
            mark.load(saved)

    assert found == expected
    assert [mark.complete_us, mark.current_us] == by_hand.now
    assert mark.current_us < AFTER_ALL


def test_many_rows_of_many_senders_are_followed_row_by_row() -> None:
    rng = np.random.default_rng(3)
    who = rng.integers(0, 40, 6_000)
    times = np.arange(6_000) * 10 + rng.integers(-2_000, 2_000, 6_000) + 100 * who
    rows: list[Row] = [(f"s{w}", int(t)) for w, t in zip(who, times, strict=True)]
    by_hand, expected = ByHand(0.9), []
    for sender, time in rows:
        by_hand.row(sender, time)
        expected.append(list(by_hand.now))

    mark = SenderWatermark(definition(0.9))
    complete, ready = mark.curves([chunk(0, rows)], [])

    at = range(1, 6_001)
    assert values_at(complete, at) == [pair[0] for pair in expected]
    assert values_at(ready, at) == [pair[1] for pair in expected]


def pipeline(*views: str) -> hw.App:
    app = hw.App("senders")
    app.topic(
        "hits",
        "server BIGINT, ts TIMESTAMP",
        event_time="ts",
        idle="1 minute",
        watermark_by="server",
        ready=0.5,
    )
    for view in views:
        app.view(
            view,
            "SELECT window_start, server, count(*) AS n "
            "FROM TUMBLE(hits, ts, INTERVAL '10 seconds') GROUP BY ALL",
            emit="final",
        )
    return app


def test_a_view_built_from_the_log_finds_the_same_rows_late(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    with pipeline("live").start(tmp_path, listen=None, clock=ManualClock()) as live:
        for number in range(30):
            size = int(rng.integers(1, 20))
            times = 10_000_000 * number + rng.integers(-30_000_000, 30_000_000, size)
            live.send(
                "hits",
                pa.table(
                    {
                        "server": pa.array(rng.integers(0, 1 + number // 5, size)),
                        "ts": pa.array(times, pa.timestamp("us")),
                    }
                ),
            )
            live.settle()
        live.advance("hits", "1970-01-01T00:05:30", sender=2)
        live.settle()
        seen = live.content("live").sort_by(
            [("window_start", "ascending"), ("server", "ascending")]
        )
        late = live.query("SELECT count(*) AS n FROM live$late").to_pylist()

    with pipeline("live", "built").start(tmp_path, listen=None) as live:
        built = live.content("built").sort_by(
            [("window_start", "ascending"), ("server", "ascending")]
        )
        built_late = live.query("SELECT count(*) AS n FROM built$late").to_pylist()

    assert built.equals(seen)
    assert built_late == late
    assert late[0]["n"] > 10


class Run:
    """A life of the pipeline, stepped by hand."""

    def __init__(self, disk: FakeDisk, clock: ManualClock) -> None:
        compiled = pipeline("live").compile()
        self.runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, Settings())
        self.runtime.loop.watch_silence()
        self.ingest = Ingest(self.runtime.intake, clock)

    def send(self, server: int, ts: str) -> None:
        topic = self.runtime.topics["hits"].definition
        self.ingest.send(topic, [{"server": server, "ts": ts}])

    def idle(self) -> list[str | None]:
        return [fact.sender for fact in self.runtime.intake.facts if fact.kind is FactKind.IDLE]


def test_only_who_is_silent_falls_idle() -> None:
    clock = ManualClock()
    run = Run(FakeDisk(1), clock)
    run.send(1, "2026-01-01T00:00:01")
    run.send(2, "2026-01-01T00:00:02")

    assert run.runtime.intake.note_idle() == 60.0
    clock.advance(59)
    run.send(2, "2026-01-01T00:00:03")
    clock.advance(1)
    assert run.runtime.intake.note_idle() == 59.0

    assert run.idle() == ["1"]
    run.runtime.close()


def test_after_a_restart_the_silence_of_all_is_counted_also_of_rows_not_computed_yet() -> None:
    clock, disk = ManualClock(), FakeDisk(1)
    run = Run(disk, clock)
    run.send(1, "2026-01-01T00:00:01")
    run.runtime.loop.run_epoch()
    run.send(2, "2026-01-01T00:00:02")
    run.runtime.close()

    again = Run(disk, clock)
    clock.advance(60)
    again.runtime.intake.note_idle()

    assert again.idle() == ["1", "2"]
    again.runtime.close()

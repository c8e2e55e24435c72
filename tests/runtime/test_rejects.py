"""Rejected rows are sent again once each, as they came or repaired, whatever is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import headwater as hw
from headwater.errors import DefinitionError, HeadwaterError, StateError
from headwater.run.compile import Compiled
from headwater.run.live import Live
from headwater.runtime import rejects
from headwater.runtime.ingest import Ingest
from headwater.runtime.rejects import Rejects
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.status import TopicStatus
from headwater.runtime.statuses import status_of
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

DAY = 86_400.0
EARLY = b'{"n": %d, "ts": "2026-01-03T00:00:00"}'


def app() -> hw.App:
    """A topic that rejects what is more than a day ahead: what waits a day is taken."""
    app = hw.App("shop")
    app.topic(
        "sales",
        "n BIGINT NOT NULL, ts TIMESTAMP",
        event_time="ts",
        future_max="1 day",
        partitions=2,
    )
    app.view("totals", "SELECT count(*) AS n FROM sales")
    return app


class Run:
    """One life of the pipeline, stepped by hand."""

    def __init__(self, compiled: Compiled, disk: FakeDisk, clock: ManualClock) -> None:
        self.runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, Settings())
        self.ingest = Ingest(self.runtime.intake, clock)
        self.rejects = Rejects(self.runtime.intake, self.ingest, self.runtime.rejected)
        self.definition = self.runtime.topics["sales"].definition

    def status(self) -> TopicStatus:
        return status_of(self.runtime, (), "").topics[0]

    def numbers(self) -> list[list[int]]:
        topic = self.runtime.topics["sales"]
        return [topic.read_offsets(p, 0, 1 << 30)["n"].to_pylist() for p in (0, 1)]


@contextmanager
def running(compiled: Compiled, disk: FakeDisk, clock: ManualClock) -> Iterator[Run]:
    run = Run(compiled, disk, clock)
    try:
        yield run
    finally:
        # The disk may be off.
        with suppress(HeadwaterError):
            run.runtime.close()


def test_a_crash_in_any_call_sends_each_row_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejects, "BATCH_ROWS", 3)
    compiled = app().compile()

    clock, first = ManualClock(), FakeDisk(0)
    with running(compiled, first, clock) as run:
        for n in range(4):
            body = EARLY % n + b"\n" + b'{"n": "none"}'
            run.ingest.send(run.definition, body, partition=n % 2)
    clock.advance(2 * DAY)
    whole = first.crash()
    with running(compiled, whole, clock) as run:
        run.rejects.send(run.definition)

    for call in range(1, whole.calls):
        disk = first.crash()
        disk.crash_at(call)
        with suppress(StateError), running(compiled, disk, clock) as run:
            run.rejects.send(run.definition)
        with running(compiled, disk.crash(), clock) as run:
            run.rejects.send(run.definition)
            assert run.numbers() == [[0, 2], [1, 3]]
            told = run.status()
            assert told.received == told.rows + told.rejected + told.duplicate


# Through the Python door.


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def live(clock: ManualClock) -> Iterator[Live]:
    with app().start(listen=None, clock=clock) as live:
        yield live


def rows(live: Live, *numbers: int, **more: Any) -> None:
    live.send("sales", b"\n".join(EARLY % n for n in numbers), **more)


def numbers(live: Live, partition: int = 0) -> list[int]:
    found: list[int] = live.rows("sales", partition=partition)["n"].to_pylist()
    return found


def waiting(live: Live) -> list[int]:
    found = live.rejected("sales").to_pylist()
    return [row["_offset"] for row in found if not row["_sent_again"]]


def test_rows_that_are_taken_now_are_taken_once(live: Live, clock: ManualClock) -> None:
    rows(live, 1, 2)
    rows(live, 3, partition=1)
    assert waiting(live) == [0, 1, 2]
    clock.advance(2 * DAY)

    first = live.send_rejected("sales")
    rows(live, 4)
    second = live.send_rejected("sales")

    assert (first.accepted, first.rejected, first.offset_to) == (3, 0, 3)
    assert (second.accepted, second.rejected) == (0, 0)
    assert (numbers(live), numbers(live, 1)) == ([1, 2, 4], [3])
    assert waiting(live) == []


def test_what_is_rejected_again_waits_again(live: Live, clock: ManualClock) -> None:
    rows(live, 1)

    again = live.send_rejected("sales")

    assert (again.accepted, again.rejected) == (0, 1)
    assert waiting(live) == [1]
    clock.advance(2 * DAY)
    assert live.send_rejected("sales").accepted == 1
    assert numbers(live) == [1]


def test_repaired_rows_take_the_place_of_the_rejected(live: Live) -> None:
    live.send("sales", b'{"n": "one", "ts": null}\n{"n": "two", "ts": null}\n')
    mended = b'{"n": 1, "ts": null}\n{"n": 2, "ts": null}\n'

    first = live.send_rejected("sales", mended, offsets=(0, 2))
    second = live.send_rejected("sales", mended, offsets=(0, 2))

    assert (first.accepted, first.duplicate) == (2, 0)
    assert (second.accepted, second.duplicate) == (0, 2)
    assert numbers(live) == [1, 2]
    assert live.send_rejected("sales").rejected == 0


def test_repaired_rows_for_rows_that_do_not_wait_are_refused(
    live: Live, clock: ManualClock
) -> None:
    rows(live, 1, 2, 3, 4)
    live.send_rejected("sales", [{"n": 1, "ts": None}], offsets=(0, 2))

    for offsets, match in (
        ((0, 3), "were sent again meanwhile"),
        ((3, 4), "wait before 3"),
        ((2, 5), "no rejected rows 2 to 5"),
        ((2, 2), "no rejected rows 2 to 2"),
    ):
        with pytest.raises(DefinitionError, match=match):
            live.send_rejected("sales", [{"n": 9, "ts": None}], offsets=offsets)
    with pytest.raises(DefinitionError, match="stand for rejected ones"):
        live.send_rejected("sales", [])

    clock.advance(2 * DAY)
    assert live.send_rejected("sales").accepted == 2
    assert numbers(live) == [1, 3, 4]


def test_what_was_sent_again_is_known_after_a_start(tmp_path: Path) -> None:
    clock = ManualClock()
    with app().start(tmp_path, listen=None, clock=clock) as live:
        rows(live, 1)
        clock.advance(2 * DAY)
        live.send_rejected("sales")

    with app().start(tmp_path, listen=None, clock=clock) as live:
        assert waiting(live) == []
        assert live.send_rejected("sales").accepted == 0
        assert numbers(live) == [1]


def test_nobody_else_may_call_itself_so(live: Live) -> None:
    with pytest.raises(DefinitionError, match="begins with"):
        live.send("sales", [], producer="$rejected", sequence=1)


def test_who_sends_rejected_rows_is_never_forgotten(
    live: Live, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.runtime.producers.PRODUCERS_MAX", 2)
    rows(live, 1)
    clock.advance(2 * DAY)
    live.send_rejected("sales")
    for n in range(4):
        live.send("sales", [], producer=f"shop-{n}", sequence=n + random.Random(n).randint(0, 3))

    assert [p.producer for p in live.producers("sales")] == ["shop-3", "$rejected"]
    assert waiting(live) == []


def test_rows_are_sent_again_once_the_topic_was_mended(tmp_path: Path) -> None:
    narrow, wide = hw.App("shop"), hw.App("shop")
    narrow.topic("sales", "n TINYINT")
    wide.topic("sales", "n BIGINT")
    with narrow.start(tmp_path, listen=None) as live:
        live.send("sales", b"n\n1000\n1\n", form="csv")
        live.send("sales", b'{"n": 2000}\n{"n": "none"}\n')

    with wide.start(tmp_path, listen=None) as live:
        again = live.send_rejected("sales")

        assert (again.accepted, again.rejected) == (2, 1)
        assert live.rows("sales")["n"].to_pylist() == [1, 1000, 2000]
        assert live.send_rejected("sales").accepted == 0

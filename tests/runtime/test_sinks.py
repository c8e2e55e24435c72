"""A sink's thread tries as long as it should, ends when it must, and says how it stands."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

import headwater as hw
from headwater.clock import SystemClock
from headwater.errors import ConnectorError, DefinitionError, HeadwaterError, StateError
from headwater.plan.pipeline import SinkDefinition
from headwater.run.live import Live
from headwater.runtime.sinks import SinkRunner


class Store:
    """A store that can be made to fail, and counts how often it was asked."""

    def __init__(self, error: HeadwaterError | None = None) -> None:
        self.error = error
        self.rows = 0
        self.attempts = 0
        self.is_closed = False
        self.attempted = threading.Event()

    def position(self) -> int:
        return self.rows

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        assert (offset_from, changes.num_rows) == (self.rows, offset_to - offset_from)
        self.attempts += 1
        self.attempted.set()
        if self.error is not None:
            raise self.error
        self.rows = offset_to

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    app = hw.App("numbers")
    app.topic("numbers", "n BIGINT")
    app.view("all_numbers", "SELECT n FROM numbers")
    with app.start(tmp_path, listen=None) as live:
        live.send("numbers", [{"n": n} for n in range(10)])
        live.settle()
        yield live


@contextmanager
def pulling(
    live: Live, store: Store, admit: Callable[[int], None] = lambda _: None
) -> Iterator[SinkRunner]:
    loop = live._runtime.loop
    (view,) = loop.stepper.views
    sink = SinkRunner(
        SinkDefinition("store", "all_numbers", "memory", {}),
        view,
        store,
        SystemClock(),
        published=loop.published,
        rows_max=4,
        every_seconds=0.0,
        admit=admit,
    )
    sink.start()
    try:
        yield sink
    finally:
        sink.stop(drain=False, timeout=10)


def ended(sink: SinkRunner, stop: Callable[[], None]) -> bool:
    stop()
    return not sink._thread.is_alive()


def test_all_that_is_published_is_written_before_the_end(live: Live) -> None:
    store = Store()
    with pulling(live, store) as sink:
        assert ended(sink, lambda: sink.stop(timeout=10))

    assert (store.rows, sink.status().lag, sink.status().state) == (10, 0, "stopped")
    assert sink.problem is None
    assert store.is_closed


def test_a_store_that_still_fails_at_the_end_is_tried_once_more_and_left(live: Live) -> None:
    store = Store(ConnectorError("the store is away"))
    with pulling(live, store) as sink:
        assert store.attempted.wait(10)
        before = store.attempts
        assert ended(sink, lambda: sink.stop(timeout=10))

    assert store.attempts <= before + 1
    assert sink.problem == "sink store is retrying: the store is away"


def test_a_store_that_cannot_be_trusted_is_not_tried_again(live: Live) -> None:
    store = Store(StateError("its files are damaged"))
    with pulling(live, store) as sink:
        sink._thread.join(10)

        assert not sink._thread.is_alive()

    assert store.attempts == 1
    assert sink.problem == "sink store is stopped: its files are damaged"


def test_a_store_that_comes_back_gets_every_change_once(live: Live) -> None:
    store = Store(ConnectorError("the store is away"))
    with pulling(live, store) as sink:
        assert store.attempted.wait(10)
        store.error = None
        store.attempted.clear()
        assert store.attempted.wait(10)
        sink.stop(timeout=10)

    assert (store.rows, sink.problem) == (10, None)


def test_a_write_whose_answer_is_lost_is_not_written_again(live: Live) -> None:
    store = Forgetful()
    with pulling(live, store) as sink:
        assert ended(sink, lambda: sink.stop(timeout=10))

    assert store.rows == 10


class Forgetful(Store):
    """A store that takes every write, and says of every second one that it did not."""

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        super().write(changes, offset_from, offset_to)
        if self.attempts % 2:
            raise ConnectorError("no answer came")


def test_a_position_that_cannot_be_is_refused(live: Live) -> None:
    store = Store()
    store.rows = 11

    def admit(position: int) -> None:
        raise DefinitionError(f"{position} is too much")

    with pulling(live, store, admit) as sink:
        sink._thread.join(10)

    assert sink.problem == "sink store is stopped: 11 is too much"

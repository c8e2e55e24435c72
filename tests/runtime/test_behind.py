"""Epochs that are committed by a second thread, while the next one is computed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from headwater.runtime import loop
from headwater.runtime.ingest import Ingest
from headwater.runtime.records import Kind
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.view import ViewRunner
from headwater.storage.journal import Journal
from headwater.testing.clock import ManualClock
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk

ROWS = pa.table(
    {
        "ad": [number % 7 for number in range(60)],
        "cost": [number * 31 % 17 for number in range(60)],
        "ts": [datetime(2025, 6, 1) + timedelta(seconds=number) for number in range(60)],
    }
)


@pytest.fixture(autouse=True)
def _always_behind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "_LARGE_ROWS_MIN", 1)
    yield


def app() -> hw.App:
    app = hw.App("behind")
    app.topic("clicks", "ad BIGINT, cost BIGINT, ts TIMESTAMP", event_time="ts")
    app.table("ads", "ad BIGINT PRIMARY KEY, cost BIGINT")
    app.view("dear", "SELECT ad, cost * 2 AS cost FROM clicks WHERE cost > 5")
    # Its rows carry their hash from the start, so that its content may be kept apart.
    app.view("totals", "SELECT ad, 2 * sum(cost) AS cost FROM clicks GROUP BY ad")
    return app


def opened(disk: FakeDisk) -> Runtime:
    compiled = app().compile()
    settings = Settings(epoch_rows_max=10)
    return Runtime(compiled.pipeline, compiled.plans, disk, ManualClock(), settings)


def send(runtime: Runtime, topic: str, rows: pa.Table) -> None:
    ingest = Ingest(runtime.intake, runtime.clock)
    ingest.send(runtime.topics[topic].definition, rows)


def content(runtime: Runtime, name: str) -> pa.Table:
    found = runtime.loop.visible.contents[name]
    return pa.Table.from_batches(found.batches())


def test_the_answer_is_that_of_batch_and_published_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = opened(FakeDisk(0))
    threads: list[str] = []
    publish = ViewRunner.publish

    def noted(view: ViewRunner, stepped: Any, epoch: int) -> None:
        threads.append(threading.current_thread().name)
        publish(view, stepped, epoch)

    monkeypatch.setattr(ViewRunner, "publish", noted)
    send(runtime, "clicks", ROWS)
    while runtime.loop.run_epoch():
        pass

    assert all(name.startswith("headwater-commit") for name in threads)
    assert runtime.loop.visible.epoch == runtime.loop.progress.epoch == 6
    for name, expected in app().batch({"clicks": ROWS}).items():
        assert_same(content(runtime, name), expected)
    (dear,) = (view for view in runtime.loop.stepper.views if view.name == "dear")
    epochs = dear.changes.read(0, 100).column("_epoch").to_pylist()
    assert epochs == sorted(epochs)
    runtime.close()


def test_readers_see_a_table_as_it_was_after_the_epoch_of_the_views(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runtime = opened(FakeDisk(0))
    epochs = runtime.loop
    allowed = threading.Semaphore(0)
    append = Journal.append

    def held(journal: Journal, kind: Kind, parts: Any) -> Any:
        assert kind is not Kind.EPOCH or allowed.acquire(timeout=20)
        return append(journal, kind, parts)

    monkeypatch.setattr(Journal, "append", held)
    send(runtime, "clicks", ROWS.slice(0, 1))
    assert epochs.run_epoch()
    send(runtime, "ads", pa.table({"ad": [1], "cost": [5]}))
    second = threading.Thread(target=epochs.run_epoch)
    second.start()
    while epochs.progress.epoch < 2:
        assert second.is_alive()

    assert epochs.visible.epoch == 0
    allowed.release()
    assert epochs.wait_for(1, 0, timeout=20)
    first = epochs.visible
    allowed.release()
    second.join()

    assert (first.epoch, first.contents["ads"].count()) == (1, 0)
    assert (epochs.visible.epoch, epochs.visible.contents["ads"].count()) == (2, 1)
    allowed.release(10)
    runtime.close()


def test_what_the_journal_refuses_ends_the_loop_and_no_checkpoint_is_taken() -> None:
    disk = FakeDisk(0)
    runtime = opened(disk)
    send(runtime, "clicks", ROWS)
    assert runtime.loop.run_epoch()
    runtime.loop.finish()
    disk.crash_at(disk.calls + 1)

    with pytest.raises(HeadwaterError):
        while runtime.loop.run_epoch():
            pass
    assert runtime.loop.failure is not None
    # Nor can the journal be closed.
    with suppress(HeadwaterError):
        runtime.close()

    again = opened(disk.crash())
    while again.loop.run_epoch():
        pass
    for name, expected in app().batch({"clicks": ROWS}).items():
        assert_same(content(again, name), expected)
    again.close()


def test_an_epoch_is_committed_behind_where_more_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LARGE_ROWS_MIN", 10)
    runtime = opened(FakeDisk(0))
    threads: list[str] = []
    append = Journal.append

    def noted(journal: Journal, kind: int, parts: Any) -> Any:
        if kind == Kind.EPOCH:
            threads.append(threading.current_thread().name)
        return append(journal, kind, parts)

    monkeypatch.setattr(Journal, "append", noted)
    # None of them is dear, and all are of one ad: an epoch puts out two rows at most.
    rows = ROWS.set_column(0, "ad", pa.array([1] * 60)).set_column(1, "cost", pa.array([2] * 60))
    send(runtime, "clicks", rows)
    while runtime.loop.run_epoch():
        pass

    assert len(threads) == 6
    assert all(name.startswith("headwater-commit") for name in threads[:-1])
    assert not threads[-1].startswith("headwater-commit")
    runtime.close()


def test_a_backlog_opens_the_parallel_instance_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FakeDisk(0)
    runtime = opened(disk)
    assert runtime._engine._opening is None
    send(runtime, "clicks", ROWS)
    runtime.close()
    monkeypatch.setattr("headwater.runtime.runtime.PARALLEL_ROWS_MIN", 60)

    runtime = opened(disk)

    assert runtime._engine._opening is not None
    runtime.close()

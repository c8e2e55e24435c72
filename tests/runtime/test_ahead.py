"""Files that are opened and checked before the epoch that reads them."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import StateError
from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.runtime import loop
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.blobs import Blobs
from headwater.storage.disk import Disk
from headwater.storage.local import LocalDisk
from headwater.testing.clock import ManualClock
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk

# Enough for columns that have checksums of their own.
ROWS, FILES = 10_000, 4
NUMBERS = np.arange(ROWS * FILES)
CLICKS = pa.table(
    {
        "ad": NUMBERS % 97,
        "cost": NUMBERS * 31 % 1009,
        "note": pa.array([f"note {n % 13}" for n in NUMBERS.tolist()]),
        "ts": pa.array(np.datetime64(datetime(2025, 6, 1), "us") + NUMBERS * 1000),
    }
)
NEVER = 1 << 62


@pytest.fixture(autouse=True)
def _small_epochs_are_large(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(loop, "_LARGE_ROWS_MIN", 1)
    monkeypatch.setattr(loop, "_AHEAD_ROWS_MIN", 1)
    yield


def app(*, has_views: bool = True) -> hw.App:
    app = hw.App("ahead")
    columns = "ad BIGINT, cost BIGINT, note VARCHAR, ts TIMESTAMP"
    app.topic("clicks", columns, event_time="ts")
    app.topic("others", columns, event_time="ts")
    if has_views:
        app.view("dear", "SELECT ad, cost FROM clicks WHERE cost > 900")
        app.view("totals", "SELECT note, sum(cost) AS cost FROM clicks GROUP BY note")
    return app


def opened(disk: Disk, *, has_views: bool = True) -> Runtime:
    compiled = app(has_views=has_views).compile()
    settings = Settings(epoch_rows_max=ROWS)
    return Runtime(compiled.pipeline, compiled.plans, disk, ManualClock(), settings)


def logged(disk: Disk) -> None:
    """Write a log of several files, with which nothing is computed yet."""
    runtime = opened(disk, has_views=False)
    ingest = Ingest(runtime.intake, runtime.clock)
    for number in range(FILES):
        rows = CLICKS.slice(number * ROWS, ROWS)
        ingest.send(runtime.topics["clicks"].definition, rows.slice(0, ROWS - 1))
        ingest.send(runtime.topics["others"].definition, rows.slice(ROWS - 1))
        runtime.checkpoint()
    runtime.close()


@pytest.fixture
def disk() -> FakeDisk:
    disk = FakeDisk(0)
    logged(disk)
    return disk


def files(disk: Disk, topic: str = "clicks") -> list[str]:
    return disk.list(f"topics/{topic}/hot")


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("headwater-ahead")]


def unready(runtime: Runtime, epoch: int) -> int:
    """How much an epoch would have to wait for."""
    return len(runtime.loop.stepper.unready(epoch * ROWS, (epoch + 1) * ROWS))


def test_what_the_next_epoch_reads_is_ready_and_no_more(disk: FakeDisk) -> None:
    runtime = opened(disk)
    assert [unready(runtime, n) > 0 for n in range(FILES)] == [True] * FILES
    for number in range(FILES):
        assert runtime.loop.run_epoch()
        runtime.loop._ahead.wait()

        assert not unready(runtime, number)
        assert number + 1 == FILES or not unready(runtime, number + 1)
        assert number + 3 >= FILES or unready(runtime, number + 3)
    runtime.close()


def test_answers_are_those_of_batch(disk: FakeDisk) -> None:
    runtime = opened(disk)
    while runtime.loop.run_epoch():
        pass

    given = {
        "clicks": pa.concat_tables(
            CLICKS.slice(number * ROWS, ROWS - 1) for number in range(FILES)
        ),
        "others": CLICKS.slice(0, 0),
    }
    for name, expected in app().batch(given).items():
        found = pa.Table.from_batches(runtime.loop.visible.contents[name].batches())
        assert_same(found, expected)
    runtime.close()


def failure_of(disk: FakeDisk) -> tuple[int, str]:
    """How many epochs were computed, and why no more."""
    runtime = opened(disk)
    with pytest.raises(StateError) as raised:
        while runtime.loop.run_epoch():
            pass
    epochs = runtime.loop.progress.epoch
    runtime.loop.stop()
    assert not threads()
    return epochs, raised.value.message


@pytest.mark.parametrize("file", range(FILES))
@pytest.mark.parametrize("damage", ["column", "index", "shorter", "two columns", "unread"])
def test_damage_is_found_where_it_is_found_without(
    disk: FakeDisk, monkeypatch: pytest.MonkeyPatch, file: int, damage: str
) -> None:
    path = files(disk)[file]
    content = bytearray(disk.read(path))
    costs = CLICKS.column("cost").slice(file * ROWS, ROWS - 1).to_numpy().tobytes()
    ads = CLICKS.column("ad").slice(file * ROWS, ROWS - 1).to_numpy().tobytes()
    places = {
        "column": [content.index(costs) + 20_000],
        "two columns": [content.index(ads) + 70_000, content.index(costs) + 20_000],
        "index": [content.rindex(b"headwater.index") + 30],
        "shorter": [],
        "unread": [],
    }
    for place in places[damage]:
        content[place] ^= 16
    if damage == "unread":
        # What nobody reads is nobody's to find, ahead or not.
        path = files(disk, "others")[file]
        content = bytearray(disk.read(path))
    disk.write(path, [bytes(content[:-1] if damage == "shorter" else content)])
    if damage == "unread":
        runtime = opened(disk)
        while runtime.loop.run_epoch():
            pass
        runtime.close()
        return

    found = failure_of(disk)
    monkeypatch.setattr(loop, "_AHEAD_ROWS_MIN", NEVER)

    assert found == failure_of(disk)
    assert found[0] <= file and path in found[1]


def test_a_file_that_is_gone_is_missed_where_it_is_missed_without(
    disk: FakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for ahead_min in (1, NEVER):
        monkeypatch.setattr(loop, "_AHEAD_ROWS_MIN", ahead_min)
        runtime = opened(disk)
        path = files(disk)[2]
        content = disk.read(path)
        disk.delete(path)
        with pytest.raises(StateError) as raised:
            while runtime.loop.run_epoch():
                pass
        found.append((runtime.loop.progress.epoch, raised.value.message))
        runtime.loop.stop()
        disk.write(path, [content])

    # Already the first cut looks at it, to see how far an epoch may go.
    assert found[0] == found[1] == (0, f"{path} is missing: the last checkpoint names it")


def test_closing_ends_the_thread_in_the_middle_of_a_backlog(disk: FakeDisk) -> None:
    runtime = opened(disk)
    assert runtime.loop.run_epoch()
    assert threads()

    runtime.close()

    assert not threads()


def test_nothing_is_started_without_a_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LARGE_ROWS_MIN", ROWS + 1)
    runtime = opened(FakeDisk(0))
    ingest = Ingest(runtime.intake, runtime.clock)
    for number in range(FILES):
        ingest.send(runtime.topics["clicks"].definition, CLICKS.slice(number * ROWS, ROWS))
        assert runtime.loop.run_epoch()
    assert not threads()
    runtime.close()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux says what is mapped")
def test_what_was_opened_ahead_is_let_go_with_its_file(tmp_path: Path) -> None:
    (definition,) = (t for t in app().compile().pipeline.topics if t.name == "clicks")
    topic = Topic(definition, Blobs(LocalDisk(tmp_path)), "topics/clicks", seal_at=SealAt(rows=1))
    rows = CLICKS.cast(topic.schema).combine_chunks().to_batches()[0]
    topic.append(Chunk(0, 0, 0, 0, rows))
    topic.flush()
    blobs = Blobs(LocalDisk(tmp_path))
    again = Topic.open(definition, blobs, "topics/clicks", topic.manifest(), seal_at=SealAt(rows=1))
    (opening,) = again.unready(0, len(NUMBERS) - 1, ["ad", "note"])[:1]
    for check in opening():
        check()
    del opening, check
    assert not again.unready(0, len(NUMBERS) - 1, ["ad", "note"])
    assert len(again.unready(0, len(NUMBERS) - 1, ["ad", "cost"])) == 1

    del topic
    again.seal()
    again.remove_unreferenced(again.manifest())
    gc.collect()

    assert not files(LocalDisk(tmp_path))
    assert f"{tmp_path}/topics/clicks/hot" not in Path("/proc/self/maps").read_text()

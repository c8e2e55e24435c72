"""Older files move to a store, and nobody who reads notices; nothing is lost while it is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.clock import Clock
from headwater.errors import ConnectorError, DefinitionError, HeadwaterError, StateError
from headwater.operators.query import Rows, answer
from headwater.run.compile import Compiled
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.statuses import status_of
from headwater.storage.disk import Disk
from headwater.storage.local import LocalDisk
from headwater.storage.store import Place
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk
from storage.s3 import served

HOUR = 3600.0
ROWS = 3


@cache
def shop(archive: str | None, *, retention: str | None = None, more: int = 0) -> Compiled:
    app = hw.App("shop")
    app.topic("sales", "price BIGINT", archive=archive, retention=retention)
    app.view("total", f"SELECT sum(price) + {more} AS total FROM sales")
    return app.compile()


class Run:
    """One life of the pipeline, stepped by hand."""

    def __init__(
        self, disk: Disk, clock: Clock, compiled: Compiled, *, rebuild: bool = False
    ) -> None:
        settings = Settings(rebuild=rebuild)
        self.runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, settings)
        self.topic = self.runtime.topics["sales"]
        self.ingest = Ingest(self.runtime.intake, clock)

    def send(self, number: int) -> None:
        rows = [{"price": n} for n in range(ROWS * number, ROWS * number + ROWS)]
        self.ingest.send(self.topic.definition, rows)
        while self.runtime.loop.run_epoch():
            pass

    def turn(self) -> None:
        self.runtime.checkpoint()
        self.runtime._archiver.turn()

    def prices(self) -> list[int]:
        rows = self.topic.read_offsets(0, 0, 1000)
        assert rows["price"].to_pylist() == rows["_offset"].to_pylist()
        return rows["price"].to_pylist()

    def total(self) -> int:
        batches = self.runtime.loop.visible.contents["total"].batches()
        return next(row["total"] for batch in batches for row in batch.to_pylist())

    def archived(self) -> list[str]:
        """The files that the topic has in its archive."""
        return [
            f"sales/{entry['name'].removeprefix('data/')}"
            for entry in self.topic.manifest()["lanes"][0]
            if entry["is_archived"]
        ]

    def close(self) -> None:
        with suppress(HeadwaterError):
            self.runtime.close()


def lived(run: Run, clock: ManualClock, batches: range, hours: float = 13) -> Iterator[int]:
    """Send, and take a turn after each batch; what was acknowledged."""
    for number in batches:
        run.send(number)
        yield number + 1
        run.turn()
        clock.advance(hours * HOUR)


def test_rows_are_read_across_the_archive_and_what_is_here(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = Run(disk, clock, shop(str(tmp_path)))
    for _ in lived(run, clock, range(12)):
        pass
    run.turn()
    run.turn()

    store = Place.parse(str(tmp_path)).open()
    found = store.list("")
    assert found == run.archived()
    assert len(found) >= 3
    assert not set(disk.list("topics/sales/data")) & {
        f"topics/sales/data/{path.removeprefix('sales/')}" for path in found
    }
    rows = 12 * ROWS
    assert run.prices() == list(range(rows))
    assert [c.offset_first for c in run.topic.read_ticks(0, 99)] == list(range(0, rows, ROWS))
    assert run.topic.offset_at_time(0, arrived_us=0) == 0
    readable = {"sales": Rows(run.topic.schema, run.topic.batches)}
    assert answer("SELECT sum(price) AS s FROM sales", readable)["s"].to_pylist() == [
        sum(range(rows))
    ]
    # Any other tool reads the files as they are.
    read = pq.read_table(tmp_path / found[0])
    assert read["price"].to_pylist() == read["_offset"].to_pylist()
    status = status_of(run.runtime, [], "data").topics[0]
    sizes = [(tmp_path / path).stat().st_size for path in found]
    assert status.archived_bytes == sum(sizes) < status.bytes
    run.close()

    again = Run(disk, clock, shop(str(tmp_path), more=1), rebuild=True)
    assert again.total() == sum(range(rows)) + 1
    assert again.prices() == list(range(rows))
    again.close()


def test_what_is_let_go_is_deleted_from_the_archive(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = Run(disk, clock, shop(str(tmp_path), retention="64 hours"))
    store = Place.parse(str(tmp_path)).open()
    seen: set[str] = set()
    for _ in lived(run, clock, range(24), hours=5):
        seen |= set(store.list(""))
    for _ in range(3):
        run.turn()

    assert len(seen) > len(store.list("")) > 0
    assert store.list("") == run.archived()
    first = run.topic.first_offset(0)
    assert run.prices() == list(range(first, 24 * ROWS))
    assert first > 0
    assert run.total() == sum(range(24 * ROWS))
    clock.advance(1000 * HOUR)
    for _ in range(3):
        run.turn()
    assert store.list("") == []
    run.close()


def test_while_the_store_is_away_files_stay_and_then_they_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, clock = LocalDisk.made(tmp_path), ManualClock()
    with served(monkeypatch) as server:
        server.stop()
        run = Run(disk, clock, shop(f"s3://lake/shop?endpoint={server.endpoint}"))
        for _ in lived(run, clock, range(5)):
            pass
        problems = run.runtime.problems
        assert [problem.split(":")[0] for problem in problems] == ["the archive s3"]
        assert "cannot be used" in problems[0]
        assert run.archived() == []
        assert run.prices() == list(range(5 * ROWS))

        server.start()
        server.make("lake")
        for _ in lived(run, clock, range(5, 10)):
            pass
        run.turn()
        run.turn()
        assert run.runtime.problems == ()
        store = run.topic._archive._store
        assert store is not None
        assert store.list("") == run.archived()
        assert len(run.archived()) >= 3
        assert run.prices() == list(range(10 * ROWS))
        run.close()

        again = Run(disk, clock, shop(f"s3://lake/shop?endpoint={server.endpoint}"))
        server.stop()
        with pytest.raises(ConnectorError, match="archive s3://lake/shop can"):
            again.topic.read_offsets(0, ROWS, 10 * ROWS, ["price"])
        readable = {"sales": Rows(again.topic.schema, again.topic.batches)}
        with pytest.raises(ConnectorError, match="archive s3://lake/shop can"):
            answer("SELECT sum(price) FROM sales", readable)
        # Rows come and are computed while nobody can read the old ones.
        again.send(10)
        assert again.total() == sum(range(11 * ROWS))
        again.close()
    last = Run(disk, clock, shop(f"s3://lake/shop?endpoint={server.endpoint}"))
    assert last.total() == sum(range(11 * ROWS))
    last.close()


def begun(folder: Path) -> tuple[FakeDisk, int]:
    """A life that ended well; files have begun to move."""
    disk, clock = FakeDisk(1), ManualClock()
    run = Run(disk, clock, shop(str(folder), retention="80 hours"))
    for _ in lived(run, clock, range(6)):
        pass
    run.close()
    return disk, clock.now_us()


@pytest.mark.parametrize("part", [0, 5, 10])
def test_a_crash_in_any_call_leaves_every_row_and_no_file_too_many(
    part: int, tmp_path: Path
) -> None:
    calls = 1000
    for call in range(part, calls, 15):
        folder = tmp_path / str(call)
        before, now_us = begun(folder)
        disk, clock = before.crash(), ManualClock(now_us)
        if call:
            disk.crash_at(call)
        done = 6
        compiled = shop(str(folder), retention="80 hours")
        with suppress(HeadwaterError):
            run = Run(disk, clock, compiled)
            with suppress(HeadwaterError):
                for done in lived(run, clock, range(6, 8)):  # noqa: B007 - the last one counts
                    pass
            run.close()
        if call >= disk.calls:
            break

        again = Run(disk.crash(), clock, compiled)
        rows = again.topic.rows_total
        assert rows >= done * ROWS
        assert again.prices() == list(range(again.topic.first_offset(0), rows))
        for _ in lived(again, clock, range(rows // ROWS, 14)):
            pass
        for _ in range(3):
            again.turn()
        assert again.total() == sum(range(14 * ROWS))
        store = Place.parse(str(folder)).open()
        assert store.list("") == again.archived()
        assert again.archived()
        assert again.prices() == list(range(again.topic.first_offset(0), 14 * ROWS))
        again.close()


def test_an_archive_that_is_changed_or_another_s_is_refused(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = Run(disk, clock, shop(str(tmp_path / "a")))
    for _ in lived(run, clock, range(8)):
        pass
    run.close()
    for other in (None, str(tmp_path / "b")):
        with pytest.raises(DefinitionError, match="has rows in the archive") as raised:
            Run(disk, clock, shop(other))
        assert raised.value.hint == "declare its archive as it was"

    fresh = Run(FakeDisk(2), clock, shop(str(tmp_path / "a")))
    for _ in lived(fresh, clock, range(8)):
        pass
    assert "has files of another topic sales" in fresh.runtime.problems[0]
    assert fresh.prices() == list(range(8 * ROWS))
    fresh.close()


def test_archived_rows_are_read_with_the_columns_of_now(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = Run(disk, clock, shop(str(tmp_path)))
    for _ in lived(run, clock, range(8)):
        pass
    run.close()
    app = hw.App("shop")
    app.topic("sales", "price BIGINT, shop BIGINT DEFAULT 7", archive=str(tmp_path))
    app.view("total", "SELECT sum(price) + 0 AS total FROM sales")

    again = Run(disk, clock, app.compile())

    assert len(again.archived()) >= 2
    assert again.prices() == list(range(8 * ROWS))
    assert set(again.topic.read_offsets(0, 0, 999)["shop"].to_pylist()) == {7}
    again.close()


@pytest.mark.parametrize("damage", ["gone", "short", "other"])
def test_a_file_of_the_archive_that_is_not_what_was_put_there_is_named(
    damage: str, tmp_path: Path
) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = Run(disk, clock, shop(str(tmp_path)))
    for _ in lived(run, clock, range(8)):
        pass
    run.close()
    again = Run(disk, clock, shop(str(tmp_path)))
    path = tmp_path / again.archived()[0]
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "short" else bytes(len(content)))

    with pytest.raises(StateError, match=path.name):
        again.prices()
    again.close()

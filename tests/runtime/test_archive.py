"""Older files move to a store, and nobody who reads notices; nothing is lost while it is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import headwater as hw
from headwater.errors import ConnectorError, DefinitionError, HeadwaterError, StateError
from headwater.log.topic import Topic
from headwater.operators.query import Rows, answer
from headwater.run.compile import Compiled
from headwater.storage.disk import Disk
from headwater.storage.local import LocalDisk
from headwater.storage.store import Place
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk
from runtime.runs import Run
from storage.s3 import served

HOUR = 3600.0
ROWS = 3


@cache
def shop(archive: str | None, *, retention: str | None = None, more: int = 0) -> Compiled:
    app = hw.App("shop")
    app.topic("sales", "price BIGINT", archive=archive, retention=retention)
    app.view("total", f"SELECT sum(price) + {more} AS total FROM sales")
    return app.compile()


def opened(disk: Disk, clock: ManualClock, compiled: Compiled, **more: bool) -> Run:
    return Run(compiled, disk, clock, **more)


def send(run: Run, number: int) -> None:
    run.send("sales", [{"price": n} for n in range(ROWS * number, ROWS * number + ROWS)])
    run.step()


def turn(run: Run) -> None:
    run.runtime.checkpoint()
    run.runtime._archiver.turn()


def sales(run: Run) -> Topic:
    return run.runtime.topics["sales"]


def prices(run: Run) -> list[int]:
    rows = run.rows("sales")
    found = [row["price"] for row in rows]
    assert found == [row["_offset"] for row in rows]
    return found


def archived(run: Run) -> list[str]:
    """The files that the topic has in its archive."""
    return [
        f"sales/{entry['name'].removeprefix('data/')}"
        for entry in sales(run).manifest()["lanes"][0]
        if entry["is_archived"]
    ]


def lived(run: Run, batches: range, hours: float = 13) -> Iterator[int]:
    """Send, and take a turn after each batch; what was acknowledged."""
    for number in batches:
        send(run, number)
        yield number + 1
        turn(run)
        run.clock.advance(hours * HOUR)


def test_rows_are_read_across_the_archive_and_what_is_here(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, shop(str(tmp_path)))
    for _ in lived(run, range(12)):
        pass
    turn(run)
    turn(run)

    store = Place.parse(str(tmp_path)).open()
    found = store.list("")
    assert found == archived(run)
    assert len(found) >= 3
    assert not set(disk.list("topics/sales/data")) & {
        f"topics/sales/data/{path.removeprefix('sales/')}" for path in found
    }
    rows = 12 * ROWS
    assert prices(run) == list(range(rows))
    assert [c.offset_first for c in sales(run).read_ticks(0, 99)] == list(range(0, rows, ROWS))
    assert sales(run).offset_at_time(0, arrived_us=0) == 0
    readable = {"sales": Rows(sales(run).schema, sales(run).batches)}
    assert answer("SELECT sum(price) AS s FROM sales", readable)["s"].to_pylist() == [
        sum(range(rows))
    ]
    # Any other tool reads the files as they are.
    read = pq.read_table(tmp_path / found[0])
    assert read["price"].to_pylist() == read["_offset"].to_pylist()
    status = run.status().topics[0]
    sizes = [(tmp_path / path).stat().st_size for path in found]
    assert status.archived_bytes == sum(sizes) < status.bytes
    run.close()

    again = opened(disk, clock, shop(str(tmp_path), more=1), rebuild=True)
    assert again.content("total") == [(sum(range(rows)) + 1,)]
    assert prices(again) == list(range(rows))
    again.close()


def test_what_is_let_go_is_deleted_from_the_archive(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, shop(str(tmp_path), retention="64 hours"))
    store = Place.parse(str(tmp_path)).open()
    seen: set[str] = set()
    for _ in lived(run, range(24), hours=5):
        seen |= set(store.list(""))
    for _ in range(3):
        turn(run)

    assert len(seen) > len(store.list("")) > 0
    assert store.list("") == archived(run)
    first = sales(run).first_offset(0)
    assert prices(run) == list(range(first, 24 * ROWS))
    assert first > 0
    assert run.content("total") == [(sum(range(24 * ROWS)),)]
    clock.advance(1000 * HOUR)
    for _ in range(3):
        turn(run)
    assert store.list("") == []
    run.close()


def test_while_the_store_is_away_files_stay_and_then_they_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, clock = LocalDisk.made(tmp_path), ManualClock()
    with served(monkeypatch) as server:
        server.stop()
        run = opened(disk, clock, shop(f"s3://lake/shop?endpoint={server.endpoint}"))
        for _ in lived(run, range(5)):
            pass
        problems = run.runtime.problems
        assert [problem.split(":")[0] for problem in problems] == ["the archive s3"]
        assert "cannot be used" in problems[0]
        assert archived(run) == []
        assert prices(run) == list(range(5 * ROWS))

        server.start()
        server.make("lake")
        for _ in lived(run, range(5, 10)):
            pass
        turn(run)
        turn(run)
        assert run.runtime.problems == ()
        store = sales(run)._archive._store
        assert store is not None
        assert store.list("") == archived(run)
        assert len(archived(run)) >= 3
        assert prices(run) == list(range(10 * ROWS))
        run.close()

        again = opened(disk, clock, shop(f"s3://lake/shop?endpoint={server.endpoint}"))
        server.stop()
        with pytest.raises(ConnectorError, match="archive s3://lake/shop can"):
            sales(again).read_offsets(0, ROWS, 10 * ROWS, ["price"])
        readable = {"sales": Rows(sales(again).schema, sales(again).batches)}
        with pytest.raises(ConnectorError, match="archive s3://lake/shop can"):
            answer("SELECT sum(price) FROM sales", readable)
        # Rows come and are computed while nobody can read the old ones.
        send(again, 10)
        assert again.content("total") == [(sum(range(11 * ROWS)),)]
        again.close()
    last = opened(disk, clock, shop(f"s3://lake/shop?endpoint={server.endpoint}"))
    assert last.content("total") == [(sum(range(11 * ROWS)),)]
    last.close()


def begun(folder: Path) -> tuple[FakeDisk, int]:
    """A life that ended well; files have begun to move."""
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, shop(str(folder), retention="80 hours"))
    for _ in lived(run, range(6)):
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
            run = opened(disk, clock, compiled)
            with suppress(HeadwaterError):
                for done in lived(run, range(6, 8)):  # noqa: B007 - the last one counts
                    pass
            run.close()
        if call >= disk.calls:
            break

        again = opened(disk.crash(), clock, compiled)
        rows = sales(again).rows_total
        assert rows >= done * ROWS
        assert prices(again) == list(range(sales(again).first_offset(0), rows))
        for _ in lived(again, range(rows // ROWS, 14)):
            pass
        for _ in range(3):
            turn(again)
        assert again.content("total") == [(sum(range(14 * ROWS)),)]
        store = Place.parse(str(folder)).open()
        assert store.list("") == archived(again)
        assert archived(again)
        assert prices(again) == list(range(sales(again).first_offset(0), 14 * ROWS))
        again.close()


def test_an_archive_that_is_changed_or_another_s_is_refused(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, shop(str(tmp_path / "a")))
    for _ in lived(run, range(8)):
        pass
    run.close()
    for other in (None, str(tmp_path / "b")):
        with pytest.raises(DefinitionError, match="has rows in the archive") as raised:
            opened(disk, clock, shop(other))
        assert raised.value.hint == "declare its archive as it was"

    fresh = opened(FakeDisk(2), clock, shop(str(tmp_path / "a")))
    for _ in lived(fresh, range(8)):
        pass
    assert "has files of another topic sales" in fresh.runtime.problems[0]
    assert prices(fresh) == list(range(8 * ROWS))
    fresh.close()


def test_archived_rows_are_read_with_the_columns_of_now(tmp_path: Path) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, shop(str(tmp_path)))
    for _ in lived(run, range(8)):
        pass
    run.close()
    app = hw.App("shop")
    app.topic("sales", "price BIGINT, shop BIGINT DEFAULT 7", archive=str(tmp_path))
    app.view("total", "SELECT sum(price) + 0 AS total FROM sales")

    again = opened(disk, clock, app.compile())

    assert len(archived(again)) >= 2
    assert prices(again) == list(range(8 * ROWS))
    assert set(sales(again).read_offsets(0, 0, 999)["shop"].to_pylist()) == {7}
    again.close()


@pytest.mark.parametrize("damage", ["gone", "short", "other"])
def test_a_file_of_the_archive_that_is_not_what_was_put_there_is_named(
    damage: str, tmp_path: Path
) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, shop(str(tmp_path)))
    for _ in lived(run, range(8)):
        pass
    run.close()
    again = opened(disk, clock, shop(str(tmp_path)))
    path = tmp_path / archived(again)[0]
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-9] if damage == "short" else bytes(len(content)))

    with pytest.raises(StateError, match=path.name):
        prices(again)
    again.close()

"""The data folder is taken away, or made read-only, while a pipeline runs or before it starts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import headwater as hw
from crashes.conftest import Mount, fail, mount
from headwater.errors import StateError
from headwater.run.live import Live
from headwater.runtime.runtime import Settings

ROWS = [{"item": "tea", "price": 2}, {"item": "tea", "price": 3}]
TOTALS = "SELECT item, n FROM totals"


def app() -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price BIGINT")
    app.view("totals", "SELECT item, count(*) AS n FROM sales GROUP BY item")
    return app


@contextmanager
def running(data: Path) -> Iterator[Live]:
    """A pipeline whose end may fail as what it stands on has."""
    live = app().start(data, listen=None, settings=Settings(checkpoint_seconds=3600))
    try:
        yield live
    finally:
        with suppress(StateError):
            live.close()


def answer(live: Live) -> int:
    live.settle(30)
    rows = live.query(TOTALS).to_pylist()
    return rows[0]["n"] if rows else 0


def emptied(data: Path) -> None:
    for path in data.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)


def renamed(data: Path) -> None:
    data.rename(data.with_name("elsewhere"))


def replaced(data: Path) -> None:
    renamed(data)
    data.mkdir()


@pytest.mark.parametrize("harm", [shutil.rmtree, emptied, renamed, replaced])
def test_nothing_is_acknowledged_into_a_folder_that_is_gone(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    with running(data) as live:
        live.send("sales", ROWS)
        assert answer(live) == 2
        assert live.status().problems == ()

        harm(data)

        # It is said also while nobody sends.
        (problem,) = live.status().problems
        assert problem.startswith(f"{data}/LOCK is no longer there")
        assert f"hint: put it back (ls -ld {data}), then start again" in problem
        for _ in range(2):
            with pytest.raises(StateError, match=f"{data} was removed or renamed"):
                live.send("sales", ROWS)
        # What was computed can still be read.
        assert live.query(TOTALS).to_pylist() == [{"item": "tea", "n": 2}]


def test_a_folder_that_is_put_back_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data) as live:
        live.send("sales", ROWS)
        renamed(data)
        with pytest.raises(StateError):
            live.send("sales", ROWS[:1])
    data.with_name("elsewhere").rename(data)

    with running(data) as live:
        # What was refused may have reached the disk before that was found out.
        assert answer(live) in (2, 3)
        live.send("sales", ROWS)
        assert live.status().problems == ()


def test_a_folder_that_is_read_only_is_no_place_to_start(mounted: Mount) -> None:
    disk = mounted("tmpfs")
    with running(disk / "data") as live:
        live.send("sales", ROWS)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)

    for place in ("data", "new"):
        with pytest.raises(StateError, match="Read-only file system") as caught:
            app().start(disk / place, listen=None)
        assert "hint: the file system is read-only: mount it writable" in str(caught.value)

    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    with running(disk / "data") as live:
        assert answer(live) == 2


def test_a_disk_that_fails_while_it_runs_refuses_rows(mounted: Mount) -> None:
    disk = mounted("ext4")
    with running(disk / "data") as live:
        live.send("sales", ROWS)
        assert answer(live) == 2

        fail(disk)

        with pytest.raises(StateError, match=r"Read-only|Input/output error"):
            live.send("sales", ROWS)
        assert any("hint: " in problem for problem in live.status().problems)
        assert live.query(TOTALS).to_pylist() == [{"item": "tea", "n": 2}]


def test_a_checkpoint_that_cannot_be_written_loses_nothing(mounted: Mount) -> None:
    data = mounted("tmpfs") / "data"
    with running(data) as live:
        live.send("sales", ROWS)
        assert answer(live) == 2
        mount("--bind", str(data), str(data))
        try:
            mount("-o", "remount,bind,ro", str(data))
            with pytest.raises(StateError, match="Read-only file system"):
                live.checkpoint_now()
            (problem,) = live.status().problems
            assert "Read-only file system" in problem
            assert "mount it writable" in problem
        finally:
            with suppress(StateError):
                live.close()
            subprocess.run(["umount", str(data)], check=True)

    with running(data) as live:
        assert answer(live) == 2

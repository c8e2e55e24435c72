"""A sink's store is filled by one version of its view, whatever starts and kills are between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import duckdb
import pytest

import headwater as hw
from headwater.errors import DefinitionError
from headwater.runtime.runtime import Settings

PLAIN, RAISED = "SELECT id, price FROM sales", "SELECT id, price + 100 AS price FROM sales"


def run(folder: Path, view: str, *prices: int) -> None:
    """Start, send, and close, which fills the sink."""
    app = hw.App("shop")
    app.topic("sales", "id BIGINT, price BIGINT")
    app.view("told", view)
    app.sink("told", hw.sinks.Parquet(str(folder / "lake")))
    with app.start(folder / "data", listen=None, settings=Settings(rebuild=True)) as live:
        if prices:
            live.send("sales", [{"id": 1, "price": price} for price in prices])
        live.settle()


def kept(folder: Path) -> list[int]:
    files = str(folder / "lake" / "**" / "*.parquet")
    found = duckdb.execute("SELECT price FROM read_parquet(?) ORDER BY price", [files]).fetchall()
    return [price for (price,) in found]


def test_a_store_of_another_version_is_refused_at_every_start(tmp_path: Path) -> None:
    run(tmp_path, PLAIN, 1, 2)
    for _ in range(3):
        with pytest.raises(DefinitionError, match="another version of told"):
            run(tmp_path, RAISED, 3)
    assert kept(tmp_path) == [1, 2]

    shutil.rmtree(tmp_path / "lake")
    run(tmp_path, RAISED, 3)
    run(tmp_path, RAISED, 4)

    assert kept(tmp_path) == [101, 102, 103, 104]


def test_it_is_refused_too_when_the_version_before_comes_back(tmp_path: Path) -> None:
    run(tmp_path, PLAIN, 1)
    with pytest.raises(DefinitionError, match="another version of told"):
        run(tmp_path, RAISED)

    # Computed anew, it need not come in the same order as before.
    with pytest.raises(DefinitionError, match="another version of told"):
        run(tmp_path, PLAIN)


def test_what_was_filled_before_a_kill_is_known_after_it(tmp_path: Path) -> None:
    code = f"""
        import os, signal, time
        from pathlib import Path
        import headwater as hw
        app = hw.App("shop")
        app.topic("sales", "id BIGINT, price BIGINT")
        app.view("told", {PLAIN!r})
        app.sink("told", hw.sinks.Parquet("lake", every="10 milliseconds"))
        live = app.start("data", listen=None)
        live.send("sales", [{{"id": 1, "price": 7}}])
        while not list(Path("lake").rglob("*.parquet")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env=os.environ,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL

    run(tmp_path, PLAIN, 8)
    assert kept(tmp_path) == [7, 8]
    with pytest.raises(DefinitionError, match="another version of told"):
        run(tmp_path, RAISED)

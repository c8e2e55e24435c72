"""How long an acknowledged event takes to its committed, visible result.

    python bench/latency.py [--rates 1000,10000,50000] [--batches 100] [--seconds 5] [--only join]

A hundred batches a second are sent, whether or not earlier ones are visible yet. Each is timed from
its acknowledgement (it is durable) until the view's new result is committed and visible. The disk's
own sync time, measured in the same folder before and after, stands beside it.
"""

from __future__ import annotations

import argparse
import os
import queue
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import headwater as hw  # before numpy, to which it says how to sort (headwater/simd.py)

# isort: split
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

ADS = 1_000_000
VIEWS = {
    "filter": "SELECT ad, cost * 2 AS doubled, ts FROM clicks WHERE cost < 500",
    "windowed count": "SELECT cost, window_start, count(*) AS n, sum(ad) AS total "
    "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY cost, window_start, window_end",
    "join, a million keys": "SELECT name, cost, ts FROM clicks JOIN ads USING (ad)",
}


def app_of(view: str) -> hw.App:
    app = hw.App("latency")
    app.topic("clicks", "ad BIGINT, cost BIGINT, ts TIMESTAMP", event_time="ts", delay="1 second")
    app.table("ads", "ad BIGINT, name VARCHAR", key="ad")
    app.view("answer", VIEWS[view])
    return app


def ads() -> pa.Table:
    numbers = np.arange(ADS)
    names = pa.array([f"ad {number % 9973}" for number in range(ADS)])
    return pa.table({"ad": numbers, "name": names})


def sync_ms(folder: Path, times: int = 100) -> float:
    """The median time of one small append and sync, in milliseconds."""
    path = folder / "sync-probe"
    taken = []
    with path.open("ab") as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - started)
    path.unlink()
    return statistics.median(taken) * 1e3


def batches(count: int, rows: int, pause: float) -> list[pa.Table]:
    """The rows to send: event time passes as the clock does."""
    rng = np.random.default_rng(2)
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    found = []
    for number in range(count):
        at = start + timedelta(seconds=pause * number)
        found.append(
            pa.table(
                {
                    "ad": rng.integers(0, ADS, rows),
                    "cost": rng.integers(0, 1000, rows),
                    "ts": pa.array([at] * rows, pa.timestamp("us")),
                }
            )
        )
    return found


def measured(view: str, rate: int, args: Any, rows: pa.Table | None) -> tuple[float, list[float]]:
    """The sync time, and per batch the milliseconds from acknowledged to visible, ascending."""
    pause = 1 / args.batches
    prepared = batches(int(args.seconds / pause), rate // args.batches, pause)
    with tempfile.TemporaryDirectory() as name, app_of(view).start(name, listen=None) as live:
        folder = Path(name)
        before = sync_ms(folder)
        if rows is not None:
            live.send("ads", rows)
            live.settle()
        # The first epochs prepare their statements.
        live.send("clicks", prepared[0])
        live.settle()
        taken = run(live, prepared[1:], pause)
        after = sync_ms(folder)
    return (before + after) / 2, taken


def run(live: Any, prepared: Sequence[pa.Table], pause: float) -> list[float]:
    runtime = live._runtime
    acknowledged: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
    taken: list[float] = []

    def watch() -> None:
        while (batch := acknowledged.get()) is not None:
            at, end = batch
            runtime.loop.wait_for(end, 0)
            taken.append((time.perf_counter() - at) * 1e3)

    watcher = threading.Thread(target=watch)
    watcher.start()
    due = time.perf_counter()
    for rows in prepared:
        due += pause
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        live.send("clicks", rows)
        acknowledged.put((time.perf_counter(), runtime.intake.visible_tick))
    behind = time.perf_counter() - due
    acknowledged.put(None)
    watcher.join()
    if behind > 1:
        print(f"the sender ended {behind:.1f} s late: the rate was not kept")
    return sorted(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", default="1000,10000,50000")
    parser.add_argument("--batches", type=int, default=100, help="a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    table = Table(
        title=f"{os.cpu_count()} cores, {args.batches} batches/s, {args.seconds:.0f} s each"
    )
    for heading in ("view", "events/s", "sync", "p50", "p99", "highest"):
        table.add_column(heading, justify="left" if heading == "view" else "right")
    table.add_column("most for p50, p99", justify="right")
    rows = ads()
    for view in VIEWS:
        if args.only not in view:
            continue
        for rate in (int(text) for text in args.rates.split(",")):
            sync, taken = measured(view, rate, args, rows if "join" in view else None)
            places = (len(taken) // 2, int(len(taken) * 0.99), -1)
            figures = [f"{figure:.2f} ms" for figure in (sync, *(taken[n] for n in places))]
            most = f"{2 * sync + 10:.1f}, {2 * sync + 15:.1f} ms"
            table.add_row(view, f"{rate:,}", *figures, most)
    Console().print(table)


if __name__ == "__main__":
    main()

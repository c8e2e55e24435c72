"""How long an acknowledged event takes to its committed, visible result.

    python bench/latency.py [--rate 10000] [--seconds 10]

Batches of 100 rows are sent at an even rate; each is timed from its acknowledgement (it is durable)
until the views' new results are committed and visible. The disk's own sync time, measured in the
same folder before and after, stands beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

import headwater as hw

BATCH = 100


def app_of() -> hw.App:
    app = hw.App("latency")
    app.topic("clicks", "ad BIGINT, cost BIGINT, ts TIMESTAMP", event_time="ts", delay="1 second")
    app.table("ads", "ad BIGINT, name VARCHAR", key="ad")
    app.view(
        "counts",
        "SELECT name, window_start, count(*) AS n, sum(cost) AS cost "
        "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') JOIN ads USING (ad) "
        "GROUP BY name, window_start, window_end",
    )
    return app


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


def batches(count: int) -> list[pa.Table]:
    rng = np.random.default_rng(2)
    start = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)
    found = []
    for number in range(count):
        at = start + timedelta(milliseconds=10 * number)
        found.append(
            pa.table(
                {
                    "ad": rng.integers(0, 1000, BATCH),
                    "cost": rng.integers(0, 1000, BATCH),
                    "ts": pa.array([at] * BATCH, pa.timestamp("us")),
                }
            )
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    pause = BATCH / args.rate
    prepared = batches(int(args.seconds / pause))
    with tempfile.TemporaryDirectory() as name, app_of().start(name, listen=None) as live:
        folder = Path(name)
        before = sync_ms(folder)
        live.send("ads", [{"ad": ad, "name": f"ad {ad}"} for ad in range(1000)])
        live.settle()
        taken = run(live, prepared, pause)
        after = sync_ms(folder)
    report(args.rate, taken, (before + after) / 2)


def run(live: object, prepared: list[pa.Table], pause: float) -> list[float]:
    taken = []
    due = time.perf_counter()
    for rows in prepared:
        due += pause
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        live.send("clicks", rows)
        acknowledged = time.perf_counter()
        live.settle()
        taken.append((time.perf_counter() - acknowledged) * 1e3)
    return sorted(taken)


def report(rate: int, taken: list[float], sync: float) -> None:
    table = Table(title=f"{os.cpu_count()} cores, {rate:,} events/s, {len(taken):,} batches")
    for heading in ("sync", "p50", "p99", "highest", "target for p50"):
        table.add_column(heading, justify="right")
    figures = (
        sync,
        taken[len(taken) // 2],
        taken[int(len(taken) * 0.99)],
        taken[-1],
        2 * sync + 10,
    )
    table.add_row(*(f"{figure:.2f} ms" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()

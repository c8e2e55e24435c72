"""What durability costs a backlog: the same catch-up as it is, and with nothing made durable.

    python -m bench.durability [--rows 10000000] [--repeat 5] [--only abcd]

The queries and rows of `bench/first.py`, in the log of one data folder. As it is, every epoch's
record is synced before its rows are shown, and checkpoints are taken while epochs are computed, so
that a recovery stays short. Without, an epoch is still written to the journal, but nobody waits for
the disk, and no checkpoint is taken: a power cut would lose what was acknowledged. Runs take turns
within one process; figures are medians. `syncs alone` takes no checkpoints.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from pathlib import Path

import headwater as hw  # isort: skip - before numpy, whose sort it chooses
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.first import COLUMNS, QUERIES, Query, app_of, clicks, visitors
from bench.folders import linked, opened
from headwater.heap import HEAP
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings

NEVER = {"checkpoint_bytes": 1 << 60, "checkpoint_seconds": 1e9, "recovery_seconds": 1e9}
MODES = {
    "durable": Settings(),
    "syncs alone": Settings(**NEVER),  # type: ignore[arg-type]
    "not durable": Settings(is_synced=False, **NEVER),  # type: ignore[arg-type]
}
BATCH_ROWS, WARM_ROWS = 100_000, 100_000


def write_log(folder: Path, rows: int) -> None:
    """A data folder that has the rows, and has computed nothing."""
    app = hw.App("bench")
    app.topic("clicks", COLUMNS, event_time="ts", delay="2 seconds")
    app.table("visitors", "visitor BIGINT, name VARCHAR NOT NULL", key="visitor")
    runtime = opened(app.compile(), folder, MODES["syncs alone"])
    ingest = Ingest(runtime.intake, runtime.clock)
    ingest.send(runtime.topics["visitors"].definition, visitors())
    topic, rng = runtime.topics["clicks"].definition, np.random.default_rng(1)
    for number, start in enumerate(range(0, rows, BATCH_ROWS)):
        ingest.send(topic, clicks(min(BATCH_ROWS, rows - start), start, rng))
        if number % 40 == 39:
            runtime.checkpoint()
    runtime.close()


def catch_up(query: Query, log: Path, settings: Settings) -> tuple[float, int]:
    """Seconds from the log to the last committed epoch, and how many checkpoints were taken."""
    with tempfile.TemporaryDirectory(dir=log.parent) as place:
        folder = linked(log, Path(place) / "data")
        runtime = opened(app_of(query).compile(), folder, settings)
        loop, checkpointer = runtime.loop, runtime._checkpointer
        rows_max, loop._epoch_rows_max = loop._epoch_rows_max, WARM_ROWS
        # A running pipeline: its statements are prepared.
        loop.run_epoch()
        loop._epoch_rows_max = rows_max
        gc.collect()
        # What was written before must not hold up what is measured.
        os.sync()
        HEAP.wait()
        checkpoints = _generation(runtime)
        started = time.perf_counter()
        while loop.run_epoch():
            checkpointer.take_if_due()
        seconds = time.perf_counter() - started
        checkpointer.wait()
        checkpoints = _generation(runtime) - checkpoints
        assert not runtime.problems, runtime.problems
        runtime.close()
    return seconds, checkpoints


def _generation(runtime: Runtime) -> int:
    return runtime._checkpoints.next_generation()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--only", default="", help="queries, by their letters")
    parser.add_argument("--folder", type=Path, default=None, help="where the data goes meanwhile")
    args = parser.parse_args()
    table = Table(title=f"{args.rows:,} rows, medians of {args.repeat}", title_style="")
    headings = ("query", *MODES, "checkpoints", "syncs cost", "durability costs")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "query" else "right")
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        log = Path(place) / "log"
        write_log(log, args.rows)
        for query in QUERIES:
            if args.only and query.name[0] not in args.only:
                continue
            table.add_row(query.name, *_figures(query, log, args.rows, args.repeat))
    Console().print(table)


def _figures(query: Query, log: Path, rows: int, repeat: int) -> list[str]:
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    counts = []
    for number in range(repeat):
        # Each is the first of its round as often as any other.
        order = [*MODES][number % len(MODES) :] + [*MODES][: number % len(MODES)]
        for mode in order:
            taken, checkpoints = catch_up(query, log, MODES[mode])
            seconds[mode].append(taken)
            if mode == "durable":
                counts.append(checkpoints)
    medians = {mode: statistics.median(taken) for mode, taken in seconds.items()}
    without = medians["not durable"]
    costs = [max(0.0, 1 - without / medians[mode]) for mode in ("syncs alone", "durable")]
    return [
        *(f"{rows / each / 1e6:.2f} M rows/s" for each in medians.values()),
        f"{statistics.median(counts):.0f}",
        *(f"{cost:.0%}" for cost in costs),
    ]


if __name__ == "__main__":
    main()

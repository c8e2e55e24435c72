"""Nexmark q0 to q22: from the log to the last committed epoch, against DuckDB in batch.

    python -m bench.nexmark [--events 1000000,10000000] [--only q3,q5] [--repeat 3] [--verify]

For each query: events a second, and for how long an event keeps a core busy; the ratio to DuckDB
(two threads, into Arrow, in the same run), first over tables of its own that hold the rows already,
then over Parquet files, where a batch job finds them; the peak of memory above that of the opened
folder, and what operators remember in the end. `--verify` also compares every answer with DuckDB's,
row by row; `--shuffled` lets rows change places within the topics' delay. Figures are medians.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
from rich.console import Console
from rich.table import Table

from bench.nexmark.generator import Config
from bench.nexmark.measure import Figures, duckdb_seconds, headwater, same_rows, write_log
from bench.nexmark.pipeline import loaded, over_files
from bench.nexmark.queries import QUERIES, Query

HEADINGS = (
    *("query", "events/s", "busy", "DuckDB", "ratio", "of files", "ratio"),
    *("peak", "state rows", "state", ""),
)
DELAY = timedelta(seconds=4)


def main() -> None:
    args = _arguments()
    chosen = [q for q in QUERIES if not args.only or q.name in args.only.split(",")]
    config = Config(rate=args.rate, shuffle=DELAY if args.shuffled else timedelta(0))
    console = Console(width=110)
    failed = False
    for events in (int(count) for count in args.events.split(",")):
        table = Table(title=f"{events:,} events, {os.cpu_count()} cores, medians of {args.repeat}")
        for heading in HEADINGS:
            table.add_column(heading, justify="left" if heading == "query" else "right")
        with TemporaryDirectory(prefix="nexmark-") as folder:
            log = Path(folder) / "log"
            write_log(config, events, log, delay=_delay())
            connection = loaded(config, events)
            files = over_files(connection, Path(folder) / "files")
            ratios: list[tuple[float, ...]] = []
            for query in chosen:
                row, both, is_same = _measured(query, events, log, (connection, files), args)
                table.add_row(*row)
                print("  ".join(row), file=sys.stderr, flush=True)
                ratios.append(both)
                failed |= not is_same
            connection.close()
            files.close()
        table.caption = "\n".join(map(_means, ("tables", "files"), zip(*ratios, strict=True)))
        console.print(table)
    sys.exit(failed)


def _means(what: str, ratios: tuple[float, ...]) -> str:
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    return (
        f"DuckDB over {what}: geometric mean of the ratios {mean:.2f}, the lowest {min(ratios):.2f}"
    )


def _measured(
    query: Query,
    events: int,
    log: Path,
    connections: tuple[duckdb.DuckDBPyConnection, ...],
    args: argparse.Namespace,
) -> tuple[list[str], tuple[float, ...], bool]:
    """A line of the table, the ratios, and whether the answer is right."""
    answer = log.parent / "answer.parquet" if args.verify else None
    ours: list[Figures] = []
    theirs: list[list[float]] = []
    for _ in range(args.repeat):
        ours.append(headwater(query.name, log, _delay(), answer))
        theirs.append([duckdb_seconds(query, connection) for connection in connections])
    last = ours[-1]
    said = "" if answer is None else same_rows(query, answer, connections[0])
    if last.late:
        said = f"{last.late} late"
    here = statistics.median(events / _whole(f, events) for f in ours)
    there = [statistics.median(seconds) for seconds in zip(*theirs, strict=True)]
    ratios = tuple(here * seconds / events for seconds in there)
    compared = [(f"{s:.3f} s", f"{ratio:.2f}") for s, ratio in zip(there, ratios, strict=True)]
    row = [
        query.name,
        f"{here / 1e6:.2f} M",
        f"{statistics.median(f.processor_seconds / f.rows for f in ours) * 1e9:.0f} ns",
        *itertools.chain(*compared),
        f"{max(f.peak_bytes for f in ours) / 2**20:,.0f} MiB",
        f"{last.state_rows:,}",
        f"{last.state_bytes / 2**20:,.1f} MiB",
        said,
    ]
    return row, ratios, said in ("", "equal")


def _whole(figures: Figures, events: int) -> float:
    """Seconds that all events would take, at the pace of those that were measured."""
    return figures.seconds * events / figures.rows


def _delay() -> str:
    return f"{DELAY.total_seconds():.0f} seconds"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.nexmark", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--events", default="1000000,10000000")
    parser.add_argument("--only", default="", help="for example q3,q5")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--rate", type=int, default=10_000, help="events a second of event time")
    parser.add_argument("--shuffled", action="store_true", help="out of order, within the delay")
    parser.add_argument("--verify", action="store_true", help="compare the answers, row by row")
    return parser.parse_args()


if __name__ == "__main__":
    main()

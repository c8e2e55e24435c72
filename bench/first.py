"""How fast a backlog is computed, against DuckDB in batch over the same rows in the same run.

    python bench/first.py [--rows 1000000,10000000] [--repeat 3]

Synthetic clicks stand in the log of a data folder (mapped Arrow files, written by a checkpoint).
Each query is computed from the log to its last committed epoch: rows read, state kept, output
stored, every epoch journaled and synced. DuckDB answers the same query, once, over the same rows in
one of its own in-memory tables, with two threads, into an Arrow table. Figures are medians.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import headwater as hw  # before numpy, to which it says how to sort (headwater/simd.py)

# isort: split
import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from headwater.clock import SystemClock
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.local import LocalDisk

ADS, VISITORS, EVENTS_PER_SECOND = 1_000, 100_000, 10_000
# Ids as they come: not 0, 1, 2, ..., for which DuckDB has a join of its own (--dense uses those).
VISITOR_IDS = np.random.default_rng(0).choice(1 << 40, VISITORS, replace=False)
COLUMNS = "ad BIGINT NOT NULL, visitor BIGINT NOT NULL, cost BIGINT NOT NULL, ts TIMESTAMP NOT NULL"


@dataclass(frozen=True)
class Query:
    """A view, and the same in plain DuckDB."""

    name: str
    view: str
    batch: str
    options: dict[str, str] = field(default_factory=dict)


FINAL = {"emit": "final", "lateness": "1 minute"}
QUERIES = (
    Query(
        "a  filter and projection",
        "SELECT visitor, cost * 2 AS doubled, ts FROM clicks WHERE ad < 300",
        "SELECT visitor, cost * 2 AS doubled, ts FROM clicks WHERE ad < 300",
    ),
    Query(
        "b  tumbling minute: count, sum by ad",
        "SELECT ad, window_start, count(*) AS n, sum(cost) AS cost "
        "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY ad, window_start, window_end",
        "SELECT ad, time_bucket(INTERVAL '1 minute', ts) AS window_start, "
        "count(*) AS n, sum(cost) AS cost FROM clicks GROUP BY ALL",
        FINAL,
    ),
    Query(
        "c  sliding minute by 10 s: count, sum by ad",
        "SELECT ad, window_start, count(*) AS n, sum(cost) AS cost "
        "FROM HOP(clicks, ts, INTERVAL '10 seconds', INTERVAL '1 minute') "
        "GROUP BY ad, window_start, window_end",
        "SELECT ad, time_bucket(INTERVAL '10 seconds', ts) - to_seconds(10 * slide) AS "
        "window_start, count(*) AS n, sum(cost) AS cost "
        "FROM clicks, range(6) AS slides(slide) GROUP BY ALL",
        FINAL,
    ),
    Query(
        "d  join to a table of 100,000 rows",
        "SELECT ad, name, cost, ts FROM clicks JOIN visitors USING (visitor)",
        "SELECT ad, name, cost, ts FROM clicks JOIN visitors USING (visitor)",
    ),
)


def clicks(rows: int, start: int, rng: np.random.Generator) -> pa.Table:
    """Rows `start` and on of the synthetic clicks: in order up to a disorder of two seconds."""
    at = (np.arange(start, start + rows) * (1_000_000 // EVENTS_PER_SECOND)).astype(np.int64)
    at += rng.integers(-1_000_000, 1_000_000, rows) + 1_700_000_000_000_000
    return pa.table(
        {
            "ad": rng.integers(0, ADS, rows),
            "visitor": VISITOR_IDS[rng.integers(0, VISITORS, rows)],
            "cost": rng.integers(0, 10_000, rows),
            "ts": pa.array(at, pa.timestamp("us")),
        }
    )


def visitors() -> pa.Table:
    return pa.table(
        {
            "visitor": VISITOR_IDS,
            "name": pa.array([f"visitor {n % 977}" for n in range(VISITORS)]),
        }
    )


def app_of(query: Query) -> hw.App:
    app = hw.App("bench")
    app.topic("clicks", COLUMNS, event_time="ts", delay="2 seconds")
    app.table("visitors", "visitor BIGINT, name VARCHAR NOT NULL", key="visitor")
    app.view("answer", query.view, **query.options)
    return app


def headwater_seconds(
    query: Query,
    rows: int,
    settings: Settings = Settings(),  # noqa: B008 - frozen
) -> tuple[float, int]:
    """Seconds from the log to the last committed epoch, and the rows that came out."""
    compiled = app_of(query).compile()
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        disk = LocalDisk(Path(folder))
        runtime = Runtime(compiled.pipeline, compiled.plans, disk, SystemClock(), settings)
        ingest = Ingest(runtime.intake, runtime.clock)
        ingest.send(runtime.topics["visitors"].definition, visitors())
        step = 100_000
        topic = runtime.topics["clicks"].definition
        # A running pipeline: the first rows have been through it, so its statements are prepared.
        ingest.send(topic, clicks(step, -step, rng))
        while runtime.loop.run_epoch():
            pass
        for start in range(0, rows, step):
            ingest.send(topic, clicks(min(step, rows - start), start, rng))
        runtime.checkpoint()
        gc.collect()
        started = time.perf_counter()
        while runtime.loop.run_epoch():
            pass
        seconds = time.perf_counter() - started
        out = runtime.loop.stepper.views[0].changes.next_offset()
        runtime.close()
    return seconds, out


def duckdb_seconds(query: Query, rows: int) -> tuple[float, int]:
    """Seconds of DuckDB's batch answer, into an Arrow table."""
    rng = np.random.default_rng(1)
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("CREATE TABLE clicks (ad BIGINT, visitor BIGINT, cost BIGINT, ts TIMESTAMP)")
    for start in range(0, rows, 100_000):
        part = clicks(min(100_000, rows - start), start, rng)
        connection.register("part", part)
        connection.execute("INSERT INTO clicks SELECT * FROM part")
    table = visitors()
    connection.register("given", table)
    connection.execute("CREATE TABLE visitors AS SELECT * FROM given")
    gc.collect()
    started = time.perf_counter()
    answer = connection.sql(query.batch).to_arrow_table()
    seconds = time.perf_counter() - started
    connection.close()
    return seconds, answer.num_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1000000,10000000")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--dense", action="store_true", help="visitor ids 0, 1, 2, ...")
    args = parser.parse_args()
    if args.dense:
        VISITOR_IDS[:] = np.arange(VISITORS)
    table = Table(title=f"{os.cpu_count()} cores, medians of {args.repeat}")
    for heading in ("query", "events", "Headwater", "events/s", "DuckDB batch", "ratio"):
        table.add_column(heading, justify="left" if heading == "query" else "right")
    for query in QUERIES:
        if args.only and query.name[0] not in args.only:
            continue
        for rows in (int(count) for count in args.rows.split(",")):
            ours, theirs = [], []
            for _ in range(args.repeat):
                ours.append(headwater_seconds(query, rows)[0])
                theirs.append(duckdb_seconds(query, rows)[0])
            here, there = statistics.median(ours), statistics.median(theirs)
            table.add_row(
                query.name,
                f"{rows:,}",
                f"{here:.3f} s",
                f"{rows / here / 1e6:.2f} M",
                f"{there:.3f} s",
                f"{there / here:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()

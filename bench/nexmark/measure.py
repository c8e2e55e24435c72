"""How fast one query is computed from the log, and by DuckDB in batch; and whether they agree.

The rows stand in the mapped files of a data folder before the clock starts, as in `bench/first.py`.
A first, small epoch prepares the statements. Then epochs run until all rows are computed and
committed and the watermark has closed all windows. Each run has a process of its own, so that its
memory is its own, and a copy of the folder (of links: files are never changed).
"""

from __future__ import annotations

import gc
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.folders import linked, opened
from bench.nexmark.generator import Config
from bench.nexmark.pipeline import app_of, sends
from bench.nexmark.queries import QUERIES, TOPICS, Query
from headwater.delta.watermark import AFTER_ALL
from headwater.heap import HEAP
from headwater.runtime import loop as loops
from headwater.runtime import stepper
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Settings

# No checkpoint is taken unless it is asked for.
NEVER = Settings(checkpoint_bytes=1 << 60, checkpoint_seconds=1e9)
SEND_EVENTS = 20_000
WARM_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run of Headwater took.

    Args:
        seconds: From the log to the last committed epoch.
        processor_seconds: What all threads were busy for in that time.
        rows: How many rows were taken in that time.
        late: Rows that came too late for the query.
        peak_bytes: The most memory that was in use, above what the opened folder took.
        state_rows: What operators remember in the end.
        state_bytes: The same in bytes.

    """

    seconds: float
    processor_seconds: float
    rows: int
    late: int
    peak_bytes: int
    state_rows: int
    state_bytes: int


def write_log(config: Config, events: int, folder: Path, *, delay: str) -> None:
    """Make a data folder whose topics hold the events, and that has computed nothing."""
    app = app_of(Query("none", "", ""), delay=delay)
    runtime = opened(app.compile(), folder, NEVER)
    ingest = Ingest(runtime.intake, runtime.clock)
    for number, (name, rows) in enumerate(sends(config, events, SEND_EVENTS)):
        ingest.send(runtime.topics[name].definition, rows)
        # Between sends, so that the memory of the journal and of the tails stays small.
        if number % 200 == 199:
            runtime.checkpoint()
    runtime.close()


def headwater(name: str, log: Path, delay: str, answer: Path | None) -> Figures:
    """Compute a query in a process of its own; put its rows into the file `answer`, if named."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_headwater, name, log, delay, answer).result()


def _headwater(name: str, log: Path, delay: str, answer: Path | None) -> Figures:
    (query,) = (query for query in QUERIES if query.name == name)
    with TemporaryDirectory(dir=log.parent) as place:
        folder = linked(log, Path(place) / "data")
        runtime = opened(app_of(query, delay=delay).compile(), folder, NEVER)
        loop = runtime.loop
        rows_max, loop._epoch_rows_max = loop._epoch_rows_max, WARM_ROWS
        unread_max, stepper._UNREAD_MAX = stepper._UNREAD_MAX, 1
        # It opens no files ahead, or these would be ready before the clock starts.
        ahead_min, loops._AHEAD_ROWS_MIN = loops._AHEAD_ROWS_MIN, 1 << 62
        loop.run_epoch()
        loop._epoch_rows_max, stepper._UNREAD_MAX = rows_max, unread_max
        loops._AHEAD_ROWS_MIN = ahead_min
        gc.collect()
        # What was written before must not hold up the journal's syncs: a log, an answer. Nor may
        # what prepares the heap for the first epoch be running still.
        os.sync()
        HEAP.wait()
        before, rows_before = _reset_peak(), loop.progress.tick
        started, busy = time.perf_counter(), time.process_time()
        while loop.run_epoch():
            pass
        for topic in TOPICS:
            runtime.intake.advance(topic, AFTER_ALL)
        while loop.run_epoch():
            pass
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
        peak = _memory("VmHWM") - before
        views = loop.stepper.views
        sizes = [view.dataflow.state_size() for view in views]
        late = sum(view.late.next_offset() for view in views if view.late is not None)
        assert not runtime.problems, runtime.problems
        assert not any(view.failed_rows for view in views)
        if answer is not None:
            batches = list(views[-1].content().batches())
            pq.write_table(pa.Table.from_batches(batches, views[-1].plan.schema.arrow), answer)
        rows = loop.progress.tick - rows_before
        runtime.close()
    state_rows, state_bytes = (sum(column) for column in zip(*sizes, strict=True))
    return Figures(seconds, busy, rows, late, peak, state_rows, state_bytes)


def duckdb_seconds(query: Query, connection: duckdb.DuckDBPyConnection) -> float:
    """Seconds of DuckDB's batch answer, into an Arrow table."""
    gc.collect()
    started = time.perf_counter()
    connection.sql(query.in_batch).to_arrow_table()
    return time.perf_counter() - started


def same_rows(query: Query, answer: Path, connection: duckdb.DuckDBPyConnection) -> str:
    """ "equal", or how the rows of a run differ from DuckDB's answer."""
    expected = connection.sql(query.in_batch)
    ours = connection.read_parquet(str(answer))
    return difference(connection, ours, expected) or "equal"


def difference(
    connection: duckdb.DuckDBPyConnection,
    ours: duckdb.DuckDBPyRelation,
    expected: duckdb.DuckDBPyRelation,
) -> str:
    """How two answers differ, row by row; empty where they do not.

    Floats are compared to nine digits, all else exactly; equal rows count as often as they are.
    """
    floats = {c for c, t in zip(expected.columns, expected.types, strict=True) if t == "DOUBLE"}
    columns = ", ".join(
        f'CAST(printf(\'%.8e\', "{c}") AS VARCHAR) AS "{c}"' if c in floats else f'"{c}"'
        for c in expected.columns
    )
    both = {"ours": ours.project(columns), "theirs": expected.project(columns)}
    for name, relation in both.items():
        connection.execute(f"DROP TABLE IF EXISTS {name}_rows")
        relation.create(f"{name}_rows")

    def count(rows: str) -> int:
        found = connection.sql(f"SELECT count(*) FROM ({rows})").fetchall()
        return int(found[0][0])

    missing = count("FROM theirs_rows EXCEPT ALL FROM ours_rows")
    extra = count("FROM ours_rows EXCEPT ALL FROM theirs_rows")
    expected_rows = count("FROM theirs_rows")
    for name in both:
        connection.execute(f"DROP TABLE {name}_rows")
    if missing or extra:
        return f"{missing} of DuckDB's rows are missing, {extra} are too many"
    return "" if expected_rows else "no rows at all"


def _reset_peak() -> int:
    """Forget the peak so far; return the memory in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(what))
    return int(line.split()[1]) * 1024

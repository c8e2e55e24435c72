"""One query's pipeline, and its rows for Headwater and for DuckDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

import headwater as hw
from bench.nexmark.generator import Config, block, blocks
from bench.nexmark.queries import SIDE, SIDE_ROWS, TOPICS, Query

Rows = tuple[str, pa.Table]


def app_of(query: Query, *, delay: str = "1 second") -> hw.App:
    """The topics, the side table and the query's views."""
    app = hw.App("nexmark")
    for name, columns in TOPICS.items():
        app.topic(name, columns, event_time="date_time", delay=delay)
    app.table("side", SIDE, key="key")
    for view in query.views if query.view else ():
        app.view(view.name, view.query, emit=view.emit)
    return app


def side() -> pa.Table:
    """The rows of the side table."""
    keys = np.arange(SIDE_ROWS)
    values = pa.array([f"side {key * 7919 % SIDE_ROWS}" for key in range(SIDE_ROWS)])
    return pa.table({"key": keys, "value": values})


def sends(config: Config, events: int, step: int) -> Iterator[Rows]:
    """All rows by topic, the side table first, then `step` events after the other.

    A block's rows are cut alike in each topic, so that the topics keep pace in time.
    """
    yield "side", side()
    for number in blocks(events):
        made = block(config, number, events)
        parts = max(1, -(-sum(rows.num_rows for rows in made.values()) // step))
        for part in range(parts):
            for name, rows in made.items():
                first, stop = (rows.num_rows * (part + at) // parts for at in (0, 1))
                if stop > first:
                    yield name, rows.slice(first, stop - first)


def over_files(tables: duckdb.DuckDBPyConnection, folder: Path) -> duckdb.DuckDBPyConnection:
    """DuckDB over Parquet files of the same rows, which it has not read yet."""
    connection = duckdb.connect(config={"threads": 2, "preserve_insertion_order": False})
    connection.execute("SET TimeZone = 'UTC'")
    folder.mkdir()
    for name in (*TOPICS, "side"):
        path = str(folder / f"{name}.parquet")
        tables.table(name).write_parquet(path, compression="zstd")
        connection.read_parquet(path).create_view(name)
    return connection


def loaded(config: Config, events: int) -> duckdb.DuckDBPyConnection:
    """DuckDB with all rows in tables of its own, and two threads."""
    connection = duckdb.connect(config={"threads": 2, "preserve_insertion_order": False})
    connection.execute("SET TimeZone = 'UTC'")
    for name, columns in {**TOPICS, "side": SIDE}.items():
        connection.execute(f"CREATE TABLE {name} ({columns})")
    for name, rows in sends(config, events, 1 << 30):
        connection.register("part", rows)
        connection.execute(f"INSERT INTO {name} SELECT * FROM part")
        connection.unregister("part")
    return connection

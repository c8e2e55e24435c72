"""How many rows a second a sink takes into its store.

    python bench/sinks.py [--rows 1000000] [--dsn "host=... user=... dbname=..."]

Rows of a number, a text, a decimal and a time are added in one write to an empty store, as a sink
does that catches up; then a tenth of them, by key, are replaced in a second write. PostgreSQL is
measured with --dsn, in a table `headwater_bench` that is dropped before and after.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import headwater as hw  # noqa: F401 - before numpy, to which it says how to sort

# isort: split
import numpy as np
import pyarrow as pa

from headwater.connectors.sink import Followed, Mode, Sink
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type

COLUMNS = {"n": "BIGINT", "word": "VARCHAR", "price": "DECIMAL(12,2)", "ts": "TIMESTAMP"}
SCHEMA = Schema(tuple(Column(name, parse_type(kind)) for name, kind in COLUMNS.items()))
TABLE = "headwater_bench"


def rows(numbers: np.ndarray, version: int) -> pa.Table:
    words = np.char.add(f"word {version} ", (numbers % 1000).astype(str))
    arrays = [numbers, words, (numbers % 100_000).astype(np.int32), numbers + 1_700_000_000_000_000]
    table = pa.table([pa.array(a) for a in arrays], names=list(COLUMNS))
    return table.cast(SCHEMA.arrow)


def changes(parts: list[tuple[pa.Table, int]], offset: int) -> pa.Table:
    table = pa.concat_tables([part for part, _ in parts])
    weights = np.concatenate([np.full(len(part), weight) for part, weight in parts])
    offsets = np.arange(offset, offset + len(table))
    for name, values in (("_weight", weights), ("_epoch", offsets * 0), ("_offset", offsets)):
        table = table.append_column(name, pa.array(values))
    return table


def measure(name: str, sink: Sink, count: int) -> None:
    first = changes([(rows(np.arange(count), 1), 1)], 0)
    some = np.arange(0, count, 10)
    second = changes([(rows(some, 1), -1), (rows(some, 2), 1)], count)
    sink.position()
    start = time.perf_counter()
    sink.write(first, 0, count)
    added = time.perf_counter() - start
    start = time.perf_counter()
    sink.write(second, count, count + len(second))
    replaced = time.perf_counter() - start
    sink.close()
    print(f"{name:18} {count / added:12,.0f} added/s {len(some) / replaced:12,.0f} replaced/s")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--dsn", help="a PostgreSQL to measure too")
    given = options.parse_args()
    followed = Followed("bench.sink", "bench", SCHEMA, ("n",))

    from headwater.connectors import delta_lake, duckdb, parquet
    from headwater.storage.blobs import Blobs
    from headwater.storage.local import LocalDisk

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        blobs = Blobs.open(LocalDisk.made(folder / "lake"))
        measure("parquet", parquet.ParquetSink(blobs, is_append_only=False), given.rows)
        for mode in Mode:
            target = duckdb.Target(str(folder / "store.duckdb"), f"bench_{mode}", mode)
            measure(f"duckdb {mode}", duckdb.DuckDBSink(followed, target), given.rows)
            path = delta_lake.Target(str(folder / f"delta_{mode}"), mode)
            measure(f"delta {mode}", delta_lake.DeltaSink(followed, path), given.rows)
    if given.dsn:
        for mode in Mode:
            measure_postgres(followed, given.dsn, mode, given.rows)


def measure_postgres(followed: Followed, dsn: str, mode: Mode, count: int) -> None:
    import psycopg

    from headwater.connectors import postgres

    target = postgres.Target(dsn, TABLE, mode)
    with psycopg.connect(dsn, autocommit=True) as store:
        store.execute(f"DROP TABLE IF EXISTS {TABLE}")
        measure(f"postgres {mode}", postgres.PostgresSink(followed, target), count)
        store.execute(f"DROP TABLE IF EXISTS {TABLE}")


if __name__ == "__main__":
    main()

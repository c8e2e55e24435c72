"""Updates of a keyed table, enriched by another one, to a committed Parquet sink.

    python -m bench.enrich [--updates 80000000] [--keys 10000000] [--memory GIB] [--folder DIR]
                           [--no-verify]

A merchant's offers, as in `bench.offers`: each key is sent once, then come updates of random keys,
a tenth of them older than what is known. They go through the same door as any sender's Arrow
tables: validated, and durable before the next batch is sent. A view joins each offer with its
merchant, and a sink writes the view's changes as Parquet. A part is timed until its changes are
committed, the last one of each kind until they are all in the sink. After each part a merchant
changes its name, so that all its offers do.

At the end DuckDB says from the rows of the log what the view must hold, and the sink's files must
add up to it, row by row.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import headwater as hw  # isort: skip - before numpy, whose sort it chooses
import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from bench.offers import COLUMNS, Offers
from headwater.run.live import Live
from headwater.runtime.budget import anonymous_bytes
from headwater.runtime.runtime import Settings

MERCHANT = "merchant INTEGER, name VARCHAR NOT NULL, country VARCHAR NOT NULL"
ENRICHED = """SELECT o.id, o.price, o.title, m.name, m.country, o.updated
              FROM offers o JOIN merchants m USING (merchant)"""
PARTS = 20
# As many as the offers are of.
MERCHANTS = 35_000
# So many rows of the log are handed to DuckDB at a time.
READ_ROWS = 1 << 20
# An offset takes so many values less than this.
OFFSETS = 1 << 40


@dataclass(frozen=True, slots=True)
class Size:
    """How much is sent."""

    keys: int
    updates: int


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that were sent, and how long it took until what came of them was committed.

    Args:
        behind: So many changes the sink has not written yet; after the last part none.

    """

    what: str
    rows: int
    seconds: float
    memory_bytes: int
    behind: int


def app(lake: Path) -> hw.App:
    enriched = hw.App("enrich")
    enriched.table("offers", COLUMNS, key="id", newest_by="updated")
    enriched.table("merchants", MERCHANT, key="merchant")
    enriched.view("enriched", ENRICHED)
    enriched.sink("enriched", hw.sinks.Parquet(lake, every="1 second"))
    return enriched


def merchants(numbers: np.ndarray, version: int) -> pa.Table:
    countries = pa.array(["de", "fr", "it", "es", "pl", "nl", "se"])
    return pa.table(
        {
            "merchant": numbers.astype(np.int32),
            "name": [f"merchant {n}, version {version}" for n in numbers.tolist()],
            "country": countries.take(pa.array(numbers % len(countries))),
        }
    )


def run(live: Live, size: Size) -> Iterator[Part]:
    """Send everything; a part of it is done when the next is asked for."""
    offers = Offers(size.keys)
    live.send("merchants", merchants(np.arange(MERCHANTS), 0))
    for what, rows, batches in (
        ("load", size.keys, offers.each_once()),
        ("update", size.updates, offers.updates(size.updates)),
    ):
        part, since, left = max(rows // PARTS, 1), 0, rows
        started = time.perf_counter()
        for batch in batches:
            live.send("offers", batch)
            since, left = since + batch.num_rows, left - batch.num_rows
            if since < part and left:
                continue
            if what == "update":
                live.send("merchants", merchants(np.array([left % MERCHANTS]), left + 1))
            live.settle()
            while not left and live.status().sinks[0].lag:
                time.sleep(0.01)
            seconds, started = time.perf_counter() - started, time.perf_counter()
            yield Part(what, since, seconds, anonymous_bytes(), live.status().sinks[0].lag)
            since = 0


def log_of(live: Live, topic: str) -> pa.RecordBatchReader:
    """All rows of a topic, a few at a time."""
    first = live.rows(topic, 0, 1)

    def batches() -> Iterator[pa.RecordBatch]:
        offset = 0
        while (rows := live.rows(topic, offset, READ_ROWS)).num_rows:
            yield from rows.cast(first.schema).to_batches()
            offset += rows.num_rows

    return pa.RecordBatchReader.from_batches(first.schema, batches())


def verify(live: Live, lake: Path, scratch: Path) -> tuple[int, int]:
    """How many rows the view has, and how many changes the sink has.

    Compared are the numbers of rows and the sums of the rows' hashes.
    """
    settings = {"temp_directory": str(scratch), "memory_limit": "6GB"}
    with duckdb.connect(str(scratch / "verify.duckdb"), config=settings) as db:
        db.execute("SET preserve_insertion_order = false")
        for topic, key, version in (
            ("offers", "id", "epoch_us(updated)"),
            ("merchants", "merchant", "0"),
        ):
            db.register("log", log_of(live, topic))
            db.execute(
                f"CREATE TABLE {topic}_last AS SELECT max({version}::HUGEINT * {OFFSETS} + _offset)"
                f" % {OFFSETS} AS _offset FROM log GROUP BY {key}"
            )
            db.register("log", log_of(live, topic))
            db.execute(
                f"CREATE TABLE {topic} AS SELECT * FROM log SEMI JOIN {topic}_last USING (_offset)"
            )
        columns = "hash(id, price, title, name, country, updated)::HUGEINT"
        [expected] = db.sql(f"SELECT count(*), sum({columns}) FROM ({ENRICHED})").fetchall()
        files = f"read_parquet('{lake}/*.parquet')"
        [found] = db.sql(
            f"SELECT sum(_weight), sum({columns} * _weight), count(*) FROM {files}"
        ).fetchall()
    assert found[:2] == expected, f"the sink adds up to {found[:2]}, not to {expected}"
    return int(expected[0]), int(found[2])


def measure(size: Size, folder: Path, settings: Settings, *, verifies: bool) -> list[Part]:
    """Run it in a folder, say how it went, and return the parts."""
    lake, parts, sent = folder / "lake", [], 0
    error = Console(stderr=True)
    with app(lake).start(folder / "data", listen=None, settings=settings) as live:
        for part in run(live, size):
            parts.append(part)
            sent += part.rows
            error.print(f"{part.what} {sent / 1e6:,.2f} M, {part.rows / part.seconds:,.0f} rows/s")
        said = ""
        if verifies:
            rows, changes = verify(live, lake, folder)
            said = f"{rows:,} rows and {changes:,} changes in the sink: as DuckDB says from the log"
    Console().print(curve(parts))
    for what in ("load", "update"):
        mine = [part for part in parts if part.what == what]
        rows, seconds = sum(part.rows for part in mine), sum(part.seconds for part in mine)
        print(f"{what}: {rows:,} rows in {seconds:,.1f} s, {rows / seconds:,.0f} rows/s")
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(
        f"own memory at most {max(p.memory_bytes for p in parts) / (1 << 30):.2f} GiB, "
        f"{size_bytes / (1 << 30):.1f} GiB of files"
    )
    if said:
        print(said)
    return parts


def curve(parts: list[Part]) -> Table:
    table = Table()
    for heading in ("", "rows", "rows/s", "each", "own memory", "before the sink"):
        table.add_column(heading, justify="right")
    for n, part in enumerate(parts):
        sent = sum(one.rows for one in parts[: n + 1])
        table.add_row(
            part.what,
            f"{sent / 1e6:,.2f} M",
            f"{part.rows / part.seconds / 1e3:,.0f} k",
            f"{part.seconds / part.rows * 1e6:.2f} us",
            f"{part.memory_bytes / (1 << 30):.2f} GiB",
            f"{part.behind:,}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--updates", type=int, default=80_000_000)
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--memory", type=float, default=None, help="budget in GiB")
    parser.add_argument("--folder", type=Path, default=None, help="where the data goes meanwhile")
    parser.add_argument("--no-verify", action="store_true", help="do not compare with DuckDB")
    args = parser.parse_args()
    settings = Settings(memory_bytes=None if args.memory is None else int(args.memory * (1 << 30)))
    size = Size(args.keys, args.updates)
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measure(size, Path(folder), settings, verifies=not args.no_verify)


if __name__ == "__main__":
    main()

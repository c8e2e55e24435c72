"""A keyed table under load: a merchant's offers, sent in any order, the newest version wins.

    python bench/offers.py [--keys 10000000] [--updates KEYS] [--memory GIB] [--folder DIR]

Each key is sent once, in random order; then as many updates of random keys, a tenth of them older
than what is known. Rows go through the same door as any sender's Arrow tables: they are validated
and durable before the next batch is sent. Each tenth is timed until it is committed, so that the
curve shows what an upsert costs as the table grows, with the most memory of its own that the
process had meanwhile. Then single rows are read by key, once what was written is on the disk.
"""

from __future__ import annotations

import argparse
import http.client
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from urllib.parse import urlsplit

import headwater as hw  # isort: skip - before numpy, whose sort it chooses
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from headwater.run.live import Live
from headwater.runtime.budget import anonymous_bytes
from headwater.runtime.runtime import Settings

BATCH_ROWS = 100_000
READS = 2_000
START_US = 1_767_225_600_000_000
COLUMNS = """id BIGINT, merchant INTEGER NOT NULL, price BIGINT NOT NULL, title VARCHAR NOT NULL,
             updated TIMESTAMP NOT NULL"""


class Offers:
    """Makes rows of about 100 bytes, the same at each call."""

    def __init__(self, keys: int) -> None:
        self._keys = keys
        letters = np.random.default_rng(1).integers(97, 123, (4096, 52), dtype=np.uint8)
        self._titles = pa.array([f"offer {bytes(row).decode()}" for row in letters])
        # Counting in steps that share no divisor with the number of keys meets each key once.
        self._step = next(s for s in range(int(keys * 0.618) | 1, 2 * keys) if np.gcd(s, keys) == 1)

    def each_once(self) -> Iterator[pa.Table]:
        """Every key, in an order without a pattern that would help."""
        for first in range(0, self._keys, BATCH_ROWS):
            place = np.arange(first, min(first + BATCH_ROWS, self._keys), dtype=np.int64)
            yield self._rows(place * self._step % self._keys, place)

    def updates(self, count: int) -> Iterator[pa.Table]:
        """Random keys, a tenth with a version that is older than what is known."""
        for first in range(0, count, BATCH_ROWS):
            random = np.random.default_rng(first + 2)
            rows = min(BATCH_ROWS, count - first)
            place = np.arange(first, first + rows, dtype=np.int64) + self._keys
            version = np.where(random.random(rows) < 0.1, -place, place)
            yield self._rows(random.integers(0, self._keys, rows), version)

    def _rows(self, ids: np.ndarray, version: np.ndarray) -> pa.Table:
        return pa.table(
            {
                "id": ids,
                "merchant": (ids % 35_000).astype(np.int32),
                "price": version * 7919 % 100_000,
                "title": self._titles.take(pa.array(version % 4096)),
                "updated": pa.array(START_US + version, pa.timestamp("us")),
            }
        )


def app() -> hw.App:
    offers = hw.App("offers")
    offers.table("offers", COLUMNS, key="id", newest_by="updated")
    return offers


class Watch:
    """The most memory of its own that the process has had, looked at twenty times a second."""

    def __init__(self) -> None:
        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def most(self) -> int:
        """Bytes, since this was asked last."""
        most, self._most = self._most, 0
        return max(most, anonymous_bytes())

    def _run(self) -> None:
        while not self._ended.wait(0.05):
            self._most = max(self._most, anonymous_bytes())


def send(  # noqa: PLR0913, PLR0917 - what is sent, and where it is noted
    live: Live, batches: Iterator[pa.Table], rows: int, what: str, table: Table, watch: Watch
) -> None:
    """Send batches; a line for each tenth of them."""
    part, sent, since = rows // 10, 0, 0
    started = time.perf_counter()
    for batch in batches:
        live.send("offers", batch)
        sent, since = sent + batch.num_rows, since + batch.num_rows
        if since >= part or sent == rows:
            live.settle()
            now = time.perf_counter()
            seconds, started = now - started, now
            table.add_row(
                what,
                f"{sent / 1e6:,.1f} M",
                f"{since / seconds / 1e3:,.0f} k",
                f"{seconds / since * 1e6:.2f} us",
                f"{watch.most() / (1 << 30):.2f} GiB",
            )
            print(f"{what} {sent / 1e6:,.1f} M, {since / seconds:,.0f}/s", file=sys.stderr)
            since = 0


def percentiles(read: Callable[[int], object], keys: int, seed: int) -> str:
    """Milliseconds of the median and the 99th percentile, of new keys and of the same ones again.

    What is new may lie on the disk alone, where the files are larger than memory.
    """
    found = []
    for case in ("new keys", "the same again"):
        seconds = []
        for key in np.random.default_rng(seed).integers(0, keys, READS).tolist():
            started = time.perf_counter()
            assert read(key)
            seconds.append(time.perf_counter() - started)
        p50, p99 = np.percentile(seconds, [50, 99]) * 1e3
        found.append(f"{case}: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    return "; ".join(found)


def over_http(url: str, keys: int) -> str:
    """What a client sees that reads over a connection that stays open."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)

    def read(key: int) -> object:
        connection.request("GET", f"/tables/offers/row?id={key}")
        return connection.getresponse().read()

    return percentiles(read, keys, seed=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--updates", type=int, default=None, help="as many as keys")
    parser.add_argument("--memory", type=float, default=None, help="budget in GiB")
    parser.add_argument("--folder", type=Path, default=None, help="where the data goes meanwhile")
    args = parser.parse_args()
    updates = args.keys if args.updates is None else args.updates
    offers = Offers(args.keys)
    table = Table(title=f"{args.keys:,} keys", title_style="")
    for heading in ("", "rows", "upserts/s", "each", "own memory"):
        table.add_column(heading, justify="right")
    settings = Settings(memory_bytes=None if args.memory is None else int(args.memory * (1 << 30)))
    started = time.perf_counter()
    with (
        tempfile.TemporaryDirectory(dir=args.folder) as folder,
        app().start(folder, listen="127.0.0.1:0", settings=settings) as live,
        Watch() as watch,
    ):
        send(live, offers.each_once(), args.keys, "load", table, watch)
        send(live, offers.updates(updates), updates, "update", table, watch)
        seconds = time.perf_counter() - started
        Console().print(table)
        total = args.keys + updates
        print(f"{total / seconds:,.0f} upserts/s over all")
        os.sync()
        in_python = percentiles(lambda key: live.get("offers", key), args.keys, seed=0)
        print("a row by key in Python,", in_python)
        with get_context("spawn").Pool(1) as client:
            print("a row by key over HTTP,", client.apply(over_http, (live.url, args.keys)))
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        print(f"{size / (1 << 30):.1f} GiB of files")


if __name__ == "__main__":
    main()

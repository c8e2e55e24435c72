"""How many rows a second the HTTP door takes: NDJSON in batches of 1,000, validated and durable.

    python bench/ingest.py [--seconds 5] [--connections 2]

The server runs in a process of its own; clients on the loopback keep their connections open and
send prepared bodies as fast as they are acknowledged.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import tempfile
import threading
import time
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

import headwater as hw

BATCH = 1_000


def serve(pipe: multiprocessing.connection.Connection) -> None:
    app = hw.App("ingest")
    app.topic(
        "clicks",
        "ad BIGINT NOT NULL, visitor VARCHAR NOT NULL, cost DOUBLE, ts TIMESTAMP NOT NULL",
        event_time="ts",
    )
    app.view("by_ad", "SELECT ad, count(*) AS n, sum(cost) AS cost FROM clicks GROUP BY ad")
    with tempfile.TemporaryDirectory() as folder, app.start(folder, listen="127.0.0.1:0") as live:
        pipe.send(live.url)
        pipe.recv()
        live.settle()
        pipe.send(live.query("SELECT sum(n) AS n FROM by_ad").to_pylist()[0]["n"])


def body(seed: int) -> bytes:
    rows = (
        {
            "ad": (seed * BATCH + n) % 1000,
            "visitor": f"visitor {n}",
            "cost": n / 7,
            "ts": f"2026-01-01T00:{seed % 60:02d}:{n % 60:02d}.{n:06d}",
        }
        for n in range(BATCH)
    )
    return b"\n".join(json.dumps(row).encode() for row in rows)


def client(url: str, until: float, counts: list[int]) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    bodies = [body(seed) for seed in range(20)]
    headers = {"Content-Type": "application/x-ndjson"}
    taken = 0
    while time.perf_counter() < until:
        connection.request("POST", "/topics/clicks", bodies[taken % len(bodies)], headers)
        answer = json.loads(connection.getresponse().read())
        assert answer["accepted"] == BATCH, answer
        taken += 1
    counts.append(taken * BATCH)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=2)
    args = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,))
    server.start()
    url = here.recv()
    counts: list[int] = []
    started = time.perf_counter()
    clients = [
        threading.Thread(target=client, args=(url, started + args.seconds, counts))
        for _ in range(args.connections)
    ]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    seconds = time.perf_counter() - started
    here.send("done")
    counted = here.recv()
    server.join()
    assert counted == sum(counts), (counted, sum(counts))
    table = Table(title=f"{os.cpu_count()} cores, {args.connections} connections")
    for heading in ("rows", "seconds", "rows/s"):
        table.add_column(heading, justify="right")
    table.add_row(f"{sum(counts):,}", f"{seconds:.2f}", f"{sum(counts) / seconds:,.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()

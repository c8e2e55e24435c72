"""A process that is killed while it fills its stores leaves each row in them once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

import headwater as hw
from connectors.servers import PostgresServer

KILLS, ROWS = 6, 6_000

CHILD = """
import sys, time
from connectors.test_kill import shop
with shop(sys.argv[2], sys.argv[3]).start(sys.argv[1], listen=None) as live:
    print("started", flush=True)
    while any(sink.lag or sink.state == "starting" for sink in live.status().sinks):
        time.sleep(0.01)
print("done", flush=True)
"""


def shop(stores: str, dsn: str) -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "item BIGINT, price BIGINT")
    app.view("totals", "SELECT item, sum(price) AS total FROM sales GROUP BY item")
    if not stores:
        return app
    # Small writes, so that a kill is likely to be in the middle of one.
    options = {"rows_max": 1000, "every": "1 ms"}
    app.sink("totals", hw.sinks.Parquet(f"{stores}/lake", **options))
    app.sink("totals", hw.sinks.DuckDB(f"{stores}/store.duckdb", **options))
    app.sink("totals", hw.sinks.Postgres(dsn, table="killed", **options))
    return app


@pytest.mark.slow
def test_each_change_is_in_each_store_once(postgres: PostgresServer, tmp_path: Path) -> None:
    data, stores = tmp_path / "data", tmp_path / "stores"
    chosen = random.Random(1)
    with shop("", "").start(data, listen=None) as live:
        for _ in range(20):
            items = (chosen.randrange(300) for _ in range(ROWS // 20))
            live.send("sales", [{"item": item, "price": 1} for item in items])
            live.settle()
        published = live.changes("totals").num_rows
        expected = sorted(map(tuple, (row.values() for row in live.content("totals").to_pylist())))

    killed = 0
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for number in range(100):
        command = [sys.executable, "-c", CHILD, str(data), str(stores), postgres.dsn]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        with suppress(subprocess.TimeoutExpired):
            child.wait(chosen.uniform(0.0, 0.3) if number < KILLS else 120)
        child.kill()
        rest = child.communicate()[0]
        if rest == "done\n":
            break
        killed += 1

    assert killed, "it was never killed in time"
    rows = postgres.execute("SELECT item, total FROM killed ORDER BY item")
    assert [(item, int(total)) for item, total in rows] == [(i, int(t)) for i, t in expected]
    with duckdb.connect(str(stores / "store.duckdb")) as store:
        found = store.sql("SELECT item, total FROM totals ORDER BY item").fetchall()
    assert [(item, int(total)) for item, total in found] == [(i, int(t)) for i, t in expected]
    offsets = duckdb.sql(f"SELECT _offset FROM '{stores}/lake/*.parquet' ORDER BY 1").fetchall()
    assert [offset for (offset,) in offsets] == list(range(published))

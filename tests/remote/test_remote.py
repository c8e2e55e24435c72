"""A pipeline in another process is consumed as one in this."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

import headwater as hw
from headwater.errors import ConflictError, ConnectorError, NotFoundError
from headwater.remote.client import Client
from headwater.run.live import Live


@pytest.fixture
def live() -> Iterator[Live]:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price BIGINT", partitions=2)
    app.view("totals", "SELECT item, sum(price) AS total FROM sales GROUP BY item")
    with app.start(listen="127.0.0.1:0") as live:
        for partition in (0, 1):
            rows = [{"item": "tea", "price": price} for price in range(10)]
            live.send("sales", rows, partition=partition)
        live.settle()
        yield live


def test_it_reads_what_a_consumer_in_the_process_reads(live: Live) -> None:
    remote = hw.connect(live.url or "")
    found = []
    for shop in (live, remote):
        consumer = shop.consumer(type(shop).__name__, "sales", rows_max=4, wait_seconds=0)
        batches = list(consumer)
        for batch in batches:
            batch.commit()
        found.append(sorted((b.partition, b.position, b.rows.to_pylist()) for b in batches))

    assert found[0] == found[1]
    assert {c.lag for c in live.consumers.all()} == {0}


def test_it_seeks_and_is_told_of_conflicts(live: Live) -> None:
    with hw.connect(live.url or "").consumer("billing", "totals", wait_seconds=0) as consumer:
        (batch,) = consumer
        live.consumers.remove("billing", "totals")
        with pytest.raises(NotFoundError, match="no consumer group billing"):
            batch.commit()
        live.send("sales", [{"item": "milk", "price": 1}])
        live.settle()
        live.consumers.create("billing", "totals", "now")
        with pytest.raises(ConflictError, match="and not at 0"):
            batch.commit()
        consumer.seek("start")
        (again,) = consumer
        assert again.rows.slice(0, len(batch)).equals(batch.rows)
        assert len(live.consumers.all()[0].members) == 1
    assert live.consumers.all()[0].members == ()


def test_only_the_newest(live: Live) -> None:
    consumer = hw.connect(live.url or "").consumer(
        "billing", "sales", newest=["item"], wait_seconds=0
    )

    assert [batch.rows.column("price").to_pylist() for batch in consumer] == [[9], [9]]


def test_questions_and_status(live: Live) -> None:
    remote = hw.connect(live.url or "")

    assert remote.query("SELECT total::BIGINT AS t FROM totals").to_pylist() == [{"t": 90}]
    assert remote.status()["pipeline"] == "shop"


def test_nothing_there_is_said_with_a_hint() -> None:
    with pytest.raises(ConnectorError, match="nothing answers"):
        hw.connect("http://127.0.0.1:9").consumer("billing", "sales")
    with pytest.raises(ConnectorError, match="no URL"):
        Client("ftp://x")


def test_it_needs_no_engine(live: Live) -> None:
    """Whoever only consumes loads neither DuckDB nor sqlglot."""
    code = (
        "import sys, headwater as hw\n"
        f"(b,) = hw.connect({live.url!r}).consumer('g', 'totals', wait_seconds=0)\n"
        "b.commit()\n"
        "print(sorted({'duckdb', 'sqlglot', 'fastapi'} & set(sys.modules)))"
    )

    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert said.stdout == "[]\n"

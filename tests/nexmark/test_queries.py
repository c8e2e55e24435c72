"""Every Nexmark query, kept epoch by epoch, holds what DuckDB answers over all rows at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import headwater as hw
from bench.nexmark.generator import Config
from bench.nexmark.measure import difference
from bench.nexmark.pipeline import app_of, loaded, sends
from bench.nexmark.queries import QUERIES, SIDE, TOPICS, Query
from headwater.clock import SystemClock
from headwater.delta.watermark import AFTER_ALL
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.local import LocalDisk

EVENTS = 30_000
# Two and a half minutes of event time, across midnight.
CONFIG = Config(rate=200, in_flight=40, active=300)
SHUFFLED = replace(CONFIG, shuffle=timedelta(seconds=4))


@dataclass(frozen=True)
class Way:
    """How the rows come.

    Args:
        step: Events in an epoch.
        cuts: The seed of random epochs instead; None for none.
        restarts: The folder is closed and opened again on the way.
    """

    name: str
    config: Config
    step: int = 5_000
    cuts: int | None = None
    restarts: bool = False


WAYS = (
    Way("in order, one large epoch", CONFIG, step=EVENTS),
    Way("shuffled", SHUFFLED),
    Way("random epochs", SHUFFLED, cuts=1),
    Way("other epochs, and restarts", SHUFFLED, cuts=2, restarts=True),
)


def app() -> hw.App:
    """All queries over the same topics."""
    whole = app_of(Query("none", "", ""), delay="4 seconds")
    for query in QUERIES:
        for view in query.views:
            whole.view(view.name, view.query, emit=view.emit)
    return whole


def parts_of(way: Way) -> Iterator[list[tuple[str, pa.Table]]]:
    """The rows of each epoch."""
    if way.cuts is None:
        parts = list(sends(way.config, EVENTS, way.step))
        size = len(TOPICS)
        yield from (parts[max(0, at) : at + size] for at in range(1 - size, len(parts), size))
        return
    rng = np.random.default_rng(way.cuts)
    waiting: list[tuple[str, pa.Table]] = []
    for name, rows in sends(way.config, EVENTS, 3_000):
        at = sorted({0, rows.num_rows, *rng.integers(0, rows.num_rows, rng.integers(0, 4))})
        for first, stop in itertools.pairwise(at):
            waiting.append((name, rows.slice(first, stop - first)))
            if rng.random() < 0.7:
                yield waiting
                waiting = []
    yield waiting


def opened(folder: Path) -> Runtime:
    compiled = app().compile()
    settings = Settings(is_synced=False)
    return Runtime(compiled.pipeline, compiled.plans, LocalDisk(folder), SystemClock(), settings)


def computed(way: Way, folder: Path) -> dict[str, pa.Table]:
    """What each view holds in the end."""
    runtime = opened(folder)
    rng = np.random.default_rng(way.cuts)
    for parts in parts_of(way):
        if way.restarts and rng.random() < 0.05:
            runtime.close()
            runtime = opened(folder)
        ingest = Ingest(runtime.intake, runtime.clock)
        for name, rows in parts:
            ingest.send(runtime.topics[name].definition, rows)
        runtime.loop.run_epoch()
    for name in TOPICS:
        runtime.intake.advance(name, AFTER_ALL)
    runtime.loop.run_epoch()
    assert not runtime.problems
    held = {}
    for view in runtime.loop.stepper.views:
        assert not view.failed_rows
        assert view.late is None or not view.late.next_offset()
        batches = list(view.content().batches())
        held[view.name] = pa.Table.from_batches(batches, view.plan.schema.arrow)
    runtime.close()
    return held


@pytest.fixture(scope="module", params=WAYS, ids=[way.name for way in WAYS])
def held(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, pa.Table]:
    return computed(request.param, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def batch() -> Iterator[duckdb.DuckDBPyConnection]:
    with loaded(CONFIG, EVENTS) as connection:
        yield connection


@pytest.mark.parametrize("query", QUERIES, ids=[query.name for query in QUERIES])
def test_a_query_equals_its_batch_answer(
    query: Query, held: Mapping[str, pa.Table], batch: duckdb.DuckDBPyConnection
) -> None:
    ours = batch.from_arrow(held[query.name])

    assert difference(batch, ours, batch.sql(query.in_batch)) == ""


def test_a_wrong_answer_is_seen(batch: duckdb.DuckDBPyConnection) -> None:
    right = batch.sql("SELECT n, n / 3 AS part FROM range(5) AS numbers(n)")
    for wrong in (
        "SELECT n, n / 3 AS part FROM range(6) AS numbers(n)",
        "SELECT n, n / 3 AS part FROM range(4) AS numbers(n)",
        "SELECT n, n / 3 + 1e-7 AS part FROM range(5) AS numbers(n)",
        "SELECT n, n / 3 AS part FROM range(4) AS numbers(n) UNION ALL SELECT 3, 1.0",
    ):
        assert difference(batch, batch.sql(wrong), right)
    assert difference(batch, right, right) == ""


def test_the_side_table_has_every_key() -> None:
    name, rows = next(sends(CONFIG, 100, 100))

    assert (name, rows.column_names) == ("side", ["key", "value"])
    assert SIDE.startswith("key")
    assert sorted(rows["key"].to_pylist()) == list(range(10_000))

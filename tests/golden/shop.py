"""A small pipeline that leaves a file of every kind in its data folder, and what it answers.

It is stepped by hand over a clock that the test owns, so that the same version of the program, with
the same libraries, writes the same bytes again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import headwater as hw
from headwater.log.changes import ChangeLog
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.run.compile import Compiled
from headwater.run.evolve import evolved
from headwater.runtime.consumer import Commit
from headwater.runtime.evolution import Wish
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.local import LocalDisk
from headwater.testing.clock import ManualClock

START_US = 1_735_689_600_000_000  # 2025-01-01
VIEWS = ("per_item", "per_minute", "sold", "dear")


def app(*, is_evolved: bool = False) -> hw.App:
    """The pipeline; `is_evolved` with the columns that it gets while it runs."""
    app = hw.App("shop")
    note = ", note VARCHAR DEFAULT 'none'" if is_evolved else ""
    app.topic(
        "sales",
        f"item VARCHAR, price BIGINT, ts TIMESTAMP{note}",
        event_time="ts",
        delay="10 seconds",
    )
    app.table("items", "item VARCHAR PRIMARY KEY, kind VARCHAR")
    app.view("per_item", "SELECT item, count(*) AS n, sum(price) AS total FROM sales GROUP BY item")
    app.view(
        "per_minute",
        "SELECT window_start, count(*) AS n FROM TUMBLE(sales, ts, INTERVAL '1 minute') "
        "GROUP BY window_start, window_end",
        emit="final",
        lateness="10 seconds",
    )
    app.view(
        "sold", "SELECT kind, sum(price) AS total FROM sales JOIN items USING (item) GROUP BY kind"
    )
    app.view("dear", "SELECT item, price, ts FROM sales ORDER BY price DESC, ts LIMIT 2")
    return app


@cache
def _compiled(is_evolved: bool) -> Compiled:
    return app(is_evolved=is_evolved).compile()


def sales(*rows: tuple[str, object, int]) -> bytes:
    """Lines of sales: item, price, and seconds from the start."""
    lines = (
        f'{{"item": "{item}", "price": {price}, "ts": "2025-01-01 00:{s // 60:02d}:{s % 60:02d}"}}'
        for item, price, s in rows
    )
    return "\n".join(lines).encode()


class Shop:
    """One life of the pipeline over a folder."""

    def __init__(self, folder: Path, *, is_evolved: bool = False, rebuild: bool = False) -> None:
        self.clock = ManualClock(START_US)
        compiled = _compiled(is_evolved)
        settings = Settings(checkpoint_seconds=1e9, rebuild=rebuild)
        self.runtime = Runtime(
            compiled.pipeline, compiled.plans, LocalDisk(folder), self.clock, settings
        )
        self._ingest = Ingest(self.runtime.intake, self.clock)

    def send(self, topic: str, rows: bytes, *who: Any) -> None:
        """Send rows, in one epoch; `who` is a producer and its number for them."""
        self.clock.advance(1.0)
        producer, sequence = who or (None, None)
        definition = self.runtime.topics[topic].definition
        self._ingest.send(definition, rows, producer=producer, sequence=sequence)
        self.step()

    def step(self) -> None:
        """Compute what waits."""
        while self.runtime.loop.run_epoch():
            pass

    def confirm(self, offset: int) -> None:
        """Say that a consumer group is done with sales up to an offset."""
        self.runtime.consumers.commit("stock", "sales", Commit(offset))

    def close(self) -> None:
        """End without a checkpoint, as a kill does."""
        self.runtime.consumers.close()
        self.runtime.loop.stop()
        self.runtime._checkpointer.close()
        self.runtime.journal.close()
        self.runtime._engine.close()


@contextmanager
def small() -> Iterator[None]:
    """Have files of the log be sealed when they are small."""
    with pytest.MonkeyPatch.context() as patch:
        for kind in (Topic, ChangeLog):
            patch.setitem(kind.open.__func__.__kwdefaults__, "seal_at", SealAt(rows=6))
        yield


def write(folder: Path) -> None:
    """Make a data folder: two checkpoints, files of every kind, and every record after them."""
    with small():
        shop = Shop(folder)
        shop.send("items", b'{"item": "tea", "kind": "drink"}\n{"item": "bun", "kind": "food"}\n')
        shop.send("sales", sales(("tea", 3, 5), ("bun", 2, 20), ("tea", '"free"', 21)))
        shop.runtime.checkpoint()
        shop.send("sales", sales(("tea", 4, 50), ("bun", 1, 70), ("jam", 6, 95)), "till", 1)
        shop.send("items", b'{"item": "jam", "kind": "food"}\n{"item": "tea", "kind": "leaf"}\n')
        shop.send("sales", sales(("jam", 2, 100)))
        shop.runtime.consumers.create("stock", "sales")
        shop.confirm(3)
        for topic in shop.runtime.topics.values():
            topic.flush()
            topic.seal()
        shop.runtime.checkpoint()
        shop.send("sales", sales(("tea", 5, 130), ("bun", '"x"', 131)), "till", 2)
        shop.send("sales", sales(("tea", 5, 130), ("bun", '"x"', 131)), "till", 2)
        shop.send("sales", sales(("jam", 7, 140), ("jam", "-", 140)))
        shop.runtime.intake.advance("sales", START_US + 180_000_000)
        shop.step()
        # Too late for its window.
        shop.send("sales", sales(("tea", 9, 10)))
        shop.confirm(5)
        evolved(shop.runtime, "sales", Wish(("note VARCHAR DEFAULT 'none'",)), dry_run=False)
        row = b'{"item": "bun", "price": 8, "ts": "2025-01-01 00:03:20", "note": "big"}'
        shop.send("sales", row)
        shop.close()


def told(shop: Shop) -> dict[str, Any]:
    """What a folder says: contents, rows, producers, consumers, versions."""
    runtime = shop.runtime
    views = {view.name: view for view in runtime.loop.stepper.views}
    found: dict[str, Any] = {
        name: sorted(map(str, _rows(views[name].content().batches()))) for name in VIEWS
    }
    late = views["per_minute"].late
    assert late is not None
    found["late"] = len(_rows(late.batches()))
    found["changes"] = {name: view.changes.next_offset() for name, view in views.items()}
    found["sales"] = [
        [row["item"], row["price"], row.get("note")]
        for row in _rows(runtime.topics["sales"].batches())
    ]
    found["rejected"] = [
        row["record"].decode() for row in _rows(runtime.rejected["sales"].batches())
    ]
    found["producers"] = runtime.intake.producers.save()
    found["consumers"] = [[each.group, each.relation] for each in runtime.consumers.all()]
    found["epoch"] = runtime.loop.progress.epoch
    return found


def _rows(batches: Any) -> list[dict[str, Any]]:
    table = pa.Table.from_batches(list(batches)) if (batches := list(batches)) else None
    return [] if table is None else table.to_pylist()

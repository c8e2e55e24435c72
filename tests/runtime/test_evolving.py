"""A change of columns happens once and whole, whatever call of the disk is the last.

The machine goes off in every call of a change while running, and in every fifth call that a start
with other columns makes. The start after that finds all rows, read with the old columns or with the
new ones as if each had been cast by hand, tables and views with what DuckDB says over these rows,
and every change that was published at its old offset.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any

import pyarrow as pa

import headwater as hw
from headwater.errors import HeadwaterError, StateError
from headwater.run.compile import Compiled, compile_pipeline
from headwater.runtime.evolution import Wish, wished
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.testing.clock import ManualClock
from headwater.testing.deltas import assert_same
from headwater.testing.disk import FakeDisk

FIRST = {
    "clicks": "ad INTEGER, visitor VARCHAR, cost INTEGER, debug BOOLEAN",
    "ads": "ad INTEGER PRIMARY KEY, name VARCHAR, price INTEGER, note BOOLEAN",
}
SECOND = {
    "clicks": "ad INTEGER, visitor VARCHAR, cents BIGINT ALIAS cost, kind VARCHAR DEFAULT 'click'",
    "ads": "ad INTEGER PRIMARY KEY, name VARCHAR, price DECIMAL(14, 2), stock INTEGER DEFAULT 7",
}


def app(columns: dict[str, str]) -> hw.App:
    app = hw.App("evolving")
    app.topic("clicks", columns["clicks"])
    app.table("ads", columns["ads"])
    app.view("visitors", "SELECT visitor, count(*) AS n FROM clicks GROUP BY visitor")
    app.view(
        "names",
        "SELECT name, count(*) AS n FROM clicks JOIN ads USING (ad) GROUP BY name",
    )
    return app


@cache
def compiled_app(clicks: str, ads: str) -> Compiled:
    return app({"clicks": clicks, "ads": ads}).compile()


class Run:
    """One life of the pipeline, stepped by hand."""

    def __init__(self, columns: dict[str, str], disk: FakeDisk, *, rebuild: bool = False) -> None:
        compiled = compiled_app(columns["clicks"], columns["ads"])
        self.runtime = Runtime(
            compiled.pipeline,
            compiled.plans,
            disk,
            ManualClock(),
            Settings(epoch_rows_max=3, rebuild=rebuild),
            planned=lambda pipeline: compile_pipeline(pipeline).plans,
        )
        self.ingest = Ingest(self.runtime.intake, self.runtime.clock)

    def send(self, topic: str, *rows: dict[str, Any]) -> None:
        receipt = self.ingest.send(self.runtime.topics[topic].definition, rows)
        assert receipt.accepted == len(rows), receipt

    def evolve(self, topic: str, wish: Wish) -> None:
        definition = self.runtime.topics[topic].definition
        self.runtime.evolve(topic, wished(definition, wish), definition.version)

    def version(self, topic: str) -> int:
        return self.runtime.topics[topic].definition.version

    def step(self) -> None:
        while self.runtime.loop.run_epoch():
            pass

    def rows(self, topic: str) -> pa.Table:
        found = self.runtime.topics[topic]
        return pa.Table.from_batches(found.batches(), found.schema)

    def content(self, name: str) -> pa.Table:
        return pa.Table.from_batches(self.runtime.loop.visible.contents[name].batches())

    def changes(self) -> dict[str, pa.Table]:
        views = self.runtime.loop.stepper.views
        return {view.name: view.changes.read(0, 1 << 40) for view in views}

    def close(self) -> None:
        # The disk may be off.
        with suppress(HeadwaterError):
            self.runtime.close()


def click(number: int, **more: Any) -> dict[str, Any]:
    return {"ad": number % 3, "visitor": "ab"[number % 2], "cost": number, "debug": True, **more}


def ad(number: int, **more: Any) -> dict[str, Any]:
    row = {"ad": number, "name": "pq"[number % 2], "price": number, "note": False}
    return {**row, **more}


def filled(disk: FakeDisk) -> Run:
    """A folder of the first columns: some rows in files, some in the journal, some not computed."""
    run = Run(FIRST, disk)
    run.send("ads", *map(ad, range(3)))
    run.send("clicks", *map(click, range(5)))
    run.step()
    run.runtime.checkpoint()
    run.send("ads", ad(1, name="z"))
    run.send("clicks", *map(click, range(5, 9)))
    run.runtime.loop.run_epoch()
    return run


def copied(disk: FakeDisk, seed: int) -> FakeDisk:
    """Another disk with the same files."""
    other = FakeDisk(seed)
    for path in disk.list(""):
        other.write(path, [disk.read(path)])
        other.sync_folder(path.rpartition("/")[0])
    return other


CLICKS = [{"ad": n % 3, "visitor": "ab"[n % 2], "cents": n, "kind": "click"} for n in range(9)]


def test_recovered_rows_tables_and_views_read_with_the_new_columns() -> None:
    disk = FakeDisk(1)
    run = filled(disk)
    before = run.changes()
    disk = disk.crash()
    run.close()

    run = Run(SECOND, disk)

    check(run, before)
    run.send("clicks", click(9, cost=1 << 40))
    run.step()
    assert run.rows("clicks").to_pylist()[-1]["cents"] == 1 << 40
    run.close()


def test_the_machine_may_go_off_in_any_call_of_a_start_with_other_columns() -> None:
    whole = FakeDisk(1)
    run = filled(whole)
    before = run.changes()
    whole = whole.crash()
    run.close()
    for call in range(1, 1000, 5):
        disk = copied(whole, call)
        last = disk.calls + call
        disk.crash_at(last)
        with suppress(StateError):
            run = Run(SECOND, disk)
            run.send("clicks", click(9))
            run.step()
        is_whole = disk.calls < last
        run.close()
        disk = disk.crash()
        run = Run(SECOND, disk)
        check(run, before)
        run.close()
        if is_whole:
            return
    raise AssertionError("the start never came to its end")


WISHES = {
    "clicks": Wish(
        ["kind VARCHAR DEFAULT 'click'"], {"cost": "BIGINT"}, {"cost": "cents"}, ["debug"]
    ),
    "ads": Wish(["stock INTEGER DEFAULT 7"], {"price": "DECIMAL(14, 2)"}, {}, ["note"]),
}


def test_the_machine_may_go_off_in_any_call_of_a_change_while_running() -> None:
    for call in range(1, 1000):
        disk = FakeDisk(call)
        run = filled(disk)
        before = run.changes()
        last = disk.calls + call
        disk.crash_at(last)
        done = {"clicks": 1, "ads": 1}
        with suppress(StateError):
            for topic, wish in WISHES.items():
                run.evolve(topic, wish)
                done[topic] = 2
            run.send("clicks", click(9))
            run.step()
            before = run.changes()
        is_whole = disk.calls < last
        run.close()
        disk = disk.crash()
        # The program still says what was there at first.
        run = Run(FIRST, disk)
        run.step()
        for topic, version in done.items():
            assert version <= run.version(topic)
            if run.version(topic) < 2:
                run.evolve(topic, WISHES[topic])
        check(run, before)
        run.close()
        if is_whole:
            return
    raise AssertionError("the change never came to its end")


def test_recovery_steps_epochs_of_both_sides_of_a_change_again() -> None:
    disk = FakeDisk(5)
    run = filled(disk)
    run.step()
    run.evolve("ads", WISHES["ads"])
    run.evolve("clicks", WISHES["clicks"])
    run.send("clicks", click(9), click(10))
    run.send("ads", {"ad": 1, "name": "z", "price": 1, "stock": 7}, ad(5))
    run.step()
    seen, ads = run.changes(), run.content("ads")
    disk = disk.crash()
    run.close()

    run = Run(FIRST, disk)

    assert run.runtime.epochs_recovered > 2
    for name, table in seen.items():
        assert run.changes()[name].combine_chunks().equals(table.combine_chunks())
    assert_same(run.content("ads"), ads)
    run.close()


def check(run: Run, before: dict[str, pa.Table]) -> None:
    """All is there, as the newest columns have it."""
    run.step()
    assert run.rows("clicks").to_pylist()[:9] == CLICKS
    prices = {
        row["ad"]: (row["name"], str(row["price"]), row["stock"])
        for row in run.content("ads").to_pylist()
    }
    assert prices == {0: ("p", "0.00", 7), 1: ("z", "1.00", 7), 2: ("p", "2.00", 7)}
    inputs = {"clicks": run.rows("clicks"), "ads": run.rows("ads")}
    pipeline = app(SECOND)
    for name, expected in pipeline.batch(inputs).items():
        assert_same(run.content(name), expected)
    for name, table in before.items():
        again = run.changes()[name].slice(0, table.num_rows)
        assert again.combine_chunks().equals(table.combine_chunks()), name

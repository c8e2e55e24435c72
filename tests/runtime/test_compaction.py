"""Rows that newer ones have replaced go from a table's log: and no answer changes by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from random import Random
from typing import Any

import pytest

import headwater as hw
from headwater.errors import DefinitionError, HeadwaterError
from headwater.log.lane import SealAt
from headwater.run.compile import Compiled
from headwater.runtime import compactor
from headwater.sql import declare
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk
from runtime.runs import Run

HOUR = 3600.0
COLUMNS = "item BIGINT, shop VARCHAR, pieces BIGINT, v BIGINT, gone BOOLEAN DEFAULT false"
KEY = ("item", "shop")
BATCHES = 12

Row = dict[str, Any]


@cache
def stocks(
    newest_by: str | None = None,
    partitions: int = 1,
    more: int = 0,
    tombstones_for: str = "1 day",
) -> Compiled:
    app = hw.App("stocks")
    app.table(
        "stock",
        COLUMNS,
        key=KEY,
        newest_by=newest_by,
        deleted_by="gone",
        partitions=partitions,
        compact=True,
        tombstones_for=None if newest_by else tombstones_for,
    )
    app.view("total", f"SELECT shop, sum(pieces) + {more} AS n FROM stock GROUP BY shop")
    return app.compile()


def batch(number: int, keys: int = 8) -> list[Row]:
    """Upserts and deletions of a few keys, versions in any order."""
    random = Random(number)
    return [
        {
            "item": random.randrange(keys),
            "shop": random.choice("ab"),
            "pieces": random.randrange(100),
            "v": random.randrange(4 * number + 4),
            "gone": random.random() < 0.3,
        }
        for _ in range(10)
    ]


def opened(disk: FakeDisk, clock: ManualClock, compiled: Compiled, **more: bool) -> Run:
    return Run(compiled, disk, clock, checkpoint_seconds=HOUR, **more)


def send(run: Run, number: int) -> None:
    rows = batch(number)
    partitions = run.runtime.topics["stock"].definition.partitions
    receipt = run.send("stock", rows, partition=number % partitions)
    assert receipt.accepted == len(rows)


def turn(run: Run) -> None:
    """What is done beside epochs."""
    run.runtime.checkpoint()
    run.runtime._archiver.turn()
    assert run.runtime._archiver.problem is None or run.disk.is_off


def newest(batches: int, newest_by: str | None) -> dict[tuple[int, str], Row]:
    """The newest row of each key, deletions among them."""
    held: dict[tuple[int, str], Row] = {}
    for row in (row for number in range(batches) for row in batch(number)):
        key = row["item"], row["shop"]
        if newest_by is None or key not in held or row["v"] >= held[key]["v"]:
            held[key] = row
    return held


def answer(batches: int, newest_by: str | None, more: int = 0) -> list[tuple[Any, ...]]:
    totals: dict[str, int] = {}
    for row in newest(batches, newest_by).values():
        if not row["gone"]:
            totals[row["shop"]] = totals.get(row["shop"], more) + row["pieces"]
    return sorted(totals.items())


def lived(run: Run, batches: range) -> Iterator[int]:
    for number in batches:
        send(run, number)
        run.step()
        yield number + 1
        turn(run)
        run.clock.advance(13 * HOUR)


@pytest.mark.parametrize("newest_by", [None, "v"])
@pytest.mark.parametrize("partitions", [1, 2])
def test_what_is_left_says_what_all_rows_said(
    newest_by: str | None, partitions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several passes over the keys, and several files.
    monkeypatch.setattr(compactor, "PASS_ROWS", 16)
    monkeypatch.setattr(compactor, "DEFAULT_SEAL_AT", SealAt(rows=12))
    disk, clock, compiled = FakeDisk(1), ManualClock(), stocks(newest_by, partitions)
    run = opened(disk, clock, compiled)
    for done in lived(run, range(BATCHES)):
        assert run.content("total") == answer(done, newest_by)

    (told,) = run.status().topics
    assert told.rows == told.computed == 10 * BATCHES
    assert told.rows == told.rows_kept + told.rows_compacted
    assert told.rows_kept == len(run.rows("stock")) < told.rows - 30
    run.close()

    # The newest rows are all there, where they were.
    places = {
        (row["item"], row["shop"], row["v"], row["pieces"]): row["_offset"]
        for row in run.rows("stock")
    }
    for row in newest(BATCHES, newest_by).values():
        if not row["gone"]:
            assert (row["item"], row["shop"], row["v"], row["pieces"]) in places

    again = opened(disk, clock, stocks(newest_by, partitions, 7), rebuild=True)
    assert again.content("total") == answer(BATCHES, newest_by, 7)
    assert not [line for line in again.runtime.decision.lines() if "without" in line]
    send(again, BATCHES)
    again.step()
    assert again.content("total") == answer(BATCHES + 1, newest_by, 7)
    again.close()


@pytest.mark.parametrize(("newest_by", "part"), [(None, 0), (None, 5), ("v", 10)])
def test_a_crash_in_any_call_changes_no_answer(newest_by: str | None, part: int) -> None:
    begun, clock = FakeDisk(1), ManualClock()
    compiled = stocks(newest_by)
    run = opened(begun, clock, compiled)
    for _ in lived(run, range(7)):
        pass
    run.close()

    def goes_on(run: Run) -> int:
        done = 7
        with suppress(HeadwaterError):
            for done in lived(run, range(7, 10)):  # noqa: B007 - the last one counts
                pass
        run.close()
        return done

    whole = begun.crash()
    goes_on(opened(whole, ManualClock(clock.now_us()), compiled))
    for call in range(1 + part, whole.calls + 1, 16):
        disk, now, done = begun.crash(), ManualClock(clock.now_us()), 7
        disk.crash_at(call)
        with suppress(HeadwaterError):
            done = goes_on(opened(disk, now, compiled))

        again = opened(disk.crash(), now, compiled)
        again.step()
        rows = again.status().topics[0]
        assert rows.rows >= 10 * done
        assert rows.rows == rows.rows_kept + rows.rows_compacted
        assert len(again.rows("stock")) == rows.rows_kept
        batches = rows.rows // 10
        assert again.content("total") == answer(batches, newest_by)
        for _ in lived(again, range(batches, 11)):
            pass
        assert again.content("total") == answer(11, newest_by)
        again.close()


@pytest.mark.parametrize(("tombstones_for", "stay"), [("1 day", False), ("1000 days", True)])
def test_deletions_go_when_their_time_is_over(tombstones_for: str, stay: bool) -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, stocks(tombstones_for=tombstones_for))
    for _ in lived(run, range(6)):
        pass
    deleted = {key for key, row in newest(6, None).items() if row["gone"]}

    # Other keys come, for a week.
    for number in range(16):
        row = {"item": 100, "shop": "c", "pieces": 1, "v": number, "gone": False}
        run.send("stock", [row] * 30)
        run.step()
        turn(run)
        clock.advance(13 * HOUR)

    left = {(r["item"], r["shop"]) for r in run.rows("stock")}
    assert deleted
    assert deleted & left == (deleted if stay else set())
    assert left - deleted == {*newest(6, None), (100, "c")} - deleted
    run.close()


def test_a_deletion_stays_while_older_rows_are_not_looked_at() -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, stocks(partitions=2))
    run.runtime.consumers.create("audit", "stock")

    def send(partition: int, *items: int, gone: bool = False) -> None:
        rows = [{"item": i, "shop": "a", "pieces": 1, "v": 1, "gone": gone} for i in items]
        run.send("stock", rows, partition)
        run.step()
        turn(run)
        clock.advance(25 * HOUR)

    send(0, 1)
    send(0, 2)
    send(0, 3)
    send(1, 1, gone=True)
    for _ in range(8):
        send(1, *range(10, 20))
        position = run.runtime.topics["stock"].next_offset(1)
        run.runtime.consumers.seek("audit", "stock", partition=1, position=position)

    assert run.status().topics[0].rows_compacted > 20
    assert [row["gone"] for row in run.rows("stock") if row["item"] == 1] == [False, True]
    run.close()


def test_a_deletion_stays_while_a_row_that_it_hides_is_in_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compactor, "DEFAULT_SEAL_AT", SealAt(rows=1))
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, stocks())

    def send(*items: int, gone: bool = False) -> None:
        rows = [{"item": i, "shop": "a", "pieces": 1, "v": 1, "gone": gone} for i in items]
        run.send("stock", rows)
        run.step()
        turn(run)
        clock.advance(25 * HOUR)

    # Two batches make a file. Of the first file too few rows go for it to be written anew.
    send(*range(40))
    send(*range(50, 60))
    send(1, gone=True)
    send(*range(100, 140))
    for _ in range(6):
        send(*range(100, 180))

    items = [row["item"] for row in run.rows("stock")]
    assert items.count(1) == 2
    assert items.count(100) < 7
    run.close()
    again = opened(disk, clock, stocks(more=5), rebuild=True)
    assert again.content("total") == [("a", 39 + 10 + 80 + 5)]
    again.close()


def test_deletions_with_versions_stay() -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, stocks("v"))
    for _ in lived(run, range(6)):
        pass
    clock.advance(1000 * HOUR)
    for _ in lived(run, range(6, 12)):
        pass

    left = {(r["item"], r["shop"]) for r in run.rows("stock") if r["gone"]}
    assert left >= {key for key, row in newest(12, "v").items() if row["gone"]}
    run.close()


def test_what_a_consumer_group_has_not_confirmed_stays() -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, stocks())
    run.runtime.consumers.create("audit", "stock")
    for _ in lived(run, range(8)):
        pass
    assert [row["_offset"] for row in run.rows("stock")] == list(range(80))

    run.runtime.consumers.seek("audit", "stock", partition=0, position=80)
    for _ in lived(run, range(8, 12)):
        pass

    assert run.status().topics[0].rows_compacted > 20
    run.runtime.consumers.create("late", "stock")
    status = run.runtime.consumers.all()[-1]
    assert (status.lost, status.lag) == (0, 120)
    run.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": None, "deleted_by": None}, "has no primary key"),
        ({"archive": "lake"}, "and has an archive"),
        ({"compact": False, "tombstones_for": "1 day"}, "no deletion of it ever goes"),
        ({"deleted_by": None, "tombstones_for": "1 day"}, "no deletion of it ever goes"),
        ({"newest_by": "v", "tombstones_for": "1 day"}, "an older row may come"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    settings = {"key": KEY, "deleted_by": "gone", "compact": True, **options}
    with pytest.raises(DefinitionError, match=message):
        declare.topic("stock", COLUMNS, **settings)


def test_a_view_over_what_every_row_said_is_refused() -> None:
    app = hw.App("shop")
    app.topic("clicks", "id BIGINT, item BIGINT, ts TIMESTAMP", event_time="ts")
    columns = "item BIGINT PRIMARY KEY, price BIGINT, ts TIMESTAMP"
    app.table("prices", columns, event_time="ts", compact=True)
    app.view(
        "v",
        "SELECT c.id, p.price FROM clicks c ASOF JOIN prices p ON c.item = p.item AND c.ts >= p.ts",
    )

    with pytest.raises(DefinitionError, match="finds the row of a key that held") as refused:
        app.compile()

    assert "without compact" in str(refused.value)


def test_a_view_that_asks_what_held_at_a_time_says_what_it_lacks_when_computed_anew() -> None:
    def compiled(more: int) -> Compiled:
        app = hw.App("stocks")
        app.topic("sales", "item BIGINT, ts TIMESTAMP", event_time="ts")
        app.table("stock", COLUMNS, key=KEY, deleted_by="gone", compact=True)
        app.view("total", f"SELECT shop, sum(pieces) + {more} AS n FROM stock GROUP BY shop")
        app.view(
            "sold",
            f"SELECT window_start, sum(pieces) + {more} AS n "
            "FROM TUMBLE(sales, ts, INTERVAL '1 minute') JOIN stock USING (item) "
            "GROUP BY window_start EMIT FINAL",
        )
        return app.compile()

    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock, compiled(0))
    for _ in lived(run, range(BATCHES)):
        pass
    gone = next(t.rows_compacted for t in run.status().topics if t.name == "stock")
    run.close()

    again = opened(disk, clock, compiled(1), rebuild=True)

    said = [line for line in again.runtime.decision.lines() if "computed without" in line]
    assert [line.partition(" rows of stock")[0] for line in said] == [
        f"sold: computed without {gone}"
    ]
    assert gone > 20
    assert again.content("total") == answer(BATCHES, None, 1)
    again.close()

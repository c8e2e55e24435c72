"""Rows whose time is over go, whatever is killed and whenever: and no answer changes by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import httpx
import pytest

import headwater as hw
from headwater.errors import DefinitionError, HeadwaterError
from headwater.run.compile import Compiled
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk
from runtime.runs import Run

HOUR = 3600.0
BATCHES, ROWS = 7, 3


@cache
def shop(view: str = "SELECT shop, sum(price) AS total FROM sales GROUP BY shop") -> Compiled:
    app = hw.App("shop")
    app.topic("sales", "shop BIGINT, price BIGINT", retention="2 hours")
    app.table("shops", "shop BIGINT PRIMARY KEY, name VARCHAR", retention_bytes=1)
    app.view("sums", view)
    app.view("named", "SELECT name, total FROM sums JOIN shops USING (shop)")
    return app.compile()


def opened(
    disk: FakeDisk, clock: ManualClock, compiled: Compiled | None = None, **more: bool
) -> Run:
    return Run(compiled or shop(), disk, clock, checkpoint_seconds=HOUR / 2, **more)


def send(run: Run, number: int) -> None:
    sales = [{"shop": n % 2, "price": n} for n in range(ROWS * number, ROWS * number + ROWS)]
    run.send("sales", [*sales, {"shop": "no number"}])
    run.send("shops", [{"shop": n, "name": f"shop {n} at {number}"} for n in range(2)])
    run.step()


def offsets(run: Run) -> list[int]:
    return [row["_offset"] for row in run.rows("sales")]


def prices(run: Run) -> list[int]:
    return [row["price"] for row in run.rows("sales")]


def totals(batches: int) -> list[tuple[int, int]]:
    prices = range(ROWS * batches)
    shops = range(2 if batches else 0)
    return [(shop, sum(price for price in prices if price % 2 == shop)) for shop in shops]


def lived(run: Run, batches: range) -> Iterator[int]:
    """Send, and take a checkpoint after each batch; what was acknowledged."""
    for number in batches:
        send(run, number)
        yield number + 1
        run.runtime.checkpoint()
        run.clock.advance(HOUR)


def test_rows_go_with_the_checkpoint_after_their_time() -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock)
    for _ in lived(run, range(BATCHES)):
        pass

    # At the last checkpoint the seventh batch had just come; the fifth was two hours old.
    assert offsets(run) == list(range(4 * ROWS, BATCHES * ROWS))
    sales, shops = run.status().topics
    assert (sales.rows, sales.rows_kept, sales.computed) == (21, 9, 21)
    assert sales.offsets_first == (12,)
    assert (sales.rejected, sales.rejected_kept) == (7, 3)
    assert sales.oldest_us == clock.now_us() - int(3 * HOUR * 1e6)
    assert (shops.rows, shops.rows_kept, shops.oldest_us) == (14, 0, None)
    assert run.content("sums") == totals(BATCHES)
    run.close()
    assert not [path for path in disk.list("topics/sales") if "-00000000000000000005." in path]


def test_an_idle_pipeline_lets_rows_go_too() -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock)
    for _ in lived(run, range(2)):
        pass

    clock.advance(10 * HOUR)
    run.runtime._checkpointer.take_if_due()
    run.runtime._checkpointer._writer.wait()
    assert offsets(run) == []

    calls = disk.calls
    clock.advance(10 * HOUR)
    run.runtime._checkpointer.take_if_due()
    assert disk.calls == calls
    run.close()


def begun() -> tuple[FakeDisk, ManualClock]:
    """A life that ended well; rows have begun to go."""
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock)
    for _ in lived(run, range(4)):
        pass
    run.close()
    return disk, clock


def goes_on(run: Run) -> int:
    """Two batches more; how many batches were acknowledged."""
    done = 4
    with suppress(HeadwaterError):
        for done in lived(run, range(4, 6)):  # noqa: B007 - the last one counts
            pass
    run.close()
    return done


# All calls are every twelfth from each of the twelve firsts; these three take in every kind.
@pytest.mark.parametrize("part", [0, 4, 8])
def test_a_crash_in_any_call_leaves_a_stretch_of_rows_and_no_other_answer(part: int) -> None:
    before, clock = begun()
    whole = before.crash()
    goes_on(opened(whole, ManualClock(clock.now_us())))
    for call in range(1 + part, whole.calls + 1, 12):
        disk, now = before.crash(), ManualClock(clock.now_us())
        disk.crash_at(call)
        done, seen_first = 4, 0
        with suppress(HeadwaterError):
            run = opened(disk, now)
            done = goes_on(run)
            seen_first = run.runtime.topics["sales"].first_offset(0)

        now.advance(HOUR)
        again = opened(disk.crash(), now)
        kept = offsets(again)
        rows = again.runtime.topics["sales"].rows_total
        first = again.runtime.topics["sales"].first_offset(0)
        assert rows >= done * ROWS
        # What was gone for readers may be there again, but what they had is there.
        assert seen_first == 0 or first <= seen_first
        assert kept == prices(again) == list(range(first, rows))
        again.step()
        assert again.content("sums") == totals(rows // ROWS)

        # Rows of before and after the crash are to be in files of their own: these go as a whole.
        again.runtime.checkpoint()
        for _ in lived(again, range(rows // ROWS, 9)):
            pass
        assert offsets(again) == list(range(6 * ROWS, 9 * ROWS))
        assert again.content("sums") == totals(9)
        assert again.content("named") == [(f"shop {s} at 8", total) for s, total in totals(9)]
        again.close()


def test_a_view_that_is_computed_again_says_which_rows_it_lacks() -> None:
    disk, clock = FakeDisk(1), ManualClock()
    run = opened(disk, clock)
    for _ in lived(run, range(BATCHES)):
        pass
    run.close()
    kept = len(offsets(run))
    changed = shop("SELECT shop, sum(price) + 0 AS total FROM sales GROUP BY shop")
    with pytest.raises(DefinitionError, match="changed since"):
        opened(disk, clock, changed)

    again = opened(disk, clock, changed, rebuild=True)

    gone = BATCHES * ROWS - kept
    said = [line for line in again.runtime.decision.lines() if "without the first" in line]
    assert [line.split(":")[0] for line in said] == ["sums", "named", "named"]
    assert f"without the first {gone} rows of sales" in said[0]
    assert sum(total for _, total in again.content("sums")) == sum(range(gone, BATCHES * ROWS))
    again.close()


def test_the_retention_may_change_from_one_start_to_the_next(tmp_path: Path) -> None:
    def app(retention: str | None) -> hw.App:
        app = hw.App("shop")
        app.topic("sales", "price BIGINT", retention=retention)
        return app

    with app(None).start(tmp_path, listen=None) as live:
        live.send("sales", [{"price": 1}])
    with app("1 us").start(tmp_path, listen=None) as live:
        live.send("sales", [{"price": 2}])
        live.settle()
        assert live.rows("sales")["price"].to_pylist() == [1, 2]
    with app(None).start(tmp_path, listen=None) as live:
        rows = live.rows("sales")
        assert rows.schema.metadata == {b"offset_first": b"2"}
        assert rows.num_rows == 0
        assert live.send("sales", [{"price": 3}]).offset_first == 2
        live.settle()
        assert live.rows("sales", 0)["_offset"].to_pylist() == [2]
        assert live.query("SELECT price FROM sales").to_pylist() == [{"price": 3}]


def test_over_http_the_answer_says_which_rows_are_gone(tmp_path: Path) -> None:
    app = hw.App("shop")
    app.topic("sales", "price BIGINT", retention="1 us")
    with app.start(tmp_path, listen=None) as live:
        live.send("sales", [{"price": 1}, {"price": 2}])
        live.settle()
    with app.start(tmp_path, listen="127.0.0.1:0") as live:
        live.send("sales", [{"price": 3}])
        url = f"{live.url}/topics/sales/rows"
        with httpx.Client(trust_env=False) as client:
            asked = {start: client.get(url, params={"from": start}) for start in (0, 1, 2, -1, -9)}
            told = client.get(f"{live.url}/metrics").text

    assert {answer.json()["_offset"] for answer in asked.values()} == {2}
    assert {answer.headers["headwater-first-offset"] for answer in asked.values()} == {"2"}
    gone = {start: answer.headers.get("headwater-rows-gone") for start, answer in asked.items()}
    assert gone == {0: "2", 1: "1", 2: None, -1: None, -9: "2"}
    assert 'headwater_topic_rows_total{topic="sales",kind="topic"} 3' in told
    assert 'headwater_topic_kept_rows{topic="sales",kind="topic"} 1' in told

"""Each group reads at its own pace, gets every row, and never goes back by accident."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.errors import ConflictError, DefinitionError, NotFoundError
from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.run.live import Live
from headwater.runtime.consumer import Commit, Wish
from headwater.runtime.consumers import Consumers
from headwater.runtime.positions import Positions
from headwater.runtime.relations import TopicRows
from headwater.runtime.runtime import Settings
from headwater.storage.blobs import Blobs
from headwater.storage.journal import Journal
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

SECONDS = 30.0


def shop(*, cheap: int = 5) -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price BIGINT", partitions=2)
    app.table("items", "item VARCHAR, kind VARCHAR", key="item")
    app.view("totals", "SELECT item, sum(price) AS total FROM sales GROUP BY item")
    app.view("cheap", f"SELECT item, price FROM sales WHERE price < {cheap}")
    return app


def sell(live: Live, *prices: int, item: str = "tea", partition: int = 0) -> None:
    rows = [{"item": item, "price": price} for price in prices]
    live.send("sales", rows, partition=partition)
    live.settle()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def live(tmp_path: Path, clock: ManualClock) -> Iterator[Live]:
    with shop().start(tmp_path / "data", listen=None, clock=clock) as live:
        yield live


def prices(table: pa.Table) -> list[int]:
    return table.column("price").to_pylist()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Sixty sales in two partitions, of which the view has half, in many epochs."""
    with shop().start(tmp_path_factory.mktemp("filled"), listen=None) as live:
        for number in range(20):
            sell(live, *range(number % 3, number % 3 + 3), partition=number % 2)
            sell(live, 100 + number, item=f"item {number % 4}", partition=number % 2)
        yield live


@settings(deadline=None, max_examples=25)
@given(
    rows_max=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    relation=st.sampled_from(["sales", "cheap", "totals"]),
    group=st.uuids(),
)
def test_whatever_the_sizes_of_batches_every_row_is_given_once_in_order(
    filled: Live, rows_max: list[int], relation: str, group: object
) -> None:
    read: dict[int, list[int]] = {}
    for number in range(200):
        with filled.consumer(
            f"g{group}", relation, rows_max=rows_max[number % len(rows_max)], wait_seconds=0
        ) as consumer:
            batch = consumer.next_batch()
            if batch is None:
                break
            read.setdefault(batch.partition, []).extend(batch.rows.column("_offset").to_pylist())
            batch.commit()

    ends = next(c.ends for c in filled.consumers.all() if c.group == f"g{group}")
    assert read == {n: list(range(end)) for n, end in enumerate(ends)}
    filled.consumers.remove(f"g{group}", relation)


def test_changes_are_given_in_whole_epochs(filled: Live) -> None:
    consumer = filled.consumer("whole", "totals", rows_max=1, wait_seconds=0)

    epochs = [set(batch.rows.column("_epoch").to_pylist()) for batch in consumer]

    assert len(epochs) > 10
    assert all(one.isdisjoint(other) for one, other in itertools.pairwise(epochs))


def test_what_is_not_confirmed_comes_again_but_not_to_the_one_who_has_it(live: Live) -> None:
    sell(live, 1, 2, 3)
    with live.consumer("billing", "cheap", rows_max=1, wait_seconds=0) as first:
        assert [prices(batch.rows) for batch in first] == [[1, 2, 3]]

    with live.consumer("billing", "cheap", wait_seconds=0) as second:
        (batch,) = second
        assert prices(batch.rows) == [1, 2, 3]
        batch.commit()
    assert not list(live.consumer("billing", "cheap", wait_seconds=0))


def test_the_last_of_several_batches_confirms_those_before_it(live: Live) -> None:
    sell(live, 1, 2, 3, 4)
    batches = list(live.consumer("billing", "sales", rows_max=1, wait_seconds=0))
    batches[2].commit()

    assert live.consumers.all()[0].positions == (3, 0)
    with pytest.raises(ConflictError, match="is at 3 of sales"):
        batches[0].commit()


def test_positions_do_not_go_back_by_a_commit(live: Live) -> None:
    sell(live, 1, 2, 3)
    live.consumers.create("billing", "sales")
    live.consumers.commit("billing", "sales", Commit(2))

    assert live.consumers.commit("billing", "sales", Commit(2, start=0)).positions == (2, 0)
    with pytest.raises(ConflictError, match="does not go back to 1"):
        live.consumers.commit("billing", "sales", Commit(1))
    with pytest.raises(ConflictError, match="is at 2 of sales, and not at 0"):
        live.consumers.commit("billing", "sales", Commit(3, start=0))
    with pytest.raises(DefinitionError, match="no position 4"):
        live.consumers.commit("billing", "sales", Commit(4))
    with pytest.raises(DefinitionError, match="no partition 2"):
        live.consumers.commit("billing", "sales", Commit(0, partition=2))


def test_what_was_in_hand_when_a_group_was_put_back_is_stale(live: Live) -> None:
    sell(live, 1, 2, 3, 4)
    consumer = live.consumer("billing", "cheap", wait_seconds=0)
    batch = consumer.next_batch()
    assert batch is not None
    batch.commit()
    sell(live, 1)
    batch = consumer.next_batch()
    assert batch is not None

    live.consumers.seek("billing", "cheap", "start")

    with pytest.raises(ConflictError, match="is at 0 of cheap, and not at 4"):
        batch.commit()
    consumer.seek("start")
    assert [prices(batch.rows) for batch in consumer] == [[1, 2, 3, 4, 1]]


def test_two_members_have_different_partitions_in_hand(live: Live) -> None:
    sell(live, 1, 2, partition=0)
    sell(live, 3, 4, partition=1)
    one, other, third = (
        live.consumer("billing", "sales", rows_max=1, wait_seconds=0) for _ in range(3)
    )

    found = [one.next_batch(), other.next_batch(), third.next_batch()]

    assert sorted(batch.partition for batch in found if batch) == [0, 1]
    assert found[2] is None
    assert len(live.consumers.all()[0].members) == 2


def test_a_view_is_in_one_hand_until_it_is_confirmed_or_let_go_or_time_is_over(
    live: Live, clock: ManualClock
) -> None:
    sell(live, 1)
    sell(live, 2)
    one = live.consumer("billing", "cheap", rows_max=1, wait_seconds=0)
    other = live.consumer("billing", "cheap", rows_max=1, wait_seconds=0)
    first = one.next_batch()
    assert first is not None
    assert other.next_batch() is None
    with pytest.raises(ConflictError, match="has partition 0 of cheap in hand"):
        live.consumers.commit("billing", "cheap", Commit(1))

    first.commit()
    second = other.next_batch()
    assert second is not None
    assert one.next_batch() is None

    other.close()
    second_again = one.next_batch()
    assert second_again is not None

    clock.advance(timedelta(seconds=31))
    assert other.next_batch() is None  # it has been given these rows, and goes on after them
    third = live.consumer("billing", "cheap", wait_seconds=0).next_batch()
    assert third is not None
    with pytest.raises(ConflictError, match="in hand"):
        second_again.commit()
    third.commit()
    assert [second.position, second_again.position, third.position] == [2, 2, 2]


def test_a_member_that_confirms_in_its_time_keeps_the_order(live: Live) -> None:
    """The lease ends with the last of what a member was given, not with the first."""
    sell(live, 1)
    sell(live, 2)
    one = live.consumer("billing", "cheap", rows_max=1, wait_seconds=0)
    first, second = one.next_batch(), one.next_batch()
    assert first is not None
    assert second is not None

    first.commit()

    assert live.consumer("billing", "cheap", wait_seconds=0).next_batch() is None
    second.commit()
    assert live.consumers.all()[0].lag == 0


@pytest.mark.parametrize("relation", ["sales", "cheap"])
def test_a_group_begins_at_the_start_now_or_at_a_time(
    live: Live, clock: ManualClock, relation: str
) -> None:
    for price in (1, 2, 3):
        sell(live, price)
        clock.advance(timedelta(minutes=1))
    wanted = {
        "start": [1, 2, 3, 4],
        "now": [4],
        "2026-01-01T00:01:00Z": [2, 3, 4],
        "2026-01-01 00:00:30": [2, 3, 4],
        "2026-01-01T00:02:00.000001": [4],
        "2020-01-01": [1, 2, 3, 4],
    }
    for number, start in enumerate(wanted):
        live.consumers.create(f"group-{number}", relation, start)
    sell(live, 4)

    for number, (start, expected) in enumerate(wanted.items()):
        consumer = live.consumer(f"group-{number}", relation, from_="start", wait_seconds=0)
        assert [p for batch in consumer for p in prices(batch.rows)] == expected, start


def test_only_the_newest_row_of_each_key(live: Live) -> None:
    sell(live, 1, 2)
    sell(live, 7, item="milk")
    sell(live, 3)
    live.send("items", [{"item": i, "kind": k} for i, k in [("a", "x"), ("b", "y"), ("a", "z")]])

    (totals,) = live.consumer("t", "totals", newest=True, wait_seconds=0)
    (items,) = live.consumer("t", "items", newest=True, wait_seconds=0)
    (sales,) = live.consumer("t", "sales", newest="ITEM", wait_seconds=0)

    assert [(r["item"], r["total"], r["_weight"]) for r in totals.rows.to_pylist()] == [
        ("milk", 7, 1),
        ("tea", 6, 1),
    ]
    assert [(r["item"], r["kind"]) for r in items.rows.to_pylist()] == [("b", "y"), ("a", "z")]
    assert prices(sales.rows) == [7, 3]
    assert (totals.lag, items.lag, sales.lag) == (0, 0, 0)
    for relation, key, match in (
        ("sales", True, "has no key that is known"),
        ("cheap", "colour", "has no column colour"),
    ):
        with pytest.raises(DefinitionError, match=match):
            live.consumer("t", relation, newest=key, wait_seconds=0).next_batch()


def test_a_reader_who_waits_is_woken_by_the_next_row(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        consumer = live.consumer("billing", "cheap", wait_seconds=SECONDS)
        found: list[int] = []

        def wait() -> None:
            batch = consumer.next_batch()
            if batch is not None:
                found.extend(prices(batch.rows))

        waiting = threading.Thread(target=wait)
        waiting.start()
        sell(live, 9)  # not cheap
        sell(live, 2)
        waiting.join(SECONDS)

        assert found == [2]


def test_the_end_of_the_pipeline_ends_the_iteration(tmp_path: Path) -> None:
    live = shop().start(tmp_path, listen=None)
    sell(live, 1)
    read: list[int] = []
    reached = threading.Event()

    def follow() -> None:
        for batch in live.consumer("billing", "cheap"):
            read.extend(prices(batch.rows))
            batch.commit()
            reached.set()

    follower = threading.Thread(target=follow)
    follower.start()
    assert reached.wait(SECONDS)
    live.close()
    follower.join(SECONDS)

    assert not follower.is_alive()
    assert read == [1]


def test_positions_outlive_the_process_and_removed_groups_do_not(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        sell(live, 1, 2, 3)
        for group in ("billing", "audit"):
            live.consumers.create(group, "cheap")
        live.consumers.commit("billing", "cheap", Commit(2))
        live.consumers.remove("audit", "cheap")
    with shop().start(tmp_path, listen=None) as live:
        assert [(c.group, c.positions, c.lag) for c in live.consumers.all()] == [
            ("billing", (2,), 1)
        ]
        with pytest.raises(NotFoundError, match="no consumer group audit of cheap"):
            live.consumers.read("audit", "cheap", Wish())


def test_a_group_of_a_view_that_was_computed_anew_is_told(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        sell(live, 1, 2, 3)
        live.consumers.create("billing", "cheap")
        live.consumers.commit("billing", "cheap", Commit(2))
    with shop(cheap=3).start(tmp_path, listen=None, settings=Settings(rebuild=True)) as live:
        (told,) = live.consumers.all()
        assert told.problem is not None
        assert "computed anew" in told.problem
        with pytest.raises(ConflictError, match="computed anew"):
            live.consumers.read("billing", "cheap", Wish())
        with pytest.raises(ConflictError, match="computed anew"):
            live.consumers.commit("billing", "cheap", Commit(2))

        live.consumers.seek("billing", "cheap", "start")

        (batch,) = live.consumer("billing", "cheap", wait_seconds=0)
        assert prices(batch.rows) == [1, 2]


def test_a_group_of_what_is_no_longer_declared_is_kept_and_says_so(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        sell(live, 1)
        live.consumers.create("billing", "cheap", "now")
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price BIGINT", partitions=2)
    app.table("items", "item VARCHAR, kind VARCHAR", key="item")
    with app.start(tmp_path, listen=None) as live:
        (told,) = live.consumers.all()
        assert told.problem == "there is no view, topic or table cheap any more"
        live.consumers.remove("billing", "cheap")
        assert live.consumers.all() == ()


def test_lag_is_in_rows_and_in_seconds_since_the_oldest_came(
    live: Live, clock: ManualClock
) -> None:
    live.consumers.create("billing", "sales")
    live.consumers.create("billing", "cheap")
    assert [(c.lag, c.lag_seconds) for c in live.consumers.all()] == [(0, 0.0), (0, 0.0)]
    sell(live, 1, 2)
    clock.advance(timedelta(seconds=90))
    sell(live, 3, partition=1)
    clock.advance(timedelta(seconds=10))

    assert [(c.relation, c.lag, c.lag_seconds) for c in live.consumers.all()] == [
        ("cheap", 3, 100.0),
        ("sales", 3, 100.0),
    ]
    live.consumers.commit("billing", "sales", Commit(2))
    live.consumers.commit("billing", "cheap", Commit(2))
    assert [(c.lag, c.lag_seconds) for c in live.consumers.all()] == [(1, 10.0), (1, 10.0)]


def test_rows_that_retention_removed_are_said_to_be_lost(clock: ManualClock) -> None:
    (definition,) = shop().pipeline.topics[:1]
    disk = FakeDisk(0)
    topic = Topic(definition, Blobs(disk), "topics/sales", seal_at=SealAt())
    for first in (0, 3, 6):
        rows = pa.record_batch(
            {"item": ["tea"] * 3, "price": pa.array([first, first + 1, first + 2])}
        ).cast(topic.schema)
        topic.append(Chunk(0, first, first, 1_000_000 * first, rows))
        topic.flush()
    manifest = topic.manifest()
    left = {**manifest, "lanes": [manifest["lanes"][0][1:], *manifest["lanes"][1:]]}
    short = Topic.open(definition, Blobs(disk), "topics/sales", left)
    consumers = alone(TopicRows("sales", {"sales": short}, threading.Condition()), clock)
    consumers.create("old", "sales", "start")
    consumers.seek("old", "sales", partition=0, position=1)

    (told,) = consumers.all()
    portion = consumers.read("old", "sales", Wish())

    assert (told.lost, told.lag) == (2, 6)
    assert portion is not None
    assert (portion.lost, portion.start, portion.position) == (2, 1, 9)
    assert prices(portion.rows) == [3, 4, 5, 6, 7, 8]


def alone(relation: TopicRows, clock: ManualClock) -> Consumers:
    positions = Positions(Journal.open(FakeDisk(1)), ())
    return Consumers({relation.name: relation}, positions, clock)


@pytest.mark.parametrize("name", ["", "a b", "ä/", "x" * 201, "a\n"])
def test_groups_have_plain_names(live: Live, name: str) -> None:
    with pytest.raises(DefinitionError, match="no name of a consumer group"):
        live.consumers.create(name, "sales")


@pytest.mark.parametrize("start", ["", "yesterday", "2026-13-01", "-1", "99999999999999-01-01"])
def test_a_start_that_is_none_is_refused(live: Live, start: str) -> None:
    with pytest.raises(DefinitionError, match="cannot begin from"):
        live.consumers.create("billing", "sales", start)
    assert live.consumers.all() == ()

"""Rows go from the front, by whole files, and nobody who reads on sees a gap or a wrong offset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import DefinitionError
from headwater.log.chunk import Chunk
from headwater.log.lane import MANY, SealAt
from headwater.log.topic import Topic
from headwater.plan.life import Life
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk
from log.log_inputs import CLICKS, START_US, Plain, batch, flat, through_json

FOLDER = "topics/clicks"
HOUR_US = 3_600_000_000
FOREVER = 1 << 62


def opened(life: Life, disk: FakeDisk | None = None, manifest: Any = None, **more: Any) -> Topic:
    topic = replace(CLICKS, life=life)
    return Topic.open(topic, Blobs(disk or FakeDisk(1)), FOLDER, manifest, **more)


def filled(topic: Topic, files: int, *, partition: int = 0, rows: int = 3) -> None:
    """So many hot files, one an hour, with rows whose ids are their offsets."""
    for n in range(files):
        first = topic.next_offset(partition)
        arrived_us = START_US + n * HOUR_US
        tick = topic.rows_total
        topic.append(Chunk(partition, first, tick, arrived_us, batch(first, [n] * rows)))
        topic.flush()


def offsets(topic: Topic, partition: int = 0, offset_from: int = 0) -> list[int]:
    rows = topic.read_offsets(partition, offset_from, 1000)
    assert rows["id"].to_pylist() == rows["_offset"].to_pylist()
    return rows["_offset"].to_pylist()


def test_rows_go_by_age_and_the_others_keep_their_offsets() -> None:
    topic = opened(Life(retention_us=2 * HOUR_US))
    filled(topic, 5)

    topic.retain(START_US + 4 * HOUR_US + 1, FOREVER)

    assert topic.first_offset(0) == 9
    assert (topic.rows_total, topic.rows_kept) == (15, 6)
    assert topic.oldest_us == START_US + 3 * HOUR_US
    assert offsets(topic) == list(range(9, 15))
    assert [b.num_rows for b in topic.batches()] == [3, 3]
    assert [c.offset_first for c in topic.read_ticks(0, 99)] == [9, 12]
    assert topic.offset_at_time(0, event_time_us=0) == 9


def test_rows_go_by_size_the_oldest_of_all_partitions_first() -> None:
    topic = opened(Life())
    for n in range(3):
        for partition in (1, 0):
            chunk = Chunk(partition, 3 * n, topic.rows_total, START_US + n, batch(3 * n, [n, n, n]))
            topic.append(chunk)
            topic.flush()
    file_bytes = topic.size_bytes // 6
    kept = opened(Life(retention_bytes=3 * file_bytes + file_bytes // 2))
    kept._lanes = topic._lanes

    kept.retain(START_US, FOREVER)

    assert sorted((kept.first_offset(0), kept.first_offset(1))) == [3, 6]
    assert kept.size_bytes <= 3 * file_bytes + file_bytes // 2


@pytest.mark.parametrize("appends", [1, 4])
@pytest.mark.parametrize("tick_to", range(13))
def test_rows_that_a_start_steps_again_stay(tick_to: int, appends: int) -> None:
    topic = opened(Life(retention_us=1, retention_bytes=1))
    for n in range(12):
        topic.append(Chunk(0, n, n, START_US, batch(n, [n])))
        if (n + 1) % appends == 0:
            topic.flush()

    topic.retain(START_US + HOUR_US, tick_to)

    assert topic.first_offset(0) == tick_to - tick_to % appends


def test_a_topic_without_a_retention_keeps_all() -> None:
    topic = opened(Life())
    filled(topic, 5)

    topic.retain(START_US + 10_000 * HOUR_US, FOREVER)

    assert offsets(topic) == list(range(15))
    assert not topic.has_expired(START_US + 10_000 * HOUR_US, FOREVER)


def test_files_go_when_no_kept_manifest_names_them() -> None:
    disk = FakeDisk(1)
    topic = opened(Life(retention_us=HOUR_US), disk)
    filled(topic, 3)
    before = topic.manifest()
    names = set(disk.list(FOLDER))

    topic.retain(START_US + 10 * HOUR_US, FOREVER)
    after = topic.manifest()
    topic.remove_unreferenced(before, after)
    assert set(disk.list(FOLDER)) == names
    fallback = opened(Life(), disk, before, older=[after])
    assert offsets(fallback) == list(range(9))

    topic.remove_unreferenced(after)
    assert disk.list(FOLDER) == []


def test_a_topic_all_of_whose_rows_went_goes_on_at_its_next_offset() -> None:
    disk = FakeDisk(1)
    topic = opened(Life(retention_us=HOUR_US), disk)
    filled(topic, 3)
    topic.retain(START_US + 10 * HOUR_US, FOREVER)

    again = opened(Life(), disk, json.loads(json.dumps(topic.manifest())))

    assert (again.next_offset(0), again.first_offset(0), again.rows_kept) == (9, 9, 0)
    assert again.oldest_us is None
    again.append(Chunk(0, 9, 9, START_US, batch(9, [1])))
    assert offsets(again) == [9]
    with pytest.raises(DefinitionError, match="defined with 1"):
        narrower = replace(CLICKS, partitions=1)
        two = opened(Life(retention_us=1))
        filled(two, 1, partition=1)
        two.retain(START_US + HOUR_US, FOREVER)
        Topic.open(narrower, Blobs(FakeDisk(2)), FOLDER, two.manifest())


def test_a_slow_reader_goes_on_with_the_first_row_there_is() -> None:
    topic = opened(Life(retention_us=HOUR_US))
    filled(topic, 4)
    batches: Iterator[Any] = iter(topic.batches(["id", "_offset"]))
    first = next(batches)
    topic.retain(START_US + 10 * HOUR_US, FOREVER)
    filled(topic, 1, partition=1)

    rows = [*first.to_pylist(), *(row for b in batches for row in b.to_pylist())]

    assert all(row["id"] == row["_offset"] for row in rows)


def test_what_is_let_go_while_it_is_combined_does_not_come_back() -> None:
    disk = BusyDisk(1)
    topic = opened(Life(retention_us=HOUR_US), disk, seal_at=SealAt(rows=9))
    filled(topic, 4)
    disk.meanwhile = lambda: topic.retain(START_US + HOUR_US * 3 // 2, FOREVER)

    topic.seal()

    assert offsets(topic) == list(range(3, 12))
    topic.remove_unreferenced(topic.manifest())
    assert {e["name"] for e in topic.manifest()["lanes"][0]} == {
        path[len(FOLDER) + 1 :] for path in disk.list(FOLDER)
    }


def test_files_hold_a_small_part_of_what_is_kept() -> None:
    disk = FakeDisk(1)
    topic = opened(Life(retention_us=80 * HOUR_US), disk)
    for _ in range(40):
        filled_one_hour_on(topic)
        topic.seal()

    spans = [
        (entry["highest"][1] - entry["firsts"][1]) // HOUR_US
        for entry in topic.manifest()["lanes"][0]
    ]
    assert max(spans) == 10
    assert sum(name.endswith(".parquet") for name in disk.list(FOLDER)) == 3


def filled_one_hour_on(topic: Topic) -> None:
    n = topic.next_offset(0)
    topic.append(Chunk(0, n, n, START_US + n * HOUR_US, batch(n, [n])))
    topic.flush()


def test_thousands_of_tiny_appends_make_few_files_of_a_good_size() -> None:
    disk = FakeDisk(1)
    topic = opened(Life(), disk, seal_at=SealAt(rows=700))
    most = 0
    for n in range(400):
        for sender in range(4):
            offset = 4 * n + sender
            topic.append(Chunk(0, offset, offset, START_US + n, batch(offset, [n])))
        topic.flush()
        topic.seal()
        topic.remove_unreferenced(topic.manifest())
        files = disk.list(FOLDER)
        most = max(most, sum(name.endswith(".arrow") for name in files))

    sealed = [e for e in topic.manifest()["lanes"][0] if e["name"].endswith(".parquet")]
    assert [e["position_to"] - e["position_first"] for e in sealed] == [700, 700]
    assert most <= 3 * MANY
    assert [c.offset_first for c in topic.read_ticks(0, 1600)] == list(range(1600))
    assert topic.read_offsets(0, 0, 9000)["id"].to_pylist() == list(range(1600))


seconds = st.one_of(st.none(), st.integers(0, 50))
appends = st.tuples(
    st.just("append"),
    st.integers(0, 1),
    st.lists(seconds, min_size=1, max_size=4),
    st.integers(0, 3),
)
upkeep = st.tuples(st.sampled_from(["flush", "seal", "checkpoint", "crash"]))
retaining = st.tuples(st.just("retain"), st.integers(0, 40), st.integers(0, 90))
histories = st.lists(st.one_of(appends, appends, upkeep, upkeep, retaining), max_size=50)


class Kept:
    """A topic that lets rows go after ten microseconds, each append one later than the last."""

    def __init__(self) -> None:
        self.disk = FakeDisk(1)
        self.plain = Plain()
        self.manifest: Any = None
        self.firsts = [0, 0]
        self.topic = self.opened()

    def opened(self) -> Topic:
        life = Life(retention_us=10)
        return opened(life, self.disk, self.manifest, seal_at=SealAt(rows=9, span_us=None))

    def append(self, partition: int, times: list[int | None], gap: int) -> None:
        self.topic.append(self.plain.chunk(partition, times, gap, len(self.plain.chunks)))

    def flush(self) -> None:
        self.topic.flush()

    def seal(self) -> None:
        self.topic.seal()

    def retain(self, now: int, tick_to: int) -> None:
        self.topic.retain(START_US + now, tick_to)
        for partition in range(2):
            first = self.topic.first_offset(partition)
            gone = self.plain.of(partition)[self.firsts[partition] : first]
            assert all(row["_arrived_us"] < START_US + now - 10 for row in gone)
            assert all(row["_tick"] < tick_to for row in gone)
        self.note()

    def note(self) -> None:
        self.firsts = [self.topic.first_offset(partition) for partition in range(2)]

    def checkpoint(self) -> None:
        self.topic.flush()
        self.manifest = through_json(self.topic)
        self.topic.remove_unreferenced(self.manifest)

    def crash(self) -> None:
        self.disk = self.disk.crash()
        self.topic = self.opened()
        for chunk in self.plain.chunks:
            self.topic.append(chunk)
        self.note()


@settings(max_examples=80, deadline=None)
@given(history=histories)
def test_what_is_kept_is_a_stretch_of_offsets_whatever_was_done(
    history: list[tuple[Any, ...]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.log.lane.MANY", 3)
        patch.setattr("headwater.log.lane.STRETCH_ROWS", 7)
        kept = Kept()
        for action, *values in history:
            getattr(kept, action)(*values)

        topic, plain = kept.topic, kept.plain
        rows = [plain.of(partition)[kept.firsts[partition] :] for partition in range(2)]
        for partition in range(2):
            found = topic.read_offsets(partition, 0, 999)
            expected = [(row["id"], row["_offset"]) for row in rows[partition]]
            columns = (found["id"].to_pylist(), found["_offset"].to_pylist())
            assert list(zip(*columns, strict=True)) == expected
            assert topic.next_offset(partition) == len(plain.of(partition))
        assert sorted(row["_tick"] for part in rows for row in part) == [
            row["_tick"] for row in flat(topic.read_ticks(0, 999))
        ]
        streamed = [n for b in topic.batches(["id"]) for n in b.column(0).to_pylist()]
        assert streamed == [row["id"] for part in rows for row in part]
        assert topic.rows_kept == len(streamed)


class BusyDisk(FakeDisk):
    """A disk during whose next write something else happens."""

    meanwhile: Any = None

    def write(self, path: str, parts: Any) -> None:
        action, self.meanwhile = self.meanwhile, None
        if action is not None:
            action()
        super().write(path, parts)

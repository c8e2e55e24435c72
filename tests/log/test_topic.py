"""A topic answers as a plain list of its rows does, wherever the rows lie and whatever crashed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.errors import DefinitionError, StateError
from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk
from headwater.testing.disk import FakeDisk
from log.log_inputs import (
    CLICKS,
    PARTITIONS,
    SCHEMA,
    START_US,
    Plain,
    batch,
    flat,
    through_json,
)

FOLDER = "topics/clicks"
SMALL = SealAt(rows=12)

seconds = st.one_of(st.none(), st.integers(0, 50))
appends = st.tuples(
    st.just("append"),
    st.integers(0, PARTITIONS - 1),
    st.lists(seconds, min_size=1, max_size=9),
    st.integers(0, 3),
    st.integers(0, 50),
)
upkeep = st.sampled_from([("flush",), ("seal",), ("checkpoint",), ("crash",)])
histories = st.lists(st.one_of(appends, appends, upkeep), max_size=40)
places = st.integers(-3, 120)


@pytest.fixture(autouse=True, scope="module")
def _few_small_files(small_pieces: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.log.lane.MANY", 3)
        yield


class Life:
    """A topic on a disk that crashes, kept as the runtime keeps it."""

    def __init__(self, seed: int = 1) -> None:
        self.disk = FakeDisk(seed)
        self.plain = Plain()
        self.manifest: dict[str, Any] | None = None
        self.topic = self.opened()

    def opened(self) -> Topic:
        return Topic.open(CLICKS, Blobs(self.disk), FOLDER, self.manifest, seal_at=SMALL)

    def run(self, history: list[tuple[Any, ...]]) -> None:
        for action, *values in history:
            getattr(self, action)(*values)

    def append(self, partition: int, times: list[int | None], gap: int, arrived: int) -> None:
        self.topic.append(self.plain.chunk(partition, times, gap, arrived))

    def flush(self) -> None:
        self.topic.flush()

    def seal(self) -> None:
        self.topic.seal()

    def checkpoint(self) -> None:
        self.topic.flush()
        self.topic.seal()
        self.manifest = through_json(self.topic)
        self.topic.remove_unreferenced(self.manifest)

    def crash(self) -> None:
        self.disk = self.disk.crash()
        self.topic = self.opened()
        for chunk in self.plain.chunks:
            self.topic.append(chunk)


# A range that ends between two chunks, in ticks of another topic.
@example(
    history=[("append", 0, [1, 2], 0, 0), ("append", 0, [3, 4], 3, 0)],
    tick_from=0,
    tick_to=4,
    rows_max=9,
)
@settings(max_examples=60, deadline=None)
@given(history=histories, tick_from=places, tick_to=places, rows_max=st.integers(1, 30))
def test_reading_by_tick_gives_the_plain_lists_rows(
    history: list[tuple[Any, ...]], tick_from: int, tick_to: int, rows_max: int
) -> None:
    life = Life()

    life.run(history)

    expected = [r for r in life.plain.rows if tick_from <= r["_tick"] < tick_to]
    assert flat(life.topic.read_ticks(tick_from, tick_to)) == expected
    windows = list(life.topic.iter_ticks(tick_from, tick_to, rows_max=rows_max))
    assert flat([chunk for window in windows for chunk in window]) == expected
    limit = max(rows_max, PARTITIONS)
    assert all(0 < sum(c.rows.num_rows for c in window) <= limit for window in windows)
    assert life.topic.rows_total == len(life.plain.rows)


@settings(max_examples=30, deadline=None)
@given(history=histories)
def test_joined_chunks_have_the_same_rows_in_the_same_places(
    history: list[tuple[Any, ...]],
) -> None:
    life = Life()
    life.run(history)

    apart, joined = life.topic.read_ticks(0, 999), life.topic.read_ticks(0, 999, joined=True)

    def places(chunks: list[Chunk]) -> list[tuple[int, int, int, int]]:
        rows = flat(chunks)
        return [(r["_partition"], r["_offset"], r["_tick"], r["id"]) for r in rows]

    assert places(joined) == places(apart)
    assert len(joined) <= len(apart)


@settings(max_examples=60, deadline=None)
@given(history=histories, offset_from=places, rows_max=st.integers(0, 60))
def test_reading_by_offset_gives_the_plain_lists_rows(
    history: list[tuple[Any, ...]], offset_from: int, rows_max: int
) -> None:
    life = Life()

    life.run(history)

    for partition in range(PARTITIONS):
        rows = life.plain.of(partition)
        table = life.topic.read_offsets(partition, offset_from, rows_max)
        assert table.column_names == ["id", "name", "ts", "_partition", "_offset", "_arrived"]
        arrivals = table["_arrived"].cast(pa.int64()).to_pylist()
        found = [
            {**row, "_arrived": arrived}
            for row, arrived in zip(table.to_pylist(), arrivals, strict=True)
        ]
        expected = [
            {
                **{name: row[name] for name in ("id", "name", "ts", "_partition", "_offset")},
                "_arrived": row["_arrived_us"],
            }
            for row in rows[max(0, offset_from) :][:rows_max]
        ]
        assert found == expected
        assert life.topic.next_offset(partition) == len(rows)


@settings(max_examples=60, deadline=None)
@given(history=histories, second=st.integers(-1, 55))
def test_a_time_finds_the_first_offset_at_or_after_it(
    history: list[tuple[Any, ...]], second: int
) -> None:
    life = Life()
    life.run(history)
    time_us = START_US + second

    for partition in range(PARTITIONS):
        rows = life.plain.of(partition)
        times = pa.array([r["ts"] for r in rows], pa.timestamp("us")).cast(pa.int64()).to_pylist()
        by_event = [n for n, t in enumerate(times) if t is not None and t >= time_us]
        by_arrival = [n for n, r in enumerate(rows) if r["_arrived_us"] >= time_us]
        end = len(rows)
        found = life.topic.offset_at_time(partition, event_time_us=time_us)
        assert found == min(by_event, default=end)
        found = life.topic.offset_at_time(partition, arrived_us=time_us)
        assert found == min(by_arrival, default=end)


@settings(max_examples=30, deadline=None)
@given(history=histories)
def test_all_rows_come_as_one_stream_with_the_columns_asked_for(
    history: list[tuple[Any, ...]],
) -> None:
    life = Life()
    life.run(history)
    rows = [row for partition in range(PARTITIONS) for row in life.plain.of(partition)]

    table = life.topic.reader(["_offset", "name"]).read_all()

    assert table.to_pylist() == [{"_offset": r["_offset"], "name": r["name"]} for r in rows]
    assert life.topic.reader().read_all().to_pylist() == [
        {name: row[name] for name in SCHEMA.names} for row in rows
    ]
    assert life.topic.reader([]).read_all().num_columns == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_crash_in_any_call_loses_nothing_that_manifest_and_journal_have(seed: int) -> None:
    def later(life: Life) -> None:
        for n in range(4):
            life.append(n % 2, [7, 8, 9, 10], 0, 99)
            life.checkpoint()

    def begun() -> Life:
        life = Life(seed)
        for n in range(6):
            life.append(n % 2, [n, None, 50 - n], n % 2, n)
        life.checkpoint()
        return life

    whole = begun()
    first = whole.disk.calls + 1
    later(whole)
    for call in range(first, whole.disk.calls + 1):
        life = begun()
        life.disk.crash_at(call)
        with pytest.raises(StateError, match="machine"):
            later(life)
        life.crash()
        assert flat(life.topic.read_ticks(0, 999)) == life.plain.rows


def test_what_a_crash_left_over_is_removed_at_the_next_start() -> None:
    life = Life()
    life.append(0, [1, 2, 3], 0, 0)
    life.checkpoint()
    life.append(0, [4, 5], 0, 1)
    life.flush()
    assert len(life.disk.list(FOLDER)) == 2

    life.crash()

    assert len(life.disk.list(FOLDER)) == 1


def test_sealed_files_replace_hot_ones_only_when_the_manifest_says_so() -> None:
    life = Life()
    for n in range(8):
        life.append(0, [n, n, n], 0, n)
        life.flush()
    before = life.disk.list(FOLDER)

    assert life.topic.seal() == 2
    assert set(before) < set(life.disk.list(FOLDER))
    life.topic.remove_unreferenced(life.topic.manifest())

    day = "arrived=2025-06-15"
    assert life.disk.list(FOLDER) == [
        f"{FOLDER}/data/{day}/0-00000000000000000000-00000000000000000011.parquet",
        f"{FOLDER}/data/{day}/0-00000000000000000012-00000000000000000023.parquet",
    ]
    assert flat(life.topic.read_ticks(0, 999)) == life.plain.rows


def test_an_older_manifest_that_a_start_may_fall_back_to_keeps_its_files() -> None:
    life = Life()
    for n in range(3):
        life.append(0, [n, n, n], 0, n)
        life.checkpoint()
    older = life.manifest
    life.append(0, [3, 3, 3], 0, 3)
    life.flush()
    life.seal()
    newer = through_json(life.topic)
    life.topic.remove_unreferenced(older, newer)

    def opened(manifest: Any, older: Any) -> Topic:
        blobs = Blobs(life.disk)
        return Topic.open(CLICKS, blobs, FOLDER, manifest, older=[older], seal_at=SMALL)

    topic = opened(newer, older)
    assert flat(opened(older, newer).read_ticks(0, 999)) == life.plain.rows[:9]
    topic.remove_unreferenced(newer)

    assert flat(topic.read_ticks(0, 999)) == life.plain.rows
    assert [path.split(".")[-1] for path in life.disk.list(FOLDER)] == ["parquet"]


def test_sealing_between_a_manifest_and_its_storing_deletes_nothing_that_it_names() -> None:
    life = Life()
    life.append(0, [1] * 15, 0, 0)
    life.flush()
    life.manifest = through_json(life.topic)

    life.topic.seal()
    life.topic.remove_unreferenced(None)
    life.crash()

    assert flat(life.topic.read_ticks(0, 999)) == life.plain.rows


def test_after_a_start_from_an_older_manifest_a_file_may_get_the_name_of_a_newer_one() -> None:
    life = Life()
    life.append(0, [0, 0], 0, 0)
    life.checkpoint()
    older = life.manifest
    life.append(0, [1, 1], 0, 1)
    life.checkpoint()
    newer = life.manifest
    topic = Topic.open(CLICKS, Blobs(life.disk), FOLDER, older, older=[newer], seal_at=SMALL)

    topic.append(life.plain.chunks[1])
    topic.flush()
    topic.remove_unreferenced(older)

    assert flat(topic.read_ticks(0, 999)) == life.plain.rows
    assert life.disk.list(FOLDER) == [f"{FOLDER}/{entry['name']}" for entry in newer["lanes"][0]]


def test_a_reader_keeps_its_rows_when_their_files_are_sealed_and_deleted() -> None:
    life = Life()
    life.append(0, list(range(9)), 0, 0)
    life.checkpoint()
    life.crash()
    chunks = life.topic.read_ticks(0, 999)

    life.append(0, list(range(9)), 0, 0)
    life.checkpoint()

    assert not any("/hot/" in path for path in life.disk.list(FOLDER))
    assert flat(chunks) == life.plain.rows[:9]


def test_duckdb_reads_the_archive_as_it_is(tmp_path: Any) -> None:
    topic = Topic(CLICKS, Blobs(LocalDisk(tmp_path)), FOLDER, seal_at=SealAt(rows=4))
    plain = Plain()
    day_us = 86_400_000_000
    for n in range(4):
        topic.append(plain.chunk(n % 2, [n, 9, None, 3], 1, n // 2 * day_us))
        topic.flush()
        topic.seal()

    rows = duckdb.sql(
        f"SELECT arrived, _offset, id FROM read_parquet('{tmp_path}/{FOLDER}/data/**/*.parquet', "
        "hive_partitioning=true) ORDER BY id"
    ).fetchall()

    assert [(str(day), offset, number) for day, offset, number in rows] == [
        (f"2025-06-{15 + row['_offset'] // 4}", row["_offset"], row["id"]) for row in plain.rows
    ]


def test_a_chunk_that_is_there_already_is_passed_over_and_a_gap_is_a_bug() -> None:
    topic = Topic(CLICKS, Blobs(FakeDisk(1)), FOLDER)
    topic.append(Chunk(0, 0, 0, START_US, batch(0, [1, 2])))

    topic.append(Chunk(0, 0, 0, START_US, batch(0, [1, 2])))

    assert topic.next_offset(0) == 2
    with pytest.raises(AssertionError, match="offset 5 after 2"):
        topic.append(Chunk(0, 5, 5, START_US, batch(5, [1])))


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("damage", ["cut", "zeros", "shorter"])
def test_a_damaged_file_is_named(is_sealed: bool, damage: str) -> None:
    life = Life()
    life.append(0, list(range(15 if is_sealed else 5)), 0, 0)
    life.checkpoint()
    (path,) = life.disk.list(FOLDER)
    content = life.disk.read(path)
    changed = {
        "cut": content[: len(content) // 2],
        "zeros": bytes(len(content)),
        "shorter": content[:-1],
    }
    life.disk.write(path, [changed[damage]])

    with pytest.raises(StateError, match=f"{path} is damaged"):
        life.opened().read_ticks(0, 999)


def value_bytes(content: bytes) -> list[int]:
    """Where some of the stored values of a file are."""
    if not content.startswith(b"PAR1"):
        return [100]
    column = pq.read_metadata(pa.BufferReader(content)).row_group(0).column(0)
    end = column.data_page_offset + column.total_compressed_size
    return list(range(end - 12, end))


@pytest.mark.parametrize("is_sealed", [False, True])
def test_a_changed_value_in_a_file_is_found(is_sealed: bool) -> None:
    life = Life()
    life.append(0, list(range(15 if is_sealed else 5)), 0, 0)
    life.checkpoint()
    (path,) = life.disk.list(FOLDER)
    content = life.disk.read(path)

    for place in value_bytes(content):
        changed = bytearray(content)
        changed[place] ^= 1
        life.disk.write(path, [bytes(changed)])
        with pytest.raises(StateError, match=f"{path} is damaged"):
            life.opened().read_ticks(0, 999)


def test_a_missing_file_is_named_at_the_start() -> None:
    life = Life()
    life.append(0, [1], 0, 0)
    life.checkpoint()
    (path,) = life.disk.list(FOLDER)
    life.disk.delete(path)

    with pytest.raises(StateError, match=f"{path} is missing"):
        life.opened()


def test_a_definition_with_fewer_partitions_is_refused_and_with_more_is_taken() -> None:
    life = Life()
    life.append(1, [1], 0, 0)
    life.checkpoint()
    blobs = Blobs(life.disk)

    def defined(partitions: int) -> TopicDefinition:
        return TopicDefinition("clicks", SCHEMA, event_time="ts", partitions=partitions)

    with pytest.raises(DefinitionError, match="rows in 2 partitions"):
        Topic.open(defined(1), blobs, FOLDER, life.manifest)
    assert Topic.open(defined(3), blobs, FOLDER, life.manifest).next_offset(2) == 0


def test_a_column_with_a_name_of_the_log_is_refused() -> None:
    schema = Schema((Column("_Offset", DataType("BIGINT", pa.int64())),))

    with pytest.raises(DefinitionError, match="_offset"):
        Topic(TopicDefinition("t", schema), Blobs(FakeDisk(1)), "topics/t")

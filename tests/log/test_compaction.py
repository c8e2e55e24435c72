"""A compacted topic answers as the list of the rows that are left, at the offsets they had."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import StateError
from headwater.log.chunk import Chunk
from headwater.log.compaction import places_of
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.plan.life import Life as RowLife
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk
from log.log_inputs import CLICKS, START_US, Plain, through_json

pytestmark = pytest.mark.usefixtures("small_pieces")

FOLDER = "topics/clicks"
SMALL = SealAt(rows=12)

Row = dict[str, Any]

appends = st.tuples(
    st.just("append"),
    st.integers(0, 1),
    st.lists(st.integers(0, 50), min_size=1, max_size=9),
    st.integers(0, 3),
    st.integers(0, 50),
)
compactions = st.tuples(st.just("compact"), st.integers(0, 99), st.sampled_from([0, 20, 50, 100]))
upkeep = st.sampled_from([("checkpoint",), ("checkpoint",), ("crash",)])
histories = st.lists(st.one_of(appends, appends, upkeep, compactions), max_size=50)


class Life:
    """A topic on a disk that crashes, some rows of which are taken out now and then."""

    def __init__(self, partitions: int, seed: int = 1) -> None:
        life = RowLife(is_compact=True)
        self.definition = replace(CLICKS, key=("id",), partitions=partitions, life=life)
        self.disk = FakeDisk(seed)
        self.plain = Plain()
        self.manifest: dict[str, Any] | None = None
        self.gone: set[tuple[int, int]] = set()
        self.gone_for_good = self.gone
        self.partitions = partitions
        self.topic = self.opened()

    def opened(self) -> Topic:
        blobs = Blobs(self.disk)
        return Topic.open(self.definition, blobs, FOLDER, self.manifest, seal_at=SMALL)

    def run(self, history: list[tuple[Any, ...]]) -> None:
        for action, *values in history:
            getattr(self, action)(*values)

    def append(self, partition: int, times: list[int | None], gap: int, arrived: int) -> None:
        self.topic.append(self.plain.chunk(partition % self.partitions, times, gap, arrived))

    def checkpoint(self) -> None:
        self.topic.flush()
        self.topic.seal()
        self.manifest = through_json(self.topic)
        self.gone_for_good = set(self.gone)
        self.topic.remove_unreferenced(self.manifest)
        self.topic.note_kept([self.manifest], self.plain.tick)

    def compact(self, seed: int, percent: int) -> None:
        """Take out about so many of the rows, and put two files together."""
        random = Random(seed)
        ends = [self.topic.next_offset(n) for n in range(self.partitions)]
        for partition, lane in enumerate(self.topic.compactable(ends).lanes):
            group = lane[:2]
            kept = [
                np.array([random.randrange(100) >= percent for _ in range(s.entry.rows_kept)], bool)
                for s in group
            ]
            if group:
                offsets = [places_of(s).offsets for s in group]
                assert self.topic.compact(partition, group, kept)
                for some, keep in zip(offsets, kept, strict=True):
                    self.gone |= {(partition, int(offset)) for offset in some[~keep]}

    def crash(self) -> None:
        self.disk = self.disk.crash()
        self.topic = self.opened()
        self.gone = set(self.gone_for_good)
        for chunk in self.plain.chunks:
            self.topic.append(chunk)
        if self.manifest is not None:
            # As the first checkpoint after a start does.
            self.topic.note_kept([self.manifest], self.plain.tick)

    @property
    def rows(self) -> list[Row]:
        """The rows that are left."""
        rows = self.plain.rows
        return [row for row in rows if (row["_partition"], row["_offset"]) not in self.gone]


def by_tick(chunks: list[Chunk]) -> list[tuple[int, int, int]]:
    return [
        (int(tick), chunk.partition, row["id"])
        for chunk in chunks
        for tick, row in zip(chunk.ticks().tolist(), chunk.rows.to_pylist(), strict=True)
    ]


@settings(max_examples=80, deadline=None)
@given(
    history=histories,
    partitions=st.integers(1, 2),
    tick_from=st.integers(0, 120),
    tick_to=st.integers(0, 120),
    rows_max=st.integers(1, 30),
)
def test_reading_by_tick_gives_the_rows_that_are_left(
    history: list[tuple[Any, ...]], partitions: int, tick_from: int, tick_to: int, rows_max: int
) -> None:
    life = Life(partitions)
    life.run(history)

    expected = [
        (r["_tick"], r["_partition"], r["id"])
        for r in life.rows
        if tick_from <= r["_tick"] < tick_to
    ]
    topic = life.topic
    for joined in (False, True):
        chunks = topic.read_ticks(tick_from, tick_to, joined=joined)
        assert by_tick(chunks) == expected
        assert all(c.tick_first == c.ticks()[0] and c.tick_to > c.ticks()[-1] for c in chunks)
    windows = topic.iter_ticks(tick_from, tick_to, rows_max=rows_max, joined=True)
    assert by_tick([chunk for window in windows for chunk in window]) == expected
    assert (topic.rows_total, topic.rows_kept) == (len(life.plain.rows), len(life.rows))
    assert topic.rows_compacted == len(life.gone)
    newest = {n.partition: n.highest_us for n in topic.newest(tick_from, tick_to)}
    times = [(r["_partition"], r["ts"]) for r in life.rows if tick_from <= r["_tick"] < tick_to]
    for partition in {partition for partition, _ in times}:
        highest = max(ts for p, ts in times if p == partition)
        assert pa.scalar(highest, pa.timestamp("us")).cast(pa.int64()).as_py() == newest[partition]


@settings(max_examples=80, deadline=None)
@given(
    history=histories,
    partitions=st.integers(1, 2),
    offset_from=st.integers(-1, 90),
    rows_max=st.integers(0, 40),
    second=st.integers(-1, 55),
)
def test_reading_by_offset_and_time_gives_the_rows_that_are_left(
    history: list[tuple[Any, ...]], partitions: int, offset_from: int, rows_max: int, second: int
) -> None:
    life = Life(partitions)
    life.run(history)

    time_us = START_US + second
    for partition in range(partitions):
        rows = [r for r in life.rows if r["_partition"] == partition]
        end = life.plain.next_offset(partition)
        table = life.topic.read_offsets(partition, offset_from, rows_max)
        arrivals = table["_arrived"].cast(pa.int64()).to_pylist()
        found = list(
            zip(table["id"].to_pylist(), table["_offset"].to_pylist(), arrivals, strict=True)
        )
        wanted = [r for r in rows if r["_offset"] >= offset_from][:rows_max]
        assert found == [(r["id"], r["_offset"], r["_arrived_us"]) for r in wanted]
        if rows_max and offset_from < end:
            assert table.num_rows, "behind every position there is a row"
        at = life.topic.offset_at_time(partition, event_time_us=time_us)
        times = [pa.scalar(r["ts"], pa.timestamp("us")).cast(pa.int64()).as_py() for r in rows]
        after = [r["_offset"] for r, t in zip(rows, times, strict=True) if t >= time_us]
        assert at == min(after, default=end)
        at = life.topic.offset_at_time(partition, arrived_us=time_us)
        assert all(r["_arrived_us"] < time_us for r in rows if r["_offset"] < at)
        assert all(life.topic.arrived_us(partition, o) is not None for o in range(end))
    ids = [r["id"] for n in range(partitions) for r in life.rows if r["_partition"] == n]
    assert life.topic.reader(["id"]).read_all()["id"].to_pylist() == ids


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_crash_in_any_call_leaves_the_old_files_or_the_new(partitions: int) -> None:
    def begun() -> Life:
        life = Life(partitions)
        for n in range(8):
            life.append(n, [n, n + 1, 50 - n, 7], n % 2, n)
            life.checkpoint()
        return life

    def later(life: Life) -> None:
        for n in range(3):
            life.compact(n, 50)
            life.checkpoint()
            life.append(n, [7, 8], 0, 99)

    whole = begun()
    first = whole.disk.calls + 1
    later(whole)
    assert len(whole.gone) > 10
    for call in range(first, whole.disk.calls + 1):
        life = begun()
        life.disk.crash_at(call)
        with pytest.raises(StateError, match="machine"):
            later(life)
        life.crash()
        expected = [(r["_tick"], r["_partition"], r["id"]) for r in life.rows]
        assert by_tick(life.topic.read_ticks(0, 999)) == expected
        later(life)
        expected = [(r["_tick"], r["_partition"], r["id"]) for r in life.rows]
        assert by_tick(life.topic.read_ticks(0, 999)) == expected


def test_any_other_tool_reads_the_file_and_space_is_given_back() -> None:
    life = Life(1)
    for n in range(20):
        life.append(0, [n, n + 1, n + 2, n + 3], 0, n)
        life.checkpoint()
    before = life.topic.size_bytes

    life.compact(1, 100)
    life.compact(2, 50)
    life.checkpoint()

    names = [path for path in life.disk.list(FOLDER) if "-kept-" in path]
    assert len(names) == 1
    assert names[0].endswith("-00000000000000000023-kept-0.parquet")
    assert life.topic.size_bytes < before
    life.compact(2, 50)
    life.checkpoint()
    life.topic.remove_unreferenced(life.manifest)
    names = [path for path in life.disk.list(FOLDER) if "-kept-" in path]
    tables = [pq.read_table(pa.BufferReader(life.disk.read(path))) for path in names]
    assert [t["_offset"].to_pylist() for t in tables] == [t["id"].to_pylist() for t in tables]


def test_what_may_be_needed_as_it_is_is_not_offered() -> None:
    life = Life(2)
    for n in range(12):
        life.append(n, [n] * 6, 0, n)
    life.topic.flush()
    life.topic.seal()
    assert life.topic.compactable([99, 99]).lanes == ((), ())
    life.append(0, [1], 0, 1)
    life.append(1, [1], 0, 1)
    life.checkpoint()

    def offered(*read_to: int) -> list[int]:
        return [len(lane) for lane in life.topic.compactable(read_to).lanes]

    assert offered(99, 99) == [3, 3]
    assert offered(99, 23) == [3, 1]
    assert offered(0, 12) == [0, 1]
    assert life.manifest is not None
    life.topic.note_kept([life.manifest], 30)
    assert offered(99, 99) == [1, 1]
    assert life.topic.compactable([99, 99]).complete_to == 24
    life.topic.note_kept([life.manifest, None], 99)
    assert offered(99, 99) == [0, 0]

"""What an index says of event times is what reading them says, and spares the reading."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.delta.watermark import BEFORE_ALL
from headwater.errors import StateError
from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.log.zones import Newest, summaries
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk

SCHEMA = Schema((Column("ts", parse_type("TIMESTAMP")), Column("other", parse_type("TIMESTAMP"))))
PARTITIONS = 2
CLICKS = TopicDefinition("clicks", SCHEMA, event_time="ts", partitions=PARTITIONS)
FOLDER = "topics/clicks"

int64s = st.integers(-(2**63), 2**63 - 1)
zones = st.lists(st.lists(int64s | st.integers(0, 50), min_size=1, max_size=5), min_size=1)
times = st.lists(st.none() | st.integers(0, 50), min_size=1, max_size=6)
# A partition, times, and what is done afterwards.
histories = st.lists(
    st.tuples(
        st.integers(0, PARTITIONS - 1), times, st.sampled_from(["", "", "", "flush", "seal"])
    ),
    max_size=14,
)


@given(zones)
@example([[-(2**63), 2**63 - 1, -(2**63)], [1, 2, 2, 3]])
@example([[1, 1], [2, 9]])
def test_zones_are_summed_up(values: list[list[int]]) -> None:
    starts = np.cumsum([0, *map(len, values)])[:-1]

    highest, lowest, behind = summaries(
        np.concatenate([np.array(zone, dtype=np.int64) for zone in values]), starts
    )

    assert highest.tolist() == [max(zone) for zone in values]
    assert lowest.tolist() == [min(zone) for zone in values]
    before, furthest = [], []
    for zone in values:
        far = []
        for value in zone:
            before.append(value)
            far.append(max(before) - value)
        furthest.append(min(max(far), 2**63 - 1))
    assert behind.tolist() == furthest


def rows_of(values: list[int | None]) -> pa.RecordBatch:
    """The times, and as many others that fall."""
    columns = [values, [100 - n for n in range(len(values))]]
    arrays = [pa.array(column, pa.timestamp("us")) for column in columns]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA.arrow)


def topic_of(
    history: list[tuple[int, list[int | None], str]], disk: FakeDisk, seal_rows: int = 12
) -> Topic:
    """A topic that lived so, each append three ticks after the one before."""
    topic = Topic(CLICKS, Blobs(disk), FOLDER, seal_at=SealAt(rows=seal_rows))
    tick = 0
    for number, (partition, values, upkeep) in enumerate(history):
        offset = topic.next_offset(partition)
        topic.append(Chunk(partition, offset, tick, number, rows_of(values)))
        tick += len(values) + 3
        if upkeep:
            topic.flush()
        if upkeep == "seal":
            topic.seal()
    return topic


def naive(topic: Topic, tick_from: int, tick_to: int, column: str = "ts") -> list[Newest]:
    """What `newest` says, from all rows."""
    found: dict[int, Newest] = {}
    for chunk in topic.read_ticks(tick_from, tick_to):
        rows = chunk.rows.column(column).cast(pa.int64()).to_pylist()
        known = found.get(chunk.partition)
        before = [] if known is None else [known.highest_us]
        highest = max(before + [BEFORE_ALL if time is None else time for time in rows])
        found[chunk.partition] = Newest(chunk.partition, highest, chunk.arrived_us)
    return [found[partition] for partition in sorted(found)]


@settings(max_examples=80, deadline=None)
@given(history=histories, tick_from=st.integers(0, 60), length=st.integers(0, 90))
def test_the_highest_times_are_those_of_the_rows(
    history: list[tuple[int, list[int | None], str]], tick_from: int, length: int
) -> None:
    topic = topic_of(history, FakeDisk(1))

    found = topic.newest(tick_from, tick_from + length)

    assert found == naive(topic, tick_from, tick_from + length)


def spoilt(disk: FakeDisk, topic: Topic) -> Topic:
    """The topic, opened again after the values in its file were changed."""
    manifest = topic.manifest()
    (path,) = disk.list(FOLDER)
    content = bytearray(disk.read(path))
    content[len(content) // 4] ^= 1
    disk.write(path, [bytes(content)])
    return Topic.open(CLICKS, Blobs(disk), FOLDER, manifest)


def test_whole_appends_in_files_are_not_read() -> None:
    disk = FakeDisk(1)
    # So many rows that a column has a checksum of its own.
    ascending: list[int | None] = list(range(10_000))
    history = [(0, ascending, ""), (0, ascending[5:9_000], "flush")]
    topic = spoilt(disk, topic_of(history, disk, 1 << 20))

    assert topic.newest(0, 99_999) == [Newest(0, 9_999, 1)]
    assert topic.newest(10_003, 99_999) == [Newest(0, 8_999, 1)]
    with pytest.raises(StateError, match="is damaged"):
        topic.newest(1, 99_999)


@settings(max_examples=30, deadline=None)
@given(history=histories, upkeep=st.sampled_from(["flush", "seal"]), time_us=st.integers(0, 101))
def test_a_topic_whose_event_time_is_another_column_now_is_read(
    history: list[tuple[int, list[int | None], str]], upkeep: str, time_us: int
) -> None:
    disk = FakeDisk(1)
    topic = topic_of([*history, (0, [7, 3], "flush")], disk)
    other = replace(CLICKS, event_time="other")
    manifest: Any = topic.manifest()
    topic = Topic.open(other, Blobs(disk), FOLDER, manifest, seal_at=SealAt(rows=1))
    if upkeep == "seal":
        topic.seal()

    assert topic.newest(0, 999) == naive(topic, 0, 999, "other")
    rows = topic.read_offsets(0, 0, 999, ["other"]).column(0).cast(pa.int64()).to_pylist()
    expected = next((n for n, time in enumerate(rows) if time >= time_us), len(rows))
    assert topic.offset_at_time(0, event_time_us=time_us) == expected

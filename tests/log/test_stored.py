"""What is stored together is read together, with each row in its place in the log's one order."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk

SCHEMA = Schema((Column("id", parse_type("BIGINT"), nullable=False),))
# Rows, and ticks of other topics before them; then perhaps a flush or a seal.
appends = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 2), st.sampled_from(["", "", "flush", "seal"])),
    max_size=25,
)


def topic_of(steps: list[tuple[int, int, str]], seal_rows: int = 20) -> tuple[Topic, list[int]]:
    """A topic of one partition, and the tick of each row; a row's id is its offset."""
    definition = TopicDefinition("clicks", SCHEMA)
    topic = Topic(definition, Blobs(FakeDisk(1)), "topics/clicks", seal_at=SealAt(rows=seal_rows))
    ticks: list[int] = []
    tick = 0
    for number, (rows, gap, upkeep) in enumerate(steps):
        tick += gap
        ids = pa.array(range(len(ticks), len(ticks) + rows), pa.int64())
        batch = pa.RecordBatch.from_arrays([ids], schema=SCHEMA.arrow)
        topic.append(Chunk(0, len(ticks), tick, number, batch))
        ticks += range(tick, tick + rows)
        tick += rows
        if upkeep:
            topic.flush()
        if upkeep == "seal":
            topic.seal()
    return topic, ticks


@pytest.fixture(autouse=True, scope="module")
def _small_row_groups() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.log.content.ROW_GROUP_ROWS", 5)
        patch.setattr("headwater.log.chunk._LONG_ROWS", 3)
        yield


@settings(max_examples=80, deadline=None)
@given(steps=appends, tick_from=st.integers(0, 60), length=st.integers(0, 90))
def test_each_row_has_its_place(
    steps: list[tuple[int, int, str]], tick_from: int, length: int
) -> None:
    topic, ticks = topic_of(steps)
    tick_to = tick_from + length

    chunks = topic.read_ticks(tick_from, tick_to, joined=True)

    expected = [(n, tick) for n, tick in enumerate(ticks) if tick_from <= tick < tick_to]
    found = [
        pair for c in chunks for pair in zip(c.rows.column(0).to_pylist(), c.ticks(), strict=True)
    ]
    assert found == expected
    assert topic.rows_between(tick_from, tick_to) == len(expected)
    for chunk in chunks:
        places = chunk.ticks()
        assert (chunk.tick_first, chunk.tick_to) == (places[0], places[-1] + 1)
        assert chunk.offset_first == chunk.rows.column(0)[0].as_py()
        some = np.arange(chunk.rows.num_rows)[::2]
        assert (chunk.ticks_at(some) == places[::2]).all()


@settings(max_examples=40, deadline=None)
@given(steps=appends)
def test_a_file_is_one_chunk(steps: list[tuple[int, int, str]]) -> None:
    topic, ticks = topic_of(steps)
    topic.flush()
    if not ticks:
        return

    chunks = topic.read_ticks(0, ticks[-1] + 1, joined=True)

    files = sum(bool(upkeep) for _, _, upkeep in steps) + 1
    groups = len(ticks) // 5 + 1
    assert len(chunks) <= files + groups


@settings(max_examples=40, deadline=None)
@given(steps=appends)
def test_a_seam_is_where_a_file_begins(steps: list[tuple[int, int, str]]) -> None:
    steps = [(rows, gap, "flush" if upkeep else "") for rows, gap, upkeep in steps]
    topic, ticks = topic_of(steps, seal_rows=1_000)
    ends = itertools.accumulate(rows for rows, _, _ in steps)
    firsts = [n for n, (_, _, flushed) in zip(ends, steps, strict=True) if flushed]
    seams = [ticks[n] for n in firsts if n < len(ticks)]

    for tick in range(ticks[-1] + 3 if ticks else 0):
        assert topic.seams(tick, tick + 9) == [s for s in seams if tick <= s < tick + 9]

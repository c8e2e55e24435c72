"""A changed byte is found when its column is read, and nowhere else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from headwater.errors import StateError
from headwater.log.chunk import Chunk
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.storage.blobs import Blobs
from headwater.storage.sums import LANES, word_sum
from headwater.testing.disk import FakeDisk

ROWS = 20_000
SCHEMA = Schema(
    tuple(
        Column(name, parse_type(kind))
        for name, kind in {"id": "BIGINT", "name": "VARCHAR", "tags": "BIGINT[]"}.items()
    )
)
CLICKS = TopicDefinition("clicks", SCHEMA)


class Stored:
    """A topic in one file, which a test may damage."""

    def __init__(self) -> None:
        self.disk = FakeDisk(1)
        topic = Topic(CLICKS, Blobs(self.disk), "topics/clicks")
        ids = list(range(ROWS))
        columns = [ids, [f"name {n}" if n % 7 else None for n in ids], [[n, n] for n in ids]]
        rows = pa.record_batch(
            [pa.array(c, f.type) for c, f in zip(columns, SCHEMA.arrow, strict=True)],
            schema=SCHEMA.arrow,
        )
        topic.append(Chunk(0, 0, 0, 0, rows))
        topic.flush()
        self.manifest = topic.manifest()
        (self.path,) = self.disk.list("topics/clicks")
        self.content = self.disk.read(self.path)

    def read(self, *columns: str) -> pa.RecordBatch:
        topic = Topic.open(CLICKS, Blobs(self.disk), "topics/clicks", self.manifest)
        (chunk,) = topic.read_ticks(0, ROWS, columns=columns)
        return chunk.rows

    def damage(self, place: int) -> None:
        changed = bytearray(self.content)
        changed[place] ^= 16
        self.disk.write(self.path, [bytes(changed)])


@pytest.fixture(scope="module")
def stored() -> Stored:
    return Stored()


def test_a_changed_byte_is_found_wherever_it_is(stored: Stored) -> None:
    size = len(stored.content)
    for place in [0, size - 1, *np.random.default_rng(1).integers(0, size, 60).tolist()]:
        stored.damage(place)
        with pytest.raises(StateError, match=f"{stored.path} is damaged"):
            stored.read("id", "name", "tags")


def test_a_column_is_checked_when_it_is_read(stored: Stored) -> None:
    place = stored.content.index(b"name 9999")
    stored.damage(place)

    assert stored.read("id").column(0).to_pylist() == list(range(ROWS))
    with pytest.raises(StateError, match="is damaged: its bytes from"):
        stored.read("name")


def test_what_is_no_plain_column_is_checked_when_the_file_is_opened(stored: Stored) -> None:
    pattern = np.array([12_345, 12_345], dtype=np.int64).tobytes()
    stored.damage(stored.content.index(pattern))

    with pytest.raises(StateError, match="is damaged"):
        stored.read("id")


def test_the_sum_tells_what_a_file_may_suffer() -> None:
    data = np.random.default_rng(2).integers(0, 256, 64 * 4096 + 5, dtype=np.uint8)
    whole = word_sum(data)
    lost = data.copy()
    lost[8192:12288] = 0
    moved = data.copy()
    moved[4096:8192], moved[8192:12288] = data[8192:12288], data[4096:8192]
    assert len({whole, word_sum(lost), word_sum(moved), word_sum(data[:-1])}) == 4
    for place in range(0, len(data), 1_001):
        flipped = data.copy()
        flipped[place] ^= 128
        assert word_sum(flipped) != whole
    # What it does not see: words of one lane that change places.
    words = data[: 8 * 3 * LANES].view(np.uint64).copy()
    words[[0, LANES]] = words[[LANES, 0]]
    assert word_sum(words.view(np.uint8)) == word_sum(data[: 8 * 3 * LANES])

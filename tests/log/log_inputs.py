"""Rows for the tests of the log, and a plain list of them to compare with."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from headwater.log.chunk import Chunk
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType

SCHEMA = Schema(
    (
        Column("id", DataType("BIGINT", pa.int64()), nullable=False),
        Column("name", DataType("VARCHAR", pa.string())),
        Column("ts", DataType("TIMESTAMP", pa.timestamp("us"))),
    )
)
PARTITIONS = 2
CLICKS = TopicDefinition("clicks", SCHEMA, event_time="ts", partitions=PARTITIONS)
START_US = 1_750_000_000_000_000


def batch(first: int, times: list[int | None]) -> pa.RecordBatch:
    """Rows numbered from `first`, with these event times in seconds after the start."""
    ids = list(range(first, first + len(times)))
    return pa.RecordBatch.from_arrays(
        [
            pa.array(ids, pa.int64()),
            pa.array([None if n % 5 == 0 else f"name {n}" for n in ids]),
            pa.array([None if t is None else START_US + t for t in times], pa.timestamp("us")),
        ],
        schema=SCHEMA.arrow,
    )


@dataclass
class Plain:
    """What a topic must answer, in plain lists of rows."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    tick: int = 0
    id: int = 0

    def chunk(self, partition: int, times: list[int | None], gap: int, arrived: int) -> Chunk:
        """The next chunk of a partition, `gap` ticks of other topics after the one before."""
        self.tick += gap
        offset = self.next_offset(partition)
        rows = batch(self.id, times)
        made = Chunk(partition, offset, self.tick, START_US + arrived, rows)
        self.id += len(times)
        self.tick += len(times)
        self.chunks.append(made)
        self.rows += flat([made])
        return made

    def next_offset(self, partition: int) -> int:
        return sum(row["_partition"] == partition for row in self.rows)

    def of(self, partition: int) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["_partition"] == partition]


def flat(chunks: list[Chunk]) -> list[dict[str, Any]]:
    """The rows of chunks, each with where it stands."""
    return [
        {
            **row,
            "_partition": chunk.partition,
            "_offset": chunk.offset_first + n,
            "_tick": chunk.tick_first + n,
            "_arrived_us": chunk.arrived_us,
        }
        for chunk in chunks
        for n, row in enumerate(chunk.rows.to_pylist())
    ]


def through_json(topic: Topic) -> dict[str, Any]:
    """A manifest as a checkpoint would give it back."""
    value: dict[str, Any] = json.loads(json.dumps(topic.manifest()))
    return value

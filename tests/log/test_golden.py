"""Files that an earlier version wrote are read: each format ever used has its folder here.

A folder is made once, by running this file as a program, and never again: a file that does not read
any more means that the format needs a new number, and a reader for the old one.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headwater.log.changes import ChangeLog
from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.log.zones import Newest
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk

GOLDEN = Path(__file__).parent / "golden"
FORMATS = ("1", "2", "3", "4")

SCHEMA = Schema(
    (
        Column("id", parse_type("BIGINT"), nullable=False),
        Column("tags", parse_type("VARCHAR[]")),
        Column("ts", parse_type("TIMESTAMP WITH TIME ZONE")),
    )
)
CLICKS = TopicDefinition("clicks", SCHEMA, event_time="ts", partitions=2)
SMALL = SealAt(rows=6)
START_US = 1_370_000_000_000_000


def batch(first: int) -> pa.RecordBatch:
    times = [START_US + 7, None, START_US + first]
    columns = [[first, first + 1, first + 2], [["a", None], None, []], times]
    return pa.record_batch(
        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA.arrow, strict=True)],
        schema=SCHEMA.arrow,
    )


CHUNKS = [Chunk(0, 3 * n, 5 * n, START_US + n, batch(3 * n)) for n in range(3)]
CHUNKS.append(Chunk(1, 0, 20, START_US + 9, batch(100)))
WEIGHTS = np.array([1, -1, 2])


def write(folder: Path) -> None:
    """Make the golden files of the present format, hot and sealed ones."""
    blobs = Blobs(LocalDisk(folder))
    topic = Topic(CLICKS, blobs, "topics/clicks", seal_at=SMALL)
    log = ChangeLog("spend", SCHEMA, blobs, "changes/spend", seal_at=SealAt(rows=9))
    for n, chunk in enumerate(CHUNKS):
        topic.append(chunk)
        log.append(chunk.rows, WEIGHTS, 2 * n)
        topic.flush()
        log.flush()
    for kept in (topic, log):
        kept.seal()
        kept.remove_unreferenced(kept.manifest())
    manifests = {"topic": topic.manifest(), "changes": log.manifest()}
    (folder / "manifests.json").write_text(json.dumps(manifests, indent=1))


@pytest.mark.parametrize("number", FORMATS)
def test_the_files_of_every_format_are_read(number: str, tmp_path: Path) -> None:
    folder = tmp_path / number
    shutil.copytree(GOLDEN / number, folder)
    manifests = json.loads((folder / "manifests.json").read_text())
    blobs = Blobs(LocalDisk(folder))

    topic = Topic.open(CLICKS, blobs, "topics/clicks", manifests["topic"])
    log = ChangeLog.open("spend", SCHEMA, blobs, "changes/spend", manifests["changes"])

    assert topic.read_ticks(0, 99) == CHUNKS
    assert topic.offset_at_time(0, event_time_us=START_US + 7) == 0
    assert topic.offset_at_time(0, arrived_us=START_US + 2) == 6
    highest = [Newest(0, START_US + 7, START_US + 2), Newest(1, START_US + 100, START_US + 9)]
    assert topic.newest(0, 99) == highest
    changes = log.read(0, 99)
    rows = [row for chunk in CHUNKS for row in chunk.rows.to_pylist()]
    assert changes.select(SCHEMA.names).to_pylist() == rows
    assert changes["_weight"].to_pylist() == [1, -1, 2] * 4
    assert changes["_epoch"].to_pylist() == [0, 0, 0, 2, 2, 2, 4, 4, 4, 6, 6, 6]


if __name__ == "__main__":
    target = GOLDEN / sys.argv[1]
    target.mkdir(parents=True)
    write(target)

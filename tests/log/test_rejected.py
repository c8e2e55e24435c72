"""Rejected rows are kept beside their topic, with reason and bytes."""

from __future__ import annotations

from headwater.log.chunk import Chunk
from headwater.log.rejected import rejected_definition, rejected_rows
from headwater.log.topic import Topic
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk
from log.log_inputs import CLICKS, START_US


def test_a_rejected_row_is_read_back_with_reason_and_bytes() -> None:
    definition = rejected_definition(CLICKS)
    blobs = Blobs(FakeDisk(1))
    folder = "topics/clicks$rejected"
    rows = rejected_rows(
        [4, 9],
        ["'x' is no BIGINT", "not JSON"],
        ["id", None],
        [b'{"id":"x"}', b"\xff"],
        arrived_us=START_US,
        partition=1,
    )
    topic = Topic(definition, blobs, folder)
    topic.append(Chunk(0, 0, 0, START_US, rows))
    topic.flush()

    found = Topic.open(definition, blobs, folder, topic.manifest()).reader().read_all()

    assert definition.name == "clicks$rejected"
    arrived = rows.column("arrived")[0].as_py()
    assert found.to_pylist() == [
        {
            "position": 4,
            "reason": "'x' is no BIGINT",
            "column": "id",
            "record": b'{"id":"x"}',
            "arrived": arrived,
            "partition": 1,
        },
        {
            "position": 9,
            "reason": "not JSON",
            "column": None,
            "record": b"\xff",
            "arrived": arrived,
            "partition": 1,
        },
    ]

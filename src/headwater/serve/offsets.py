"""What a negative offset means: so many rows before the end."""

from __future__ import annotations

from headwater.runtime.status import TopicStatus
from headwater.serve.failures import RequestError
from headwater.serve.service import Service


def topic_offset(service: Service, name: str, offset: int, partition: int) -> int:
    """The offset in a partition of a topic that `offset` stands for; never negative.

    Raises:
        RequestError: 400, the end of the partition is not known.

    """
    if offset >= 0:
        return offset
    for topic in service.status().topics:
        if topic.name.lower() == name.lower():
            return max(0, _end(topic, partition) + offset)
    return 0


def _end(topic: TopicStatus, partition: int) -> int:
    if partition < len(topic.offsets_next):
        return topic.offsets_next[partition]
    if topic.partitions == 1:
        return topic.rows
    raise RequestError(
        400,
        "request",
        f"the end of partition {partition} of {topic.name} is not known",
        hint="ask from an offset that is not negative",
    )


def view_offset(service: Service, name: str, offset: int) -> int:
    """The offset in a view's changes that `offset` stands for; never negative."""
    if offset >= 0:
        return offset
    for view in service.status().views:
        if view.name.lower() == name.lower():
            return max(0, view.changes + offset)
    return 0

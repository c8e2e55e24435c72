"""What is let go, put together and moved to an archive: logs, of which old rows need not be kept.

What is kept is a stretch without a gap up to the end, as it was sent. What is gone was old enough.
The archive has the files that the topic says are there, and none that nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.errors import ConnectorError
from headwater.log.topic import Topic
from simulation.world import ALL, World, Wrong

if TYPE_CHECKING:
    from simulation.life import Life


def look(life: Life) -> None:
    """Note when rows of logs came, and check those that are gone."""
    topic = life.runtime.topics.get("logs")
    if topic is None:
        return
    life.world.note_time()
    for partition in range(topic.definition.partitions):
        try:
            rows = topic.read_offsets(partition, 0, ALL, ["_offset", "_arrived"])
        except ConnectorError as error:
            if life.lake.is_away:
                continue
            raise Wrong(f"the archive is there, and yet: {error}") from error
        arrived = rows.column("_arrived").cast("int64").to_pylist()
        offsets = rows.column("_offset").to_pylist()
        for offset, at_us in zip(offsets, arrived, strict=True):
            if life.world.seen.arrived.setdefault((partition, offset), at_us) != at_us:
                raise Wrong(f"row {offset} of logs came at another time than before")
        _check_gone(life.world, topic, partition)


def check(life: Life) -> None:
    """Check what is kept when all was sent, and what is in the archive."""
    topic = life.runtime.topics.get("logs")
    if topic is None:
        return
    for partition in range(topic.definition.partitions):
        offsets = topic.read_offsets(partition, 0, ALL, ["_offset"]).column("_offset").to_pylist()
        first, end = topic.first_offset(partition), topic.next_offset(partition)
        if (
            offsets[-1:] not in ([], [end - 1])
            or offsets != list(range(end))[-len(offsets) or end :]
        ):
            raise Wrong(f"of logs {first} to {end} are kept, and {offsets} are read")
    if life.runtime.problems:
        raise Wrong(f"all is well, and yet: {life.runtime.problems}")


def check_archive(life: Life) -> None:
    """Check that the archive has what the checkpoint says, when the pipeline is closed."""
    topic = life.runtime.topics.get("logs")
    if topic is None or topic.definition.life.archive is None:
        return
    manifest = topic.manifest()
    entries = [entry for lane in manifest["lanes"] for entry in lane]
    stored = {f"logs/{e['name'].removeprefix('data/')}" for e in entries if e["is_archived"]}
    if missing := stored - set(life.world.lake.paths()):
        raise Wrong(f"the archive has not what is archived: {missing}")


def _check_gone(world: World, topic: Topic, partition: int) -> None:
    life, first = topic.definition.life, topic.first_offset(partition)
    if first and life.retention_us is None and life.retention_bytes is None:
        raise Wrong(f"logs are kept for ever, and begin at {first}")
    if life.retention_us is None or life.retention_bytes is not None:
        return
    gone = [
        at for (of, offset), at in world.seen.arrived.items() if of == partition and offset < first
    ]
    if gone and max(gone) >= world.latest_us - life.retention_us:
        raise Wrong(f"rows of logs that came at {max(gone)} are gone at {world.latest_us}")

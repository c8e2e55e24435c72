"""What is let go, put together and moved to an archive: logs, of which old rows need not be kept.

What is kept is a stretch without a gap up to the end, as it was sent. What is gone was old enough.
The archive has the files that the topic says are there, and none that nobody knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.errors import ConnectorError, StateError
from headwater.log.topic import Topic
from simulation import delivering
from simulation.sending import START, Batch, Sender, row_of
from simulation.world import ALL, World, Wrong

if TYPE_CHECKING:
    from simulation.life import Life

# Who sends logs for as long as somebody looks.
_NAME = "keeper"


def look(life: Life) -> None:
    """Note when rows of logs came, and check those that are gone."""
    topic = life.runtime.topics.get("logs")
    if topic is None:
        return
    _pass_time(life)
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
    # An archive that was away is looked for again after a while.
    if not life.turns.block(lambda: not life.runtime.problems, 60.0):
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


def _pass_time(life: Life) -> None:
    """Let minutes go by, in which more logs come, old ones go, and files move, by a checkpoint."""
    random, clock = life.random, life.world.clock
    if life.is_closing or random.random() < 0.5:
        return
    clock.set_wall(clock.now_us() + random.choice([2, 10, 40]) * 60 * 10**6)
    try:
        if random.random() < 0.7:
            _send(life)
        life.runtime.loop.between(life.runtime.checkpoint)
    except StateError as error:
        life.refused(error)


def _send(life: Life) -> None:
    """Send some logs, unless it is not known yet what became of the last ones."""
    senders, random = life.world.senders, life.random
    keeper = next((sender for sender in senders if sender.name == _NAME), None)
    if keeper is None:
        keeper = Sender(_NAME)
        senders.append(keeper)
    if not keeper.is_done:
        return
    number = len(keeper.batches) + 1
    ids = range(number * 1_000_000, number * 1_000_000 + random.choice([1, 5, 15]))
    rows = {id_: row_of(random, "logs", id_, START) for id_ in ids}
    partition = random.randrange(life.runtime.topics["logs"].definition.partitions)
    batch = Batch("logs", partition, rows, [], is_text=False, sequence=number)
    try:
        delivering.send(life, keeper, batch)
    finally:
        # Not before: what is in the list is sent by a thread of the sender's own in its next life.
        keeper.batches.append(batch)


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

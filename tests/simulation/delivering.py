"""How senders send: each in a thread of its own, from life to life, until all is acknowledged."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from headwater.errors import StateError
from headwater.runtime.status import Receipt
from simulation.pipelines import columns_of
from simulation.sending import Batch, Known, Sender
from simulation.world import ALL, Wrong

if TYPE_CHECKING:
    from simulation.life import Life


def send_all(life: Life, sender: Sender, random: Random) -> None:
    """A sender's thread."""
    for batch in sender.batches:
        if batch.known is Known.UNSURE and batch.sequence is None and has(life, batch):
            batch.known = Known.ACKNOWLEDGED
        is_done = batch.known is Known.ACKNOWLEDGED
        if is_done and (batch.sequence is None or random.random() < 0.9):
            continue
        life.turns.sleep(random.choice([0.0, 0.0, 0.01, 1.0]))
        try:
            send(life, sender, batch)
        except StateError as error:
            life.refused(error)
            return


def send(life: Life, sender: Sender, batch: Batch) -> None:
    """Send a batch, perhaps once more, and note what is known of it then."""
    definition = life.runtime.topics[batch.topic].definition
    was = batch.known
    batch.known = max(was, Known.UNSURE, key=lambda known: known.value)
    producer = None if batch.sequence is None else sender.name
    body = batch.made(columns_of(definition.schema))
    if was is not Known.UNSENT and producer is not None:
        batch.repeats_unsure += 1
    receipt = life.ingest.send(
        definition, body, partition=batch.partition, producer=producer, sequence=batch.sequence
    )
    check_receipt(batch, receipt, was)
    if was is not Known.UNSENT and producer is not None:
        batch.repeats_unsure -= 1
        batch.repeats += receipt.duplicate > 0
    batch.known = Known.ACKNOWLEDGED


def check_receipt(batch: Batch, receipt: Receipt, was: Known) -> None:
    """What the sender is told is what became of the batch."""
    told = (receipt.accepted, receipt.rejected)
    wanted = (len(batch.rows), len(batch.bad))
    # Of a batch that lies far back it is known only that it was there.
    if told != wanted and not (receipt.duplicate and told == (0, 0)):
        raise Wrong(f"{receipt} for {wanted[0]} good rows and {wanted[1]} bad ones")
    if receipt.duplicate not in (0, batch.count):
        raise Wrong(f"{receipt} for a batch of {batch.count} rows")
    if was is Known.UNSENT and receipt.duplicate:
        raise Wrong(f"{receipt} for a batch that is new")
    if was is Known.ACKNOWLEDGED and not receipt.duplicate:
        raise Wrong(f"{receipt} for a batch that was acknowledged before")


def has(life: Life, batch: Batch) -> bool:
    """Whether the log has a batch; it has all of it, or nothing."""
    runtime = life.runtime
    rows = runtime.topics[batch.topic].read_offsets(batch.partition, 0, ALL, ["id"])
    found = [id_ for id_ in rows.column("id").to_pylist() if id_ in batch.rows]
    records = runtime.rejected[batch.topic].read_offsets(0, 0, ALL, ["record"])
    known = [record.decode() for record in records.column("record").to_pylist()]
    bad = [line for line in known if line in batch.bad]
    if sorted(found) not in ([], sorted(batch.rows)) or sorted(bad) not in ([], sorted(batch.bad)):
        raise Wrong(f"a batch of {batch.topic} is there in part: {found}, {bad}")
    return bool(found or bad) or not (batch.rows or batch.bad)

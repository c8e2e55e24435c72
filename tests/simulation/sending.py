"""What senders send, and what they know of it.

Each row has a number that no other row has. A sender sends one batch after the other and holds one
for sent when it is acknowledged. Of a batch that was under way when the pipeline went it does not
know: it looks, or, where its batches are numbered, sends it again as it was.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import Random

START = datetime(2025, 6, 1)
NAMES = "abc"
# Whether a row deletes its key.
GONE = (None, None, False, True)
# What a hit has whose sender says nothing of its load.
LOAD = 7


class Known(Enum):
    """What the sender knows of a batch."""

    UNSENT = 0
    UNSURE = 1
    ACKNOWLEDGED = 2


Body = bytes | list[dict]


@dataclass(slots=True)
class Batch:
    """Rows for one topic.

    Args:
        rows: The good ones, by number.
        bad: Lines that are to be rejected.
        sequence: Its number, of a producer's.
        body: What was sent: once it is made it stays so.
        repeats: How often it was acknowledged as a duplicate.
        repeats_unsure: How often it was sent again and nobody answered.

    """

    topic: str
    partition: int
    rows: dict[int, dict]
    bad: list[str]
    is_text: bool
    sequence: int | None = None
    known: Known = Known.UNSENT
    body: Body | None = None
    repeats: int = 0
    repeats_unsure: int = 0

    @property
    def count(self) -> int:
        """How many rows it has, good or bad."""
        return len(self.rows) + len(self.bad)

    def made(self, columns: int) -> Body:
        """What is sent: lines of JSON, or rows.

        Args:
            columns: The version of the columns of hits that the topic has.

        """
        if self.body is None:
            rows = [_sent(self.topic, row, columns) for row in self.rows.values()]
            self.body = self._lines(rows) if self.is_text else rows
        return self.body

    def _lines(self, rows: list[dict]) -> bytes:
        lines = [json.dumps(row) for row in rows]
        for place, line in enumerate(self.bad):
            lines.insert(place * 2, line)
        return "\n".join(lines).encode()


@dataclass(slots=True)
class Sender:
    """A sender and all that it will send."""

    name: str
    batches: list[Batch] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        """Whether all of it was acknowledged."""
        return all(batch.known is Known.ACKNOWLEDGED for batch in self.batches)


def senders_of(
    random: Random, partitions: Mapping[str, int], fleeting: Collection[str]
) -> list[Sender]:
    """Some senders with what they will send.

    Args:
        partitions: Of each topic.
        fleeting: The topics of which rows may go.

    """
    numbers = iter(range(1 << 30))
    made = [Sender(f"sender {n}") for n in range(random.choice([1, 1, 2]))]
    numbered = {sender.name for sender in made if random.random() < 0.5}
    # Half of all goes to what a pipeline has beside the usual, or to clicks.
    more = [name for name in partitions if name not in ("clicks", "ads", "hits")]
    topics = ["clicks", "clicks", "clicks", "ads", "hits", *(4 * more)]
    sequence = 0
    for number in range(random.randint(3, 9)):
        at = START + timedelta(seconds=15 * number)
        sender = random.choice(made)
        batch = batch_of(random, numbers, at, random.choice(topics), partitions)
        # Of what may go nobody can look whether it was there.
        if sender.name in numbered or batch.topic in fleeting:
            sequence += random.choice([1, 1, 1, 7])
            batch.sequence = sequence
            # Only of a numbered batch the good and the bad are there together or not at all.
            if batch.is_text and random.random() < 0.3:
                batch.bad.append(bad_line(random, next(numbers)))
        sender.batches.append(batch)
    return made


def batch_of(
    random: Random,
    numbers: Iterator[int],
    at: datetime,
    topic: str,
    partitions: Mapping[str, int],
) -> Batch:
    partition = random.randrange(partitions[topic])
    count = random.choice([1, 1, 2, 5, 12, 30])
    if random.random() < 0.15:
        bad = [bad_line(random, next(numbers)) for _ in range(random.choice([1, 3]))]
        return Batch(topic, partition, {}, bad, is_text=True)
    rows = {id_: row_of(random, topic, id_, at) for id_ in (next(numbers) for _ in range(count))}
    return Batch(topic, partition, rows, [], is_text=random.random() < 0.5)


def row_of(random: Random, topic: str, id_: int, at: datetime) -> dict:
    """A row as the topic is to have it, in the first names of its columns."""
    ts = (at + timedelta(seconds=random.randint(-30, 30))).isoformat()
    number = random.randint(0, 60)
    if topic == "clicks":
        return {"id": id_, "ad": random.randint(1, 4), "cost": number // 5, "ts": ts}
    if topic == "hits":
        load = random.choice([LOAD, number])
        return {"id": id_, "server": number % 3 + 1, "ts": ts, "note": f"n{id_}", "load": load}
    if topic == "logs":
        return {"id": id_, "kind": number % 3, "size": number}
    if topic == "offers":
        version = random.choice([None, *range(9)])
        row = {"id": id_, "ad": random.randint(1, 4), "version": version, "price": number}
        return row | {"gone": random.choice(GONE)}
    row = {"id": id_, "ad": random.randint(1, 4), "name": random.choice(NAMES)}
    return row | {"gone": random.choice(GONE)}


def bad_line(random: Random, id_: int) -> str:
    """A line that no topic takes."""
    return random.choice([f'{{"id": "no number {id_}"}}', f"no JSON {id_}", f'[{id_}, "a list"]'])


def _sent(topic: str, row: dict, columns: int) -> dict:
    """A row as its sender writes it, who knows the columns of some version."""
    if topic != "hits":
        return row
    if columns == 0:
        # There is no load yet: what is not said is what comes to be the default.
        row["load"] = LOAD
    if row["load"] == LOAD:
        return {key: value for key, value in row.items() if key != "load"}
    return row

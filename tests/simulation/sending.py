"""What senders send, and what they know of it.

Each row has a number that no other row has. A sender sends one batch after the other and holds one
for sent when it is acknowledged; of a batch that was under way when the pipeline went it does not
know, and looks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from random import Random

import pyarrow as pa

START = datetime(2025, 6, 1)
NAMES = "abc"


class Known(Enum):
    """What the sender knows of a batch."""

    UNSENT = 0
    UNSURE = 1
    ACKNOWLEDGED = 2


@dataclass(slots=True)
class Batch:
    """Rows for one topic.

    Args:
        rows: The good ones, by number.
        bad: Lines that are to be rejected.

    """

    topic: str
    partition: int
    rows: dict[int, dict]
    bad: list[str]
    is_text: bool
    known: Known = Known.UNSENT

    def body(self) -> bytes | pa.Table | list[dict]:
        """What is sent: lines of JSON, or rows."""
        if not self.is_text:
            return list(self.rows.values())
        lines = [json.dumps(row) for row in self.rows.values()]
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


def senders_of(random: Random, partitions: int) -> list[Sender]:
    """Some senders with what they will send."""
    numbers = iter(range(1 << 30))
    made = [Sender(f"sender {n}") for n in range(random.choice([1, 1, 2]))]
    for number in range(random.randint(3, 9)):
        at = START + timedelta(seconds=15 * number)
        random.choice(made).batches.append(batch_of(random, numbers, at, partitions))
    return made


def batch_of(random: Random, numbers, at: datetime, partitions: int) -> Batch:
    topic = random.choice(["clicks", "clicks", "clicks", "ads", "hits"])
    partition = random.randrange(partitions) if topic == "clicks" else 0
    count = random.choice([1, 1, 2, 5, 12, 30])
    if random.random() < 0.15:
        bad = [bad_line(random, next(numbers)) for _ in range(random.choice([1, 3]))]
        return Batch(topic, partition, {}, bad, is_text=True)
    rows = {id_: row_of(random, topic, id_, at) for id_ in (next(numbers) for _ in range(count))}
    return Batch(topic, partition, rows, [], is_text=random.random() < 0.5)


def row_of(random: Random, topic: str, id_: int, at: datetime) -> dict:
    ts = (at + timedelta(seconds=random.randint(-30, 30))).isoformat()
    if topic == "clicks":
        return {"id": id_, "ad": random.randint(1, 4), "cost": random.randint(0, 12), "ts": ts}
    if topic == "hits":
        return {"id": id_, "server": random.randint(1, 3), "ts": ts}
    return {"id": id_, "ad": random.randint(1, 4), "name": random.choice(NAMES)}


def bad_line(random: Random, id_: int) -> str:
    """A line that no topic takes."""
    return random.choice([f'{{"id": "no number {id_}"}}', f"no JSON {id_}", f'[{id_}, "a list"]'])

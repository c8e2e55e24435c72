"""Which batches of which producers the log has: what makes a batch that is sent twice count once.

A producer names itself and numbers its batches, each partition of a topic by itself; the numbers
must ascend, and may leave gaps. Of each the last few batches are remembered with what became of
them. Then a batch whose number

- is higher than the last one taken is new;
- is one of those remembered is a duplicate, and is answered as it was the first time;
- is lower than all of them is a duplicate too, of which only that is known;
- lies between those remembered was never taken, though a later one was: it is refused, because
  neither answer would be true. So is a number that was taken with other bytes.

What is known changes with records of the journal only, in their order, so recovery comes to the
same. Of each topic `PRODUCERS_MAX` are remembered, those that were heard of last: whoever is silent
while so many others speak is forgotten, and is a new producer when it comes again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from headwater.errors import DefinitionError
from headwater.runtime.deliveries import Delivery, Repeat

PRODUCERS_MAX = 10_000
# A sender that numbers one batch after the other asks for the last again; more say what was wrong.
BATCHES_REMEMBERED = 5
NAME_BYTES_MAX = 200
# Names that begin so are the pipeline's own, and are never forgotten.
_RESERVED = "$"
# Who sends rejected rows again (`runtime.rejects`).
RESENDER = "$rejected"
_SEQUENCE_TO = 1 << 63


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch.

    Args:
        offset_first: The offset of its first accepted row; -1 if none was.
        digest: The CRC-32 of the bytes that were sent; None where rows came as values.

    """

    sequence: int
    accepted: int
    rejected: int
    offset_first: int
    digest: int | None


def taken_of(delivery: Delivery) -> Taken:
    """What is remembered of a batch."""
    sizes = delivery.accepted, delivery.rejected
    return Taken(delivery.sequence, *sizes, delivery.offset_first, delivery.digest)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a producer in one partition.

    Args:
        last: Its last batches, oldest first; at least one.
        accepted, rejected, duplicate: Rows so far.
        heard_us: When its last batch arrived.

    """

    last: tuple[Taken, ...]
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    heard_us: int = 0


Key = tuple[int, str]


def checked(producer: str | None, sequence: int | None) -> tuple[str, int] | None:
    """A producer's name and number as they may be; None where there are neither.

    Raises:
        DefinitionError: One is there without the other, or is not one.

    """
    if producer is None and sequence is None:
        return None
    if producer is None or sequence is None:
        missing, given = ("producer", "sequence") if producer is None else ("sequence", "producer")
        raise DefinitionError(
            f"a {given} needs a {missing}",
            hint='send both, for example producer="shop-7", sequence=41',
        )
    if not producer or len(producer.encode()) > NAME_BYTES_MAX:
        raise DefinitionError(
            f"the producer's name has {len(producer.encode()):,} bytes",
            hint=f"a name has 1 to {NAME_BYTES_MAX} bytes",
        )
    if producer.startswith(_RESERVED):
        raise DefinitionError(
            f"the producer's name {producer} begins with {_RESERVED}",
            hint="such names are the pipeline's own; take another",
        )
    if not 0 <= sequence < _SEQUENCE_TO:
        raise DefinitionError(
            f"sequence {sequence} is out of range", hint="a whole number from 0 to 2^63 - 1"
        )
    return producer, sequence


class Producers:
    """All producers of all topics. Not for several threads at once: whoever has it has a lock."""

    def __init__(self) -> None:
        # By topic, whoever was heard of last comes last.
        self._known: dict[str, dict[Key, Known]] = {}
        self._duplicate: Counter[str] = Counter()

    def find(
        self, topic: str, partition: int, name: str, sequence: int, digest: int | None = None
    ) -> Taken | None:
        """What became of a batch if it was taken before; None for a new one.

        Raises:
            DefinitionError: A later one was taken and this one was not, or it had other bytes.

        """
        known = self._known.get(topic, {}).get((partition, name))
        if known is None or sequence > known.last[-1].sequence:
            return None
        for taken in known.last:
            if taken.sequence == sequence:
                _check_same(name, taken, digest)
                return taken
        is_forgotten = len(known.last) == BATCHES_REMEMBERED
        if is_forgotten and sequence < known.last[0].sequence:
            return Taken(sequence, 0, 0, -1, None)
        raise DefinitionError(
            f"sequence {sequence} of producer {name} was never taken, and "
            f"{known.last[-1].sequence} was: the numbers of a producer ascend",
            hint="send a batch when the one before it is acknowledged; send this one again with a "
            f"number above {known.last[-1].sequence}",
        )

    def take(self, delivery: Delivery) -> None:
        """Note a batch that the log took."""
        of_topic = self._known.setdefault(delivery.topic, {})
        key = (delivery.partition, delivery.producer)
        known = of_topic.pop(key, Known(()))
        of_topic[key] = Known(
            (*known.last, taken_of(delivery))[-BATCHES_REMEMBERED:],
            known.accepted + delivery.accepted,
            known.rejected + delivery.rejected,
            known.duplicate,
            delivery.arrived_us,
        )
        if len(of_topic) > PRODUCERS_MAX:
            del of_topic[next(key for key in of_topic if not key[1].startswith(_RESERVED))]

    def repeat(self, repeat: Repeat) -> None:
        """Note a batch that the log had already."""
        self._duplicate[repeat.topic] += repeat.rows
        of_topic = self._known.get(repeat.topic, {})
        key = (repeat.partition, repeat.producer)
        if (known := of_topic.pop(key, None)) is not None:
            duplicate = known.duplicate + repeat.rows
            of_topic[key] = replace(known, duplicate=duplicate, heard_us=repeat.arrived_us)

    def duplicate(self, topic: str) -> int:
        """How many rows of a topic came again, from whomever."""
        return self._duplicate[topic]

    def count(self, topic: str) -> int:
        """How many producers of a topic are remembered."""
        return len(self._known.get(topic, {}))

    def of(
        self, topic: str, name: str | None = None, rows_max: int = PRODUCERS_MAX
    ) -> list[tuple[Key, Known]]:
        """The producers of a topic (or those with one name), whoever was heard of last first."""
        found = reversed(self._known.get(topic, {}).items())
        named = ((key, known) for key, known in found if name is None or key[1] == name)
        return list(itertools.islice(named, rows_max))

    def copy(self) -> Producers:
        """The same, which changes by itself from now on."""
        other = Producers()
        other._known = {topic: dict(known) for topic, known in self._known.items()}
        other._duplicate = self._duplicate.copy()
        return other

    def save(self) -> dict[str, Any]:
        """All of it for a manifest."""
        return {
            topic: {
                "duplicate": self._duplicate[topic],
                "known": [_saved(key, known) for key, known in self._known.get(topic, {}).items()],
            }
            for topic in sorted({*self._known, *self._duplicate})
        }

    @staticmethod
    def load(saved: dict[str, Any]) -> Producers:
        """What `save` saved."""
        found = Producers()
        for topic, value in saved.items():
            found._duplicate[topic] = value["duplicate"]
            found._known[topic] = dict(_loaded(item) for item in value["known"])
        return found


def _check_same(name: str, taken: Taken, digest: int | None) -> None:
    if digest is not None and taken.digest is not None and digest != taken.digest:
        raise DefinitionError(
            f"sequence {taken.sequence} of producer {name} was taken before with other rows",
            hint="a producer that begins anew takes another name, or goes on with a higher number",
        )


def _saved(key: Key, known: Known) -> list[Any]:
    last = [[t.sequence, t.accepted, t.rejected, t.offset_first, t.digest] for t in known.last]
    return [*key, known.accepted, known.rejected, known.duplicate, known.heard_us, last]


def _loaded(saved: Sequence[Any]) -> tuple[Key, Known]:
    partition, name, accepted, rejected, duplicate, heard_us, last = saved
    return (partition, name), Known(
        tuple(Taken(*taken) for taken in last), accepted, rejected, duplicate, heard_us
    )

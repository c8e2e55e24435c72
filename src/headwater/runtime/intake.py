"""Where rows enter the log: one order for all topics, durable before anyone sees them.

Under one lock an append gets its offset, its ticks (its place in the log's one order) and its place
in the journal, so the three orders are one. When the journal has synced it, the rows become visible
to the engine and to readers, in the same order. An append costs its own bytes once in the journal;
waiting appends share a sync.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from headwater.clock import Clock
from headwater.errors import DefinitionError
from headwater.log.chunk import Chunk
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.deliveries import Delivery, Repeat
from headwater.runtime.producers import Producers, Taken, taken_of
from headwater.runtime.records import Append, Fact, FactKind, Kind
from headwater.storage.journal import Journal
from headwater.storage.ticket import Ticket


class SupersededError(Exception):
    """Rows were read with columns that the topic has no longer: read them again."""


class Intake:
    """Appends rows and facts; tells the engine how far the log has come.

    Args:
        topics: Every topic and table, by name.
        rejected: Their rejected rows, by the topic's name.

    `changed` is notified whenever something became visible. Its lock guards what is visible.
    """

    def __init__(
        self,
        journal: Journal,
        topics: Mapping[str, Topic],
        rejected: Mapping[str, Topic],
        clock: Clock,
    ) -> None:
        self._journal = journal
        self._topics = topics
        self._rejected = rejected
        self._clock = clock
        self._order = threading.Lock()
        self._next_tick = 0
        self._next_offsets: dict[tuple[str, int], int] = {}
        # When a partition or sender last spoke; who is idle is not in it.
        self._active_us: dict[tuple[str, int | str], int] = {}
        self._look_again_us = 0
        self._bytes = self._rows = 0
        # What was given its place in the journal last.
        self._last: Ticket | None = None
        self.changed = threading.Condition()
        self.visible_tick = 0
        self.visible_lsn = 0
        self.facts: list[Fact] = []
        # What is durable of producers, and with what waits for that. Who sends a batch again that
        # waits is told so when it is durable: the journal syncs in its order.
        self.producers = Producers()
        self._admitted = Producers()

    def restore(self, *, tick: int, lsn: int, facts: list[Fact], producers: Producers) -> None:
        """Start from a checkpoint's or a recovery's position. Called before the first append."""
        self.producers, self._admitted = producers, producers.copy()
        self._next_tick = self.visible_tick = tick
        self.visible_lsn = lsn
        self.facts = facts
        for name, topic in self._topics.items():
            for partition in range(topic.definition.partitions):
                self._next_offsets[name, partition] = topic.next_offset(partition)
        for name, topic in self._rejected.items():
            self._next_offsets[f"{name}$rejected", 0] = topic.next_offset(0)

    def append(  # noqa: PLR0913 - what is appended, and where, by keyword
        self,
        topic: str,
        rows: pa.RecordBatch,
        rejected: pa.RecordBatch | None,
        *,
        partition: int,
        arrived_us: int,
        version: int | None = None,
    ) -> int:
        """Append a batch; return the offset of its first accepted row once all of it is durable.

        Args:
            rows: The accepted rows; may be empty.
            rejected: The rejected rows, in the schema of `name$rejected`.
            version: With which version of the topic's columns they were read; None: the newest.

        Raises:
            SupersededError: There is a newer version; nothing was appended.
            DefinitionError: The topic has no such partition, or its input has ended.
            StateError: The journal could not be written.
        """
        self.check_partition(topic, partition)
        waiting: list[Ticket] = []
        body = rows.serialize() if rows.num_rows else None
        with self._order:
            if version not in (None, self._topics[topic].definition.version):
                raise SupersededError
            if rejected is not None and rejected.num_rows:
                chunk = self._rejected_chunk(topic, rejected, arrived_us)
                record = _record(topic, chunk, rejected.serialize())
                waiting.append(self._journal_chunk(Kind.REJECT, record, chunk))
            offset_first = -1
            if body is not None:
                chunk = self._chunk(topic, partition, rows, body.size, arrived_us)
                offset_first = chunk.offset_first
                waiting.append(self._journal_chunk(Kind.APPEND, _record(topic, chunk, body), chunk))
        for ticket in waiting:
            ticket.wait()
        return offset_first

    def deliver(
        self,
        delivery: Delivery,
        rows: pa.RecordBatch,
        rejected: pa.RecordBatch | None,
        version: int | None = None,
    ) -> tuple[Taken, bool]:
        """Append a producer's batch, unless the log has it; it is durable on return.

        Args:
            delivery: The batch; its offset is not known yet.
            version: As for `append`.

        Returns:
            What became of it, now or when it was taken, and whether it was taken before.

        Raises:
            SupersededError: As `append`.
            DefinitionError: As `append`, or the number cannot be (see `Producers.find`).
            StateError: The journal could not be written.

        """
        topic, partition = delivery.topic, delivery.partition
        self.check_partition(topic, partition)
        who = (delivery.producer, delivery.sequence)
        body = rows.serialize() if rows.num_rows else None
        with self._order:
            if version not in (None, self._topics[topic].definition.version):
                raise SupersededError
            taken = self._admitted.find(topic, partition, *who, delivery.digest)
            is_repeated = taken is not None
            if taken is not None:
                count = delivery.accepted + delivery.rejected
                ticket = self._repeat(Repeat(*who, topic, partition, count, delivery.arrived_us))
            else:
                ticket, taken = self._take(delivery, rows, body, rejected)
        ticket.wait()
        return taken, is_repeated

    def definition(self, topic: str) -> TopicDefinition:
        """The topic with the columns that it has now."""
        return self._topics[topic].definition

    @contextmanager
    def held(self) -> Iterator[int]:
        """Nobody appends meanwhile, and all that was appended is visible; gives the next tick.

        Raises:
            StateError: What was appended cannot be written.
        """
        with self._order:
            last = self._last
            with self.changed:
                while last is not None and self.visible_lsn <= last.lsn:
                    if self._journal.failure is not None:
                        raise self._journal.failure
                    self.changed.wait(0.1)
            yield self._next_tick

    def rows_in(self, size_bytes: int) -> int:
        """About how many rows of those appended since the start have so many bytes together."""
        return max(1, size_bytes * self._rows // self._bytes) if self._bytes else 1 << 62

    def advance(
        self, topic: str, until_us: int, *, partition: int | None = None, sender: str | None = None
    ) -> None:
        """Declare, durably, that no event before `until_us` will come.

        Args:
            partition: None: of all the topic.
            sender: The same, for a topic with `watermark_by`. One that is not known yet is from now
                on, and is waited for.

        Raises:
            DefinitionError: There is no such partition, or the topic tells no senders apart.
        """
        definition = self._topics[topic].definition
        if partition is not None:
            self.check_partition(topic, partition)
            if definition.watermark_by is not None:
                raise DefinitionError(
                    f"topic {topic} has a watermark for each {definition.watermark_by}, "
                    "not for each partition",
                    hint="advance a sender: sender='...'",
                )
        if sender is not None and definition.watermark_by is None:
            raise DefinitionError(
                f"topic {topic} does not tell its senders apart",
                hint="declare it with watermark_by, or leave sender out",
            )
        who = sender if sender is not None else partition
        if who is not None:
            self._active_us[topic, who] = self._clock.now_us()
        self._fact(FactKind.ADVANCE, topic, who, until_us).wait()

    def note_idle(self) -> float | None:
        """Journal, durably, who has fallen silent; return the seconds until the next may.

        Who speaks only puts off the moment, so until then nobody need be asked.
        """
        now_us = self._clock.now_us()
        if now_us < self._look_again_us:
            return (self._look_again_us - now_us) / 1e6
        limits = {
            name: topic.definition.idle_us
            for name, topic in self._topics.items()
            if topic.definition.idle_us is not None
        }
        if not limits:
            return None
        # Somebody new can be silent for long enough after the shortest limit at the earliest.
        soonest = now_us + min(limits.values())
        waiting: list[Ticket] = []
        for (name, who), active_us in self._active_us.copy().items():
            if name not in limits:
                continue
            idle_at_us = active_us + limits[name]
            if idle_at_us <= now_us:
                self._active_us.pop((name, who), None)
                waiting.append(self._fact(FactKind.IDLE, name, who, 0))
            else:
                soonest = min(soonest, idle_at_us)
        self._look_again_us = soonest
        for ticket in waiting:
            ticket.wait()
        return (soonest - now_us) / 1e6

    def watch_silence_from(
        self, now_us: int, senders: Mapping[str, Sequence[str]], tick_from: int
    ) -> None:
        """Count everybody's silence from now: after a start nobody has spoken yet.

        Args:
            senders: For each topic that tells its senders apart, those that are not idle.
            tick_from: From here on rows may have others.
        """
        for name, topic in self._topics.items():
            by = topic.definition.watermark_by
            everybody: list[int | str] = [*range(topic.definition.partitions)]
            if by is not None:
                chunks = topic.read_ticks(tick_from, self.visible_tick, [by], joined=True)
                everybody = [*senders.get(name, ())]
                everybody += [w for c in chunks for w in self._speakers(name, 0, c.rows)]
            self._active_us |= dict.fromkeys(((name, who) for who in everybody), now_us)

    def _speakers(self, topic: str, partition: int, rows: pa.RecordBatch) -> Sequence[int | str]:
        """Whose silence rows of a partition end."""
        definition = self._topics[topic].definition
        if definition.watermark_by is None:
            return [partition]
        if definition.idle_us is None:
            return []
        names = pc.unique(rows.column(definition.schema[definition.watermark_by].name))
        found: list[str] = names.cast(pa.string()).to_pylist()
        return found

    def _fact(self, kind: FactKind, topic: str, who: int | str | None, until_us: int) -> Ticket:
        partition = who if isinstance(who, int) else -1
        sender = who if isinstance(who, str) else None
        with self._order:
            fact = Fact(kind, topic, partition, until_us, self._next_tick, sender)
            ticket = self._journal.append(Kind.FACT, [fact.encode()])
            self._last = ticket
            ticket.add_callback(lambda: self._show_fact(fact, ticket))
        return ticket

    def _chunk(
        self, topic: str, partition: int, rows: pa.RecordBatch, size_bytes: int, arrived_us: int
    ) -> Chunk:
        """Accepted rows at the place that they get."""
        offset_first = self._next_offsets[topic, partition]
        self._next_offsets[topic, partition] = offset_first + rows.num_rows
        chunk = Chunk(partition, offset_first, self._next_tick, arrived_us, rows)
        self._next_tick += rows.num_rows
        self._rows += rows.num_rows
        self._bytes += size_bytes
        for who in self._speakers(topic, partition, rows):
            self._active_us[topic, who] = arrived_us
        return chunk

    def _rejected_chunk(self, topic: str, rows: pa.RecordBatch, arrived_us: int) -> Chunk:
        name = f"{topic}$rejected"
        offset = self._next_offsets[name, 0]
        self._next_offsets[name, 0] = offset + rows.num_rows
        return Chunk(0, offset, offset, arrived_us, rows)

    def _journal_chunk(self, kind: Kind, record: Append, chunk: Chunk) -> Ticket:
        ticket = self._journal.append(kind, record.parts())
        self._last = ticket
        rows, rejected = (chunk, None) if kind is Kind.APPEND else (None, chunk)
        ticket.add_callback(lambda: self._show(record.topic, rows, rejected, ticket))
        return ticket

    def _take(
        self,
        delivery: Delivery,
        rows: pa.RecordBatch,
        body: pa.Buffer | None,
        rejected: pa.RecordBatch | None,
    ) -> tuple[Ticket, Taken]:
        """Journal a batch that is new; what became of it."""
        topic, arrived_us = delivery.topic, delivery.arrived_us
        good = bad = rows_record = rejected_record = None
        if body is not None:
            good = self._chunk(topic, delivery.partition, rows, body.size, arrived_us)
            rows_record = _record(topic, good, body)
            delivery = replace(delivery, offset_first=good.offset_first)
        if rejected is not None and rejected.num_rows:
            bad = self._rejected_chunk(topic, rejected, arrived_us)
            rejected_record = _record(topic, bad, rejected.serialize())
        ticket = self._journal.append(Kind.DELIVERY, delivery.parts(rows_record, rejected_record))
        self._last = ticket
        self._admitted.take(delivery)
        ticket.add_callback(lambda: self._show(topic, good, bad, ticket, delivery))
        return ticket, taken_of(delivery)

    def _repeat(self, repeat: Repeat) -> Ticket:
        """Journal that a batch came again."""
        ticket = self._journal.append(Kind.REPEAT, [repeat.encode()])
        self._admitted.repeat(repeat)
        ticket.add_callback(lambda: self._show(repeat.topic, None, None, ticket, repeat))
        return ticket

    def _show(
        self,
        topic: str,
        rows: Chunk | None,
        rejected: Chunk | None,
        ticket: Ticket,
        sent: Delivery | Repeat | None = None,
    ) -> None:
        with self.changed:
            if rejected is not None:
                self._rejected[topic].append(rejected)
            if rows is not None:
                self._topics[topic].append(rows)
                self.visible_tick = rows.tick_to
            if isinstance(sent, Delivery):
                self.producers.take(sent)
            elif sent is not None:
                self.producers.repeat(sent)
            self.visible_lsn = ticket.lsn + 1
            self.changed.notify_all()

    def _show_fact(self, fact: Fact, ticket: Ticket) -> None:
        with self.changed:
            self.facts.append(fact)
            self.visible_lsn = ticket.lsn + 1
            self.changed.notify_all()

    def check_partition(self, topic: str, partition: int) -> None:
        """Refuse a partition that a topic does not have.

        Raises:
            DefinitionError: With the partitions that there are.
        """
        count = self._topics[topic].definition.partitions
        if not 0 <= partition < count:
            raise DefinitionError(
                f"topic {topic} has no partition {partition}",
                hint=f"its partitions are numbered 0 to {count - 1}",
            )


def _record(topic: str, chunk: Chunk, body: pa.Buffer) -> Append:
    return Append(
        topic, chunk.partition, chunk.offset_first, chunk.tick_first, chunk.arrived_us, body
    )

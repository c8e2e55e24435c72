"""Where rows enter the log: one order for all topics, durable before anyone sees them.

Under one lock an append gets its offset, its ticks (its place in the log's one order) and its place
in the journal, so the three orders are one. When the journal has synced it, the rows become visible
to the engine and to readers, in the same order. An append costs its own bytes once in the journal;
waiting appends share a sync.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pyarrow as pa

from headwater.clock import Clock
from headwater.errors import DefinitionError
from headwater.log.topic import Chunk, Topic
from headwater.runtime.records import Append, Fact, FactKind, Kind
from headwater.storage.journal import Journal
from headwater.storage.ticket import Ticket


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
        self._active_us: dict[tuple[str, int], int] = {}
        self._bytes = self._rows = 0
        self.changed = threading.Condition()
        self.visible_tick = 0
        self.visible_lsn = 0
        self.facts: list[Fact] = []

    def restore(self, *, tick: int, lsn: int, facts: list[Fact]) -> None:
        """Start from a checkpoint's or a recovery's position. Called before the first append."""
        self._next_tick = self.visible_tick = tick
        self.visible_lsn = lsn
        self.facts = facts
        for name, topic in self._topics.items():
            for partition in range(topic.definition.partitions):
                self._next_offsets[name, partition] = topic.next_offset(partition)
        for name, topic in self._rejected.items():
            self._next_offsets[f"{name}$rejected", 0] = topic.next_offset(0)

    def append(
        self,
        topic: str,
        rows: pa.RecordBatch,
        rejected: pa.RecordBatch | None,
        *,
        partition: int,
        arrived_us: int,
    ) -> int:
        """Append a batch; return the offset of its first accepted row once all of it is durable.

        Args:
            rows: The accepted rows; may be empty.
            rejected: The rejected rows, in the schema of `name$rejected`.

        Raises:
            DefinitionError: The topic has no such partition, or its input has ended.
            StateError: The journal could not be written.
        """
        self._check_partition(topic, partition)
        waiting: list[Ticket] = []
        body = rows.serialize() if rows.num_rows else None
        with self._order:
            if rejected is not None and rejected.num_rows:
                waiting.append(self._append_rejected(topic, rejected, arrived_us))
            offset_first = self._next_offsets[topic, partition]
            if body is not None:
                self._next_offsets[topic, partition] = offset_first + rows.num_rows
                chunk = Chunk(partition, offset_first, self._next_tick, arrived_us, rows)
                self._next_tick += rows.num_rows
                self._rows += rows.num_rows
                self._bytes += body.size
                self._active_us[topic, partition] = arrived_us
                waiting.append(self._journal_chunk(Kind.APPEND, topic, chunk, body))
        for ticket in waiting:
            ticket.wait()
        return offset_first if body is not None else -1

    def rows_in(self, size_bytes: int) -> int:
        """About how many rows of those appended since the start have so many bytes together."""
        return max(1, size_bytes * self._rows // self._bytes) if self._bytes else 1 << 62

    def advance(self, topic: str, until_us: int) -> None:
        """Declare, durably, that no event of `topic` before `until_us` will come."""
        self._fact(FactKind.ADVANCE, topic, -1, until_us).wait()

    def note_idle(self) -> float | None:
        """Journal which partitions have fallen silent; return the seconds until the next may."""
        now_us = self._clock.now_us()
        soonest: int | None = None
        for (name, partition), active_us in list(self._active_us.items()):
            idle_us = self._topics[name].definition.idle_us
            if idle_us is None:
                continue
            left_us = active_us + idle_us - now_us
            if left_us <= 0:
                self._active_us.pop((name, partition), None)
                self._fact(FactKind.IDLE, name, partition, 0)
            elif soonest is None or left_us < soonest:
                soonest = left_us
        return None if soonest is None else soonest / 1e6

    def watch_silence_from(self, now_us: int) -> None:
        """Count the silence of every partition from now: after a start nobody has spoken yet."""
        for name, topic in self._topics.items():
            for partition in range(topic.definition.partitions):
                self._active_us[name, partition] = now_us

    def _fact(self, kind: FactKind, topic: str, partition: int, until_us: int) -> Ticket:
        with self._order:
            fact = Fact(kind, topic, partition, until_us, self._next_tick)
            ticket = self._journal.append(Kind.FACT, [fact.encode()])
            ticket.add_callback(lambda: self._show_fact(fact, ticket))
        return ticket

    def _append_rejected(self, topic: str, rows: pa.RecordBatch, arrived_us: int) -> Ticket:
        name = f"{topic}$rejected"
        offset = self._next_offsets[name, 0]
        self._next_offsets[name, 0] = offset + rows.num_rows
        chunk = Chunk(0, offset, offset, arrived_us, rows)
        return self._journal_chunk(Kind.REJECT, topic, chunk, rows.serialize())

    def _journal_chunk(self, kind: Kind, topic: str, chunk: Chunk, body: pa.Buffer) -> Ticket:
        record = Append(
            topic, chunk.partition, chunk.offset_first, chunk.tick_first, chunk.arrived_us, body
        )
        ticket = self._journal.append(kind, record.parts())
        ticket.add_callback(lambda: self._show_chunk(kind, topic, chunk, ticket))
        return ticket

    def _show_chunk(self, kind: Kind, topic: str, chunk: Chunk, ticket: Ticket) -> None:
        with self.changed:
            if kind is Kind.APPEND:
                self._topics[topic].append(chunk)
                self.visible_tick = chunk.tick_first + chunk.rows.num_rows
            else:
                self._rejected[topic].append(chunk)
            self.visible_lsn = ticket.lsn + 1
            self.changed.notify_all()

    def _show_fact(self, fact: Fact, ticket: Ticket) -> None:
        with self.changed:
            self.facts.append(fact)
            self.visible_lsn = ticket.lsn + 1
            self.changed.notify_all()

    def _check_partition(self, topic: str, partition: int) -> None:
        count = self._topics[topic].definition.partitions
        if not 0 <= partition < count:
            raise DefinitionError(
                f"topic {topic} has no partition {partition}",
                hint=f"its partitions are numbered 0 to {count - 1}",
            )

"""Rejected rows that are read, and sent again once the schema, or they, were mended.

To send rejected rows again is to be a producer, called `$rejected`, whose numbers are offsets: the
number of a batch is the offset after the last rejected row that it stands for. It is in the journal
with the rows (`runtime.producers`), so a rejected row is handed on once, whatever is killed and
however often somebody asks for it. A row that is rejected again is a new rejected row, with a new
offset, and waits in its turn.

Each partition that rows were sent to has its own position; all below it were handed on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.errors import DefinitionError
from headwater.log.columns import OFFSET
from headwater.log.rejected import REJECTED_SCHEMA
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.ingest import Ingest, Rows
from headwater.runtime.intake import Intake
from headwater.runtime.producers import RESENDER
from headwater.runtime.status import Receipt, Resent

SENT_AGAIN = "_sent_again"
BATCH_ROWS = 10_000
_COLUMNS = (*REJECTED_SCHEMA.names, OFFSET)


@dataclass(frozen=True, slots=True)
class Span:
    """Rejected rows of a partition: those with offsets in [offset_from, offset_to)."""

    partition: int
    offset_from: int
    offset_to: int


class Rejects:
    """The rejected rows of all topics. Safe to use from many threads.

    Args:
        topics: The rejected rows, by the topic's name.

    """

    def __init__(self, intake: Intake, ingest: Ingest, topics: Mapping[str, Topic]) -> None:
        self._intake = intake
        self._ingest = ingest
        self._topics = topics
        # One at a time: whoever sends them again goes on from where the one before ended.
        self._sending = threading.Lock()

    def read(self, topic: str, offset_from: int, rows_max: int) -> pa.Table:
        """Rejected rows from an offset on, with `_offset` and `_sent_again`."""
        found = self._topics[topic].read_offsets(0, offset_from, rows_max, _COLUMNS)
        partitions = found.column("partition").to_numpy()
        sent = np.zeros(found.num_rows, dtype=bool)
        for partition, position in self._positions(topic).items():
            sent |= (partitions == partition) & (found.column(OFFSET).to_numpy() < position)
        return found.append_column(SENT_AGAIN, pa.array(sent))

    def send(self, topic: TopicDefinition) -> Resent:
        """Send all that waits again, as it came.

        Raises:
            StateError: The log cannot be written.

        """
        with self._sending:
            offset_to = self._topics[topic.name].next_offset(0)
            done = Resent(topic.name, offset_to=offset_to)
            for rows in self._waiting(topic, offset_to):
                for partition in pc.unique(rows.column("partition")).to_pylist():
                    own = rows.filter(pc.equal(rows.column("partition"), partition))
                    who = (RESENDER, rows.column(OFFSET)[-1].as_py() + 1)
                    records = own.column("record").to_pylist()
                    done = _added(done, self._ingest.send_again(topic, records, partition, who))
            return done

    def send_repaired(
        self, topic: TopicDefinition, rows: Rows, span: Span, form: str | None
    ) -> Resent:
        """Send other rows in the place of rejected ones.

        Args:
            rows: As for `Ingest.send`; all that shall be taken for the span.
            span: The rows that they stand for: all that wait, up to an offset.

        Raises:
            DefinitionError: There are no such rows, or some of them were sent again meanwhile.
            RecordError: The rows as a whole cannot be read.
            StateError: The log cannot be written.

        """
        with self._sending:
            self._check(topic.name, span)
            who = (RESENDER, span.offset_to)
            receipt = self._ingest.send_numbered(topic, rows, form, span.partition, who)
            return _added(Resent(topic.name, offset_to=span.offset_to), receipt)

    def _check(self, topic: str, span: Span) -> None:
        end = self._topics[topic].next_offset(0)
        if not 0 <= span.offset_from < span.offset_to <= end:
            raise DefinitionError(
                f"topic {topic} has no rejected rows {span.offset_from:,} to {span.offset_to:,}",
                hint=f"it has those from 0 to {end:,}",
            )
        position = self._positions(topic).get(span.partition, 0)
        if span.offset_from < position and span.offset_to != position:
            raise DefinitionError(
                f"rejected rows of topic {topic} up to {position:,} were sent again meanwhile",
                hint="export those that still wait, and mend them",
            )
        if self._waits(topic, span.partition, position, span.offset_from):
            raise DefinitionError(
                f"rejected rows of topic {topic} wait before {span.offset_from:,}",
                hint=f"say from where the repaired rows stand for them: {position:,}",
            )

    def _waits(self, topic: str, partition: int, offset_from: int, offset_to: int) -> bool:
        if offset_from >= offset_to:
            return False
        found = self._topics[topic].read_offsets(
            0, offset_from, offset_to - offset_from, ("partition",)
        )
        return bool(pc.any(pc.equal(found.column(0), partition)).as_py())

    def _waiting(self, topic: TopicDefinition, offset_to: int) -> Iterator[pa.Table]:
        """All rows that wait, some at a time; what was read is sent before more is read."""
        positions = self._positions(topic.name)
        at = min(positions.get(partition, 0) for partition in range(topic.partitions))
        while at < offset_to:
            rows = self.read(topic.name, at, min(BATCH_ROWS, offset_to - at))
            if not rows.num_rows:
                return
            at = rows.column(OFFSET)[-1].as_py() + 1
            rows = rows.filter(pc.invert(rows.column(SENT_AGAIN)))
            if rows.num_rows:
                yield rows

    def _positions(self, topic: str) -> dict[int, int]:
        """Below which offset the rows of each partition were sent again."""
        with self._intake.changed:
            found = self._intake.producers.of(topic, RESENDER)
        return {partition: known.last[-1].sequence for (partition, _), known in found}


def _added(done: Resent, receipt: Receipt) -> Resent:
    is_new = not receipt.duplicate
    return replace(
        done,
        accepted=done.accepted + is_new * receipt.accepted,
        rejected=done.rejected + is_new * receipt.rejected,
        duplicate=done.duplicate + receipt.duplicate,
        rejections=(done.rejections or receipt.rejections),
    )

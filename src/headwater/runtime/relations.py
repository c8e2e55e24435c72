"""What consumers read: topics and tables by partition, the changes of views as one.

Positions are offsets. A row is there once it is durable, and a change once its epoch is committed;
the changes of an epoch are given together.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from headwater.log.changes import ChangeLog
from headwater.log.topic import Topic
from headwater.plan.keyed import key_of
from headwater.plan.pipeline import ViewPlan
from headwater.runtime.epoch_times import EpochTimes

if TYPE_CHECKING:
    from headwater.runtime.runtime import Runtime


class Relation(Protocol):
    """Something that consumers read. Safe to use from many threads."""

    @property
    def name(self) -> str:
        """Its name, as declared."""
        ...

    @property
    def kind(self) -> str:
        """`topic`, `table` or `view`."""
        ...

    @property
    def version(self) -> str:
        """What its positions count: they mean nothing in another version."""
        ...

    @property
    def key(self) -> tuple[str, ...] | None:
        """The columns by which its rows are told apart; None where none are known."""
        ...

    @property
    def columns(self) -> list[str]:
        """Its own columns."""
        ...

    @property
    def changed(self) -> threading.Condition:
        """Notified when there may be more rows."""
        ...

    def firsts(self) -> list[int]:
        """For each partition the first offset that is kept."""
        ...

    def ends(self) -> list[int]:
        """For each partition the offset that its next row will have."""
        ...

    def read(self, partition: int, offset: int, rows_max: int) -> pa.Table:
        """Rows from an offset on; about so many, whole epochs of a view."""
        ...

    def offset_at(self, partition: int, time_us: int) -> int:
        """An offset before which no row came at this time or later."""
        ...

    def came_us(self, partition: int, offset: int) -> int | None:
        """When a row that is there came; None where that is not known."""
        ...


class TopicRows:
    """The rows that were sent to a topic or a table."""

    version = ""

    def __init__(
        self, name: str, topics: Mapping[str, Topic], changed: threading.Condition
    ) -> None:
        definition = topics[name].definition
        self._topics = topics
        self._partitions = range(definition.partitions)
        self.changed = changed
        self.name = name
        self.kind = "table" if definition.is_table else "topic"

    @property
    def _topic(self) -> Topic:
        """The topic with the columns that it has now."""
        return self._topics[self.name]

    @property
    def key(self) -> tuple[str, ...] | None:
        """The primary key of a table."""
        return self._topic.definition.key or None

    @property
    def columns(self) -> list[str]:
        """Its columns."""
        return list(self._topic.schema.names)

    def firsts(self) -> list[int]:
        """For each partition the first offset that is kept."""
        return [self._topic.first_offset(partition) for partition in self._partitions]

    def ends(self) -> list[int]:
        """For each partition the offset that its next row will have."""
        return [self._topic.next_offset(partition) for partition in self._partitions]

    def read(self, partition: int, offset: int, rows_max: int) -> pa.Table:
        """Rows from an offset on, with `_partition`, `_offset` and `_arrived`."""
        return self._topic.read_offsets(partition, offset, rows_max)

    def offset_at(self, partition: int, time_us: int) -> int:
        """The first offset of a row that arrived at this time or later."""
        return self._topic.offset_at_time(partition, arrived_us=time_us)

    def came_us(self, partition: int, offset: int) -> int | None:
        """When a row arrived."""
        return self._topic.arrived_us(partition, offset)


class ViewChanges:
    """The changes that a view has published."""

    kind = "view"

    def __init__(
        self, plan: ViewPlan, changes: ChangeLog, times: EpochTimes, changed: threading.Condition
    ) -> None:
        self._changes = changes
        self._times = times
        self.changed = changed
        self.name = plan.name
        self.version = plan.fingerprint
        self.key = key_of(plan.root)
        self.columns = list(plan.schema.names)

    def firsts(self) -> list[int]:
        """The first offset that is kept."""
        return [self._changes.first_offset()]

    def ends(self) -> list[int]:
        """The offset that the next change will have."""
        return [self._changes.next_offset()]

    def read(self, _partition: int, offset: int, rows_max: int) -> pa.Table:
        """Changes from an offset on, in whole epochs, with `_weight`, `_epoch` and `_offset`."""
        return self._changes.read(offset, rows_max)

    def offset_at(self, _partition: int, time_us: int) -> int:
        """The first change of an epoch that may have been computed at this time or later."""
        return self._changes.offset_of_epoch(self._times.epoch_at(time_us))

    def came_us(self, _partition: int, offset: int) -> int | None:
        """About when a change was computed."""
        return self._times.time_of(self._changes.epoch_at(offset))


def relations_of(runtime: Runtime) -> Mapping[str, Relation]:
    """All that can be consumed, by name in lower case."""
    found: dict[str, Relation] = {}
    for name in runtime.topics:
        found[name.lower()] = TopicRows(name, runtime.topics, runtime.intake.changed)
    for view in runtime.loop.stepper.views:
        found[view.name.lower()] = ViewChanges(
            view.plan, view.changes, runtime.times, runtime.loop.published
        )
    return found

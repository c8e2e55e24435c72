"""A pipeline that is stepped by hand, from a start to its end or to a crash."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from headwater.errors import HeadwaterError
from headwater.run.compile import Compiled
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.status import Receipt, Status
from headwater.runtime.statuses import status_of
from headwater.storage.disk import Disk
from headwater.testing.clock import ManualClock


class Run:
    """One life of a pipeline, in which nothing happens but what is called.

    Args:
        settings: Those that are not as usual.

    """

    def __init__(self, compiled: Compiled, disk: Disk, clock: ManualClock, **settings: Any) -> None:
        self.runtime = Runtime(compiled.pipeline, compiled.plans, disk, clock, Settings(**settings))
        self.ingest = Ingest(self.runtime.intake, clock)
        self.disk, self.clock = disk, clock

    def send(self, topic: str, rows: Sequence[dict[str, Any]], partition: int = 0) -> Receipt:
        return self.ingest.send(self.runtime.topics[topic].definition, rows, partition=partition)

    def step(self) -> None:
        """Compute all that is there."""
        while self.runtime.loop.run_epoch():
            pass

    def rows(self, topic: str) -> list[dict[str, Any]]:
        """What a topic has, partition by partition."""
        found = self.runtime.topics[topic]
        partitions = range(found.definition.partitions)
        return [row for n in partitions for row in found.read_offsets(n, 0, 1000).to_pylist()]

    def content(self, view: str) -> list[tuple[Any, ...]]:
        batches = self.runtime.loop.visible.contents[view].batches()
        return sorted(tuple(row.values()) for batch in batches for row in batch.to_pylist())

    def status(self) -> Status:
        return status_of(self.runtime, [], "data")

    def close(self) -> None:
        # The disk may be off.
        with suppress(HeadwaterError):
            self.runtime.close()

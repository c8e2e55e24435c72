"""What outlives a life of the pipeline: disks, what senders and readers know, and the clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pyarrow as pa

from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk
from simulation.sending import Sender
from simulation.stores import Store

ALL = 1 << 40


class Wrong(AssertionError):  # noqa: N818 - it is raised as a judgement
    """A law does not hold."""


@dataclass
class Seen:
    """What readers have seen, over all lives.

    Args:
        changes: What each view had published.
        epoch: The newest that was visible.
        arrived: When the rows of logs came, by partition and offset.

    """

    changes: dict[str, pa.Table] = field(default_factory=dict)
    epoch: int = 0
    arrived: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass
class Group:
    """A consumer group, and what its members know.

    Args:
        relation: What it reads.
        got: Of each partition the rows that some member had, by offset.
        lost: Offsets of rows that were let go before it came to them.
        sure: Where it stands at least, as was acknowledged.
        asked: The furthest that a member asked for.
        began: Where the relation ended when the group came to be.

    """

    name: str
    relation: str
    members: int
    got: dict[int, dict[int, tuple]] = field(default_factory=dict)
    lost: dict[int, set[int]] = field(default_factory=dict)
    sure: dict[int, int] = field(default_factory=dict)
    asked: dict[int, int] = field(default_factory=dict)
    began: dict[int, int] = field(default_factory=dict)

    def forget(self) -> None:
        """It begins anew: the view was computed anew."""
        for known in (self.got, self.lost, self.sure, self.asked, self.began):
            known.clear()


@dataclass
class World:
    """What outlives a life.

    Args:
        disk: With the data folder.
        lake: With the archive.
        files: With what sinks write.
        store: Which takes what sinks write, in transactions.
        columns: The columns of hits that the folder has for sure, by number.
        latest_us: The latest time of day that was ever shown.
        fingerprints: Those of the views of the last start that came about.
        unsure: Views that a start may have built anew that did not come about.

    """

    disk: FakeDisk
    lake: FakeDisk
    files: FakeDisk
    store: Store
    clock: ManualClock
    senders: list[Sender]
    groups: list[Group] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)
    columns: int = 0
    latest_us: int = 0
    fingerprints: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    trace: deque[str] = field(default_factory=deque)

    @property
    def is_sent(self) -> bool:
        """Whether all that was to be sent is acknowledged."""
        return all(sender.is_done for sender in self.senders)

    def note_time(self) -> None:
        """Note how late it is."""
        self.latest_us = max(self.latest_us, self.clock.now_us())

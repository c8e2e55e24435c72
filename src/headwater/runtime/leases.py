"""Which member of a consumer group has which partition in hand.

Of the members of one group only one at a time has rows of a partition, so that no two work on the
same batch and the order of a partition is kept. A lease ends when its batch is confirmed, when the
member lets go, or when its time is over: a member that died does not hold the others up for longer.

Leases live in memory. After a restart nobody has one; whoever reads next takes it, and a batch that
two have in hand then is confirmed by the first of them only, since positions are compared.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from headwater.clock import Clock

Partition = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Lease:
    """A partition in the hand of a member.

    Args:
        ends_at: By the monotonic clock.
        until: The position after the rows that it was given.

    """

    member: str
    ends_at: float
    until: int = 0


class Leases:
    """The leases of all groups. Safe to use from many threads.

    `changed` is notified when a lease ends before its time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._leases: dict[Partition, Lease] = {}
        self.changed = threading.Condition()

    def take(self, partition: Partition, member: str, seconds: float) -> bool:
        """Take a partition, or keep it for longer; False when another member has it."""
        with self.changed:
            lease = self._live(partition)
            if lease is not None and lease.member != member:
                return False
            until = lease.until if lease else 0
            self._leases[partition] = Lease(member, self._clock.monotonic() + seconds, until)
            return True

    def gave(self, partition: Partition, member: str, until: int) -> None:
        """A member was given rows up to a position."""
        with self.changed:
            lease = self._leases.get(partition)
            if lease is not None and lease.member == member:
                self._leases[partition] = Lease(member, lease.ends_at, max(lease.until, until))

    def holder(self, partition: Partition) -> str | None:
        """The member that has a partition in hand."""
        with self.changed:
            lease = self._live(partition)
            return lease.member if lease else None

    def confirmed(self, partition: Partition, position: int) -> None:
        """Everything before a position is confirmed: a lease on no more than that ends."""
        with self.changed:
            lease = self._leases.get(partition)
            if lease is not None and lease.until <= position:
                self._end(partition)

    def release(self, group: str, relation: str, member: str | None = None) -> None:
        """A member lets go of all that it has in hand; None: all members do."""
        with self.changed:
            for partition, lease in list(self._leases.items()):
                if partition[:2] == (group, relation) and member in (None, lease.member):
                    self._end(partition)

    def _live(self, partition: Partition) -> Lease | None:
        lease = self._leases.get(partition)
        if lease is not None and lease.ends_at <= self._clock.monotonic():
            self._end(partition)
            return None
        return lease

    def _end(self, partition: Partition) -> None:
        self._leases.pop(partition, None)
        self.changed.notify_all()

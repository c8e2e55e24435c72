"""Where consumer groups stand, durably.

A change is one small record in the journal, with all positions of a group in a relation, and is
synced with whatever else waits there. The last record counts, so recovery may read some of them
again. What a change depends on (is the position still the one from which the rows were read?) is
looked at under the lock under which the record gets its place: of two that cannot both be, one is
refused.

A checkpoint takes the positions of the last records, durable or not: so it has at least what the
journal says before its cut. Everybody else sees a position once it is durable, so one that was seen
does not go back by a crash.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

from headwater.runtime.records import Kind, Standing
from headwater.storage.journal import Journal
from headwater.storage.ticket import Ticket

Place = tuple[str, str]


class Positions:
    """The positions of all groups. Safe to use from many threads.

    Args:
        standings: Those that recovery found.

    """

    def __init__(self, journal: Journal, standings: Iterable[Standing]) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._shown = {(s.group, s.relation): s for s in standings}
        self._newest = dict(self._shown)
        self._tickets: dict[Place, Ticket] = {}

    def get(self, group: str, relation: str) -> Standing | None:
        """Where a group stands in a relation; None where there is no such group."""
        return self._shown.get((group, relation))

    def all(self) -> list[Standing]:
        """Every group in every relation that it reads, by name."""
        with self._lock:
            return [standing for _, standing in sorted(self._shown.items())]

    def read_to(self, relation: str, ends: Sequence[int]) -> list[int]:
        """Up to which position of each partition every group has confirmed the rows.

        Args:
            ends: Where the partitions end.

        """
        found = list(ends)
        for standing in self.all():
            if standing.relation == relation and standing.positions is not None:
                # A partition that is new since is read from its first row.
                places = [*standing.positions, *(0 for _ in found)]
                found = [min(pair) for pair in zip(found, places, strict=False)]
        return found

    def change(
        self, group: str, relation: str, to: Callable[[Standing | None], Standing | None]
    ) -> Standing | None:
        """Change where a group stands; return what it is when that is durable.

        Args:
            to: Says, given where the group stands (None: nowhere), where it is to stand. Called
                once, with the lock held; what it raises leaves all as it is.

        Raises:
            StateError: The journal could not be written.

        """
        place = group, relation
        with self._lock:
            before = self._newest.get(place)
            after = to(before)
            if after != before:
                self._tickets[place] = self._journal.append(
                    Kind.CONSUMER, [_record(place, before, after).encode()]
                )
                _put(self._newest, place, after)
            ticket = self._tickets.get(place)
        if ticket is None:
            return after
        ticket.wait()
        with self._lock:
            # Of several that were synced together, whoever wakes first shows the last.
            if self._tickets.get(place) is ticket:
                _put(self._shown, place, self._newest.get(place))
        return after

    def save(self) -> list[dict[str, Any]]:
        """JSON values for a checkpoint."""
        with self._lock:
            return [asdict(standing) for _, standing in sorted(self._newest.items())]


def taken(standings: dict[Place, Standing], record: Standing) -> None:
    """Take in a record that recovery reads."""
    place = record.group, record.relation
    _put(standings, place, None if record.positions is None else record)


def _record(place: Place, before: Standing | None, after: Standing | None) -> Standing:
    if after is not None:
        return after
    assert before is not None, place
    return replace(before, positions=None)


def _put(standings: dict[Place, Standing], place: Place, standing: Standing | None) -> None:
    if standing is None:
        standings.pop(place, None)
    else:
        standings[place] = standing

"""Bugs in what is known of producers and of consumer groups (see `planting`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headwater.runtime import positions
from headwater.runtime.checkpoint import Checkpoints
from headwater.runtime.positions import Positions
from headwater.runtime.producers import Producers
from headwater.runtime.recovery import Recovery
from headwater.storage.ticket import Ticket
from simulation.planting import Law, Patch, bug


@bug(
    "producers",
    "a checkpoint does not have who sent what",
    lost="a batch that is sent again after a restart is there twice",
    law=Law.ROWS,
    after=2,
)
def producers_left_out(patch: Patch) -> None:
    put = Checkpoints.put
    patch.setattr(Checkpoints, "put", lambda self, m: put(self, replace(m, producers={})))


@bug(
    "producers",
    "recovery takes back the rows of a batch, and not its number",
    lost="a batch that is sent again after a restart is there twice",
    law=Law.ROWS,
    after=12,
)
def number_lost(patch: Patch) -> None:
    real = Recovery._take_delivery

    def take(self: Recovery, record: Any) -> None:
        known, self.producers = self.producers, Producers()
        real(self, record)
        self.producers = known

    patch.setattr(Recovery, "_take_delivery", take)


@bug(
    "producers",
    "a copy of what is known shares its parts",
    lost="what is counted; and a checkpoint has batches that it has no rows of",
    law=Law.ROWS,
    after=2,
)
def shared_copy(patch: Patch) -> None:
    def copy(self: Producers) -> Producers:
        other = Producers()
        other._known, other._duplicate = dict(self._known), self._duplicate.copy()
        return other

    patch.setattr(Producers, "copy", copy)


@bug(
    "consumers",
    "a position is not written to the journal, but with the next checkpoint",
    lost="what was confirmed, when the process ends",
    law=Law.GROUP,
    after=6,
)
def unwritten_position(patch: Patch) -> None:
    def change(self: Positions, group: str, relation: str, to: Callable[[Any], Any]) -> Any:
        place = group, relation
        with self._lock:
            after = to(self._newest.get(place))
            for known in (self._newest, self._shown):
                positions._put(known, place, after)
        return after

    patch.setattr(Positions, "change", change)


@bug(
    "consumers",
    "a checkpoint does not have where groups stand",
    lost="a group begins again from the first row",
    law=Law.GROUP,
    after=3,
)
def groups_left_out(patch: Patch) -> None:
    put = Checkpoints.put
    patch.setattr(Checkpoints, "put", lambda self, m: put(self, replace(m, consumers=[])))


@bug(
    "consumers",
    "rows are shown before they are durable",
    lost="after a crash a group has rows that never were, and passes over those in their place",
    law=Law.GROUP,
    after=1,
)
def early_rows(patch: Patch) -> None:
    patch.setattr(Ticket, "add_callback", lambda self, call: call())

"""Watermarks: "no event before this time is expected", along the rows of an epoch.

A partition's watermark is the highest event time seen in it, less the topic's delay, or what an
explicit advance of it declared. A topic's is the lowest of its partitions' that are not idle, or
what was declared for all of it if that is later; a topic whose rows name their sender has one for
each sender instead (`senders`). A view's is the lowest of its source topics'. None of them ever
goes back.

All this is computed from rows and facts in the log's one order (`WatermarkCurve`), so the same row
finds the same watermark in one large epoch as in many small ones. An epoch costs one pass over its
event times, and only for topics that some view decides lateness by; of the others only the highest
event time is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, Shares, WatermarkCurve
from headwater.log.chunk import Chunk
from headwater.log.zones import Newest
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.curves import Points, at_least, at_most, less_delay, rises, times_us_of
from headwater.runtime.records import Fact, FactKind
from headwater.runtime.zoned import Zoned, have_zones


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever a topic's watermark waits for.

    Args:
        at_us: How far its own watermark is; BEFORE_ALL before its first event.
        heard_us: When its last rows arrived; None before the first, or where it is not known.
        partition: The partition, or None where senders are told apart.
        sender: The sender, where they are told apart.
        ahead: How many others are further.
        count: How many partitions or senders are not idle.

    """

    at_us: int
    heard_us: int | None
    partition: int | None = None
    sender: str | None = None
    ahead: int = 0
    count: int = 1


class TopicWatermark:
    """The watermark of one topic with an event time, by its partitions.

    Call `curve` once per epoch, in order, with all rows and facts of the topic in that epoch.
    """

    def __init__(self, definition: TopicDefinition) -> None:
        assert definition.event_time is not None
        self.definition = definition
        self.high_us = [BEFORE_ALL] * definition.partitions
        self.is_idle = [False] * definition.partitions
        self.floors_us = [BEFORE_ALL] * definition.partitions
        self.heard_us = [0] * definition.partitions
        self.advanced_us = BEFORE_ALL
        self.current_us = BEFORE_ALL
        # The time of the epoch in which it last rose, for people.
        self.risen_us: int | None = None
        # Whether it is certain that in the last epoch no row came after its time had passed.
        self.is_in_time = False

    @property
    def event_time(self) -> str:
        """The event-time column as the schema spells it."""
        assert self.definition.event_time is not None
        return self.definition.schema[self.definition.event_time].name

    @property
    def complete_us(self) -> int:
        """No event before this is expected: a topic by partitions is ready when it is complete."""
        return self.current_us

    @property
    def is_orderly(self) -> bool:
        """Whether the order of rows does not matter for where it ends, as `follow` needs it."""
        return self.definition.partitions == 1 or not any(self.is_idle)

    def follow(self, rows: Sequence[Newest]) -> None:
        """Move the watermark to the end of an epoch, where nobody asks how it ran.

        Args:
            rows: The epoch's rows of this topic, of which there are no facts.
        """
        assert self.is_orderly, "who was idle may have been passed before it spoke again"
        for partition, highest_us, arrived_us in rows:
            self.is_idle[partition] = False
            self.heard_us[partition] = arrived_us
            self.high_us[partition] = max(self.high_us[partition], highest_us)
        if rows:
            self.current_us = max(self.current_us, self._lowest(), self.advanced_us)

    def curves(
        self, chunks: Sequence[Chunk], facts: Sequence[Fact]
    ) -> tuple[WatermarkCurve, WatermarkCurve]:
        """How the complete and the ready watermark ran along the epoch: here the same."""
        curve = self.curve(chunks, facts)
        return curve, curve

    def curve(self, chunks: Sequence[Chunk], facts: Sequence[Fact]) -> WatermarkCurve:
        """How the watermark ran along the epoch; `current_us` is its end afterwards.

        Args:
            chunks: The epoch's chunks of this topic, by tick. Where there are facts, without leaps.
            facts: The epoch's facts about this topic, by tick.
        """
        if not facts and self.definition.partitions == 1 and have_zones(chunks):
            return self._by_zones(chunks)
        self.is_in_time = False
        points = Points(self.current_us)
        remaining = list(facts)
        for chunk in chunks:
            while remaining and remaining[0].tick <= chunk.tick_first:
                self._take_fact(remaining.pop(0), points)
            # A fact is never inside an append: its tick is the next free one.
            self._take_chunk(chunk, points)
        for fact in remaining:
            self._take_fact(fact, points)
        curve = points.curve()
        self.current_us = curve.end_us
        return curve

    def _by_zones(self, chunks: Sequence[Chunk]) -> WatermarkCurve:
        """As `curve`, of the only partition's rows, which are not looked at."""
        zoned = Zoned(
            chunks,
            event_time=self.event_time,
            delay_us=self.definition.delay_us,
            start_us=self.current_us,
            high_us=self.high_us[0],
            floor_us=max(self.current_us, self.floors_us[0], self.advanced_us),
        )
        curve = zoned.curve()
        self.is_in_time = zoned.is_in_time()
        self.is_idle[0], self.heard_us[0] = False, chunks[-1].arrived_us
        self.high_us[0], self.current_us = zoned.high_us, curve.end_us
        return curve

    def holder(self, *, is_complete: bool = False) -> Holder | None:
        """The partition for which the watermark waits; None where all are idle.

        Args:
            is_complete: Whether the complete one is meant: here that is also the ready one.
        """
        del is_complete
        active = [p for p, is_idle in enumerate(self.is_idle) if not is_idle]
        if not active:
            return None
        lows = {p: self._low(p) for p in active}
        slowest = min(active, key=lambda p: lows[p])
        ahead = sum(low > lows[slowest] for low in lows.values())
        heard_us = self.heard_us[slowest] or None
        return Holder(lows[slowest], heard_us, partition=slowest, ahead=ahead, count=len(active))

    def shares(self) -> Shares:
        """Which share of the partitions has passed a time, as of the end of the last epoch.

        Of those that are not idle, or of all where all of them are.
        """
        lows = [self._low(p) for p, is_idle in enumerate(self.is_idle) if not is_idle]
        lows = lows or [self._low(p) for p in range(len(self.is_idle))]
        return Shares(np.sort(np.array(lows, dtype=np.int64)), self.current_us)

    def save(self) -> dict[str, Any]:
        """A JSON value for `load`."""
        return {
            "high_us": list(self.high_us),
            "is_idle": list(self.is_idle),
            "floors_us": list(self.floors_us),
            "heard_us": list(self.heard_us),
            "risen_us": self.risen_us,
            "advanced_us": self.advanced_us,
            "current_us": self.current_us,
        }

    def load(self, value: Mapping[str, Any]) -> None:
        """Take back what `save` gave, now or before partitions could be advanced."""
        self.high_us = list(value["high_us"])
        self.is_idle = list(value["is_idle"])
        self.floors_us = list(value.get("floors_us", self.floors_us))
        self.heard_us = list(value.get("heard_us", self.heard_us))
        self.risen_us = value.get("risen_us")
        self.advanced_us = value["advanced_us"]
        self.current_us = value["current_us"]

    def _take_chunk(self, chunk: Chunk, points: Points) -> None:
        times = times_us_of(chunk.rows.column(self.definition.event_time))
        if not len(times):
            return
        partition = chunk.partition
        self.is_idle[partition] = False
        self.heard_us[partition] = chunk.arrived_us
        places, highs = rises(times, self.high_us[partition])
        others = self._lowest(without=partition)
        self.high_us[partition] = max(self.high_us[partition], int(times.max()))
        lows = at_least(less_delay(highs, self.definition.delay_us), self.floors_us[partition])
        run = at_least(at_most(lows, others), self.advanced_us)
        points.add(chunk.ticks_at(places), run)

    def _take_fact(self, fact: Fact, points: Points) -> None:
        if fact.kind is FactKind.IDLE:
            self.is_idle[fact.partition] = True
        elif fact.partition < 0:
            self.advanced_us = max(self.advanced_us, fact.until_us)
        else:
            self.is_idle[fact.partition] = False
            self.floors_us[fact.partition] = max(self.floors_us[fact.partition], fact.until_us)
        lowest = self._lowest()
        # When every partition is idle nothing new is known: the watermark stays where it is.
        reached = BEFORE_ALL if lowest == AFTER_ALL else lowest
        points.add_one(fact.tick - 1, max(reached, self.advanced_us))

    def _lowest(self, without: int = -1) -> int:
        """The lowest watermark of the partitions that are not idle; AFTER_ALL if there are none."""
        lows = [
            self._low(partition)
            for partition, is_idle in enumerate(self.is_idle)
            if partition != without and not is_idle
        ]
        return min(lows, default=AFTER_ALL)

    def _low(self, partition: int) -> int:
        high_us = self.high_us[partition]
        seen_us = high_us - self.definition.delay_us if high_us != BEFORE_ALL else BEFORE_ALL
        return max(seen_us, self.floors_us[partition])

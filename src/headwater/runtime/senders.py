"""A watermark per sender: the rows of many servers in one topic, each as far as it has come.

A sender is a value of the topic's `watermark_by` column, known from its first row on, or from an
advance that names it. Its watermark is its own highest event time, less the delay. The topic is
complete up to the lowest of those that are not idle, and ready up to the time that the wanted share
of them has passed. Both run along the rows in the log's one order, as every watermark does, and
neither goes back; a sender that is new, or was idle, and speaks of earlier times holds them where
they are.

The senders' times are ranked where some sender's highest time rises (`ranked`), in blocks: a block
at whose end the ranked time is the one at its start is passed over, and in any other only the
senders that stand between the two, or cross them, are looked at. So an epoch costs its rows, and a
call of numpy per block and per sender in it; who has not spoken costs nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, Shares, WatermarkCurve
from headwater.log.chunk import Chunk
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.curves import Points, less_delay, times_us_of
from headwater.runtime.records import Fact, FactKind
from headwater.runtime.watermarks import Holder

_BLOCK = 128
# What is known of each sender: its watermark, whether it is idle, and when its last rows arrived.
_LOW, _IDLE, _HEARD = 0, 1, 2
# A share such as 0.07 of 100 is a little more than 7 in binary.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows by column: their places in the log, who sent them, and how far that brings a sender."""

    ticks: Int64Array
    senders: Int64Array
    lows_us: Int64Array

    def at(self, places: Int64Array | slice) -> _Rows:
        """Some of the rows."""
        return _Rows(self.ticks[places], self.senders[places], self.lows_us[places])


class SenderWatermark:
    """The watermarks of one topic whose rows name their sender.

    Call `curves` once per epoch, in order, with all rows and facts of the topic in that epoch.
    `current_us` is where the topic is ready, `complete_us` where it is complete: the same, unless
    the topic is declared to be ready before all have passed.
    """

    def __init__(self, definition: TopicDefinition) -> None:
        assert definition.event_time is not None
        assert definition.watermark_by is not None
        self.definition = definition
        self.advanced_us = BEFORE_ALL
        self.complete_us = self.current_us = BEFORE_ALL
        # The time of the epoch in which it last rose, for people.
        self.risen_us: int | None = None
        self._names: list[str] = []
        self._ids: dict[str, int] = {}
        # One table, so that who asks from another thread sees rows of one length.
        self._table = np.empty((3, 0), dtype=np.int64)

    def curves(
        self, chunks: Sequence[Chunk], facts: Sequence[Fact]
    ) -> tuple[WatermarkCurve, WatermarkCurve]:
        """How the complete and the ready watermark ran along the epoch.

        Args:
            chunks: The epoch's chunks of this topic, by tick.
            facts: The epoch's facts about this topic, by tick.
        """
        complete, ready = Points(self.complete_us), Points(self.current_us)
        remaining = list(chunks)
        for fact in facts:
            before = [chunk for chunk in remaining if chunk.tick_first < fact.tick]
            remaining = remaining[len(before) :]
            self._take_rows(before, complete, ready)
            self._take_fact(fact, complete, ready)
        self._take_rows(remaining, complete, ready)
        curve = complete.curve()
        self.complete_us = curve.end_us
        if self.definition.ready == 1.0:
            self.current_us = self.complete_us
            return curve, curve
        early = ready.curve()
        self.current_us = early.end_us
        return curve, early

    @property
    def active(self) -> list[str]:
        """The senders that are not idle."""
        return [self._names[number] for number in np.flatnonzero(self._table[_IDLE] == 0)]

    def holder(self, *, is_complete: bool = False) -> Holder | None:
        """The sender for which a watermark waits; None where all are idle.

        Args:
            is_complete: Whether the complete one is meant, and not the ready one.
        """
        table = self._table
        lows = _standing(table)
        count = int((lows < AFTER_ALL).sum())
        if not count:
            return None
        sender = int(np.argsort(lows, kind="stable")[0 if is_complete else self._rank(count)])
        return Holder(
            at_us=int(lows[sender]),
            heard_us=int(table[_HEARD, sender]) or None,
            sender=self._names[sender],
            ahead=int((lows[lows < AFTER_ALL] > lows[sender]).sum()),
            count=count,
        )

    def shares(self) -> Shares:
        """Which share of the senders has passed a time, as of the end of the last epoch.

        Of those that are not idle, or of all where all of them are.
        """
        standing = _standing(self._table)
        active = standing[standing < AFTER_ALL]
        return Shares(np.sort(active if len(active) else self._table[_LOW]), self.complete_us)

    def save(self) -> dict[str, Any]:
        """A JSON value for `load`."""
        return {
            "advanced_us": self.advanced_us,
            "complete_us": self.complete_us,
            "current_us": self.current_us,
            "risen_us": self.risen_us,
            # A copy: whoever writes this does so while the next epochs add to the names.
            "senders": list(self._names),
            "table": self._table.tolist(),
        }

    def load(self, value: Mapping[str, Any]) -> None:
        """Take back what `save` gave."""
        self.advanced_us = value["advanced_us"]
        self.complete_us = value["complete_us"]
        self.current_us = value["current_us"]
        self.risen_us = value["risen_us"]
        self._names = list(value["senders"])
        self._ids = {name: number for number, name in enumerate(self._names)}
        self._table = np.array(value["table"], dtype=np.int64).reshape(3, -1)

    def _rank(self, count: int) -> int:
        """The place, counted from the lowest of `count`, of the sender that makes it ready."""
        return count - math.ceil(self.definition.ready * count - _ROUNDING)

    def _numbers(self, names: Sequence[str]) -> Int64Array:
        """The numbers of senders; a new one begins as idle and nowhere."""
        new = [name for name in names if name not in self._ids]
        if new:
            self._ids |= {name: number for number, name in enumerate(new, len(self._names))}
            self._names += new
            row = np.array([[BEFORE_ALL], [1], [0]], dtype=np.int64)
            self._table = np.concatenate([self._table, np.repeat(row, len(new), axis=1)], axis=1)
        return np.array([self._ids[name] for name in names], dtype=np.int64)

    def _speaks(self, number: int, low_us: int) -> None:
        """A sender is not idle, and at least so far."""
        self._table[_IDLE, number] = 0
        self._table[_LOW, number] = max(int(self._table[_LOW, number]), low_us)

    def _take_fact(self, fact: Fact, complete: Points, ready: Points) -> None:
        if fact.kind is FactKind.IDLE:
            assert fact.sender is not None
            numbers = self._numbers([fact.sender])
            self._table[_IDLE, numbers] = 1
        elif fact.sender is None:
            self.advanced_us = max(self.advanced_us, fact.until_us)
        else:
            self._speaks(int(self._numbers([fact.sender])[0]), fact.until_us)
        self._tell(fact.tick - 1, _standing(self._table), complete, ready)

    def _tell(self, tick: int, standing: Int64Array, complete: Points, ready: Points) -> None:
        """Where the watermarks are after `tick`, if any sender counts."""
        count = int((standing < AFTER_ALL).sum())
        for points, rank in ((complete, 0), (ready, self._rank(count))):
            # When every sender is idle nothing new is known: the watermark stays where it is.
            found = nth(standing, rank) if count else BEFORE_ALL
            points.add_one(tick, max(found, self.advanced_us))

    def _take_rows(self, chunks: Sequence[Chunk], complete: Points, ready: Points) -> None:
        if not chunks:
            return
        rows = _Rows(
            np.concatenate([chunk.ticks() for chunk in chunks]),
            np.concatenate([self._senders_of(chunk) for chunk in chunks]),
            np.concatenate([self._lows_of(chunk) for chunk in chunks]),
        )
        rows = rows.at(np.flatnonzero(rows.lows_us > BEFORE_ALL))
        rises, joining = self._rises(rows)
        starts = np.searchsorted(rises, joining)
        for first, stop in itertools.pairwise([0, *starts, len(rises)]):
            if first < stop:
                self._run(rows.at(rises[first:stop]), complete, ready)

    def _run(self, rises: _Rows, complete: Points, ready: Points) -> None:
        """Follow rises between two places where a sender joins; one may join at the first."""
        self._speaks(int(rises.senders[0]), int(rises.lows_us[0]))
        standing = _standing(self._table)
        self._tell(int(rises.ticks[0]), standing, complete, ready)
        rest = rises.at(slice(1, None))
        wanted = [(complete, 0)]
        if self.definition.ready < 1.0:
            wanted.append((ready, self._rank(int((standing < AFTER_ALL).sum()))))
        for points, rank in wanted:
            for places, values in ranked(standing, rest.senders, rest.lows_us, rank):
                points.add(rest.ticks[places], np.maximum(values, self.advanced_us))
        # Of a sender's rises the last is the highest, and of places given twice the last counts.
        self._table[_LOW, rest.senders] = rest.lows_us

    def _rises(self, rows: _Rows) -> tuple[Int64Array, Int64Array]:
        """Where a sender's highest time rises or it joins, and where one joins; both in order."""
        order = np.argsort(rows.senders, kind="stable")
        bounds = np.flatnonzero(np.diff(rows.senders[order], prepend=-1, append=-1))
        rises, joining = [], []
        for first, stop in itertools.pairwise(bounds):
            places = order[first:stop]
            low_us, is_idle, _ = self._table[:, rows.senders[places[0]]]
            highs = np.maximum(np.maximum.accumulate(rows.lows_us[places]), low_us)
            is_rise = np.diff(highs, prepend=low_us) > 0
            if is_idle:
                is_rise[0] = True
                joining.append(places[0])
            rises.append(places[is_rise])
        none = np.empty(0, dtype=np.int64)
        joined = np.sort(np.array(joining, dtype=np.int64))
        return np.sort(np.concatenate([none, *rises])), joined

    def _lows_of(self, chunk: Chunk) -> Int64Array:
        """Each row's event time less the delay; BEFORE_ALL where it is null."""
        times = times_us_of(chunk.rows.column(self.definition.event_time))
        return less_delay(times, self.definition.delay_us)

    def _senders_of(self, chunk: Chunk) -> Int64Array:
        """The number of each row's sender."""
        encoded = chunk.rows.column(self.definition.watermark_by).dictionary_encode()
        numbers = self._numbers(encoded.dictionary.cast(pa.string()).to_pylist())
        self._table[_HEARD, numbers] = chunk.arrived_us
        return numbers[encoded.indices.to_numpy()]


def _standing(table: Int64Array) -> Int64Array:
    """The watermark of each sender; AFTER_ALL for one that is idle, which holds nothing."""
    return np.where(table[_IDLE] != 0, AFTER_ALL, table[_LOW])


def ranked(
    lows: Int64Array, who: Int64Array, rises: Int64Array, rank: int
) -> Iterator[tuple[Int64Array, Int64Array]]:
    """How the `rank`-th lowest of many values moves while single ones rise.

    Args:
        lows: The values at the beginning.
        who: Which of them rises.
        rises: To what; higher than that one was.
        rank: Counted from 0.

    Returns:
        Places in `who` in order, some of those at which nothing moves left out, and the ranked
        value after each.

    """
    lows = lows.copy()
    at = nth(lows, rank)
    for first in range(0, len(who), _BLOCK):
        block = slice(first, first + _BLOCK)
        after = lows.copy()
        after[who[block]] = rises[block]
        end = nth(after, rank)
        if end > at:
            places, values = _crossing(lows, after, who[block], rises[block], (at, end, rank))
            yield places + first, values
        lows, at = after, end


def _crossing(
    lows: Int64Array,
    after: Int64Array,
    who: Int64Array,
    rises: Int64Array,
    span: tuple[int, int, int],
) -> tuple[Int64Array, Int64Array]:
    """The same within a block in which the ranked value moves from `low` to `high`.

    Seen from between the two, a value outside is at the nearer end: so only those that are between
    them, or cross, matter, and of the others how many are below.
    """
    low, high, rank = span
    is_between = (lows < high) & (after > low)
    places = np.flatnonzero(is_between[who] & (rises > low))
    senders = np.flatnonzero(is_between)
    row = np.searchsorted(senders, who[places])
    values = np.full((len(senders), len(places) + 1), low, dtype=np.int64)
    values[:, 0] = np.clip(lows[senders], low, high)
    values[row, np.arange(1, len(places) + 1)] = np.minimum(rises[places], high)
    values = np.maximum.accumulate(values, axis=1)[:, 1:]
    below = rank - int((~is_between & (after <= low)).sum())
    if below == 0:
        return places, values.min(axis=0)
    return places, np.partition(values, below, axis=0)[below]


def nth(values: Int64Array, rank: int) -> int:
    """The `rank`-th lowest value, counted from 0."""
    return int(values.min() if rank == 0 else np.partition(values, rank)[rank])

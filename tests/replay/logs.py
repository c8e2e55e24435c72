"""A log: rows of all topics in one order, where its watermarks stand, and epochs cut out of it.

In a log that is in time, rows are out of order by no more than their topic's delay; in any other
one many rows come late. A row of a table replaces the one of its key; the changes of its content
are found here row by row, apart from the engine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, Shares, WatermarkCurve
from headwater.operators.operator import Epoch
from headwater.plan.pipeline import TopicDefinition
from headwater.plan.versions import versions_of
from headwater.runtime.curves import less_delay, lowest, rising, times_us_of
from replay.rows import START_US, TOPICS

MINUTE_US = 60_000_000
# Recorded time goes on by so much with each row; at the end all logs have the same.
_TICK_US = 15_000_000
END_US = START_US + 20 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Cut:
    """One epoch: the changes of each topic, and the places in the log that it takes in."""

    changes: Mapping[str, pa.Table]
    tick_from: int
    tick_to: int
    is_end: bool = False


@dataclass(frozen=True)
class Log:
    """Rows in the order in which they arrive.

    Args:
        rows: Of each topic.
        ticks: Where each of them stands in the one order of all.

    """

    rows: Mapping[str, pa.Table]
    ticks: Mapping[str, Int64Array]
    _curves: dict[tuple[str, ...], WatermarkCurve] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """All rows of all topics."""
        return sum(table.num_rows for table in self.rows.values())

    def epochs(self, bounds: Sequence[int], *, is_stepwise: bool = False) -> Iterator[Cut]:
        """The log cut before each of the bounds, and then its end, at which all windows close.

        Args:
            is_stepwise: Whether what a table's row replaced within an epoch comes out too.

        """
        edges = [0, *sorted({b for b in bounds if 0 < b < self.count}), self.count]
        for low, high in itertools.pairwise(edges):
            changes = {
                name: rows.slice(*_range(self._places[name], low, high))
                for name, rows in self._changes.items()
            }
            of_tables = self._of_tables(low, high, is_stepwise=is_stepwise)
            yield Cut({**changes, **of_tables}, low, high)
        yield Cut({}, self.count, self.count + 1, is_end=True)

    def epoch(
        self,
        number: int,
        cut: Cut,
        source_sets: Sequence[tuple[str, ...]],
        shared: Sequence[tuple[str, ...]] = (),
    ) -> Epoch:
        """What operators are told of an epoch.

        Args:
            source_sets: The topics by whose watermarks they decide.
            shared: Those of which they ask how complete they are.

        """
        time_us = END_US if cut.is_end else START_US + cut.tick_to * _TICK_US
        curves = {sources: self._curve(sources, cut) for sources in source_sets}
        shares = {sources: [self._share(name, cut) for name in sources] for sources in shared}
        return Epoch(number, time_us, cut.tick_to - 1, curves, shares=shares)

    def _share(self, topic: str, cut: Cut) -> Shares:
        """That of the one partition of a topic at the end of an epoch."""
        end_us = self._curve((topic,), cut).end_us
        return Shares(np.array([end_us], dtype=np.int64), end_us)

    def curve(self, sources: tuple[str, ...]) -> WatermarkCurve:
        """How the lowest watermark of some topics runs along the whole log."""
        whole = self._curves.get(sources)
        if whole is None:
            whole = lowest([_watermark(t, self) for t in TOPICS if t.name in sources])
            self._curves[sources] = whole
        return whole

    def rows_until(self, tick: int) -> dict[str, pa.Table]:
        """The rows of all topics up to and with a place."""
        counts = {name: np.searchsorted(at, tick, side="right") for name, at in self.ticks.items()}
        return {name: table.slice(0, int(counts[name])) for name, table in self.rows.items()}

    def _curve(self, sources: tuple[str, ...], cut: Cut) -> WatermarkCurve:
        whole = self.curve(sources)
        start = int(whole.before(np.array([cut.tick_from]))[0])
        if cut.is_end:
            last = np.array([cut.tick_from], dtype=np.int64)
            return WatermarkCurve(start, last, np.array([AFTER_ALL], dtype=np.int64))
        low, high = np.searchsorted(whole.ticks, [cut.tick_from, cut.tick_to])
        return WatermarkCurve(start, whole.ticks[low:high], whole.values_us[low:high])

    @cached_property
    def _places(self) -> dict[str, Int64Array]:
        return {versions_of(t.name) if t.is_table else t.name: self.ticks[t.name] for t in TOPICS}

    @cached_property
    def _changes(self) -> dict[str, pa.Table]:
        """The rows of topics, and the versions of tables, with their places."""
        return {
            versions_of(t.name) if t.is_table else t.name: self.rows[t.name].append_column(
                pa.field(TICK, pa.int64()), pa.array(self.ticks[t.name])
            )
            for t in TOPICS
        }

    def _of_tables(self, low: int, high: int, *, is_stepwise: bool) -> dict[str, pa.Table]:
        found = {}
        for topic in TOPICS:
            if topic.is_table:
                places = self.ticks[topic.name].tolist()
                edges = [p for p in places if low < p < high] if is_stepwise else []
                parts = [
                    _content_changes(topic, self.rows[topic.name], self.ticks[topic.name], *pair)
                    for pair in itertools.pairwise([low, *edges, high])
                ]
                found[topic.name] = pa.concat_tables(parts)
        return found


def log_of(rows: Mapping[str, pa.Table], random: Random) -> Log:
    """The rows of all topics, each in its order, mixed at random."""
    names = [name for name, table in rows.items() for _ in range(table.num_rows)]
    random.shuffle(names)
    order = np.array(names, dtype=object)
    return Log(rows, {name: np.flatnonzero(order == name) for name in rows})


def bounds_of(random: Random, count: int) -> list[int]:
    """Where to cut: nowhere, at a few places, or, seldom, after every row."""
    epochs = random.choice([2, 3, 3, 4, 5, 8])
    if random.random() < 0.04:
        return list(range(count))
    return [random.randrange(count + 1) for _ in range(epochs - 1)]


def _range(places: Int64Array, low: int, high: int) -> tuple[int, int]:
    first, stop = np.searchsorted(places, [low, high]).tolist()
    return first, stop - first


def _watermark(topic: TopicDefinition, log: Log) -> WatermarkCurve:
    table, ticks = log.rows[topic.name], log.ticks[topic.name]
    if not table.num_rows:
        return WatermarkCurve(BEFORE_ALL, ticks, ticks)
    times = times_us_of(table.column(topic.event_time).combine_chunks())
    return rising(BEFORE_ALL, ticks, less_delay(np.maximum.accumulate(times), topic.delay_us))


def _content_changes(
    topic: TopicDefinition, rows: pa.Table, ticks: Int64Array, low: int, high: int
) -> pa.Table:
    """How a table's content changes from one place in the log to another."""
    first, count = _range(ticks, low, high)
    before = _newest(topic, rows.slice(0, first).to_pylist(), ticks)
    after = _newest(topic, rows.slice(0, first + count).to_pylist(), ticks)
    changes: list[tuple[dict[str, Any], int, int]] = []
    for key, (row, tick) in after.items():
        old = before.get(key)
        if old is None or old[0] != row:
            changes += [] if old is None else [(old[0], -1, tick)]
            changes.append((row, 1, tick))
    made = pa.Table.from_pylist([row for row, _, _ in changes], rows.schema)
    made = made.append_column(WEIGHT, pa.array([w for _, w, _ in changes], pa.int64()))
    return made.append_column(TICK, pa.array([t for _, _, t in changes], pa.int64()))


def _newest(
    topic: TopicDefinition, rows: Sequence[dict[str, Any]], ticks: Int64Array
) -> dict[tuple[Any, ...], tuple[dict[str, Any], int]]:
    newest: dict[tuple[Any, ...], tuple[dict[str, Any], int]] = {}
    for row, tick in zip(rows, ticks.tolist(), strict=False):
        newest[tuple(row[name] for name in topic.key)] = (row, tick)
    return newest

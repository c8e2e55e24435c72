"""Compute one epoch over all views.

Given the recorded cut of an epoch (which ticks, which facts, what time) a step is a function of the
state before it: live, in recovery and in replay the same. The order is fixed: watermarks, tables,
then the views in the order of their declaration.

A view whose step raises (a total that overflows; a row alone does not) has computed half an epoch
and is not stepped again, nor is what reads it. The others go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pyarrow as pa

from headwater.cores import Chore
from headwater.delta.delta import TICK
from headwater.delta.watermark import WatermarkCurve
from headwater.errors import HeadwaterError, StateError
from headwater.log.adjacent import adjacent
from headwater.log.chunk import Chunk
from headwater.log.topic import Topic
from headwater.operators.operator import Epoch
from headwater.plan.nodes import Completeness, Scan, walk
from headwater.plan.sources import sources_of
from headwater.plan.versions import versions_of
from headwater.runtime.curves import lowest
from headwater.runtime.records import Fact
from headwater.runtime.senders import SenderWatermark
from headwater.runtime.table import TableRunner
from headwater.runtime.view import Stepped, ViewRunner, as_input
from headwater.runtime.watermarks import TopicWatermark

# From so many rows on an epoch ends where a file of the log does.
_SEAM_ROWS_MIN = 500_000
_COPIED_BYTES_MAX = 64 << 20
# So many times as many rows as it should have an epoch takes in, where views read few of them.
_UNREAD_MAX = 16


@dataclass(frozen=True, slots=True)
class Cut:
    """What an epoch takes in, as the journal has it.

    Args:
        tick_from: Its first tick.
        tick_to: The tick after its last.
        facts: The facts that stand before `tick_to` and were in no epoch before.
    """

    epoch: int
    tick_from: int
    tick_to: int
    facts: tuple[Fact, ...]
    time_us: int


class Stepper:
    """All views of a pipeline, stepped together.

    Args:
        topics: Every topic and table, by name.
        tables: The tables among them.
        views: In an order in which each reads only earlier ones.
    """

    def __init__(
        self,
        topics: MutableMapping[str, Topic],
        tables: Mapping[str, TableRunner],
        views: Sequence[ViewRunner],
    ) -> None:
        self.topics = topics
        self.tables: Mapping[str, TableRunner] = tables
        self.views = views
        self.watermarks: dict[str, TopicWatermark | SenderWatermark] = {
            name: _watermark_of(topic)
            for name, topic in topics.items()
            if topic.definition.event_time is not None
        }
        # Rows of each topic that the last step took in.
        self.rows_taken: dict[str, int] = {}
        # Why each paused view is paused.
        self.paused: dict[str, str] = {}
        self._sources = _source_sets(views)
        self._shared = {
            node.sources
            for view in views
            for node in walk(view.plan.root)
            if isinstance(node, Completeness)
        }
        self._deciding = {name for sources in self._sources for name in sources}
        scans = [n for v in views for n in walk(v.plan.root) if isinstance(n, Scan)]
        self._scanned = {scan.relation for scan in scans}
        self._read_by_views = self._scanned - set(topics)
        self._read_with_ticks = {scan.relation for scan in scans if scan.ticks}
        self._learn_topics()

    def evolve(self, topic: Topic, table: TableRunner | None) -> None:
        """Go on with other columns of a topic. Between epochs only.

        Args:
            topic: The topic with the new columns, which is from now on the one of all who look it
                up in `topics`.
            table: The same of a table.
        """
        name = topic.definition.name
        self.topics[name] = topic
        if table is not None:
            self.tables = {**self.tables, name: table}
        if name in self.watermarks:
            self.watermarks[name].definition = topic.definition
        self._learn_topics()

    def _learn_topics(self) -> None:
        """Note what is read of the topics as they are now."""
        self._read = _columns_read(self.topics, self.tables, self.views, self._deciding)
        self._read_topics = {
            name: topic
            for name, topic in self.topics.items()
            if name in self.tables or name in self._scanned
        }

    def step(self, cut: Cut) -> dict[str, Stepped]:
        """Compute an epoch; return what it changed in each view that is not paused."""
        # A fact stands between two appends, so where there is one they must not be joined.
        chunks = {
            name: self.topics[name].read_ticks(
                cut.tick_from, cut.tick_to, columns=columns, joined=not cut.facts
            )
            for name, columns in self._read.items()
        }
        self.rows_taken = {
            name: sum(chunk.rows.num_rows for chunk in chunks[name])
            if name in chunks
            else topic.rows_between(cut.tick_from, cut.tick_to)
            for name, topic in self.topics.items()
        }
        epoch = self._epoch(cut, chunks)
        inputs = self._inputs(chunks, epoch)
        steps: dict[str, Stepped] = {}
        for view in self.views:
            stepped = self._stepped(view, inputs, epoch)
            if stepped is not None:
                steps[view.name] = stepped
                if view.name in self._read_by_views:
                    inputs[view.name] = as_input(stepped.delta, epoch.tick_last)
        return steps

    @property
    def rows_read(self) -> int:
        """How many rows the last step took in of topics and tables that are computed."""
        return sum(self.rows_taken.get(name, 0) for name in self._read_topics)

    def unready(self, tick_from: int, tick_to: int) -> list[Chore]:
        """What an epoch of these ticks would have to wait for, as `Topic.unready` has it."""
        return [
            chore
            for name, topic in self.topics.items()
            for chore in topic.unready(tick_from, tick_to, self._read.get(name))
        ]

    def end_of(self, tick_from: int, rows_max: int, tick_max: int) -> int:
        """Where to end an epoch of about `rows_max` rows that might go on to `tick_max`.

        Rows that no view reads cost little and hardly count.
        """
        tick_to = min(tick_from + rows_max, tick_max)
        while tick_to < tick_max and tick_to - tick_from < _UNREAD_MAX * rows_max:
            further = min(2 * tick_to - tick_from, tick_max)
            if (
                sum(topic.rows_between(tick_from, further) for topic in self._read_topics.values())
                > rows_max
            ):
                break
            tick_to = further
        if tick_to - tick_from < _SEAM_ROWS_MIN or not self._read_topics:
            return tick_to
        return self._seam(tick_from, tick_to, is_last=tick_to == tick_max)

    def _seam(self, tick_from: int, tick_to: int, *, is_last: bool) -> int:
        """Where to end a large epoch that might go on to `tick_to`, so that it copies little.

        Rows of an epoch that lie in one file are taken as they lie; those of two are put together.
        Where these are few bytes an epoch more would cost as much, also one for the last of them.
        """
        size_bytes, name = max(
            (topic.rows_between(tick_from, tick_to) * topic.row_bytes(self._read[name]), name)
            for name, topic in self._read_topics.items()
        )
        length = tick_to - tick_from
        if size_bytes > _COPIED_BYTES_MAX:
            seams = self._read_topics[name].seams(tick_from + length // 8, tick_to)
            return seams[0] if seams else tick_to
        if is_last:
            return tick_to
        seams = self._read_topics[name].seams(tick_from + length // 2, tick_to)
        return seams[-1] if seams else tick_to

    def wakes_at(self) -> int | None:
        """The next time at which an epoch is due though nothing was sent; None: there is none."""
        running = [view for view in self.views if view.name not in self.paused]
        moments = [view.dataflow.wakes_at() for view in running]
        return min((moment for moment in moments if moment is not None), default=None)

    def _stepped(
        self, view: ViewRunner, inputs: Mapping[str, pa.Table], epoch: Epoch
    ) -> Stepped | None:
        """One view's step; None when it is paused, or is from now on."""
        if view.name in self.paused:
            return None
        blocking = next((name for name in view.inputs if name in self.paused), None)
        if blocking is not None:
            self.paused[view.name] = f"it reads {blocking}, which is paused"
            return None
        try:
            return view.step(inputs, epoch)
        except StateError:
            raise
        except HeadwaterError as error:
            reason = error.message.partition("\n")[0]
            self.paused[view.name] = f"epoch {epoch.number} cannot be computed: {reason}"
            return None

    def _inputs(self, chunks: Mapping[str, list[Chunk]], epoch: Epoch) -> dict[str, pa.Table]:
        """The rows of each relation; the places of those that are in time only if asked for."""
        inputs = {}
        for name, taken in chunks.items():
            if not taken:
                continue
            table = self.tables.get(name)
            rows = _rows(taken)
            if table is not None and not table.is_read:
                table.put(rows)
                continue
            places = partial(_places, taken, rows)
            if table is None and name in epoch.in_time:
                epoch.places[name] = cache(places)
            elif table is not None or name in self._read_with_ticks:
                rows = rows.append_column(TICK, places())
            inputs[name] = rows if table is None else table.step(rows)
            if versions_of(name) in self._read_by_views:
                inputs[versions_of(name)] = rows
        return inputs

    def _epoch(self, cut: Cut, chunks: Mapping[str, list[Chunk]]) -> Epoch:
        """What the views' operators are told of the epoch."""
        complete, ready = self._curves(cut, chunks)
        early = {name for name in ready if ready[name] is not complete[name]}
        return Epoch(
            cut.epoch,
            cut.time_us,
            cut.tick_to - 1,
            {sources: _together(complete, sources) for sources in self._sources},
            ready={s: _together(ready, s) for s in self._sources if not early.isdisjoint(s)},
            in_time={
                name: mark.event_time
                for name, mark in self.watermarks.items()
                if name in complete and isinstance(mark, TopicWatermark) and mark.is_in_time
            },
            shares={s: [self.watermarks[name].shares() for name in s] for s in self._shared},
        )

    def _curves(
        self, cut: Cut, chunks: Mapping[str, list[Chunk]]
    ) -> tuple[dict[str, WatermarkCurve], dict[str, WatermarkCurve]]:
        """Where the topics that somebody decides by are complete, and where they are ready."""
        complete, ready = {}, {}
        for name, watermark in self.watermarks.items():
            before_us = watermark.current_us
            facts = [fact for fact in cut.facts if fact.topic == name]
            if name in self._deciding:
                complete[name], ready[name] = watermark.curves(chunks[name], facts)
            else:
                self._follow(watermark, cut, facts)
            if watermark.current_us > before_us:
                watermark.risen_us = cut.time_us
        return complete, ready

    def _follow(
        self, watermark: TopicWatermark | SenderWatermark, cut: Cut, facts: Sequence[Fact]
    ) -> None:
        """Move a watermark that nobody decides by to the end of the epoch."""
        definition = watermark.definition
        topic, span = self.topics[definition.name], (cut.tick_from, cut.tick_to)
        if isinstance(watermark, TopicWatermark) and watermark.is_orderly and not facts:
            watermark.follow(topic.newest(*span))
            return
        # It may have stood higher within the epoch than whoever it waits for does at the end.
        schema, wanted = definition.schema, (definition.event_time, definition.watermark_by)
        columns = [schema[name].name for name in wanted if name is not None]
        watermark.curves(topic.read_ticks(*span, columns, joined=not cut.facts), facts)


def _rows(chunks: Sequence[Chunk]) -> pa.Table:
    """The rows of chunks.

    Made anew, because the engine's rows say of no column that it has no nulls.
    """
    return pa.Table.from_batches(
        [
            pa.RecordBatch.from_arrays(rows.columns, names=rows.schema.names)
            for rows in adjacent([chunk.rows for chunk in chunks])
        ]
    )


def _places(chunks: Sequence[Chunk], rows: pa.Table) -> pa.ChunkedArray:
    """The rows' places in the log, in pieces as the rows are."""
    places = pa.array(np.concatenate([chunk.ticks() for chunk in chunks]))
    bounds = np.cumsum([0, *(batch.num_rows for batch in rows.to_batches())]).tolist()
    cut = [places.slice(low, high - low) for low, high in itertools.pairwise(bounds)]
    return pa.chunked_array(cut, pa.int64())


def _together(curves: Mapping[str, WatermarkCurve], sources: Sequence[str]) -> WatermarkCurve:
    return lowest([curves[name] for name in sources if name in curves])


def _watermark_of(topic: Topic) -> TopicWatermark | SenderWatermark:
    by_sender = topic.definition.watermark_by is not None
    return SenderWatermark(topic.definition) if by_sender else TopicWatermark(topic.definition)


def _source_sets(views: Sequence[ViewRunner]) -> set[tuple[str, ...]]:
    """The sets of topics by whose lowest watermark some node decides."""
    found = {
        sources for view in views for node in walk(view.plan.root) for sources in sources_of(node)
    }
    return found | {frontier.sources for view in views for frontier in view.plan.steps}


def _columns_read(
    topics: Mapping[str, Topic],
    tables: Mapping[str, TableRunner],
    views: Sequence[ViewRunner],
    deciding: Container[str],
) -> dict[str, tuple[str, ...]]:
    """The columns of each topic that an epoch reads; topics that nobody reads are left out.

    The event times of topics that no view decides lateness by are not among them.
    """
    needed: dict[str, set[str]] = {}
    for view in views:
        for node in walk(view.plan.root):
            if isinstance(node, Scan) and node.relation in topics:
                lowered = (name.lower() for name in node.schema.names)
                needed.setdefault(node.relation, set()).update(lowered)
    columns = {}
    for name, topic in topics.items():
        definition = topic.definition
        names = definition.schema.names
        if name in tables:
            columns[name] = names
        elif name in needed or name in deciding:
            deciders = (definition.event_time, definition.watermark_by) if name in deciding else ()
            wanted = needed.get(name, set()) | {by.lower() for by in deciders if by is not None}
            # Rows without a column would not know how many they are.
            columns[name] = tuple(c for c in names if c.lower() in wanted) or names[:1]
    return columns

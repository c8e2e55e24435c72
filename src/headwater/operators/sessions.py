"""Rows with the session that they are in.

Rows are remembered by key and time, and so are the sessions of each key. Where the sessions near
the rows of an epoch change (`session_regions`), the rows whose bounds are no longer what readers
see are withdrawn, and said again.

An epoch costs its rows and, of the sessions that they touch, those rows whose bounds change
for a reader: an open session of a view that publishes what is final costs nothing but its bounds.
A withdrawn row costs the rows of its session, which may fall apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array
from headwater.operators import render
from headwater.operators.groups import difference
from headwater.operators.islands import bounds_of, by_key_and_time, islands
from headwater.operators.isolate import run_isolating
from headwater.operators.lateness import times
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.render import TIME
from headwater.operators.runs import joined
from headwater.operators.session_regions import Changed, NewSessions, Regions, Times
from headwater.operators.session_state import FIRST, LAST, Clock, LateRows, Sessions
from headwater.operators.statement import Engine, Rows, Statement, plain
from headwater.plan.nodes import Node, Windows
from headwater.state.equality import BoolArray, rows_equal
from headwater.state.index import search_times, spread
from headwater.state.intervals import Stretches
from headwater.state.multiset import Multiset


class SessionsOperator:
    """Keeps a `Windows` node of kind SESSION up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input of the linear stretch below; they include ticks when
            the node decides lateness.

    """

    def __init__(self, node: Windows, input_schema: pa.Schema, engine: Engine) -> None:
        self._node = node
        self._keys = list(node.spec.keys)
        hidden = [n for n in (WEIGHT, TICK) if n in input_schema.names]
        self._is_weighted = WEIGHT in hidden
        self._rows = timed_statement(
            node.input, node.spec.time, node.spec.keys, input_schema, engine
        )
        self._late = LateRows(node, node.input.schema, node.schema)
        visible = plain(node.input.schema)
        self._known = Multiset(visible.append(pa.field(TIME, pa.int64())), self._keys, time=TIME)
        bounds = [pa.field(FIRST, pa.int64()), pa.field(LAST, pa.int64())]
        keys = [visible.field(key) for key in self._keys]
        self._sessions = Sessions(pa.schema([*keys, *bounds]), self._keys, node)
        hidden = [WEIGHT]
        if TICK in input_schema.names and node.lateness_us is not None:
            hidden.append(TICK)
        self._has_ticks = TICK in hidden
        self.schema = pa.schema(
            [*plain(node.schema), *(pa.field(name, pa.int64()) for name in hidden)]
        )
        self._difference = None
        if self._is_weighted:
            self._difference = difference(engine, plain(node.schema), has_ticks=self._has_ticks)

    def is_due(self, epoch: Epoch) -> bool:
        """Sessions close when the watermark moves."""
        return self._sessions.is_due(Clock.of(self._node, epoch))

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Take the rows of an epoch; return how the rows' sessions changed."""
        clock = Clock.of(self._node, epoch)
        timed, _ = run_isolating(self._rows, rows, epoch.failed)
        change = self._changed(self._late.taken_out(timed, clock, epoch.late))
        old, hashes = self._sessions.touched(change.blocks, clock)
        moment = self._moment(change, self._sessions.stretches(old, hashes), clock)
        said = self._said(moment, clock)
        self._known.insert_rows(change.rows, change.hashes, change.weights)
        self._sessions.replace(*self._replaced(moment, old))
        self._forget(clock)
        return said

    def save(self, saver: Saver) -> Any:
        """Hand over the rows and the sessions."""
        return {"rows": self._known.save(saver), "sessions": self._sessions.save(saver)}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the rows and the sessions back."""
        self._known.load(manifest["rows"], loader)
        self._sessions.load(manifest["sessions"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        rows, size_bytes = self._known.size()
        return rows, size_bytes + self._sessions.size()[1]

    def waits_until(self) -> int | None:
        """The first end of a session that the watermark has not passed."""
        return self._sessions.waits_until()

    def _changed(self, timed: pa.RecordBatch) -> Changed:
        """The epoch's rows by key and time, and the blocks that they make."""
        sorting = by_key_and_time(
            timed.column(HASH).to_numpy(),
            timed.select(self._keys).columns,
            timed.column(TIME).to_numpy(),
        )
        timed = timed.take(pa.array(sorting.order))
        hashes, moments = timed.column(HASH).to_numpy(), timed.column(TIME).to_numpy()
        weights = np.ones(len(hashes), dtype=np.int64)
        if self._is_weighted:
            weights = timed.column(WEIGHT).to_numpy()
        block = islands(sorting.keys, moments, moments, self._sessions.gap_us)
        begins, ends = bounds_of(block)
        keys = timed.select(self._keys).take(pa.array(begins))
        blocks = Stretches(keys, hashes.take(begins), moments.take(begins), moments.take(ends))
        rows = timed.select(self._known.schema.names)
        places = None
        if self._has_ticks:
            ticks = timed.column(TICK).to_numpy()
            places = np.minimum.reduceat(ticks, begins) if len(begins) else ticks
        return Changed(rows, hashes, moments, weights, block, blocks, places)

    def _moment(self, change: Changed, old: Stretches, clock: Clock | None) -> _Moment:
        """What this epoch makes of the sessions."""
        gap_us = self._sessions.gap_us
        regions = Regions.of(old, change.blocks, gap_us)
        withdrawn = change.block.take(np.flatnonzero(change.weights < 0))
        is_split = regions.has(regions.block.take(withdrawn))
        new = regions.whole(is_split, self._times_left(change, old, regions, is_split), gap_us)
        was, is_now = self._sessions.published(old.last, new.last, clock)
        return _Moment(change, old, regions, is_split, new, was, is_now)

    def _times_left(
        self, change: Changed, old: Stretches, regions: Regions, is_split: BoolArray
    ) -> Times:
        """The times of all rows of the regions in which a row was withdrawn."""
        found = rows_between(self._known, old, np.flatnonzero(is_split[regions.old]))
        region = regions.block.take(change.block)
        mine = np.flatnonzero(is_split[region])
        return Times(
            np.concatenate([regions.old.take(found.stretch), region.take(mine)]),
            np.concatenate([found.times, change.times.take(mine)]),
            np.concatenate([found.weights, change.weights.take(mine)]),
        )

    def _said(self, moment: _Moment, clock: Clock | None) -> Delta:
        """What readers see differently: rows withdrawn with old bounds, and said with new ones."""
        places = moment.change.places
        firsts = None if places is None else moment.regions.first_places(places)

        def ticks(last: Int64Array, region: Int64Array) -> Int64Array | None:
            if firsts is None:
                return None
            return self._sessions.places(last, firsts.take(region), clock)

        found = rows_between(self._known, moment.old, moment.to_say_again())
        gone = np.flatnonzero(moment.was[found.stretch])
        stretch = found.stretch.take(gone)
        bounds = moment.old.first.take(stretch), moment.old.last.take(stretch)
        change, regions = moment.change, moment.regions
        at = ticks(bounds[1], regions.old.take(stretch))
        parts = [self._shown(found.rows, gone, bounds, -found.weights, at)]
        again = regions.old.take(found.stretch), found.times, found.weights, found.rows
        fresh = regions.block.take(change.block), change.times, change.weights, change.rows
        for region, moments, weights, rows in (again, fresh):
            session = moment.new.holding(region, moments)
            come = np.flatnonzero(session >= 0)
            come = come[moment.is_now[session.take(come)]]
            session = session.take(come)
            bounds = moment.new.first.take(session), moment.new.last.take(session)
            at = ticks(bounds[1], region.take(come))
            parts.append(self._shown(rows, come, bounds, weights, at))
        said = joined(parts, self.schema)
        return Delta(said if self._difference is None else self._difference.run(input=said))

    def _shown(
        self,
        rows: pa.RecordBatch,
        places: Int64Array,
        bounds: tuple[Int64Array, Int64Array],
        weights: Int64Array,
        ticks: Int64Array | None,
    ) -> pa.RecordBatch:
        """Some rows with their session's bounds, their weight, and where in the log they stand."""
        node, first, end = self._node, bounds[0], bounds[1] + self._sessions.gap_us
        taken = rows.take(pa.array(places))
        shown = {name: taken.column(name) for name in node.input.schema.names}
        shown[node.start] = times(first, self.schema.field(node.start).type)
        shown[node.end] = times(end, self.schema.field(node.end).type)
        shown[WEIGHT] = pa.array(weights.take(places), type=pa.int64())
        if ticks is not None:
            shown[TICK] = pa.array(ticks, type=pa.int64())
        columns = [shown[name] for name in self.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _replaced(self, moment: _Moment, old: pa.RecordBatch) -> tuple[Any, Any]:
        """The sessions that are gone, and those in their place; where nothing changed, neither."""
        regions, new = moment.regions, moment.new
        is_touched = regions.has(regions.block)
        gone = np.flatnonzero(is_touched[regions.old])
        come = np.flatnonzero(is_touched[new.region])
        member = regions.member.take(new.region.take(come))
        hashes = np.concatenate([moment.old.hashes, moment.change.blocks.hashes]).take(member)
        blocks = moment.change.blocks.keys
        schema = self._sessions.schema
        columns = [
            pa.concat_arrays([old.column(key), blocks.column(key)]).take(pa.array(member))
            for key in self._keys
        ]
        columns += [pa.array(new.first.take(come)), pa.array(new.last.take(come))]
        rows = pa.RecordBatch.from_arrays(columns, schema=schema)
        left = old.take(pa.array(gone)), moment.old.hashes.take(gone)
        return left, (rows, hashes)

    def _forget(self, clock: Clock | None) -> None:
        """Drop the sessions that no row can reach any more, and their rows."""
        forgotten = self._sessions.forget(clock)
        if forgotten is None or not len(forgotten[1]):
            return
        gone = self._sessions.stretches(*forgotten)
        found = rows_between(self._known, gone, np.arange(len(gone), dtype=np.int64))
        self._known.insert_rows(found.rows, gone.hashes.take(found.stretch), -found.weights)


@dataclass(frozen=True, slots=True)
class _Moment:
    """One epoch on its way.

    Args:
        old: The sessions before it.
        is_split: In which regions a row was withdrawn.
        new: The sessions after it.
        was: Which of the old sessions readers saw.
        is_now: Which of the new ones they see.

    """

    change: Changed
    old: Stretches
    regions: Regions
    is_split: BoolArray
    new: NewSessions
    was: BoolArray
    is_now: BoolArray

    def to_say_again(self) -> Int64Array:
        """The old sessions whose rows readers see differently, or may."""
        region = self.regions.old
        after = self.new.holding(region, self.old.first)
        is_there = after >= 0
        at = np.maximum(after, 0)
        if not len(self.new):
            return np.arange(len(region), dtype=np.int64)
        same = is_there & (self.new.first.take(at) == self.old.first)
        same &= (self.new.last.take(at) == self.old.last) & (self.was == self.is_now.take(at))
        is_seen = self.was | (is_there & self.is_now.take(at))
        return np.flatnonzero(self.is_split[region] | (is_seen & ~same))


@dataclass(frozen=True, slots=True)
class Found:
    """Remembered rows of stretches of time.

    Args:
        stretch: The stretch that each is in.

    """

    stretch: Int64Array
    rows: pa.RecordBatch
    weights: Int64Array
    times: Int64Array


def rows_between(known: Multiset, stretches: Stretches, places: Int64Array) -> Found:
    """The rows in some of the stretches, run by run; a row and its withdrawal may both be there."""
    sought = stretches.take(places)
    nothing = np.zeros(0, dtype=np.int64)
    parts: list[Found] = []
    for run in known.runs() if len(places) else ():
        ranges = run.find(sought.hashes)
        assert run.times is not None
        mine, end = ranges.probes, ranges.ends()
        first, last = sought.first.take(mine), sought.last.take(mine)
        low = search_times(run.times, ranges.first, end, first, after_equal=False)
        high = search_times(run.times, low, end, last, after_equal=True)
        which, at = spread(mine, low, high)
        columns = [run.rows.column(name) for name in known.keys]
        same = rows_equal(sought.keys.columns, which, columns, at)
        if same is not None:
            which, at = which[same], at[same]
        rows = run.rows.take(pa.array(at))
        parts.append(Found(places.take(which), rows, run.ones().take(at), run.times.take(at)))
    return Found(
        np.concatenate([nothing, *(part.stretch for part in parts)]),
        joined([part.rows for part in parts], known.schema),
        np.concatenate([nothing, *(part.weights for part in parts)]),
        np.concatenate([nothing, *(part.times for part in parts)]),
    )


def timed_statement(
    node: Node, time: str, keys: tuple[str, ...], input_schema: pa.Schema, engine: Engine
) -> Statement:
    """The rows of a stretch that have a time, with it in microseconds, and the keys' hash."""
    hidden = [n for n in (WEIGHT, TICK) if n in input_schema.names]
    names = [*node.schema.names, *hidden]
    timed = render.with_time(render.stretch(node, hidden), time, names)
    query = render.hashed(timed, keys, [*names, TIME])
    return Statement(engine, query, {render.INPUT: input_schema}, is_ordered=False)

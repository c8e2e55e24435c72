"""What each firing says of a session: of the rows that came since the last, or of all so far.

Rows are grouped into blocks and these are merged with the sessions near them, as in
`session_totals`; but nothing is withdrawn, and what is said must not depend on the cut into epochs.
So the rows of an epoch are taken in rounds, in each of which no session of a key has fired before
a row of the round reaches it. Where sessions fire at the ends of stretches, a round of a key is one
stretch. Where they fire when they close, only a row that is behind the watermark can reach one that
has: each such row begins a round. Before it the sessions near it that have closed by then fire.

An epoch costs its rows, the sessions near them, and for its rounds, of which there are few where
rows come within the delay, some statements each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, Delta, Int64Array, UInt64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators import render
from headwater.operators.accumulate import published
from headwater.operators.aggregate import shown_schema
from headwater.operators.hold import HoldOperator
from headwater.operators.islands import bounds_of, by_key_and_time, islands, starts_of
from headwater.operators.isolate import run_isolating
from headwater.operators.lateness import times
from headwater.operators.layout import layout
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.render import TIME
from headwater.operators.runs import joined
from headwater.operators.session_regions import Regions
from headwater.operators.session_state import FIRST, LAST, Clock, LateRows, Sessions
from headwater.operators.session_totals import PLACE, in_order, numbered
from headwater.operators.sessions import timed_statement
from headwater.operators.statement import Engine, Rows, Statement, empty_batch, plain
from headwater.plan.nodes import Hold, SessionPanes
from headwater.state.equality import BoolArray

# How many of a session's rows were in no firing, and the last place in the log of its rows.
UNSAID, LATEST = "__unsaid", "__latest"
# What the hash is called while rows are held.
KEY = "__key"
_HIDDEN = (FIRST, LAST, UNSAID, LATEST)


class SessionPanesOperator:
    """Keeps `SessionPanes` up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input of the linear stretch below the node; ticks among
            them, and no weights.

    """

    def __init__(self, node: SessionPanes, input_schema: pa.Schema, engine: Engine) -> None:
        self._node, self._window = node, node.window
        self._keys = list(node.keys)
        self._layout = layout(node, is_weighted=False, has_ticks=False)
        spec = node.window.spec
        self._timed = timed_statement(node.input, spec.time, node.keys, input_schema, engine)
        self._late = LateRows(node.window, node.input.schema, node.schema)
        self._visible = plain(node.input.schema)
        self._partial = self._partial_statement(engine)
        self._merge = Statement(
            engine,
            self._layout.combined(render.INPUT, (PLACE,)),
            {render.INPUT: self._layout.carried(PLACE)},
            is_ordered=self._layout.is_ordered,
        )
        self._state = self._layout.state(*_HIDDEN)
        self._sessions = Sessions(self._state, self._keys, _remembered(node))
        self._hold = None if node.every_us is None else _hold(node)
        self.schema = shown_schema(node, [TICK])

    def is_due(self, epoch: Epoch) -> bool:
        """Sessions close, and stretches end, when the watermark moves."""
        if self._hold is not None:
            return self._hold.is_due(epoch)
        return self._sessions.is_due(Clock.of(self._window, epoch))

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Take the rows of an epoch and let the watermark pass; return what its firings say."""
        clock = Clock.of(self._window, epoch)
        timed, _ = run_isolating(self._timed, rows, epoch.failed)
        timed = self._late.taken_out(timed, clock, epoch.late)
        if self._hold is not None:
            names = [KEY if name == HASH else name for name in timed.schema.names]
            held = self._hold.step([Delta(timed.rename_columns(names))], epoch).rows
            timed = held.rename_columns([HASH if n == KEY else n for n in held.schema.names])
        said: list[pa.RecordBatch] = []
        taken = self._in_rounds(timed, clock)
        for number in range(int(taken.rounds.max(initial=-1)) + 1):
            said += self._round(taken, number, clock)
        if self._hold is None and clock is not None:
            said.append(self._closed(taken, clock))
        self._sessions.forget(clock)
        return self._shown(joined(said, self._said_schema))

    def save(self, saver: Saver) -> Any:
        """Hand over the sessions, and the rows that are held."""
        held = None if self._hold is None else self._hold.save(saver)
        return {"sessions": self._sessions.save(saver), "held": held}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back the sessions, and the rows that are held."""
        self._sessions.load(manifest["sessions"], loader)
        if self._hold is not None:
            self._hold.load(manifest["held"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of the sessions and of the rows that are held."""
        sizes = [self._sessions.size()]
        if self._hold is not None:
            sizes.append(self._hold.state_size())
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def waits_until(self) -> int | None:
        """The first end of a session, or of a stretch, that the watermark has not passed."""
        waiting = self._sessions if self._hold is None else self._hold
        return waiting.waits_until()

    @property
    def _said_schema(self) -> pa.Schema:
        hidden = [pa.field(HASH, pa.uint64()), pa.field(TICK, pa.int64())]
        return pa.schema([*self._state, *hidden])

    def _partial_statement(self, engine: Engine) -> Statement:
        """The statement from rows with the number of their block to partial results."""
        fields = [*self._visible, pa.field(PLACE, pa.int64())]
        read = [*render.typed(self._node.input.schema), render.column(PLACE)]
        query = self._layout.partial(render.select(read, render.INPUT, None), (PLACE,))
        inputs = {render.INPUT: pa.schema(fields)}
        return Statement(engine, query, inputs, is_ordered=self._layout.is_ordered)

    def _in_rounds(self, timed: pa.RecordBatch, clock: Clock | None) -> _Taken:
        """The rows by key and place, each with its round."""
        ticks = timed.column(TICK).to_numpy()
        hashes = timed.column(HASH).to_numpy()
        sorting = by_key_and_time(hashes, timed.select(self._keys).columns, ticks)
        timed, ticks = timed.take(pa.array(sorting.order)), ticks.take(sorting.order)
        moments = timed.column(TIME).to_numpy()
        if self._hold is not None or clock is None:
            before = np.full(len(ticks), BEFORE_ALL)
            begins = np.append(True, ticks[1:] != ticks[:-1])[: len(ticks)]
        else:
            before = clock.closing.before(ticks)
            begins = moments < before
        firsts = starts_of(sorting.keys)
        begins[firsts] = True
        count = np.cumsum(begins)
        rounds = count - np.repeat(count.take(firsts), np.diff(np.append(firsts, len(ticks))))
        places = np.maximum.accumulate(np.where(begins, np.arange(len(rounds)), 0))
        return _Taken(timed, rounds, moments, ticks, before.take(places))

    def _round(self, taken: _Taken, number: int, clock: Clock | None) -> list[pa.RecordBatch]:
        """Take the rows of a round; what fires before them and, at the end of a stretch, after."""
        rows = taken.where(taken.rounds == number)
        if not len(rows.ticks):
            return []
        blocks, before = self._blocks(rows)
        stretches = self._sessions.stretches(blocks, blocks.column(HASH).to_numpy())
        old, hashes = self._sessions.touched(stretches, None)
        known = self._sessions.stretches(old, hashes)
        regions = Regions.of(known, stretches, self._sessions.gap_us)
        unsaid = old.column(UNSAID).to_numpy()
        said = []
        if self._hold is None and clock is not None:
            passed = np.full(regions.count, BEFORE_ALL)
            np.maximum.at(passed, regions.block, before)
            is_closed = known.last + self._sessions.gap_us <= passed.take(regions.old)
            said.append(self._fired(old, hashes, (unsaid > 0) & is_closed, clock))
            unsaid = np.where(is_closed, 0, unsaid)
        new = self._merged(old, hashes, unsaid, blocks, regions)
        of_new = new.column(HASH).to_numpy()
        if self._hold is not None:
            said.append(self._fired(new, of_new, np.ones(new.num_rows, np.bool_), None))
            new = _all_said(new, np.ones(new.num_rows, np.bool_))
        self._sessions.replace((old, hashes), (new.select(self._state.names), of_new))
        return said

    def _closed(self, taken: _Taken, clock: Clock) -> pa.RecordBatch:
        """What fires because the watermark has passed its end by the end of the epoch."""
        since = int(taken.moments.min(initial=AFTER_ALL - 1))
        found, hashes = self._sessions.ended(since, clock)
        last = found.column(LAST).to_numpy() + self._sessions.gap_us
        fires = (last <= clock.closing.end_us) & (found.column(UNSAID).to_numpy() > 0)
        at = np.flatnonzero(fires)
        gone = found.take(pa.array(at)), hashes.take(at)
        come = _all_said(gone[0], np.ones(len(at), np.bool_))
        self._sessions.replace(gone, (come, gone[1]), keeps_ends=True)
        return self._fired(found, hashes, fires, clock)

    def _fired(
        self, sessions: pa.RecordBatch, hashes: UInt64Array, fires: BoolArray, clock: Clock | None
    ) -> pa.RecordBatch:
        """Some sessions with the place of their firing: where they have closed, or after a row."""
        at = np.flatnonzero(fires)
        chosen = sessions.select(self._state.names).take(pa.array(at)).cast(self._state)
        latest = chosen.column(LATEST).to_numpy()
        ticks = self._sessions.places(chosen.column(LAST).to_numpy(), latest, clock)
        columns = [*chosen.columns, pa.array(hashes.take(at)), pa.array(ticks)]
        return pa.RecordBatch.from_arrays(columns, schema=self._said_schema)

    def _blocks(self, rows: _Taken) -> tuple[pa.RecordBatch, Int64Array]:
        """Partial results of the blocks that the rows make; the watermark before their round."""
        timed, moments = rows.rows, rows.moments
        keys = timed.select(self._keys).columns
        sorting = by_key_and_time(timed.column(HASH).to_numpy(), keys, moments)
        order = sorting.order
        moments = moments.take(order)
        number = islands(sorting.keys, moments, moments, self._sessions.gap_us)
        place = np.empty(len(number), dtype=np.int64)
        place[order] = number
        named = timed.select(self._visible.names).append_column(PLACE, pa.array(place))
        partials = in_order(self._layout.settled(self._partial.run(input=named)))
        begins, ends = bounds_of(number)
        counts = np.bincount(number, minlength=len(begins)).astype(np.int64)
        latest = np.maximum.reduceat(rows.ticks.take(order), begins)
        known = (moments.take(begins), moments.take(ends), counts, latest)
        before = rows.before.take(order).take(begins)
        numbers = dict(zip(_HIDDEN, known, strict=True))
        return numbered(partials, numbers, self._layout.carried(*_HIDDEN)), before

    def _merged(
        self,
        old: pa.RecordBatch,
        hashes: UInt64Array,
        unsaid: Int64Array,
        blocks: pa.RecordBatch,
        regions: Regions,
    ) -> pa.RecordBatch:
        """The session that each region becomes."""
        schema = self._layout.carried(PLACE)
        kept = np.arange(old.num_rows)
        if not self._node.is_accumulating:
            kept = np.flatnonzero(unsaid)
        counted = old.append_column(HASH, pa.array(hashes)).take(pa.array(kept))
        parts = [numbered(counted, {PLACE: regions.old.take(kept)}, schema)]
        parts.append(numbered(blocks, {PLACE: regions.block}, schema))
        merged = in_order(self._layout.settled(self._merge.run(input=joined(parts, schema))))
        counts, latest = np.zeros(regions.count, np.int64), np.full(regions.count, BEFORE_ALL)
        for rows, places, some in (
            (old, regions.old, unsaid),
            (blocks, regions.block, blocks.column(UNSAID).to_numpy()),
        ):
            np.add.at(counts, places, some)
            np.maximum.at(latest, places, rows.column(LATEST).to_numpy())
        known = (regions.first, regions.last, counts, latest)
        numbers = dict(zip(_HIDDEN, known, strict=True))
        return numbered(merged, numbers, self._layout.carried(*_HIDDEN))

    def _shown(self, rows: pa.RecordBatch) -> Delta:
        """Sessions as the node's columns, in the order of their firings."""
        if not rows.num_rows:
            return Delta(empty_batch(self.schema))
        first, ticks = rows.column(FIRST).to_numpy(), rows.column(TICK).to_numpy()
        rows = rows.take(pa.array(np.lexsort((first, rows.column(HASH).to_numpy(), ticks))))
        shown = published(self._layout, self._layout.read(rows))
        window, schema = self._window, self.schema
        first, last = (rows.column(name).to_numpy() for name in (FIRST, LAST))
        shown[window.start] = times(first, schema.field(window.start).type)
        ends = last + self._sessions.gap_us
        shown[window.end] = times(ends, schema.field(window.end).type)
        shown[TICK] = rows.column(TICK)
        return Delta(pa.RecordBatch.from_arrays([shown[n] for n in schema.names], schema=schema))


@dataclass(frozen=True, slots=True)
class _Taken:
    """The rows of an epoch, by key and place in the log.

    Args:
        rounds: The round of each.
        moments: Its time.
        ticks: Its place.
        before: The watermark before the first row of its key and round.

    """

    rows: pa.RecordBatch
    rounds: Int64Array
    moments: Int64Array
    ticks: Int64Array
    before: Int64Array

    def where(self, mask: BoolArray) -> _Taken:
        """Some of the rows."""
        at = np.flatnonzero(mask)
        arrays = (self.rounds, self.moments, self.ticks, self.before)
        return _Taken(self.rows.take(pa.array(at)), *(values.take(at) for values in arrays))


def _remembered(node: SessionPanes) -> Any:
    """The sessions, forgotten only when no row that is held can reach them."""
    window = node.window
    if window.lateness_us is None or node.every_us is None:
        return window
    return replace(window, lateness_us=window.lateness_us + node.every_us)


def _hold(node: SessionPanes) -> HoldOperator:
    assert node.every_us is not None
    fields = [*plain(node.input.schema), pa.field(TIME, pa.int64()), pa.field(KEY, pa.uint64())]
    held = Hold(node.input, node.every_us, node.window.sources, node.input.schema)
    return HoldOperator(held, pa.schema([*fields, pa.field(TICK, pa.int64())]))


def _all_said(sessions: pa.RecordBatch, said: BoolArray) -> pa.RecordBatch:
    """The sessions, some of which have no row that was in no firing."""
    place = sessions.schema.get_field_index(UNSAID)
    unsaid = np.where(said, 0, sessions.column(UNSAID).to_numpy())
    return sessions.set_column(place, sessions.schema.field(UNSAID), pa.array(unsaid))

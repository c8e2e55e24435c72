"""One row per group and session, where the groups are the keys of the sessions.

Rows that are never withdrawn only make sessions grow and meet, so no row is remembered: of a
session its bounds and partial results are. The rows of an epoch are grouped into blocks (stretches
of one key less than a gap apart) as partial results; these are merged with the sessions that they
touch. An epoch costs its rows and the sessions near them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array
from headwater.operators import render
from headwater.operators.accumulate import published
from headwater.operators.aggregate import shown_schema
from headwater.operators.islands import bounds_of, by_key_and_time, islands
from headwater.operators.isolate import run_isolating
from headwater.operators.lateness import times
from headwater.operators.layout import layout
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.render import TIME
from headwater.operators.runs import joined
from headwater.operators.session_regions import Regions
from headwater.operators.session_state import FIRST, LAST, Clock, LateRows, Sessions
from headwater.operators.sessions import timed_statement
from headwater.operators.statement import Engine, Rows, Statement, empty_batch, plain
from headwater.plan.nodes import Aggregate
from headwater.state.equality import BoolArray, rows_equal

# The block or the region that partial results are of.
PLACE = "__place"


class SessionTotalsOperator:
    """Keeps an `Aggregate` by session up to date, over rows that are never withdrawn.

    Args:
        node: What to compute; its keys are those of the sessions.
        input_schema: The columns of the input of the linear stretch below the node. They include
            ticks when the node decides lateness.

    """

    def __init__(self, node: Aggregate, input_schema: pa.Schema, engine: Engine) -> None:
        assert node.window is not None
        assert WEIGHT not in input_schema.names, "a session's total takes no row back"
        self._node, self._window = node, node.window
        self._keys = list(node.keys)
        self._layout = layout(node, is_weighted=False, has_ticks=False)
        spec = node.window.spec
        self._timed = timed_statement(node.input, spec.time, node.keys, input_schema, engine)
        self._late = LateRows(node.window, node.input.schema, node.schema)
        self._partial = self._partial_statement(engine)
        self._merge = Statement(
            engine,
            self._layout.combined(render.INPUT, (PLACE,)),
            {render.INPUT: self._layout.carried(PLACE)},
            is_ordered=self._layout.is_ordered,
        )
        self._sessions = Sessions(self._layout.state(FIRST, LAST), self._keys, node.window)
        self._has_ticks = TICK in input_schema.names and node.window.lateness_us is not None
        self.schema = shown_schema(node, [WEIGHT, *([TICK] if self._has_ticks else [])])

    def is_due(self, epoch: Epoch) -> bool:
        """Sessions close when the watermark moves."""
        return self._sessions.is_due(Clock.of(self._window, epoch))

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Add the rows of an epoch and let the watermark pass; return the sessions that changed."""
        clock = Clock.of(self._window, epoch)
        timed, _ = run_isolating(self._timed, rows, epoch.failed)
        blocks, places = self._blocks(self._late.taken_out(timed, clock, epoch.late))
        stretches = self._sessions.stretches(blocks, blocks.column(HASH).to_numpy())
        old, hashes = self._sessions.touched(stretches, clock)
        known = self._sessions.stretches(old, hashes)
        regions = Regions.of(known, stretches, self._sessions.gap_us)
        new = self._merged(old, hashes, blocks, regions)
        was, is_now = self._sessions.published(known.last, regions.last, clock)
        is_touched = regions.has(regions.block)
        same = self._reads_same(old, new, regions) | ~is_touched[regions.old]
        # What readers see already, as it is, is not said again.
        unseen = regions.has(regions.old[was & same & is_now[regions.old]])
        withdrawn = was & ~unseen[regions.old]
        chosen = (np.flatnonzero(withdrawn), np.flatnonzero(is_now & ~unseen))
        ticks = None
        if places is not None:
            first = regions.first_places(places)
            sides = (known.last, first.take(regions.old)), (regions.last, first)
            ticks = np.concatenate(
                [
                    self._sessions.places(last.take(at), of.take(at), clock)
                    for (last, of), at in zip(sides, chosen, strict=True)
                ]
            )
        said = self._said(old, chosen[0], new, chosen[1], ticks)
        gone = np.flatnonzero(is_touched[regions.old])
        come = np.flatnonzero(is_touched)
        self._sessions.replace(
            (old.take(pa.array(gone)), hashes.take(gone)),
            (new.take(pa.array(come)), new.column(HASH).to_numpy().take(come)),
        )
        self._sessions.forget(clock)
        return said

    def save(self, saver: Saver) -> Any:
        """Hand over the sessions."""
        return self._sessions.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the sessions back."""
        self._sessions.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of the sessions."""
        return self._sessions.size()

    def waits_until(self) -> int | None:
        """The first end of a session that the watermark has not passed."""
        return self._sessions.waits_until()

    def _partial_statement(self, engine: Engine) -> Statement:
        """The statement from rows with the number of their block to partial results."""
        node = self._node
        fields = [*plain(node.input.schema), pa.field(PLACE, pa.int64())]
        read = [*render.typed(node.input.schema), render.column(PLACE)]
        rows = render.select(read, render.INPUT, None)
        query = self._layout.partial(rows, (PLACE,))
        inputs = {render.INPUT: pa.schema(fields)}
        return Statement(engine, query, inputs, is_ordered=self._layout.is_ordered)

    def _blocks(self, timed: pa.RecordBatch) -> tuple[pa.RecordBatch, Int64Array | None]:
        """Partial results of the blocks that the rows make, and the first place of each."""
        schema = self._layout.carried(FIRST, LAST)
        if not timed.num_rows:
            return empty_batch(schema), np.zeros(0, np.int64) if self._has_ticks else None
        moments = timed.column(TIME).to_numpy()
        keys = timed.select(self._keys).columns
        sorting = by_key_and_time(timed.column(HASH).to_numpy(), keys, moments)
        moments = moments.take(sorting.order)
        number = islands(sorting.keys, moments, moments, self._sessions.gap_us)
        place = np.empty(len(number), dtype=np.int64)
        place[sorting.order] = number
        names = self._node.input.schema.names
        rows = timed.select(names).append_column(PLACE, pa.array(place))
        partials = in_order(self._layout.settled(self._partial.run(input=rows)))
        begins, ends = bounds_of(number)
        bounded = numbered(
            partials, {FIRST: moments.take(begins), LAST: moments.take(ends)}, schema
        )
        if not self._has_ticks:
            return bounded, None
        ticks = timed.column(TICK).to_numpy().take(sorting.order)
        return bounded, np.minimum.reduceat(ticks, begins)

    def _merged(
        self, old: pa.RecordBatch, hashes: Any, blocks: pa.RecordBatch, regions: Regions
    ) -> pa.RecordBatch:
        """The partial results of each region, in the order of the regions."""
        schema = self._layout.carried(PLACE)
        parts = [numbered(old.append_column(HASH, pa.array(hashes)), {PLACE: regions.old}, schema)]
        parts.append(numbered(blocks, {PLACE: regions.block}, schema))
        merged = in_order(self._layout.settled(self._merge.run(input=joined(parts, schema))))
        bounds = {FIRST: regions.first, LAST: regions.last}
        return numbered(merged, bounds, self._layout.carried(FIRST, LAST))

    def _reads_same(self, old: pa.RecordBatch, new: pa.RecordBatch, regions: Regions) -> BoolArray:
        """Which old sessions a reader could not tell from the new one of their region."""
        after = new.take(pa.array(regions.old))
        before, now = self._shown(old), self._shown(after)
        names = [partial.name for partial in self._node.partials]
        pairs = [(before[name], now[name].cast(before[name].type)) for name in names]
        pairs += [(old.column(name), after.column(name)) for name in (FIRST, LAST)]
        same = rows_equal([a for a, _ in pairs], None, [b for _, b in pairs], None)
        assert same is not None
        return same

    def _shown(self, rows: pa.RecordBatch) -> dict[str, pa.Array]:
        """What sessions show, without their bounds."""
        return published(self._layout, self._layout.read(rows))

    def _said(
        self,
        old: pa.RecordBatch,
        gone: Int64Array,
        new: pa.RecordBatch,
        come: Int64Array,
        ticks: Int64Array | None,
    ) -> Delta:
        """Old sessions withdrawn, and new ones published."""
        schema = self._layout.state(FIRST, LAST)
        names = schema.names
        left = old.select(names).take(pa.array(gone)).cast(schema)
        there = new.select(names).take(pa.array(come)).cast(schema)
        rows = joined([left, there], schema)
        shown = self._shown(rows)
        first, last = (rows.column(name).to_numpy() for name in (FIRST, LAST))
        window, schema = self._window, self.schema
        shown[window.start] = times(first, schema.field(window.start).type)
        ends = last + self._sessions.gap_us
        shown[window.end] = times(ends, schema.field(window.end).type)
        signs = np.repeat(np.array([-1, 1], dtype=np.int64), [left.num_rows, there.num_rows])
        shown[WEIGHT] = pa.array(signs)
        if ticks is not None:
            shown[TICK] = pa.array(ticks)
        return Delta(pa.RecordBatch.from_arrays([shown[n] for n in schema.names], schema=schema))


def in_order(partials: pa.RecordBatch) -> pa.RecordBatch:
    """Partial results in the order of their places, of which each has one."""
    return partials.take(pa.array(np.argsort(partials.column(PLACE).to_numpy())))


def numbered(
    partials: pa.RecordBatch, numbers: Mapping[str, Int64Array], schema: pa.Schema
) -> pa.RecordBatch:
    """Partial results with what is known of them instead of what they carried: bounds, or a place.

    Args:
        numbers: By the name of the column; others of the schema are those of the partial results.

    """
    columns = [
        pa.array(numbers[f.name], pa.int64()) if f.name in numbers else partials.column(f.name)
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)

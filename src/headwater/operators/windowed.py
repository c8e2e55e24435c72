"""One row per group and window of time.

Rows are aggregated into slices (`slices`), fused with the maps below. Without `final` the slices
an epoch touched are merged into the totals of their windows, and what changed is published. With
`final` they wait (`runs`) until the watermark passes the end of a window; then the window's
slices are merged and published once, and its total is kept only as long as rows may still correct
it.

Whether a row is late (`lateness`) is first asked of whole groups, by the tick of their last row:
only an epoch in which some row is late is looked at row by row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta, Int64Array, ones
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators import render
from headwater.operators.accumulate import Totals, published
from headwater.operators.aggregate import shown_schema
from headwater.operators.counting import counting
from headwater.operators.feed import source_of
from headwater.operators.isolate import run_isolating
from headwater.operators.late_path import LatePath
from headwater.operators.lateness import Lateness, ticks_of, times
from headwater.operators.layout import FROM, ROWS, SLICE, START, Layout, layout
from headwater.operators.merging import can_merge, merged
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.render import TIME
from headwater.operators.runs import Runs, joined
from headwater.operators.slices import Grid, Span
from headwater.operators.statement import Engine, Rows, Statement, empty_batch
from headwater.operators.tumbling import Tumbling
from headwater.operators.window_order import by_slice, by_window, window_hashes
from headwater.plan.nodes import Aggregate, GroupWindow


class WindowedOperator:
    """Keeps an `Aggregate` with windows up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input of the linear stretch below the node. They include
            ticks when the node decides lateness.

    """

    def __init__(self, node: Aggregate, input_schema: pa.Schema, engine: Engine) -> None:
        assert node.window is not None
        self._node = node
        self._window: GroupWindow = node.window
        self._hidden = [n for n in (WEIGHT, TICK) if n in input_schema.names]
        self._tick_index = input_schema.get_field_index(TICK)
        self._layout = layout(node, is_weighted=WEIGHT in self._hidden, has_ticks=self._has_ticks)
        self._grid = Grid.of(node.window.spec)
        self._rule = _rule(node.window, self._grid)
        self._partial = partial_statement(node, self._layout, input_schema, engine)
        self._late_path = (
            LatePath(node, self._layout, self._rule, input_schema, engine) if self._rule else None
        )
        is_tumbling = self._grid.is_tumbling and node.window.final and node.window.is_once
        self._tumbling = Tumbling(self._layout, engine) if is_tumbling else None
        self._counting = counting(node, self._layout, engine, has_hash=not is_tumbling)
        self._time = source_of(node.input, node.window.spec.time)
        self._merge = Statement(
            engine,
            self._layout.combined(render.INPUT, (START,)),
            {render.INPUT: self._layout.carried(START)},
            is_ordered=self._layout.is_ordered,
        )
        self._pending: Runs | None = None
        if self._tumbling is not None:
            self._pending = self._tumbling.runs
        elif node.window.final:
            self._pending = self._runs(engine)
        self._totals = None if node.window.is_once else Totals(engine, self._layout, (START,))
        self._closed_us = BEFORE_ALL
        weight = [] if node.append_only else [WEIGHT]
        self.schema = shown_schema(node, [*weight, *([TICK] if self._has_ticks else [])])

    @property
    def _has_ticks(self) -> bool:
        return TICK in self._hidden

    def is_due(self, epoch: Epoch) -> bool:
        """Windows close when the watermark moves."""
        if self._rule is None or self._window.sources not in epoch.watermarks:
            return False
        # A total that waits to be complete is dropped later, in an epoch that has work.
        return epoch.closing(self._window.frontier).end_us > self._closed_us

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Add the rows of an epoch and let the watermark pass; return the windows that changed."""
        return self._passed(self._fresh(rows, epoch), epoch)

    def time_column(self) -> str | None:
        """The input's column by which rows are held for their windows; None: places are needed."""
        return self._time if self._pending is not None else None

    def step_in_time(self, rows: Rows, epoch: Epoch) -> Delta | None:
        """As `step`, with rows without places, all of which came before their time had passed.

        None where their places count all the same, or where windows close before that.
        """
        if self._window.frontier.sources in epoch.ready or self._layout.is_ordered:
            return None
        partials = None
        if self._counting is not None:
            partials = self._counting.partials(rows, has_ticks=False)
        if partials is None:
            # As when they are counted, groups are said to stand before all.
            nowhere = pa.array(np.full(rows.num_rows, BEFORE_ALL, dtype=np.int64))
            placed = rows.add_column(self._tick_index, pa.field(TICK, pa.int64()), nowhere)
            partials, _ = run_isolating(self._partial, placed, epoch.failed)
            partials = self._ordered(self._layout.settled(partials))
        return self._passed(self._from_first(partials), epoch)

    def _passed(self, fresh: pa.RecordBatch, epoch: Epoch) -> Delta:
        """Add the partial results of an epoch and let the watermark pass."""
        if self._rule is None:
            return self._changed(self._exploded(fresh, Span()), None)
        curve = epoch.closing(self._window.frontier)
        if self._tumbling is not None:
            changed = self._closed(self._tumbling, fresh, curve)
        elif self._pending is None:
            changed = self._changed(self._exploded(fresh, Span()), None)
        else:
            changed = self._changed(self._due(self._pending, fresh, curve), curve)
        self._pass(curve.end_us, epoch.passed(self._window.frontier).end_us)
        return changed

    def save(self, saver: Saver) -> Any:
        """Hand over the open windows and the totals."""
        return {
            "closed_us": self._closed_us,
            "pending": self._pending.save(saver) if self._pending else None,
            "totals": self._totals.save(saver) if self._totals else None,
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back the open windows and the totals."""
        self._closed_us = manifest["closed_us"]
        if self._pending:
            self._pending.load(manifest["pending"], loader)
        if self._totals:
            self._totals.load(manifest["totals"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of the open windows and the totals."""
        sizes = [part.size() for part in (self._pending, self._totals) if part is not None]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def waits_until(self) -> int | None:
        """The end of the first window that is open and has rows."""
        first = None if self._pending is None else self._pending.lowest()
        if first is None:
            return None
        natural = int(self._grid.start_first(np.array([first], dtype=np.int64))[0])
        start = max(natural, self._grid.open_from(self._closed_us))
        return start + self._grid.size_us + self._window.behind_us

    def _runs(self, engine: Engine) -> Runs:
        """Where the slices of open windows wait; runs are merged by merging equal groups."""
        places = (SLICE, FROM)
        schema = self._layout.carried(*places)
        query = self._layout.combined(render.INPUT, places)
        inputs = {render.INPUT: schema}
        merge = Statement(engine, query, inputs, is_ordered=self._layout.is_ordered)
        return Runs(
            schema,
            SLICE,
            lambda rows: by_slice(self._layout.settled(merge.run(input=rows)), self._grid.width_us),
        )

    def _fresh(self, rows: Rows, epoch: Epoch) -> pa.RecordBatch:
        """The epoch's partial results by slice, without the rows that are late."""
        if not rows.num_rows:
            return self._from_first(empty_batch(self._layout.carried(SLICE)))
        counted = self._counted(rows, epoch)
        if counted is not None:
            return self._from_first(counted)
        partials, good = run_isolating(self._partial, rows, epoch.failed)
        partials = self._ordered(self._layout.settled(partials))
        if self._late_path is not None:
            assert self._rule is not None
            curve = epoch.passed(self._window.frontier)
            slices, ticks = (partials.column(name).to_numpy() for name in (SLICE, TICK))
            if self._rule.may_be_late(slices, ticks, curve):
                kept = self._late_path.partials(good, curve, epoch.late)
                return self._ordered(self._layout.settled(kept))
        return self._from_first(partials)

    def _counted(self, rows: Rows, epoch: Epoch) -> pa.RecordBatch | None:
        """The same by counting, if the rows suit and none of them can be late."""
        if self._counting is None:
            return None
        if self._rule is None:
            return self._counting.partials(rows, has_ticks=self._has_ticks)
        times = self._counting.times(rows)
        if times is None:
            return None
        curve = epoch.passed(self._window.frontier)
        # Of rows that come before their windows close the place is not asked again.
        closing = epoch.closing(self._window.frontier)
        if self._pending is not None and self._rule.is_before(times, closing, 0):
            return self._counting.partials(rows, has_ticks=False)
        if not self._rule.is_before(times, curve, self._rule.lateness_us):
            return None
        return self._counting.partials(rows, has_ticks=True)

    def _ordered(self, partials: pa.RecordBatch) -> pa.RecordBatch:
        """What DuckDB grouped, in an order that does not depend on its threads."""
        return by_slice(partials, self._grid.width_us) if self._tumbling is None else partials

    def _from_first(self, partials: pa.RecordBatch) -> pa.RecordBatch:
        """Partial results that count for all windows of their slices."""
        if self._tumbling is not None:
            return partials
        slices: Int64Array = partials.column(SLICE).to_numpy()
        position = partials.schema.get_field_index(SLICE) + 1
        natural = pa.array(self._grid.start_first(slices))
        return partials.add_column(position, pa.field(FROM, pa.int64()), natural)

    def _due(self, pending: Runs, fresh: pa.RecordBatch, curve: WatermarkCurve) -> pa.RecordBatch:
        """What to add to closed windows: corrections of old ones, and the whole of new ones."""
        pending.add(fresh)
        parts = []
        if self._totals is not None and self._closed_us > BEFORE_ALL:
            parts.append(self._exploded(fresh, Span(until_us=self._closed_us)))
        if curve.end_us > self._closed_us:
            span = Span(self._closed_us, curve.end_us)
            first = self._grid.open_from(self._closed_us)
            parts.append(self._exploded(pending.between(first, curve.end_us), span))
        return joined(parts, self._layout.carried(START))

    def _closed(self, tumbling: Tumbling, fresh: pa.RecordBatch, curve: WatermarkCurve) -> Delta:
        """The windows that close, of which each is published but once."""
        tumbling.add(fresh)
        if curve.end_us <= self._closed_us:
            return Delta(empty_batch(self.schema))
        first, stop = (self._grid.open_from(us) for us in (self._closed_us, curve.end_us))
        names = [START if n == SLICE else n for n in tumbling.schema.names]
        told = [
            self._told(part.rename_columns(names), curve) for part in tumbling.closed(first, stop)
        ]
        batches = [delta.rows for delta in told if len(delta)]
        if len(batches) > 1:
            return Delta(pa.Table.from_batches(batches))
        return Delta(batches[0] if batches else empty_batch(self.schema))

    def _exploded(self, partials: pa.RecordBatch, span: Span) -> pa.RecordBatch:
        """Partial results by slice as partial results by window, not yet merged."""
        slices = partials.column(SLICE).to_numpy()
        starts_from = partials.column(FROM).to_numpy()
        index, starts = self._grid.explode(slices, starts_from, span)
        schema = self._layout.carried(START)
        rows = partials.select([name for name in schema.names if name != START])
        if len(index) != partials.num_rows or not np.array_equal(index, np.arange(len(index))):
            rows = rows.take(pa.array(index))
        columns = {name: rows.column(name) for name in rows.schema.names}
        columns[START] = pa.array(starts, type=pa.int64())
        return pa.RecordBatch.from_arrays([columns[n] for n in schema.names], schema=schema)

    def _changed(self, due: pa.RecordBatch, curve: WatermarkCurve | None) -> Delta:
        """Merge partial results of windows, add them to the totals, and say what is new."""
        if not due.num_rows:
            return Delta(empty_batch(self.schema))
        # One epoch's partial results by slice are already one row per group and tumbling window.
        is_merged = self._grid.is_tumbling and self._pending is None
        merged = by_window(due) if is_merged else self._merged(due)
        return self._told(merged, curve)

    def _told(self, merged: pa.RecordBatch, curve: WatermarkCurve | None) -> Delta:
        """What is new by one row for each group and window."""
        if curve is not None and self._has_ticks:
            merged = self._ticked(merged, curve)
        if self._totals is not None:
            return self._shown(self._totals.add(merged))
        has_rows = merged.column(ROWS).to_numpy() > 0
        kept = merged if has_rows.all() else merged.take(pa.array(np.flatnonzero(has_rows)))
        rows = self._layout.read(kept)
        if WEIGHT in self.schema.names:
            rows = rows.append_column(WEIGHT, pa.array(ones(rows.num_rows)))
        return self._shown(rows)

    def _merged(self, due: pa.RecordBatch) -> pa.RecordBatch:
        """One row for each group and window, as `by_window` orders them."""
        if can_merge(self._layout):
            keys = [*self._layout.keys.names, START]
            found = merged(due, window_hashes(due), self._layout, keys)
            if found is not None:
                return found
        return by_window(self._layout.settled(self._merge.run(input=due)))

    def _ticked(self, merged: pa.RecordBatch, curve: WatermarkCurve) -> pa.RecordBatch:
        """A closed window's row stands where the window closed, or where its correction came."""
        ends = merged.column(START).to_numpy() + self._grid.size_us
        closed_at = ticks_of(curve, ends, self._grid.slide_us)
        ticks = np.maximum(merged.column(TICK).to_numpy(), closed_at)
        index = merged.schema.get_field_index(TICK)
        return merged.set_column(index, merged.schema.field(index), pa.array(ticks))

    def _shown(self, changes: pa.RecordBatch) -> Delta:
        """State columns as the node's columns and the hidden ones."""
        shown = published(self._layout, changes)
        starts = changes.column(START).to_numpy()
        schema, window = self.schema, self._window
        first, end = self._grid.start_shown(starts), starts + self._grid.size_us
        shown[window.start] = times(first, schema.field(window.start).type)
        shown[window.end] = times(end, schema.field(window.end).type)
        for name in (WEIGHT, TICK):
            if name in schema.names:
                shown[name] = changes.column(name)
        return Delta(pa.RecordBatch.from_arrays([shown[n] for n in schema.names], schema=schema))

    def _pass(self, closing_us: int, complete_us: int) -> None:
        """Drop what the watermark has passed: slices of closed windows, totals of final ones."""
        assert self._rule is not None
        self._closed_us = max(self._closed_us, closing_us)
        if self._pending is not None:
            # The first window that is still open begins with the first slice that still counts.
            self._pending.take_below(self._grid.open_from(self._closed_us))
        bound = self._rule.closed_until(complete_us)
        if self._totals is None:
            return
        if bound > BEFORE_ALL:
            self._totals.forget_below(START, min(bound, AFTER_ALL))


def _rule(window: GroupWindow, grid: Grid) -> Lateness | None:
    return None if window.lateness_us is None else Lateness(grid, window.lateness_us)


def partial_statement(
    node: Aggregate, layout: Layout, input_schema: pa.Schema, engine: Engine
) -> Statement:
    """The statement from the rows of the input to partial results by slice."""
    assert node.window is not None
    spec = node.window.spec
    hidden = [n for n in (WEIGHT, TICK) if n in input_schema.names]
    names = [*node.input.schema.names, *hidden]
    timed = render.with_time(render.stretch(node.input, hidden), spec.time, names)
    width = Grid.of(spec).width_us
    slice_us = render.named(render.aligned(render.column(TIME), width, spec.offset_us), SLICE)
    sliced = render.select([*map(render.column, names), slice_us], timed, None)
    query = layout.partial(sliced, (SLICE,))
    return Statement(engine, query, {render.INPUT: input_schema}, is_ordered=layout.is_ordered)

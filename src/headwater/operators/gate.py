"""Assign rows to windows, and decide which of them come too late.

With `final` a row is held back until the watermark passes the end of its window; rows that come
for a closed window within the lateness go straight through. Rows beyond the lateness go to the
epoch's late rows. The held rows are the state; they lie in few sorted runs, like the slices of an
aggregate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta, Int64Array
from headwater.delta.watermark import BEFORE_ALL, WatermarkCurve
from headwater.operators import render
from headwater.operators.isolate import run_isolating
from headwater.operators.lateness import Lateness, late_batch, late_rows, ticks_of, times
from headwater.operators.layout import START
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.render import TIME
from headwater.operators.runs import Runs, joined
from headwater.operators.slices import Grid, Span
from headwater.operators.statement import Engine, Rows, Statement, plain
from headwater.plan.nodes import Windows


class GateOperator:
    """Keeps a `Windows` node that decides lateness up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input of the linear stretch below; they include ticks.

    """

    def __init__(self, node: Windows, input_schema: pa.Schema, engine: Engine) -> None:
        assert node.lateness_us is not None, "a window without a bound on lateness is linear"
        self._node = node
        self._grid = Grid.of(node.spec)
        self._rule = Lateness(self._grid, node.lateness_us)
        hidden = [n for n in (WEIGHT, TICK) if n in input_schema.names]
        self._names = [*node.input.schema.names, *hidden]
        rows = render.with_time(render.stretch(node.input, hidden), node.spec.time, self._names)
        self._rows = Statement(engine, rows, {render.INPUT: input_schema}, is_ordered=False)
        self.schema = pa.schema([*plain(node.schema), *(pa.field(n, pa.int64()) for n in hidden)])
        timed = [self._rows.schema.field(name) for name in self._names]
        self._held_schema = pa.schema([*timed, pa.field(START, pa.int64())])
        self._held = Runs(self._held_schema, START)
        self._closed_us = BEFORE_ALL

    def is_due(self, epoch: Epoch) -> bool:
        """Held rows come out when the watermark moves."""
        return self._node.final and epoch.closing(self._node.frontier).end_us > self._closed_us

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Take the rows of an epoch; return those of closed windows, and the corrections."""
        curve = epoch.passed(self._node.frontier)
        timed, _ = run_isolating(self._rows, rows, epoch.failed)
        fresh = self._in_time(timed, curve, epoch.late)
        if not self._node.final:
            return self._shown(fresh, None)
        curve = epoch.closing(self._node.frontier)
        ends = fresh.column(START).to_numpy() + self._grid.size_us
        is_correction = ends <= self._closed_us
        corrections = fresh.take(pa.array(np.flatnonzero(is_correction)))
        self._held.add(fresh.take(pa.array(np.flatnonzero(~is_correction))))
        self._closed_us = max(self._closed_us, curve.end_us)
        due = self._held.take_below(self._grid.open_from(self._closed_us))
        return self._shown(joined([corrections, due], self._held_schema), curve)

    def save(self, saver: Saver) -> Any:
        """Hand over the rows that wait."""
        return {"closed_us": self._closed_us, "held": self._held.save(saver)}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the waiting rows back."""
        self._closed_us = manifest["closed_us"]
        self._held.load(manifest["held"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that wait."""
        return self._held.size()

    def waits_until(self) -> int | None:
        """The end of the first window that holds rows."""
        start = self._held.lowest()
        end_us = self._grid.size_us + self._node.behind_us
        return None if start is None else start + end_us

    def _in_time(
        self, timed: pa.RecordBatch, curve: WatermarkCurve, late: list[pa.RecordBatch]
    ) -> pa.RecordBatch:
        """Each row once for each window that it is in time for, with the window's start."""
        slices = self._grid.slice_of(timed.column(TIME).to_numpy())
        watermarks = curve.before(timed.column(TICK).to_numpy())
        missed = late_rows(timed, slices, rule=self._rule, watermarks=watermarks)
        if missed is not None:
            late.append(self._late_batch(missed))
        index, starts = self._grid.explode(slices, self._rule.first_in_time(watermarks), Span())
        taken = timed.select(self._names).take(pa.array(index))
        columns = [*taken.columns, pa.array(starts, type=pa.int64())]
        return pa.RecordBatch.from_arrays(columns, schema=self._held_schema)

    def _late_batch(self, missed: tuple[pa.RecordBatch, Int64Array, Int64Array]) -> pa.RecordBatch:
        node = self._node
        start, end = (pa.field(n, node.schema[n].type.arrow) for n in (node.start, node.end))
        columns = node.input.schema
        return late_batch(missed, columns=columns, grid=self._grid, window=(start, end))

    def _shown(self, rows: pa.RecordBatch, curve: WatermarkCurve | None) -> Delta:
        """The rows with their windows' bounds; held rows stand where their window closed."""
        starts = rows.column(START).to_numpy()
        ends = starts + self._grid.size_us
        shown = {name: rows.column(name) for name in self._names}
        starts = self._grid.start_shown(starts)
        shown[self._node.start] = times(starts, self.schema.field(self._node.start).type)
        shown[self._node.end] = times(ends, self.schema.field(self._node.end).type)
        if curve is not None:
            shown[TICK] = pa.array(
                np.maximum(shown[TICK].to_numpy(), ticks_of(curve, ends, self._grid.slide_us))
            )
        columns = [shown[name] for name in self.schema.names]
        return Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema))

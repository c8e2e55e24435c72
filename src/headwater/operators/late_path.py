"""The way of an epoch in which some row is late: row by row.

DuckDB computes the rows below the aggregate, numpy tells which of them are in time for which of
their windows, and what is in time is grouped by slice and by the first window that it counts for.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Int64Array
from headwater.delta.watermark import WatermarkCurve
from headwater.operators import render
from headwater.operators.lateness import Lateness, late_batch, late_rows
from headwater.operators.layout import FROM, SLICE, Layout
from headwater.operators.render import TIME
from headwater.operators.statement import Engine, Rows, Statement, plain
from headwater.plan.nodes import Aggregate


class LatePath:
    """The way of an epoch in which some row is late: row by row."""

    def __init__(
        self,
        node: Aggregate,
        layout: Layout,
        rule: Lateness,
        input_schema: pa.Schema,
        engine: Engine,
    ) -> None:
        assert node.window is not None
        hidden = [n for n in (WEIGHT, TICK) if n in input_schema.names]
        names = [*node.input.schema.names, *hidden]
        self._node, self._window, self._rule = node, node.window, rule
        rows = render.with_time(render.stretch(node.input, hidden), node.window.spec.time, names)
        # In order, because late rows are told in the order of the log.
        self._rows = Statement(engine, rows, {render.INPUT: input_schema}, is_ordered=False)
        fields = [*plain(node.input.schema)]
        fields += [pa.field(n, pa.int64()) for n in (*hidden, SLICE, FROM)]
        read = [*render.typed(node.input.schema), *map(render.column, (*hidden, SLICE, FROM))]
        self._schema = pa.schema(fields)
        self._partial = Statement(
            engine,
            layout.partial(render.select(read, render.INPUT, None), (SLICE, FROM)),
            {render.INPUT: self._schema},
            is_ordered=layout.is_ordered,
        )

    def partials(
        self, rows: Rows, curve: WatermarkCurve, late: list[pa.RecordBatch]
    ) -> pa.RecordBatch:
        """The partial results of what is in time; the rest goes to `late`."""
        timed = self._rows.run(input=rows)
        grid = self._rule.grid
        slices = grid.slice_of(timed.column(TIME).to_numpy())
        watermarks = curve.before(timed.column(TICK).to_numpy())
        missed = late_rows(timed, slices, rule=self._rule, watermarks=watermarks)
        if missed is not None:
            late.append(self._late_batch(missed))
        starts_from = np.maximum(grid.start_first(slices), self._rule.first_in_time(watermarks))
        kept = np.flatnonzero(starts_from <= grid.start_last(slices))
        read = timed.select(self._schema.names[:-2]).take(pa.array(kept))
        columns = [*read.columns, pa.array(slices[kept]), pa.array(starts_from[kept])]
        return self._partial.run(input=pa.RecordBatch.from_arrays(columns, schema=self._schema))

    def _late_batch(self, missed: tuple[pa.RecordBatch, Int64Array, Int64Array]) -> pa.RecordBatch:
        schema = self._node.schema
        window = tuple(
            pa.field(name, schema[name].type.arrow)
            for name in (self._window.start, self._window.end)
        )
        return late_batch(
            missed,
            columns=self._node.input.schema,
            grid=self._rule.grid,
            window=(window[0], window[1]),
        )

"""Each row once, as long as it is there at least once.

The number of times that a row is there is remembered; where rows are never withdrawn it is enough
to remember that it was seen. A row with a closed time (`plan.closing`) is forgotten. An epoch costs
a look-up per row that changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import TICK, Delta, Int64Array
from headwater.operators.meeting import meeting
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.sides import Part, output_schema, together, visible_fields
from headwater.plan.closing import bounded
from headwater.plan.nodes import Distinct
from headwater.state.equality import first_alike, taken
from headwater.state.latest import Latest
from headwater.state.run import ascending, summed

_COUNT = "__count"


class DistinctOperator:
    """Keeps a `Distinct` up to date.

    Args:
        node: What to compute.
        input_schema: The input's columns, with the hash over all visible ones.

    """

    def __init__(self, node: Distinct, input_schema: pa.Schema) -> None:
        fields = visible_fields(input_schema)
        self._names = [f.name for f in fields]
        self._weighted = not node.append_only
        self._has_ticks = TICK in input_schema.names
        self._bounded = bounded(node)
        count = [pa.field(_COUNT, pa.int64())] if self._weighted else []
        self._known = Latest(pa.schema([*fields, *count]), self._names)
        self.schema = output_schema(fields, weighted=self._weighted, has_ticks=self._has_ticks)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed in the input; return the rows that came for the first time or left."""
        (change,) = inputs
        if not len(change):
            return together([], self.schema)
        distinct = self._changed(change)
        if self._bounded is not None:
            (column,) = self._bounded.columns
            self._known.forget_below(column, epoch.passed(self._bounded.frontier).end_us)
        return distinct

    def save(self, saver: Saver) -> Any:
        """Hand over the rows that are there."""
        return self._known.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the rows back."""
        self._known.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        return self._known.size()

    def _changed(self, change: Delta) -> Delta:
        """The rows of a change that came for the first time or left."""
        if not self._weighted:
            change = self._firsts(change)
        order = ascending(change.hashes, None)
        rows = change.rows.select(self._names)
        sorted_columns = [taken(column, order) for column in rows.columns]
        first = first_alike(change.hashes.take(order), sorted_columns)
        if first is None:
            first = np.arange(len(order))
        # The first and not the sorted order, so that the output is in the order of the log.
        groups = order.take(first)
        places = np.sort(groups[first == np.arange(len(order))])
        parts = self._weigh if self._weighted else self._seen
        distinct = pa.RecordBatch.from_arrays(
            [taken(column, places) for column in rows.columns], names=self._names
        )
        ticks = self._ticks(change, order, groups, places)
        ones = np.ones(len(order), dtype=np.int64)
        weights = ones if change.weights is None else change.weights.take(order)
        totals = summed(weights, groups)
        return together(
            parts(distinct, change.hashes.take(places), totals.take(places), ticks), self.schema
        )

    def _firsts(self, change: Delta) -> Delta:
        """The change without most of the rows that come again in it."""
        met = meeting(change.hashes, change.rows.select(self._names).columns)
        return change if met is None else Delta(change.rows.take(pa.array(met.firsts())))

    def _seen(
        self, rows: pa.RecordBatch, hashes: Any, totals: Int64Array, ticks: Int64Array | None
    ) -> list[Part]:
        """The rows that were never seen before."""
        new = np.flatnonzero(~self._known.find(rows, hashes).mask)
        columns = [taken(column, new) for column in rows.columns]
        batch = pa.RecordBatch.from_arrays(columns, names=self._names)
        self._known.put(batch, hashes.take(new))
        return [Part(columns, None, None if ticks is None else ticks.take(new))]

    def _weigh(
        self, rows: pa.RecordBatch, hashes: Any, totals: Int64Array, ticks: Int64Array | None
    ) -> list[Part]:
        """The rows whose number left zero, or reached it."""
        found = self._known.find(rows, hashes)
        old = pc.fill_null(found.rows.column(_COUNT), 0).to_numpy(zero_copy_only=False)
        new = old + totals
        moved = np.flatnonzero(totals)
        counts = new.take(moved)
        columns = [*(taken(column, moved) for column in rows.columns), pa.array(counts)]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._known.schema)
        self._known.put(batch, hashes.take(moved), removed=counts == 0)
        signs = (new > 0).astype(np.int64) - (old > 0)
        come, gone = np.flatnonzero(signs > 0), np.flatnonzero(signs < 0)
        # What leaves is the row that came, also where -0.0 is withdrawn and 0.0 was added.
        left = [taken(found.rows.column(name), gone) for name in self._names]
        added = [taken(column, come) for column in rows.columns]
        return [
            Part(left, signs.take(gone), None if ticks is None else ticks.take(gone)),
            Part(added, signs.take(come), None if ticks is None else ticks.take(come)),
        ]

    def _ticks(
        self, change: Delta, order: Int64Array, groups: Int64Array, places: Int64Array
    ) -> Int64Array | None:
        """The tick of each distinct row: of its first, or, with withdrawals, of its last change."""
        if change.ticks is None:
            return None
        if not self._weighted:
            return change.ticks.take(places)
        latest = np.full(len(order), np.iinfo(np.int64).min)
        np.maximum.at(latest, groups, change.ticks.take(order))
        return latest.take(places)

"""EXCEPT and INTERSECT, with and without ALL.

What comes of a row depends only on how often each side has it. Both counts are remembered for each
row that any side has, and when they change, what comes of them changes by the difference: no row is
withdrawn to be added again. An epoch costs a look-up per row that changed, however often the row is
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import TICK, Delta, Int64Array
from headwater.operators.groups import weights_of
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import joined
from headwater.operators.sides import Part, output_schema, together, visible_fields
from headwater.plan.closing import bounded
from headwater.plan.nodes import SetOperation, SetRule
from headwater.state.equality import first_alike, taken
from headwater.state.latest import Latest
from headwater.state.run import ascending, summed

_COUNTS = ("__left", "__right")


class SetOperator:
    """Keeps a `SetOperation` up to date.

    Args:
        node: What to compute.
        schemas: The columns of each input, with the hash over all visible ones.

    """

    def __init__(self, node: SetOperation, schemas: Sequence[pa.Schema]) -> None:
        self._rule, self._bounded = node.rule, bounded(node)
        self._rows = pa.schema(visible_fields(schemas[0]))
        counts = [pa.field(name, pa.int64()) for name in _COUNTS]
        self._known = Latest(pa.schema([*self._rows, *counts]), self._rows.names)
        self._weighted = not node.append_only
        self._has_ticks = all(TICK in schema.names for schema in schemas)
        self.schema = output_schema(
            [*self._rows], weighted=self._weighted, has_ticks=self._has_ticks
        )

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed on both sides; return what changed in what comes of them."""
        hashes = np.concatenate([change.hashes for change in inputs])
        if not len(hashes):
            return together([], self.schema)
        parts = [change.rows.select(self._rows.names) for change in inputs]
        rows = joined(parts, self._rows)
        order = ascending(hashes, None)
        groups = _groups(rows, hashes, order)
        # The first and not the sorted order, so that the output is in the order of arrival.
        places = np.sort(groups[groups == order])
        counts = self._counted(inputs, order, groups, places)
        distinct = pa.RecordBatch.from_arrays(
            [taken(column, places) for column in rows.columns], schema=self._rows
        )
        ticks = self._ticks(inputs, order, groups)
        changed = self._changed(
            distinct, hashes.take(places), counts, None if ticks is None else ticks.take(places)
        )
        if self._bounded is not None:
            column = self._bounded.columns[0]
            self._known.forget_below(column, epoch.passed(self._bounded.frontier).end_us)
        return changed

    def save(self, saver: Saver) -> Any:
        """Hand over the rows and their counts."""
        return self._known.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take them back."""
        self._known.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        return self._known.size()

    def _counted(
        self, inputs: Sequence[Delta], order: Int64Array, groups: Int64Array, places: Int64Array
    ) -> list[Int64Array]:
        """By how much each distinct row's counts change, on the left and on the right."""
        weights = np.concatenate([weights_of(change) for change in inputs]).take(order)
        is_left = order < len(inputs[0])
        return [
            summed(np.where(is_side, weights, 0), groups).take(places)
            for is_side in (is_left, ~is_left)
        ]

    def _changed(
        self,
        rows: pa.RecordBatch,
        hashes: Any,
        counts: Sequence[Int64Array],
        ticks: Int64Array | None,
    ) -> Delta:
        """Add to the counts; return how what comes of them differs."""
        found = self._known.find(rows, hashes)
        old = [
            pc.fill_null(found.rows.column(name), 0).to_numpy(zero_copy_only=False)
            for name in _COUNTS
        ]
        new = [before + change for before, change in zip(old, counts, strict=True)]
        # A row comes out as it first came in, also where 0.0 is withdrawn and -0.0 was added.
        whole = pa.Table.from_batches([found.rows.select(self._rows.names), rows]).combine_chunks()
        at = np.arange(len(hashes)) + np.where(found.mask, 0, len(hashes))
        kept = whole.take(pa.array(at)).combine_chunks().to_batches()[0]
        columns = [*kept.columns, *(pa.array(count) for count in new)]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._known.schema)
        self._known.put(batch, hashes, removed=(new[0] == 0) & (new[1] == 0))
        weights = _times(self._rule, *new) - _times(self._rule, *old)
        moved = np.flatnonzero(weights)
        if not self._weighted:
            # A row that is there several times stands there several times.
            moved = np.repeat(moved, weights.take(moved))
        columns = [taken(column, moved) for column in kept.columns]
        tick = None if ticks is None else ticks.take(moved)
        return together([Part(columns, weights.take(moved), tick)], self.schema)

    def _ticks(
        self, inputs: Sequence[Delta], order: Int64Array, groups: Int64Array
    ) -> Int64Array | None:
        """At the place of each distinct row the tick of its last change."""
        if not self._has_ticks:
            return None
        found = [change.ticks for change in inputs]
        ticks = np.concatenate([part for part in found if part is not None])
        latest = np.full(len(order), np.iinfo(np.int64).min)
        np.maximum.at(latest, groups, ticks.take(order))
        return latest


def _groups(rows: pa.RecordBatch, hashes: Any, order: Int64Array) -> Int64Array:
    """For each row in the order of hashes the place of the first row that is equal to it."""
    columns = [taken(column, order) for column in rows.columns]
    first = first_alike(hashes.take(order), columns)
    return order if first is None else order.take(first)


def _times(rule: SetRule, left: Int64Array, right: Int64Array) -> Int64Array:
    """How often a row comes out."""
    if rule is SetRule.EXCEPT:
        return ((left > 0) & (right == 0)).astype(np.int64)
    if rule is SetRule.INTERSECT:
        return ((left > 0) & (right > 0)).astype(np.int64)
    if rule is SetRule.EXCEPT_ALL:
        return np.maximum(left - right, 0)
    return np.minimum(left, right)

"""Group rows by counting, where the keys are whole numbers out of a small range.

A key, or a few of them and the slice of time, is then the index of a cell in arrays of counts,
sums and extremes, as in a counting sort (and in DuckDB's "perfect hash" aggregate): no hash, no
comparison, and a third of the time of grouping by hash. The keys of an epoch often are such
numbers, also where those of a year are not. The day of a time is one as well (`calendar`), and so
is a text, by its place among the epoch's different texts. Rows that do not suit are left to DuckDB.

Sums are added in float64, which is exact because no sum can reach 2**53: that is looked up first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Int64Array
from headwater.delta.watermark import BEFORE_ALL
from headwater.operators.counted import (
    TIME_MAX,
    Axis,
    Key,
    Measure,
    bounds,
    key_of,
    measure_of,
    numbers,
    of_numbers,
    with_numbers,
)
from headwater.operators.feed import KeyHash
from headwater.operators.inlined import inlined
from headwater.operators.layout import ROWS, SLICE, Layout
from headwater.operators.masks import Mask, mask
from headwater.operators.pair_counts import PairCounts, suits
from headwater.operators.render import bottom
from headwater.operators.slices import Grid
from headwater.operators.statement import Engine, Rows
from headwater.operators.tally import Tally, Tallying
from headwater.plan.nodes import Aggregate

# Below this DuckDB is as quick.
_ROWS_MIN = 1 << 14
# Arrays of so many rows stay in the processor's cache from one step to the next.
_BLOCK_ROWS = 1 << 16
# So many cells for each row are no loss yet.
_CELLS_MAX_SHARE = 1
_EXACT_MAX = 1 << 53
_LEAST, _GREATEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is counted.

    Args:
        keys: How each key is read.
        measures: How each aggregate is.
        conditions: What a row must meet to be counted at all.

    """

    keys: tuple[Key, ...]
    measures: tuple[Measure, ...]
    conditions: tuple[Mask, ...]
    time: str | None

    @property
    def reads(self) -> list[str]:
        """The columns that must have no null."""
        found = {key.column for key in self.keys} | ({self.time} if self.time else set())
        for measure in self.measures:
            found |= measure.reads
        for condition in self.conditions:
            found |= condition.columns
        return sorted(found)


class Counting:
    """Partial results of one `Aggregate`, for rows that can be counted."""

    def __init__(self, node: Aggregate, layout: Layout, plan: _Plan, engine: Engine) -> None:
        self._layout, self._plan = layout, plan
        self._grid = None if node.window is None else Grid.of(node.window.spec)
        self._reads = plan.reads
        self._texts = sorted({key.column for key in plan.keys if key.is_text})
        self._tallying = Tallying(plan.measures, is_weighted=layout.is_weighted)
        self._schema = layout.carried(*([] if node.window is None else [SLICE]))
        self._hash = KeyHash(list(layout.keys.names), layout.keys, engine)

    def of_pairs(self) -> PairCounts | None:
        """The same for the pairs of a join that nobody has gathered yet; None: there is none."""
        plan = self._plan
        if self._grid is not None or plan.conditions or not suits(self._layout, plan.keys):
            return None
        return PairCounts(self._layout, plan.keys, plan.measures, self._hash)

    def partials(
        self, rows: Rows, *, has_ticks: bool, may_repeat: bool = False
    ) -> pa.RecordBatch | None:
        """The partial results of all rows; None when these rows cannot be counted.

        Args:
            rows: Rows of the stage below the node's stretch.
            has_ticks: Whether the last place in the log of each group is wanted. Where it is not,
                groups are said to stand before all.
            may_repeat: Whether a group may come out several times, in parts.

        """
        if rows.num_rows < _ROWS_MIN:
            return None
        batches = self._suited(rows, may_be_wide=may_repeat)
        coded = None if batches is None else with_numbers(batches, self._texts)
        if coded is None:
            return None
        batches, texts = coded
        axes, ranks = self._axes(batches, texts), self._tallying.ranks(batches)
        if axes is None or ranks is None or not self._tallying.is_exact(batches, rows.num_rows):
            return None
        cells = prod(axis.count for axis in axes)
        if cells > _CELLS_MAX_SHARE * rows.num_rows:
            is_cut = may_repeat and not texts
            return self._by_block(batches, has_ticks=has_ticks) if is_cut else None
        tally = self._tallying.empty(cells, ranks, has_ticks=has_ticks)
        for block in _blocks(batches):
            self._tallying.count(block, self._cells(block, axes), tally)
        return self._hashed(self._columns(tally, axes))

    def times(self, rows: Rows) -> list[tuple[Int64Array, Int64Array]] | None:
        """The times and the places in the log of all rows; None when a time is null."""
        batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
        time = self._plan.time
        assert time is not None
        if any(batch.column(time).null_count for batch in batches):
            return None
        return [(numbers(b, time), numbers(b, TICK)) for b in batches if b.num_rows]

    def _suited(self, rows: Rows, *, may_be_wide: bool) -> list[pa.RecordBatch] | None:
        """The rows that are in, with the columns that are read; None when they cannot be counted.

        A null is one reason; that there are too many cells is looked at before anything is tested.
        """
        names = list(dict.fromkeys([*self._reads, *_hidden(rows)]))
        some = rows.select(names) if names else rows
        batches = some.to_batches() if isinstance(some, pa.Table) else [some]
        batches = [batch for batch in batches if batch.num_rows]
        if any(batch.column(name).null_count for batch in batches for name in self._reads):
            return None
        if batches and not may_be_wide and self._is_wide(batches, rows.num_rows):
            return None
        for condition in self._plan.conditions:
            batches = [_met(batch, condition.of(batch)) for batch in batches]
        batches = [batch for batch in batches if batch.num_rows]
        return batches or None

    def _is_wide(self, batches: Sequence[pa.RecordBatch], rows: int) -> bool:
        """Whether already the keys that are no texts make too many cells."""
        axes = [key.axis(batches, {}) for key in self._plan.keys if not key.is_text]
        known = [axis.count for axis in axes if axis is not None]
        return len(known) < len(axes) or prod(known) > _CELLS_MAX_SHARE * rows

    def _by_block(
        self, batches: Sequence[pa.RecordBatch], *, has_ticks: bool
    ) -> pa.RecordBatch | None:
        """As `partials`, block by block: keys and times of neighbours in the log are near."""
        parts: list[dict[str, pa.Array]] = []
        ranks = self._tallying.ranks(batches)
        for block in _blocks(batches):
            axes = self._axes([block], {})
            cells = 0 if axes is None else prod(axis.count for axis in axes)
            is_many = cells > _CELLS_MAX_SHARE * max(block.num_rows, _ROWS_MIN)
            if axes is None or ranks is None or is_many:
                return None
            tally = self._tallying.empty(cells, ranks, has_ticks=has_ticks)
            self._tallying.count(block, self._cells(block, axes), tally)
            parts.append(self._columns(tally, axes))
        return self._hashed({n: pa.concat_arrays([part[n] for part in parts]) for n in parts[0]})

    def _axes(
        self, batches: Sequence[pa.RecordBatch], texts: dict[str, pa.Array]
    ) -> list[Axis] | None:
        axes = []
        for key in self._plan.keys:
            axis = key.axis(batches, texts)
            if axis is None:
                return None
            axes.append(axis)
        if self._grid is not None and self._plan.time is not None:
            low, high = bounds(batches, self._plan.time)
            if max(-low, high) > TIME_MAX:
                return None
            first = int(self._grid.slice_of(np.array([low]))[0])
            axes.append(Axis(first, (high - first) // self._grid.width_us + 1))
        return axes

    def _cells(self, block: pa.RecordBatch, axes: list[Axis]) -> Int64Array:
        index: Int64Array | None = None
        for key, axis in zip(self._plan.keys, axes, strict=False):
            found = key.numbers(block, axis)
            if found is not None:
                index = found if index is None else index * axis.count + found
        time = self._plan.time
        if index is None:
            index = np.zeros(block.num_rows, dtype=np.int64)
        if self._grid is None or time is None or axes[-1].count == 1:
            return index
        axis, width = axes[-1], self._grid.width_us
        index = index * axis.count
        times = numbers(block, time)
        first, last = ((int(t) - axis.low) // width for t in (times.min(), times.max()))
        index += first
        if first < last:
            offsets = times - (axis.low + first * width)
            offsets //= width
            index += offsets
        return index

    def _columns(self, tally: Tally, axes: list[Axis]) -> dict[str, pa.Array]:
        """The cells that have rows, as columns of partial results without their hash."""
        cells = np.flatnonzero(tally.present)
        columns: dict[str, pa.Array] = {}
        rest = cells
        if self._grid is not None:
            rest, nth = np.divmod(cells, axes[-1].count)
            columns[SLICE] = pa.array(nth * self._grid.width_us + axes[-1].low)
        keys = list(zip(self._layout.keys, axes, strict=False))
        for key, axis in reversed(keys):
            rest, nth = np.divmod(rest, axis.count)
            kind = key.type.arrow
            columns[key.name] = (
                of_numbers(nth + axis.low, kind)
                if axis.values is None
                else axis.values.take(pa.array(nth)).cast(kind)
            )
        columns |= self._tallying.columns(tally, cells)
        if TICK in self._schema.names:
            last = np.full(len(cells), BEFORE_ALL) if tally.last is None else tally.last[cells]
            columns[TICK] = pa.array(last)
        return columns

    def _hashed(self, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        """Partial results with the hash of their keys."""
        names = self._layout.keys.names
        known = pa.RecordBatch.from_arrays([columns[name] for name in names], names=list(names))
        if not names:
            columns[HASH] = pa.array(np.zeros(len(columns[ROWS]), dtype=np.uint64))
        else:
            columns[HASH] = self._hash.of(known)
        arrays = [columns[name] for name in self._schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def counting(node: Aggregate, layout: Layout, engine: Engine) -> Counting | None:
    """How to count the rows of `node`, if its keys and aggregates can be read off whole numbers."""
    below = inlined(node.input)
    if below is None or layout.bags:
        return None
    origin = bottom(node.input)
    kinds = {column.name: column.type.arrow for column in origin.schema}
    keys = [key_of(below.columns[name], origin, engine) for name in layout.keys.names]
    measures = []
    for term in layout.terms:
        value = None if term.argument is None else below.columns[term.argument]
        measures.append(measure_of(term, value, origin, kinds, engine))
    conditions = [mask(condition, kinds) for condition in below.conditions]
    time = None
    if node.window is not None:
        read = below.columns[node.window.spec.time]
        kind = kinds.get(read.name) if isinstance(read, exp.Column) else None
        if kind is None or not (pa.types.is_timestamp(kind) and kind.unit == "us"):
            return None
        time = read.name
    if None in keys or None in measures or None in conditions:
        return None
    plan = _Plan(
        tuple(key for key in keys if key is not None),
        tuple(measure for measure in measures if measure is not None),
        tuple(condition for condition in conditions if condition is not None),
        time,
    )
    return Counting(node, layout, plan, engine)


def _met(batch: pa.RecordBatch, met: Any) -> pa.RecordBatch:
    """The rows of a batch that meet a condition."""
    whole = np.broadcast_to(met, (batch.num_rows,))
    return batch if whole.all() else batch.filter(pa.array(whole))


def _hidden(rows: Rows) -> list[str]:
    return [name for name in (WEIGHT, TICK) if name in rows.schema.names]


def _blocks(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The rows in blocks."""
    step = _BLOCK_ROWS
    return [batch.slice(at, step) for batch in batches for at in range(0, batch.num_rows, step)]

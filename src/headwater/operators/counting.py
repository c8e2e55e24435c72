"""Group rows by counting, where the keys are whole numbers.

Out of a small range a key, or a few of them and the slice of time, is the index of a cell (`axes`)
in arrays of counts, sums and extremes, as in a counting sort (and in DuckDB's "perfect hash"
aggregate): no hash, no comparison, and a third of the time of grouping by hash. The keys of an
epoch often are such numbers, also where those of a year are not. The day of a time is one as well
(`calendar`), and so is a text, by its place among the epoch's different texts. Where most cells
have no row, those that have are found first (`cells`); then texts may be many, if the other keys
say which text a row has. Rows that do not suit are left to DuckDB.

Sums are added in float64, which is exact because no sum can reach 2**53: that is looked up first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Int64Array
from headwater.delta.watermark import BEFORE_ALL
from headwater.operators.axes import Axes, Keys, blocks
from headwater.operators.calendar import Ranks
from headwater.operators.cells import Cells, Shear, counted_cells, placed_cells
from headwater.operators.counted import (
    SAMPLE_ROWS,
    Measure,
    key_of,
    measure_of,
    numbers,
    one_array,
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
from headwater.state.equality import rows_equal

# Below this DuckDB is as quick.
_ROWS_MIN = 1 << 14
# So many cells for each row are no loss yet.
_CELLS_MAX_SHARE = 1
# Cells beyond have no number.
_NUMBERS_MAX = 1 << 62


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is counted.

    Args:
        keys: What tells groups apart.
        measures: How each aggregate is.
        conditions: What a row must meet to be counted at all.

    """

    keys: Keys
    measures: tuple[Measure, ...]
    conditions: tuple[Mask, ...]

    @property
    def reads(self) -> list[str]:
        """The columns that must have no null."""
        found = {key.column for key in self.keys.keys}
        found |= {self.keys.time} if self.keys.time else set()
        for measure in self.measures:
            found |= measure.reads
        for condition in self.conditions:
            found |= condition.columns
        return sorted(found)


class Counting:
    """Partial results of one `Aggregate`, for rows that can be counted.

    Args:
        schema: Their columns, with the hash of the keys or without.

    """

    def __init__(self, layout: Layout, plan: _Plan, engine: Engine, schema: pa.Schema) -> None:
        self._layout, self._plan = layout, plan
        self._reads = plan.reads
        self._texts = sorted({key.column for key in plan.keys.keys if key.is_text})
        self._tallying = Tallying(plan.measures, is_weighted=layout.is_weighted)
        self._schema = schema
        self._hash = KeyHash(list(layout.keys.names), layout.keys, engine)

    def of_pairs(self) -> PairCounts | None:
        """The same for the pairs of a join that nobody has gathered yet; None: there is none."""
        plan = self._plan
        keys = plan.keys.keys
        if plan.keys.grid is not None or plan.conditions or not suits(self._layout, keys):
            return None
        return PairCounts(self._layout, keys, plan.measures, self._hash)

    def partials(self, rows: Rows, *, has_ticks: bool) -> pa.RecordBatch | None:
        """The partial results of all rows; None when these rows cannot be counted.

        Args:
            rows: Rows of the stage below the node's stretch.
            has_ticks: Whether the last place in the log of each group is wanted. Where it is not,
                groups are said to stand before all.

        """
        if rows.num_rows < _ROWS_MIN:
            return None
        batches = self._suited(rows)
        if batches is None:
            return None
        coded = with_numbers(batches, self._texts)
        if coded is None:
            return self._led(batches, has_ticks=has_ticks)
        batches, texts = coded
        axes, ranks = self._plan.keys.axes(batches, texts), self._tallying.ranks(batches)
        if axes is None or ranks is None or not self._tallying.is_exact(batches, rows.num_rows):
            return None
        if axes.count > _CELLS_MAX_SHARE * rows.num_rows:
            return self._scattered(batches, axes, ranks, has_ticks=has_ticks)
        tally = self._tallying.empty(axes.count, ranks, has_ticks=has_ticks)
        for block in blocks(batches):
            self._tallying.count(block, axes.cells(block), tally)
        cells = np.flatnonzero(tally.present)
        return self._batch(self._columns(tally, cells, axes, axes.parted(cells)))

    def times(self, rows: Rows) -> list[tuple[Int64Array, Int64Array]] | None:
        """The times and the places in the log of all rows; None when a time is null."""
        batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
        time = self._plan.keys.time
        assert time is not None
        if any(batch.column(time).null_count for batch in batches):
            return None
        return [(numbers(b, time), numbers(b, TICK)) for b in batches if b.num_rows]

    def _suited(self, rows: Rows) -> list[pa.RecordBatch] | None:
        """The rows that are in, with the columns that are read; None where there is a null."""
        names = list(dict.fromkeys([*self._reads, *_hidden(rows)]))
        some = rows.select(names) if names else rows
        batches = some.to_batches() if isinstance(some, pa.Table) else [some]
        batches = [batch for batch in batches if batch.num_rows]
        if any(batch.column(name).null_count for batch in batches for name in self._reads):
            return None
        for condition in self._plan.conditions:
            batches = [_met(batch, condition.of(batch)) for batch in batches]
        batches = [batch for batch in batches if batch.num_rows]
        return batches or None

    def _scattered(
        self,
        batches: Sequence[pa.RecordBatch],
        axes: Axes,
        ranks: dict[str, Ranks],
        *,
        has_ticks: bool,
    ) -> pa.RecordBatch | None:
        """As `partials`, where most cells have no row."""
        rows, slices = sum(batch.num_rows for batch in batches), axes.slices
        shear = None
        if slices is not None and slices.count <= rows and axes.key_count < _NUMBERS_MAX:
            keys = np.concatenate([axes.keys_of(block) for block in blocks(batches)])
            nth = np.concatenate([axes.slices_of(block) for block in blocks(batches)])
            shear = Shear.of(keys, nth, slices.count, _CELLS_MAX_SHARE * rows)
        if shear is None:
            return self._sparse(batches, axes, ranks, has_ticks=has_ticks)
        of = shear.cells(keys, nth)
        tally = self._counted(batches, of, shear.count, ranks, has_ticks=has_ticks)
        cells = np.flatnonzero(tally.present)
        return self._batch(self._columns(tally, cells, axes, shear.of_cells(cells)))

    def _sparse(
        self,
        batches: Sequence[pa.RecordBatch],
        axes: Axes,
        ranks: dict[str, Ranks],
        *,
        has_ticks: bool,
    ) -> pa.RecordBatch | None:
        """The same in the order of cells."""
        if axes.count >= _NUMBERS_MAX:
            return None
        index = np.concatenate([axes.cells(block) for block in blocks(batches)])
        if has_ticks or self._layout.is_weighted or self._plan.measures:
            cells = placed_cells(index, axes.count)
            assert cells.of is not None
            tally = self._counted(batches, cells.of, len(cells.numbers), ranks, has_ticks=has_ticks)
        else:
            cells = counted_cells(index, axes.count)
            tally = Tally(cells.rows, cells.rows, {}, {}, ranks, None)
        return self._batch(self._columns(tally, slice(None), axes, axes.parted(cells.numbers)))

    def _led(self, batches: Sequence[pa.RecordBatch], *, has_ticks: bool) -> pa.RecordBatch | None:
        """As `partials`, where many texts differ but the other keys say which text a row has."""
        if all(key.is_text for key in self._plan.keys.keys):
            return None
        whole = pa.Table.from_batches(batches)
        head = whole.slice(0, SAMPLE_ROWS).combine_chunks().to_batches()
        if len(whole) > SAMPLE_ROWS and self._leading(head) is None:
            return None
        found = self._leading(batches)
        ranks = self._tallying.ranks(batches)
        if found is None or ranks is None or not self._tallying.is_exact(batches, len(whole)):
            return None
        axes, cells = found
        assert cells.of is not None
        tally = self._counted(batches, cells.of, len(cells.numbers), ranks, has_ticks=has_ticks)
        columns = self._columns(tally, slice(None), axes, axes.parted(cells.numbers))
        for key, name in zip(self._plan.keys.keys, self._layout.keys.names, strict=True):
            if key.is_text:
                texts = one_array([batch.column(key.column) for batch in batches])
                columns[name] = texts.take(pa.array(cells.firsts))
        return self._batch(columns)

    def _leading(self, batches: Sequence[pa.RecordBatch]) -> tuple[Axes, Cells] | None:
        """The cells of keys that are no texts; None unless rows of a cell are alike in texts."""
        axes = self._plan.keys.axes(batches, None)
        if axes is None or axes.count >= _NUMBERS_MAX:
            return None
        index = np.concatenate([axes.cells(block) for block in blocks(batches)])
        cells = placed_cells(index, axes.count)
        assert cells.of is not None and cells.firsts is not None
        hosts = cells.firsts.take(cells.of)
        others = np.flatnonzero(hosts != np.arange(len(hosts)))
        if len(others):
            texts = [one_array([batch.column(name) for batch in batches]) for name in self._texts]
            alike = rows_equal(texts, others, texts, hosts.take(others))
            if alike is not None and not alike.all():
                return None
        return axes, cells

    def _counted(
        self,
        batches: Sequence[pa.RecordBatch],
        of: Int64Array,
        count: int,
        ranks: dict[str, Ranks],
        *,
        has_ticks: bool,
    ) -> Tally:
        """What is counted in so many cells, of which each row is in one."""
        tally = self._tallying.empty(count, ranks, has_ticks=has_ticks)
        at = 0
        for block in blocks(batches):
            self._tallying.count(block, of[at : at + block.num_rows], tally)
            at += block.num_rows
        return tally

    def _columns(
        self,
        tally: Tally,
        cells: Int64Array | slice,
        axes: Axes,
        at: tuple[Int64Array, Int64Array],
    ) -> dict[str, pa.Array]:
        """Cells that have rows, each a slice and keys, as partial results without their hash."""
        columns = axes.columns(*at) | self._tallying.columns(tally, cells)
        if TICK in self._schema.names:
            last = np.full(len(at[1]), BEFORE_ALL) if tally.last is None else tally.last[cells]
            columns[TICK] = pa.array(last)
        return columns

    def _batch(self, columns: dict[str, pa.Array]) -> pa.RecordBatch:
        """Partial results as a batch, with the hash of their keys if that is wanted."""
        names = self._layout.keys.names
        if HASH in self._schema.names and names:
            arrays = [columns[name] for name in names]
            columns[HASH] = self._hash.of(pa.RecordBatch.from_arrays(arrays, names=list(names)))
        elif not names:
            columns[HASH] = pa.array(np.zeros(len(columns[ROWS]), dtype=np.uint64))
        arrays = [columns[name] for name in self._schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)


def counting(
    node: Aggregate, layout: Layout, engine: Engine, *, has_hash: bool = True
) -> Counting | None:
    """How to count the rows of `node`, if its keys and aggregates can be read off whole numbers.

    Args:
        has_hash: Whether the hash of the keys is wanted.

    """
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
    grid = None if node.window is None else Grid.of(node.window.spec)
    plan = _Plan(
        Keys(tuple(key for key in keys if key is not None), layout.keys, grid, time),
        tuple(measure for measure in measures if measure is not None),
        tuple(condition for condition in conditions if condition is not None),
    )
    schema = layout.carried(*([] if node.window is None else [SLICE]))
    if not has_hash:
        schema = schema.remove(schema.get_field_index(HASH))
    return Counting(layout, plan, engine, schema)


def _met(batch: pa.RecordBatch, met: Any) -> pa.RecordBatch:
    """The rows of a batch that meet a condition."""
    whole = np.broadcast_to(met, (batch.num_rows,))
    return batch if whole.all() else batch.filter(pa.array(whole))


def _hidden(rows: Rows) -> list[str]:
    return [name for name in (WEIGHT, TICK) if name in rows.schema.names]

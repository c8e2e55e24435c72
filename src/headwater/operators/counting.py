"""Group rows by counting, where the keys are whole numbers out of a small range.

A key, or a few of them and the slice of time, is then the index of a cell in arrays of counts and
sums, as in a counting sort (and in DuckDB's "perfect hash" aggregate): no hash, no comparison, and
a third of the time of grouping by hash. The keys of an epoch often are such numbers, also where
those of a year are not. Rows that do not suit are left to DuckDB.

Sums are added in float64, which is exact because no sum can reach 2**53: that is looked up first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT, Int64Array
from headwater.delta.watermark import BEFORE_ALL
from headwater.operators import decimal128
from headwater.operators.feed import KeyHash, chosen_columns
from headwater.operators.layout import ROWS, SLICE, Layout, Term
from headwater.operators.slices import Grid
from headwater.operators.statement import Engine, Rows
from headwater.plan.nodes import Aggregate, Merge

# Below this DuckDB is as quick.
_ROWS_MIN = 1 << 14
# Arrays of so many rows stay in the processor's cache from one step to the next.
_BLOCK_ROWS = 1 << 16
# So many cells for each row are no loss yet.
_CELLS_MAX_SHARE = 1
_EXACT_MAX = 1 << 53
# Times beyond are infinite, or so far out that a window's end may not fit.
_TIME_MAX = 1 << 61

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Axis:
    """One of the numbers that a cell's index is made of.

    Args:
        low: The least.
        count: How many there are from there on.

    """

    low: int
    count: int


@dataclass(slots=True)
class _Tally:
    """What was counted, by cell.

    Args:
        present: Rows.
        rows: The sum of their weights; the same array where no row has one.
        sums: Per SUM.
        last: The last place in the log.

    """

    present: Int64Array
    rows: FloatArray | Int64Array
    sums: list[FloatArray]
    last: Int64Array | None


class Counting:
    """Partial results of one `Aggregate`, for rows that can be counted.

    Args:
        columns: For each column of the node's input the column of the rows that it is.

    """

    def __init__(
        self, node: Aggregate, layout: Layout, columns: dict[str, str], engine: Engine
    ) -> None:
        self._layout = layout
        self._keys = [columns[key] for key in layout.keys.names]
        self._grid = None if node.window is None else Grid.of(node.window.spec)
        self._time = None if node.window is None else columns[node.window.spec.time]
        self._summed = [t for t in layout.terms if t.merge is Merge.SUM]
        self._counted = [columns[t.argument] for t in layout.terms if t.argument is not None]
        self._sums = [columns[t.argument] for t in self._summed if t.argument is not None]
        self._schema = layout.carried(*([] if node.window is None else [SLICE]))
        self._hash = KeyHash(list(layout.keys.names), layout.keys, engine)

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
        batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
        batches = [batch for batch in batches if batch.num_rows]
        needed = [*self._keys, *self._counted, *([self._time] if self._time else [])]
        if any(batch.column(name).null_count for batch in batches for name in needed):
            return None
        axes = self._axes(batches)
        if axes is None or not self._is_exact(batches, rows.num_rows):
            return None
        cells = prod(axis.count for axis in axes)
        if cells > _CELLS_MAX_SHARE * rows.num_rows:
            return self._by_block(batches, has_ticks=has_ticks) if may_repeat else None
        tally = self._tally(_blocks(batches, 4 * cells), axes, cells, has_ticks=has_ticks)
        return self._hashed(self._columns(tally, axes))

    def _by_block(
        self, batches: Sequence[pa.RecordBatch], *, has_ticks: bool
    ) -> pa.RecordBatch | None:
        """As `partials`, block by block: keys and times of neighbours in the log are near."""
        parts: list[dict[str, pa.Array]] = []
        for block in _blocks(batches, _BLOCK_ROWS):
            axes = self._axes([block])
            cells = 0 if axes is None else prod(axis.count for axis in axes)
            if axes is None or cells > _CELLS_MAX_SHARE * max(block.num_rows, _ROWS_MIN):
                return None
            tally = self._tally([block], axes, cells, has_ticks=has_ticks)
            parts.append(self._columns(tally, axes))
        return self._hashed({n: pa.concat_arrays([part[n] for part in parts]) for n in parts[0]})

    def times(self, rows: Rows) -> list[tuple[Int64Array, Int64Array]] | None:
        """The times and the places in the log of all rows; None when a time is null."""
        batches = rows.to_batches() if isinstance(rows, pa.Table) else [rows]
        assert self._time is not None
        if any(batch.column(self._time).null_count for batch in batches):
            return None
        return [(_numbers(b, self._time), _numbers(b, TICK)) for b in batches if b.num_rows]

    def _axes(self, batches: Sequence[pa.RecordBatch]) -> list[_Axis] | None:
        axes = []
        for name in self._keys:
            low, high = _bounds(batches, name)
            if high >= 1 << 63:
                return None
            axes.append(_Axis(low, high - low + 1))
        if self._grid is not None and self._time is not None:
            low, high = _bounds(batches, self._time)
            if max(-low, high) > _TIME_MAX:
                return None
            first = int(self._grid.slice_of(np.array([low]))[0])
            axes.append(_Axis(first, (high - first) // self._grid.width_us + 1))
        return axes

    def _is_exact(self, batches: Sequence[pa.RecordBatch], rows: int) -> bool:
        """Whether no sum can be so large that float64 would round it."""
        weight = 1
        if self._layout.is_weighted:
            weight = max(map(abs, _bounds(batches, WEIGHT)))
        most = [max(map(abs, _bounds(batches, name))) for name in self._sums]
        return rows * weight * max([1, *most]) < _EXACT_MAX

    def _tally(
        self, blocks: list[pa.RecordBatch], axes: list[_Axis], cells: int, *, has_ticks: bool
    ) -> _Tally:
        tally = self._empty(cells, has_ticks=has_ticks)
        for block in blocks:
            self._count(block, axes, tally)
        return tally

    def _empty(self, cells: int, *, has_ticks: bool) -> _Tally:
        present = np.zeros(cells, dtype=np.int64)
        rows = np.zeros(cells) if self._layout.is_weighted else present
        last = np.full(cells, BEFORE_ALL, dtype=np.int64) if has_ticks else None
        return _Tally(present, rows, [np.zeros(cells) for _ in self._sums], last)

    def _count(self, block: pa.RecordBatch, axes: list[_Axis], tally: _Tally) -> None:
        cells = len(tally.present)
        index = self._cells(block, axes)
        tally.present += np.bincount(index, minlength=cells)
        weights = None
        if self._layout.is_weighted:
            weights = _numbers(block, WEIGHT).astype(np.float64)
            tally.rows += np.bincount(index, weights=weights, minlength=cells)
        for nth, name in enumerate(self._sums):
            values = _numbers(block, name).astype(np.float64)
            if weights is not None:
                values *= weights
            tally.sums[nth] += np.bincount(index, weights=values, minlength=cells)
        if tally.last is not None:
            np.maximum.at(tally.last, index, _numbers(block, TICK))

    def _cells(self, block: pa.RecordBatch, axes: list[_Axis]) -> Int64Array:
        index: Int64Array = np.zeros(block.num_rows, dtype=np.int64)
        for place, (name, axis) in enumerate(zip(self._keys, axes, strict=False)):
            numbers = _numbers(block, name)
            if place:
                index *= axis.count
                index += numbers.astype(np.int64, copy=False)
                index -= axis.low
            else:
                index = numbers.astype(np.int64, copy=False) - axis.low
        if self._grid is None or self._time is None or axes[-1].count == 1:
            return index
        axis, width = axes[-1], self._grid.width_us
        index *= axis.count
        times = _numbers(block, self._time)
        first, last = ((int(t) - axis.low) // width for t in (times.min(), times.max()))
        if first == last:
            index += first
        else:
            offsets = times - axis.low
            offsets //= width
            index += offsets
        return index

    def _columns(self, tally: _Tally, axes: list[_Axis]) -> dict[str, pa.Array]:
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
            columns[key.name] = _of_numbers(nth + axis.low, key.type.arrow)
        rows = pa.array(tally.rows[cells].astype(np.int64))
        columns[ROWS] = rows
        for term in self._layout.terms:
            if term.merge is Merge.COUNT:
                columns[term.value] = rows
        for term, total in zip(self._summed, tally.sums, strict=True):
            assert term.count is not None
            columns[term.value] = _of_sums(total[cells].astype(np.int64), term)
            columns[term.count] = rows
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
    """How to count the rows of `node`, if its keys and aggregates are of whole numbers."""
    columns = chosen_columns(node.input)
    if columns is None or layout.bags:
        return None
    kinds = {column.name: column.type.arrow for column in node.input.schema}
    if not all(_is_countable(kinds[key]) for key in layout.keys.names):
        return None
    if node.window is not None:
        kind = kinds[node.window.spec.time]
        if not (pa.types.is_timestamp(kind) and kind.unit == "us"):
            return None
    if not all(_can_count(term, kinds) for term in layout.terms):
        return None
    return Counting(node, layout, columns, engine)


def _can_count(term: Term, kinds: dict[str, pa.DataType]) -> bool:
    if term.merge is Merge.COUNT:
        return True
    if term.merge is not Merge.SUM or term.argument is None:
        return False
    is_whole = pa.types.is_decimal128(term.arrow) and term.arrow.scale == 0
    return bool(is_whole and pa.types.is_integer(kinds[term.argument]))


def _is_countable(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_date32(kind))


def _blocks(batches: Sequence[pa.RecordBatch], rows_min: int) -> list[pa.RecordBatch]:
    """The rows in blocks, of at least so many rows where that is possible."""
    step = max(_BLOCK_ROWS, rows_min)
    return [batch.slice(at, step) for batch in batches for at in range(0, batch.num_rows, step)]


def _numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.int64]:
    """A column without nulls as the integers that it is inside; not copied."""
    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.view(pa.int32())
    return np.asarray(column.to_numpy())


def _of_numbers(numbers: Int64Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_date32(kind):
        return pa.array(numbers.astype(np.int32)).view(kind)
    return pa.array(numbers.astype(kind.to_pandas_dtype()))


def _of_sums(totals: Int64Array, term: Term) -> pa.Array:
    words = np.empty((len(totals), 2), dtype=np.int64)
    words[:, 0] = totals
    words[:, 1] = totals >> 63
    return decimal128.array(words, term.arrow)


def _bounds(batches: Sequence[pa.RecordBatch], name: str) -> tuple[int, int]:
    parts = [_numbers(batch, name) for batch in batches]
    return min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)

"""What was counted so far: an array for each count, sum and extreme, with a place for each cell.

Sums are added in float64, which is exact because no sum can reach 2**53: that is looked up first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import TICK, WEIGHT, Int64Array
from headwater.delta.watermark import BEFORE_ALL
from headwater.operators import decimal128
from headwater.operators.calendar import Ranks
from headwater.operators.counted import TIME_MAX, Measure, bounds, numbers, of_numbers
from headwater.operators.layout import ROWS, Term
from headwater.plan.nodes import Merge

_EXACT_MAX = 1 << 53
_LEAST, _GREATEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max

FloatArray = npt.NDArray[np.float64]


@dataclass(slots=True)
class Tally:
    """What was counted, by cell.

    Args:
        present: Rows.
        rows: The sum of their weights; the same array where no row has one.
        hits: Per condition of a measure the sum of the weights of the rows that meet it.
        found: Per SUM, MIN, MAX and BIT_OR, by its column, what it is so far.
        ranks: Per MIN and MAX of what is the same for a while, its values in order.
        last: The last place in the log.

    """

    present: Int64Array
    rows: FloatArray | Int64Array
    hits: dict[str, FloatArray]
    found: dict[str, Any]
    ranks: dict[str, Ranks]
    last: Int64Array | None


class Tallying:
    """Counts rows into cells.

    Args:
        measures: How each aggregate is read.
        is_weighted: Whether rows have weights.

    """

    def __init__(self, measures: Sequence[Measure], *, is_weighted: bool) -> None:
        self._measures, self._is_weighted = measures, is_weighted
        self._summed = [m.column for m in measures if m.term.merge is Merge.SUM and m.column]
        masks = (measure.where for measure in measures)
        self._masks = {test.text: test for test in masks if test is not None}

    def ranks(self, batches: Sequence[pa.RecordBatch]) -> dict[str, Ranks] | None:
        """What measures read that is the same for a while; None when it is too much."""
        ranks: dict[str, Ranks] = {}
        for measure in self._measures:
            if measure.calendar is not None:
                low, high = bounds(batches, measure.calendar.column)
                is_far = max(-low, high) > TIME_MAX
                page = None if is_far else measure.calendar.page(low, high)
                if page is None:
                    return None
                ranks[measure.term.value] = page.ranks()
        return ranks

    def is_exact(self, batches: Sequence[pa.RecordBatch], rows: int) -> bool:
        """Whether no sum can be so large that float64 would round it."""
        weight = 1
        if self._is_weighted:
            weight = max(map(abs, bounds(batches, WEIGHT)))
        most = [max(map(abs, bounds(batches, name))) for name in self._summed]
        return rows * weight * max([1, *most]) < _EXACT_MAX

    def empty(self, cells: int, ranks: dict[str, Ranks], *, has_ticks: bool) -> Tally:
        """Nothing counted yet in so many cells."""
        present = np.zeros(cells, dtype=np.int64)
        rows = np.zeros(cells) if self._is_weighted else present
        last = np.full(cells, BEFORE_ALL, dtype=np.int64) if has_ticks else None
        hits = {text: np.zeros(cells) for text in self._masks}
        starts = {Merge.MIN: _GREATEST, Merge.MAX: _LEAST}
        found: dict[str, Any] = {}
        for measure in self._measures:
            merge = measure.term.merge
            if merge is Merge.SUM:
                found[measure.term.value] = np.zeros(cells)
            elif merge is not Merge.COUNT:
                start = starts.get(merge, measure.always)
                found[measure.term.value] = np.full(cells, start, dtype=np.int64)
        return Tally(present, rows, hits, found, ranks, last)

    def count(self, block: pa.RecordBatch, index: Int64Array, tally: Tally) -> None:
        """Add rows to the cells of an index."""
        add(tally.present, index, None)
        weights = None
        if self._is_weighted:
            weights = numbers(block, WEIGHT).astype(np.float64)
            add(tally.rows, index, weights)
        met = {text: np.asarray(test.of(block)) for text, test in self._masks.items()}
        for text, mask_ in met.items():
            # Once for all aggregates of a condition, of which each wants to know how many it saw.
            weighed = mask_.astype(np.float64) if weights is None else mask_ * weights
            add(tally.hits[text], index, np.broadcast_to(weighed, index.shape))
        for measure in self._measures:
            if measure.term.value in tally.found:
                where = None if measure.where is None else met[measure.where.text]
                measured(measure, block, (index, weights, where), tally)
        if tally.last is not None:
            np.maximum.at(tally.last, index, numbers(block, TICK))

    def columns(self, tally: Tally, cells: Int64Array | slice) -> dict[str, pa.Array]:
        """The aggregates of some cells."""
        columns: dict[str, pa.Array] = {}
        rows = pa.array(tally.rows[cells].astype(np.int64))
        columns[ROWS] = rows
        for measure in self._measures:
            where, term = measure.where, measure.term
            hits = None if where is None else tally.hits[where.text][cells].astype(np.int64)
            count = rows if hits is None else pa.array(hits)
            if term.merge is Merge.COUNT:
                columns[term.value] = count
                continue
            if term.count is not None:
                columns[term.count] = count
            found = tally.found[term.value][cells]
            columns[term.value] = valued(measure, found, hits, tally.ranks.get(term.value))
        return columns


def add(total: Any, index: Int64Array, values: FloatArray | None) -> None:
    """Add values, or ones, to the cells of an index."""
    if len(total) == 1:
        total += len(index) if values is None else values.sum()
    elif len(total) > len(index):
        # To count these into an array of their own would cost all cells for each block.
        np.add.at(total, index, 1 if values is None else values)
    else:
        total += np.bincount(index, weights=values, minlength=len(total))


def measured(
    measure: Measure,
    block: pa.RecordBatch,
    at: tuple[Int64Array, FloatArray | None, Any],
    tally: Tally,
) -> None:
    """Add a block's rows to one aggregate.

    Args:
        at: The cell of each row, its weight, and whether it is in.

    """
    index, weights, where = at
    total, merge = tally.found[measure.term.value], measure.term.merge
    if merge is Merge.BIT_OR:
        for number, test in measure.flags:
            total[index[np.broadcast_to(test.of(block), index.shape)]] |= number
        return
    assert measure.column is not None
    if merge is Merge.SUM:
        values = numbers(block, measure.column).astype(np.float64)
        values = values if weights is None else values * weights
        values = values if where is None else values * where
        add(total, index, values)
        return
    values = numbers(block, measure.column)
    ranks = tally.ranks.get(measure.term.value)
    if measure.calendar is not None and ranks is not None:
        units = measure.calendar.numbers(ranks.page, values)
        values = np.zeros(len(index), np.int64) if units is None else ranks.of.take(units)
    if where is not None:
        where = np.broadcast_to(where, index.shape)
        index, values = index[where], values[where]
    extreme = np.minimum if merge is Merge.MIN else np.maximum
    if len(total) > 1:
        extreme.at(total, index, values.astype(np.int64, copy=False))
    elif len(values):
        total[0] = extreme(total[0], extreme.reduce(values))


def valued(measure: Measure, found: Any, hits: Int64Array | None, ranks: Ranks | None) -> pa.Array:
    """An aggregate's results as the partial results have them."""
    term = measure.term
    if term.merge is Merge.SUM:
        return _of_sums(found.astype(np.int64), term)
    if hits is not None and term.merge is not Merge.BIT_OR:
        # What is no value of any row must be none of the type's either.
        found = np.where(hits > 0, found, 0)
    result = of_numbers(found, term.arrow) if ranks is None else ranks.values.take(pa.array(found))
    if hits is None or term.merge is Merge.BIT_OR:
        return result
    return pc.if_else(pa.array(hits > 0), result, pa.scalar(None, term.arrow))


def _of_sums(totals: Int64Array, term: Term) -> pa.Array:
    words = np.empty((len(totals), 2), dtype=np.int64)
    words[:, 0] = totals
    words[:, 1] = totals >> 63
    return decimal128.array(words, term.arrow)

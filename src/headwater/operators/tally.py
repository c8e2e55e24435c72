"""What was counted so far: an array for each count, sum and extreme, with a place for each cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array
from headwater.operators import decimal128
from headwater.operators.calendar import Ranks
from headwater.operators.counted import Measure, numbers, of_numbers
from headwater.operators.layout import Term
from headwater.plan.nodes import Merge

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

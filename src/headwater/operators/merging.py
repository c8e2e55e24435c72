"""Merge partial results of equal groups by sorting their hashes.

Where aggregates are counts, exact sums and the least or highest of whole numbers, partial results
are brought together in numpy: one sort of hashes and a sum over each stretch of equal ones, in a
third of the time that DuckDB takes to group them again. The rest is left to DuckDB.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, Int64Array, UInt64Array
from headwater.operators import decimal128
from headwater.operators.layout import ROWS, Layout, Term
from headwater.plan.nodes import Merge
from headwater.state.equality import rows_equal
from headwater.state.run import ascending, times_of

# Sums below are added up in 64 bits.
_SUM_MAX = 1 << 62


def can_merge(layout: Layout) -> bool:
    """Whether all aggregates are of those kinds, if the values allow it."""
    return not layout.bags and all(map(_is_known, layout.terms))


def merged(
    rows: pa.RecordBatch, hashes: UInt64Array, layout: Layout, keys: Sequence[str]
) -> pa.RecordBatch | None:
    """Partial results with equal keys as one row, in the order of their hashes.

    Args:
        rows: Columns of `layout.carried`; not empty.
        hashes: Equal for equal keys; they become the rows' hashes.
        keys: The columns that tell groups apart.

    Returns:
        None where the values do not suit: a sum is too large, an extreme is null, or different
        groups share a hash.

    """
    order = ascending(hashes, None)
    ordered = hashes.take(order)
    is_new = np.append(True, ordered[1:] != ordered[:-1])
    beside = np.flatnonzero(~is_new)
    columns = [rows.column(key) for key in keys]
    equal = rows_equal(columns, order[beside - 1], columns, order[beside])
    if equal is not None and not equal.all():
        return None
    starts = np.flatnonzero(is_new)
    found = {key: rows.column(key).take(pa.array(order[starts])) for key in keys}
    found[HASH] = pa.array(ordered[starts])
    for name in _counts(layout):
        found[name] = pa.array(np.add.reduceat(rows.column(name).to_numpy().take(order), starts))
    if TICK in rows.schema.names:
        ticks = rows.column(TICK).to_numpy().take(order)
        found[TICK] = pa.array(np.maximum.reduceat(ticks, starts))
    for term in layout.terms:
        if term.merge is Merge.COUNT:
            continue
        column = _merged_term(term, rows.column(term.value), order, starts)
        if column is None:
            return None
        found[term.value] = column
    return pa.RecordBatch.from_arrays([found[n] for n in rows.schema.names], schema=rows.schema)


def _counts(layout: Layout) -> set[str]:
    """The columns that count."""
    values = {term.value for term in layout.terms if term.merge is Merge.COUNT}
    return {ROWS, *values, *(term.count for term in layout.terms if term.count)}


def _is_known(term: Term) -> bool:
    if term.merge is Merge.COUNT:
        return True
    if term.merge is Merge.SUM:
        return bool(pa.types.is_decimal128(term.arrow))
    is_extreme = term.merge in (Merge.MIN, Merge.MAX)
    return is_extreme and bool(pa.types.is_integer(term.arrow) and term.arrow != pa.uint64())


def _merged_term(
    term: Term, column: pa.Array, order: Int64Array, starts: Int64Array
) -> pa.Array | None:
    if column.null_count:
        return None
    if term.merge is not Merge.SUM:
        extreme = np.minimum if term.merge is Merge.MIN else np.maximum
        values = extreme.reduceat(times_of(column).take(order), starts)
        return pa.array(values).cast(term.arrow)
    words = decimal128.limbs(column)
    low = words[:, 0].take(order)
    highest = max(int(low.max()), -int(low.min()))
    if highest * len(low) >= _SUM_MAX or (words[:, 1] != words[:, 0] >> 63).any():
        return None
    totals = np.add.reduceat(low, starts)
    return decimal128.array(np.stack([totals, totals >> 63], axis=1), term.arrow)

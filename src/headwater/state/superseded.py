"""Which rows of a table newer ones of the same key have replaced.

Rows are sorted by the hash of their key, their version and their place in the log; of neighbours
with one hash the last is the newest. Their keys are compared: where two keys share a hash all rows
of that hash count as the newest, as nothing is lost by keeping a row. Costs one sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.equality import BoolArray, rows_equal


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """What is known of rows, in their order.

    Args:
        is_replaced: Whether there is a newer row of the key.
        is_alone: Whether there is no other row of the key, nor of another key with its hash.

    """

    is_replaced: BoolArray
    is_alone: BoolArray


def standing(
    hashes: UInt64Array,
    keys: Sequence[pa.Array],
    *,
    versions: Int64Array | None,
    ticks: Int64Array,
) -> Standing:
    """How rows stand to each other: all rows that there are of their keys.

    Args:
        keys: The key columns.
        versions: The higher the newer; None: the last row in the log is the newest.
        ticks: The rows' places in the log.

    """
    by = (ticks, hashes) if versions is None else (ticks, versions, hashes)
    order = np.lexsort(by)
    ordered = hashes[order]
    is_followed = np.append(ordered[1:] == ordered[:-1], np.zeros(min(1, len(order)), np.bool_))
    follows = np.roll(is_followed, 1)
    at = np.flatnonzero(is_followed)
    is_equal = rows_equal(keys, order[at], keys, order[at + 1])
    assert is_equal is not None, "a key has columns"
    is_replaced = is_followed.copy()
    if not is_equal.all():
        run = np.cumsum(~follows)
        is_replaced &= ~np.isin(run, run[at[~is_equal]])
    found = Standing(np.empty(len(order), np.bool_), np.empty(len(order), np.bool_))
    found.is_replaced[order] = is_replaced
    found.is_alone[order] = ~is_followed & ~follows
    return found

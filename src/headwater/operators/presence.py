"""Whether a key has a match: a count for each key, and the keys whose count left or reached zero.

An epoch costs the rows that it counts, not the rows of their keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.equality import first_alike
from headwater.state.latest import Latest
from headwater.state.run import sorted_run, summed

COUNT = "__count"


@dataclass(frozen=True, slots=True)
class Flips:
    """Keys whose count left zero (1) or reached it (-1).

    Args:
        places: A row that was counted for each such key.
        signs: 1 or -1.
        ticks: The last place in the log of what was counted, or None where nobody needs it.

    """

    places: Int64Array
    signs: Int64Array
    ticks: Int64Array | None


def counted(
    counts: Latest,
    keys: pa.RecordBatch,
    hashes: UInt64Array,
    weights: Int64Array | None,
    ticks: Int64Array | None,
) -> Flips:
    """Add rows to the counts of their keys.

    Args:
        counts: A row for each key that has rows: the key's columns, and `COUNT`.
        keys: The key of each row, its columns in the order of those of `counts`.
        hashes: Their hashes.
        weights: How often each row counts; None stands for once.
        ticks: The rows' places in the log.

    """
    run, order = sorted_run(hashes, keys, weights)
    first = first_alike(run.hashes, run.rows.columns)
    if first is None:
        first = np.arange(len(run))
    places = np.flatnonzero(first == np.arange(len(run)))
    rows, found_hashes = run.rows.take(pa.array(places)), run.hashes.take(places)
    found = counts.find(rows, found_hashes)
    old = pc.fill_null(found.rows.column(COUNT), 0).to_numpy(zero_copy_only=False)
    new = old + summed(run.ones(), first).take(places)
    moved = np.flatnonzero(new != old)
    columns = [*rows.take(pa.array(moved)).columns, pa.array(new.take(moved))]
    batch = pa.RecordBatch.from_arrays(columns, schema=counts.schema)
    counts.put(batch, found_hashes.take(moved), removed=new.take(moved) == 0)
    signs = (new != 0).astype(np.int64) - (old != 0)
    flipped = np.flatnonzero(signs)
    latest = None
    if ticks is not None:
        latest = np.full(len(run), np.iinfo(np.int64).min)
        np.maximum.at(latest, first, ticks.take(order))
        latest = latest.take(places.take(flipped))
    return Flips(order.take(places.take(flipped)), signs[flipped], latest)

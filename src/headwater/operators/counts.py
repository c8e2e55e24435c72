"""How many rows each key has, or what else tells rows apart: those that have any are remembered.

An epoch costs the rows that it counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.operators.operator import Loader, Saver
from headwater.state.equality import BoolArray, first_alike
from headwater.state.latest import Latest
from headwater.state.run import sorted_run, summed

_COUNT = "__count"


@dataclass(frozen=True, slots=True)
class Flips:
    """Keys whose count left zero (1) or reached it (-1).

    Args:
        places: A row that was counted for each such key.
        signs: 1 or -1.
        ticks: The place in the log at which each came or went (in order), or the last place of
            what was counted; None where nobody needs it.

    """

    places: Int64Array
    signs: Int64Array
    ticks: Int64Array | None


class Counts:
    """A count for each key that has rows.

    Args:
        fields: The columns of the key.

    """

    def __init__(self, fields: Iterable[pa.Field]) -> None:
        keys = pa.schema(fields)
        self._rows = Latest(keys.append(pa.field(_COUNT, pa.int64())), keys.names)

    def add(
        self,
        keys: pa.RecordBatch,
        hashes: UInt64Array,
        weights: Int64Array | None,
        ticks: Int64Array | None,
        *,
        in_order: bool = False,
    ) -> Flips:
        """Add rows to the counts of their keys.

        Args:
            keys: The key of each row, its columns in their order.
            hashes: Their hashes.
            weights: How often each row counts; None stands for once.
            ticks: The rows' places in the log.
            in_order: Whether all is told that came and went from place to place, and not just what
                became of it. Only with ticks.

        """
        run, order = sorted_run(hashes, keys, weights)
        first = first_alike(run.hashes, run.rows.columns)
        if first is None:
            first = np.arange(len(run))
        places = np.flatnonzero(first == np.arange(len(run)))
        rows, found_hashes = run.rows.take(pa.array(places)), run.hashes.take(places)
        found = self._rows.find(rows, found_hashes)
        old = pc.fill_null(found.rows.column(_COUNT), 0).to_numpy(zero_copy_only=False)
        new = old + summed(run.ones(), first).take(places)
        moved = np.flatnonzero(new != old)
        columns = [*rows.take(pa.array(moved)).columns, pa.array(new.take(moved))]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._rows.schema)
        self._rows.put(batch, found_hashes.take(moved), removed=new.take(moved) == 0)
        if in_order and ticks is not None:
            before = np.zeros(len(run), dtype=np.int64)
            before[places] = old
            return _one_by_one(first, before.take(first), run.ones(), order, ticks)
        signs = (new != 0).astype(np.int64) - (old != 0)
        flipped = np.flatnonzero(signs)
        latest = None
        if ticks is not None:
            latest = np.full(len(run), np.iinfo(np.int64).min)
            np.maximum.at(latest, first, ticks.take(order))
            latest = latest.take(places.take(flipped))
        return Flips(order.take(places.take(flipped)), signs[flipped], latest)

    def are_there(self, keys: pa.RecordBatch, hashes: UInt64Array) -> BoolArray:
        """Which keys have rows."""
        return self._rows.find(keys, hashes).mask

    def forget_below(self, key: str, bound: int) -> None:
        """Drop the counts of keys before the bound: nobody asks for them, or adds to them."""
        self._rows.forget_below(key, bound)

    def save(self, saver: Saver) -> Any:
        """Hand over the counts."""
        return self._rows.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back the counts."""
        self._rows.load(manifest, loader)

    def size(self) -> tuple[int, int]:
        """Rows and bytes."""
        return self._rows.size()


def _one_by_one(
    groups: Int64Array,
    before: Int64Array,
    weights: Int64Array,
    order: Int64Array,
    ticks: Int64Array,
) -> Flips:
    """Each time that the count of a group left zero or reached it, at the end of a place.

    Args:
        groups: Rows that are alike have the same.
        before: The count of each row's group before.
        weights: What each row adds to it.
        order: The rows' places among those that were counted.
        ticks: The places in the log of those.

    """
    at = ticks.take(order)
    sorted_ = np.lexsort((at, groups))
    groups, at, before = groups.take(sorted_), at.take(sorted_), before.take(sorted_)
    sums = np.cumsum(weights.take(sorted_))
    is_first = np.ones(len(groups), dtype=np.bool_)
    is_first[1:] = groups[1:] != groups[:-1]
    starts = np.flatnonzero(is_first)
    base = np.repeat((sums - weights.take(sorted_))[starts], np.diff([*starts, len(groups)]))
    is_there = before + sums - base != 0
    is_end = np.ones(len(groups), dtype=np.bool_)
    is_end[:-1] = is_first[1:] | (at[1:] != at[:-1])
    ends = np.flatnonzero(is_end)
    was_there = np.concatenate([[False], is_there[ends][:-1]])
    opens = np.concatenate([[True], groups[ends][1:] != groups[ends][:-1]])
    was_there = np.where(opens, before[ends] != 0, was_there)
    signs = is_there[ends].astype(np.int64) - was_there
    flipped = np.flatnonzero(signs)
    rows = order.take(sorted_[ends[flipped]])
    return Flips(rows, signs[flipped], at[ends[flipped]])

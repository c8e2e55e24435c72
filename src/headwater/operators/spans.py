"""Stretches of ordered partitions: which rows stand near the rows that changed.

Rows are remembered in runs, sorted by the hash of their partition and then by their place in its
order (`places`). A span is all rows of one hash from one place to another. Spans are found and
widened by binary search in every run, for all of them at once: an epoch costs its changes times
the number of runs, and the rows that stand in the spans.

A span may hold more rows than it was asked for, never less: rows of one place are taken together,
and so are partitions that share a hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.operators.places import FIRST, LAST
from headwater.state.index import search_times, spread
from headwater.state.run import Run, consolidated, merge, sorted_run

# A search that met too many withdrawn rows looks so many times as far the next time.
_FURTHER = 4


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans that share no row, by hash and then by place; the last place belongs to its span."""

    hashes: UInt64Array
    low: Int64Array
    high: Int64Array

    def __len__(self) -> int:
        return len(self.hashes)

    def locate(self, hashes: UInt64Array, places: Int64Array) -> Int64Array:
        """The number of the span that each row stands in; -1 where it stands in none."""
        if not len(self):
            return np.full(len(hashes), -1)
        first = np.searchsorted(self.hashes, hashes)
        end = np.searchsorted(self.hashes, hashes, side="right")
        at = search_times(self.low, first, end, places, after_equal=True) - 1
        is_inside = at >= first
        is_inside &= places <= self.high.take(np.maximum(at, 0))
        return np.where(is_inside, at, -1)


def united(hashes: UInt64Array, low: Int64Array, high: Int64Array) -> Spans:
    """Any spans as those that share no row."""
    if not len(hashes):
        return Spans(hashes, low, high)
    order = np.lexsort((low, hashes))
    hashes, low, high = hashes.take(order), low.take(order), high.take(order)
    is_new = np.ones(len(hashes), dtype=np.bool_)
    is_new[1:] = hashes[1:] != hashes[:-1]
    # The highest place so far within a hash: a running maximum over all, as a hash's places are
    # ranked above those of the hashes before it.
    values, ranks = np.unique(high, return_inverse=True)
    group = (np.cumsum(is_new) - 1) * len(values)
    highest = values.take(np.maximum.accumulate(group + ranks) - group)
    is_new[1:] |= low[1:] > highest[:-1]
    starts = np.flatnonzero(is_new)
    ends = np.append(starts[1:], len(hashes)) - 1
    return Spans(hashes.take(starts), low.take(starts), highest.take(ends))


def beyond(
    runs: Sequence[Run],
    hashes: UInt64Array,
    places: Int64Array,
    count: int,
    *,
    is_forward: bool,
) -> Int64Array:
    """For each place the one up to which at least `count` more rows stand, after or before it.

    Args:
        runs: Rows with weights; a withdrawn row counts against the rows.
        hashes: The hash of each place's partition.
        places: Where to begin; rows at the place itself do not count.
        count: How many rows.
        is_forward: Whether to look after the place, or before it.

    """
    if not count:
        return places
    end = LAST if is_forward else FIRST
    found = np.full(len(places), end)
    has_withdrawn = any(r.weights is not None and (r.weights < 0).any() for r in runs)
    rest, asked = np.arange(len(places)), count
    while len(rest):
        sought = _Sought(hashes.take(rest), places.take(rest), is_forward=is_forward)
        bounds = sought.frontier(runs, asked)
        found[rest] = bounds
        if not has_withdrawn:
            break
        lacking = (sought.counted(runs, bounds) < count) & (bounds != end)
        rest, asked = rest[lacking], asked * _FURTHER
    return found


@dataclass(frozen=True, slots=True)
class _Sought:
    """Places to look from."""

    hashes: UInt64Array
    places: Int64Array
    is_forward: bool

    def frontier(self, runs: Sequence[Run], count: int) -> Int64Array:
        """The nearest place at which one of the runs alone has so many rows."""
        nearest = np.minimum if self.is_forward else np.maximum
        bounds = np.full(len(self.places), LAST if self.is_forward else FIRST)
        for run in runs:
            probes, first, end, at = self._positions(run)
            target = at + count - 1 if self.is_forward else at - count
            has_so_many = (target >= first) & (target < end)
            probes, target = probes[has_so_many], target[has_so_many]
            assert run.times is not None
            # A hash may be sought several times, but each probe is met once in a run.
            bounds[probes] = nearest(bounds[probes], run.times.take(target))
        return bounds

    def counted(self, runs: Sequence[Run], bounds: Int64Array) -> Int64Array:
        """How many rows stand up to each bound."""
        total = np.zeros(len(self.places), dtype=np.int64)
        for run in runs:
            probes, first, end, at = self._positions(run)
            assert run.times is not None
            limits = search_times(
                run.times, first, end, bounds.take(probes), after_equal=self.is_forward
            )
            low, high = (at, limits) if self.is_forward else (limits, at)
            owners, rows = spread(probes, low, np.maximum(low, high))
            weights = run.ones().take(rows)
            # Sums of float64 are exact here: no weight comes near 2**53.
            sums = np.bincount(owners, weights=weights, minlength=len(total))
            total += sums.astype(np.int64)
        return total

    def _positions(self, run: Run) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
        """Of the probes that are there: their range, and where rows beyond the place begin."""
        ranges = run.find(self.hashes)
        first, end = ranges.first, ranges.ends()
        assert run.times is not None
        places = self.places.take(ranges.probes)
        at = search_times(run.times, first, end, places, after_equal=self.is_forward)
        return ranges.probes, first, end, at


def rows_in(runs: Sequence[Run], spans: Spans, schema: pa.Schema) -> Run:
    """The rows that stand in the spans, equal ones as one."""
    parts = []
    for run in runs:
        ranges = run.find(spans.hashes)
        first, end = ranges.first, ranges.ends()
        assert run.times is not None
        low, high = spans.low.take(ranges.probes), spans.high.take(ranges.probes)
        start = search_times(run.times, first, end, low, after_equal=False)
        stop = search_times(run.times, first, end, high, after_equal=True)
        _, rows = spread(ranges.probes, start, np.maximum(start, stop))
        if len(rows):
            weights = None if run.weights is None else run.weights.take(rows)
            parts.append(run.take(rows, weights))
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        empty = pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)
        return Run(nothing.astype(np.uint64), empty, None, nothing)
    return parts[0] if len(parts) == 1 else consolidated(merge(parts))


def netted(
    rows: pa.RecordBatch, hashes: UInt64Array, places: Int64Array, weights: Int64Array
) -> Run:
    """Rows with weights, equal ones as one, and without those that cancel."""
    return consolidated(merge([sorted_run(hashes, rows, weights, places)[0]]))

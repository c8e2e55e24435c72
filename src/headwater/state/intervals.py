"""Intervals of time that do not overlap, by key.

An interval stands under the hash of its key and its first time; the newest of equal key and first
time is the one that counts, and one that is gone leaves a mark (weight 0) until it meets the oldest
run. A look-up for a stretch of time reads the intervals in it and the one before it, however many
the key has: where that one turns out to be a mark, it looks back twice as far, and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.checkpoint import Loader, Saver
from headwater.state.equality import BoolArray, are_last, first_alike, rows_equal
from headwater.state.index import search_times, spread
from headwater.state.loose import Loose
from headwater.state.run import Merge, Run, conformed, load_run, sorted_run, times_of
from headwater.state.spine import Limits, Spine

_BEFORE_ALL = int(np.iinfo(np.int64).min)


@dataclass(frozen=True, slots=True)
class Stretches:
    """Stretches of time to look up.

    Args:
        keys: Key columns, in the order of the intervals' keys, under any names.
        hashes: Their hashes.
        first: The first moment of each.
        last: The last moment of each.

    """

    keys: pa.RecordBatch
    hashes: UInt64Array
    first: Int64Array
    last: Int64Array

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, places: Int64Array) -> Stretches:
        """Some of them."""
        keys = self.keys.take(pa.array(places)) if self.keys.num_columns else self.keys
        return Stretches(
            keys, self.hashes.take(places), self.first.take(places), self.last.take(places)
        )


class Intervals:
    """Disjoint intervals by key, each with what is known of it.

    Args:
        schema: The columns; `first` and `last` are int64 without nulls.
        keys: The key columns; may be empty.
        first: The column with the first time of each interval.
        last: The column with the last time of each.
        limits: How large the rows may grow before they are split by hash.

    """

    def __init__(
        self,
        schema: pa.Schema,
        keys: Sequence[str],
        first: str,
        last: str,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.schema = pa.schema([pa.field(f.name, f.type) for f in schema])
        self.keys = tuple(keys)
        self._first, self._last = first, last
        self._spine = Spine(self._settled, limits=limits)

    def near(self, sought: Stretches, distance: int) -> tuple[pa.RecordBatch, UInt64Array]:
        """The intervals, each once, less than `distance` away from one of the stretches.

        Args:
            sought: The stretches.
            distance: At most how far the intervals of a key are apart. So an interval that begins
                before a stretch hides all that are before it.

        Returns:
            Intervals by hash, key and time, and their hashes.

        """
        runs = [run for run in self._spine.runs() if len(run)]
        found, todo, back = [], sought, 1
        while len(todo):
            since, is_all = _starts_before(runs, todo, back)
            some = self._since(runs, todo, since, distance)
            done = is_all | some.reaches_back(len(todo))
            found.append(some.near(todo, distance))
            todo = todo.take(np.flatnonzero(~done))
            back *= 4
        return self._together(found)

    def distinct(
        self, rows: pa.RecordBatch, hashes: UInt64Array
    ) -> tuple[pa.RecordBatch, UInt64Array]:
        """What `near` returned in several calls, each interval once."""
        run, _ = sorted_run(hashes, rows, None, times_of(rows.column(self._first)))
        kept = _last_places(Merge(run.rows, None, run.hashes, None, run.times), self.keys)
        return run.rows.take(pa.array(kept)), run.hashes.take(kept)

    def put(self, rows: pa.RecordBatch, hashes: UInt64Array, removed: BoolArray) -> None:
        """Make rows the newest of their key and first time, in order; or take them out."""
        if not len(hashes):
            return
        rows = conformed(rows, self.schema)
        weights = np.where(removed, 0, 1).astype(np.int64) if removed.any() else None
        self._spine.add(Loose(hashes, rows, weights, times_of(rows.column(self._first))))

    def size(self) -> tuple[int, int]:
        """Rows and bytes that are held, hidden ones too."""
        return self._spine.size()

    def save(self, saver: Saver) -> Any:
        """Hand the rows over; return a JSON value from which `load` finds them."""
        return self._spine.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._spine.load(manifest, lambda name: load_run(name, loader, self.schema, self._first))

    def _since(
        self, runs: Sequence[Run], sought: Stretches, since: Int64Array, distance: int
    ) -> _Some:
        """All that begins from `since` on, and not after each stretch and the distance."""
        probes, rows, hashes, alive = [], [], [], []
        for run in runs:
            ranges = run.find(sought.hashes)
            assert run.times is not None
            end = ranges.ends()
            mine = ranges.probes
            low = search_times(run.times, ranges.first, end, since.take(mine), after_equal=False)
            until = _plus(sought.last.take(mine), distance)
            high = search_times(run.times, low, end, until, after_equal=False)
            which, places = spread(mine, low, high)
            columns = [run.rows.column(name) for name in self.keys]
            same = rows_equal(sought.keys.columns, which, columns, places)
            if same is not None:
                which, places = which[same], places[same]
            probes.append(which)
            rows.append(run.rows.take(pa.array(places)))
            hashes.append(run.hashes.take(places))
            alive.append(run.ones().take(places) > 0)
        if not rows:
            rows.append(pa.RecordBatch.from_arrays(_empty(self.schema), schema=self.schema))
            probes, hashes = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
            alive = [np.zeros(0, np.bool_)]
        gathered = rows[0] if len(rows) == 1 else pa.concat_batches(rows)
        probe, live = np.concatenate(probes), np.concatenate(alive)
        first = times_of(gathered.column(self._first))
        # Of one stretch, key and first time the last one counts.
        order = np.lexsort((first, probe))
        is_last = np.ones(len(order), dtype=np.bool_)
        is_last[:-1] = (probe[order][1:] != probe[order][:-1]) | (
            first[order][1:] != first[order][:-1]
        )
        kept = order[is_last]
        kept = np.sort(kept[live[kept]])
        newest = gathered.take(pa.array(kept))
        last = times_of(newest.column(self._last))
        begins = first[kept] <= sought.first.take(probe[kept])
        return _Some(newest, np.concatenate(hashes)[kept], probe[kept], first[kept], last, begins)

    def _together(self, found: Sequence[_Some]) -> tuple[pa.RecordBatch, UInt64Array]:
        """What several looks found, each interval once."""
        if not found:
            nothing = pa.RecordBatch.from_arrays(_empty(self.schema), schema=self.schema)
            return nothing, np.zeros(0, np.uint64)
        rows = pa.concat_batches([some.rows for some in found])
        return self.distinct(rows, np.concatenate([some.hashes for some in found]))

    def _settled(self, merge: Merge, is_oldest: bool) -> Run:
        """The newest interval of each key and first time."""
        kept = _last_places(merge, self.keys)
        if is_oldest and merge.weights is not None:
            kept = kept[merge.weights.take(kept) > 0]
        if len(kept) == len(merge):
            return merge.run()
        weights = None if merge.weights is None else merge.weights.take(kept)
        return merge.take(kept, None if weights is not None and weights.all() else weights)


@dataclass(frozen=True, slots=True)
class _Some:
    """Live intervals that were found for stretches.

    Args:
        probes: The stretch that each was found for.
        begins: Whether it begins not after the stretch does.

    """

    rows: pa.RecordBatch
    hashes: UInt64Array
    probes: Int64Array
    first: Int64Array
    last: Int64Array
    begins: BoolArray

    def reaches_back(self, stretches: int) -> BoolArray:
        """For which stretches there is an interval that begins not after them."""
        mask = np.zeros(stretches, dtype=np.bool_)
        mask[self.probes[self.begins]] = True
        return mask

    def near(self, sought: Stretches, distance: int) -> _Some:
        """Those that are less than `distance` away from their stretch."""
        kept = np.flatnonzero(_plus(self.last, distance) > sought.first.take(self.probes))
        if len(kept) == len(self.probes):
            return self
        return _Some(
            self.rows.take(pa.array(kept)),
            self.hashes.take(kept),
            self.probes.take(kept),
            self.first.take(kept),
            self.last.take(kept),
            self.begins.take(kept),
        )


def _starts_before(
    runs: Sequence[Run], sought: Stretches, back: int
) -> tuple[Int64Array, BoolArray]:
    """From when on to look, `back` places before each stretch, and whether that is from the start.

    The time is the latest over the runs, so that from then on every run is read.
    """
    since = np.full(len(sought), _BEFORE_ALL)
    for run in runs:
        ranges = run.find(sought.hashes)
        assert run.times is not None
        mine, first = ranges.probes, ranges.first
        times = sought.first.take(mine)
        places = search_times(run.times, first, ranges.ends(), times, after_equal=True) - back
        has_more = places >= first
        mine, places = mine[has_more], places[has_more]
        since[mine] = np.maximum(since[mine], run.times.take(places))
    return since, since == _BEFORE_ALL


def _last_places(merge: Merge, keys: Sequence[str]) -> Int64Array:
    """Where the last row of each key and time stands in a merged run; ascending."""
    assert merge.times is not None
    tied = (merge.hashes[1:] == merge.hashes[:-1]) & (merge.times[1:] == merge.times[:-1])
    if not tied.any():
        return np.arange(len(merge), dtype=np.int64)
    later = np.flatnonzero(tied) + 1
    earlier = later - 1
    at = (later, earlier) if merge.order is None else (merge.order[later], merge.order[earlier])
    columns = [merge.rows.column(name) for name in keys]
    same = rows_equal(columns, at[0], columns, at[1])
    if same is None or same.all():
        return np.flatnonzero(np.append(~tied, True))
    # Keys that share a hash: told apart one by one.
    times = pa.array(merge.times)
    ordered = [c if merge.order is None else c.take(pa.array(merge.order)) for c in columns]
    first = first_alike(merge.hashes, [*ordered, times])
    assert first is not None
    return np.flatnonzero(are_last(first))


def _plus(times: Int64Array, distance: int) -> Int64Array:
    """The sum, where it is one."""
    return np.where(
        times > np.iinfo(np.int64).max - distance, np.iinfo(np.int64).max, times + distance
    )


def _empty(schema: pa.Schema) -> list[pa.Array]:
    return [pa.nulls(0, f.type) for f in schema]

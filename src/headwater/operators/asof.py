"""Each left row with the newest right row, of equal keys, that is not after it.

Both sides are remembered by key and time. A left row is looked up among the right ones by binary
search. A right row that comes or goes at a time matters to the left rows from that time up to
the next right row of its key, and to no others; of these, the ones whose match differs are said
again. So an epoch costs its rows and the left rows between a changed right row and the next.

Where right rows were withdrawn, rows and their withdrawals meet before a search: of the keys in
question when these are few, else of the whole right side.

With a decision late rows of both sides are left out. So no right row in time is before the right
frontier less the lateness, and left rows before that are forgotten: their match stands. No row asks
before both frontiers less the lateness, so of the right rows before that the newest of each key is
enough. When the decision is final a left row waits until the right frontier has passed its time;
without lateness it then has its last match, and is not remembered at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, Delta, Int64Array, UInt64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.deciding import Waiting, in_time, less_lateness
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.sides import (
    Part,
    Side,
    output_schema,
    side_of,
    split,
    together,
    visible_fields,
    weighed,
)
from headwater.plan.nodes import AsofJoin, Decision
from headwater.state.equality import first_alike, rows_equal, taken
from headwater.state.index import search_times, spread
from headwater.state.latest import Found, nulls
from headwater.state.multiset import Multiset
from headwater.state.run import Run, consolidated, gathered, merge, sorted_run, times_of

# The rows of the keys in question are brought together alone when they are at most this part.
_FEW = 4


class AsofOperator:
    """Keeps an `AsofJoin` up to date.

    Args:
        node: What to compute.
        left_schema: The left input's columns, with the hash over the left keys.
        right_schema: The right input's columns, with the hash over the right keys.

    """

    def __init__(self, node: AsofJoin, left_schema: pa.Schema, right_schema: pa.Schema) -> None:
        self._node = node
        self._has_ticks = TICK in left_schema.names or TICK in right_schema.names
        left, right = visible_fields(left_schema), visible_fields(right_schema)
        self._left = Multiset(pa.schema(left), node.left_keys, time=node.left_time)
        self._right = Multiset(pa.schema(right), node.right_keys, time=node.right_time)
        decision = self._decision = node.decision
        is_final = decision is not None and decision.final
        self._waiting = Waiting(self._left.schema, node.left_keys, node.left_time)
        self._waits = is_final
        self._corrects = decision is None or not decision.is_once
        self.schema = output_schema(
            [*left, *right], weighted=not node.append_only, has_ticks=self._has_ticks
        )

    def is_due(self, epoch: Epoch) -> bool:
        """Left rows come out when the right frontier passes them."""
        return self._waits and self._closing(epoch) > self._waiting.closed_us

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed on both sides; return what changed in the join."""
        node, has_ticks = self._node, self._has_ticks
        left = side_of(inputs[0], node.left_keys, epoch, has_ticks=has_ticks)
        right = side_of(inputs[1], node.right_keys, epoch, has_ticks=has_ticks)
        left, timeless = split(left, [left.rows.column(node.left_time)])
        right, _ = split(right, [right.rows.column(node.right_time)])
        left, right = self._in_time(left, right, epoch)
        left, keyless = split(left, left.keys.columns)
        right, _ = split(right, right.keys.columns)
        parts = self._rematch(right) if len(right) else []
        if self._waits:
            self._waiting.add(_conformed(left, self._left.schema))
            left = self._waited(epoch)
        if len(left):
            parts += self._said(left)
        for lonely in (timeless, keyless):
            if lonely is not None:
                rows = len(lonely)
                nothing = Found(np.zeros(rows, np.bool_), nulls(self._right.schema, rows))
                parts += self._pairs(lonely.rows, nothing, lonely.weights, lonely.ticks)
        if self._decision is not None:
            self._forget(self._decision, epoch)
        return together(parts, self.schema)

    def save(self, saver: Saver) -> Any:
        """Hand over what is remembered of both sides."""
        waiting = self._waiting.save(saver)
        return {
            "left": self._left.save(saver),
            "right": self._right.save(saver),
            "waiting": waiting,
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what is remembered of both sides."""
        self._left.load(manifest["left"], loader)
        self._right.load(manifest["right"], loader)
        self._waiting.load(manifest["waiting"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered of both sides."""
        sizes = [self._left.size(), self._right.size(), self._waiting.size()]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def waits_until(self) -> int | None:
        """What the right watermark must pass for the first row that waits to come out."""
        first = self._waiting.lowest()
        if first is None or self._decision is None:
            return None
        # A right row of the same time would match, unless the join is strict.
        return self._decision.right.reached_at(first + (not self._node.is_strict))

    def _in_time(self, left: Side, right: Side, epoch: Epoch) -> tuple[Side, Side]:
        """The rows that are not late."""
        decision, node = self._decision, self._node
        if decision is None:
            return left, right
        late_us = decision.lateness_us
        return (
            in_time(left, node.left_time, epoch, frontier=decision.left, lateness_us=late_us),
            in_time(right, node.right_time, epoch, frontier=decision.right, lateness_us=late_us),
        )

    def _closing(self, epoch: Epoch) -> int:
        """Left rows before this have the match that they wait for."""
        assert self._decision is not None
        passed_us = epoch.passed(self._decision.right).end_us
        # A right row at the frontier is in time, and matches a left row of its time if it may.
        is_passed_at = self._node.is_strict and passed_us not in (BEFORE_ALL, AFTER_ALL)
        return passed_us + 1 if is_passed_at else passed_us

    def _waited(self, epoch: Epoch) -> Side:
        """The left rows whose wait is over, at the places in the log where it was over."""
        assert self._decision is not None
        due = self._waiting.take_below(self._closing(epoch))
        assert due.ticks is not None
        times = times_of(due.rows.column(self._node.left_time))
        until = times if self._node.is_strict else np.minimum(times, AFTER_ALL - 1) + 1
        passed_at = epoch.passed(self._decision.right).tick_of(until)
        return replace(due, ticks=np.maximum(due.ticks, passed_at))

    def _said(self, left: Side) -> list[Part]:
        """The left rows with their matches; they are remembered where these may change."""
        times = times_of(left.rows.column(self._node.left_time))
        found = self._match(_Sought(left.keys, left.hashes, times))
        if self._corrects:
            self._left.insert_rows(left.rows.cast(self._left.schema), left.hashes, left.weights)
        return self._pairs(left.rows, found, left.weights, left.ticks)

    def _forget(self, decision: Decision, epoch: Epoch) -> None:
        """Drop left rows whose match stands, and right rows that no row in time can match."""
        of_left, of_right = (
            less_lateness(epoch.passed(frontier).end_us, decision.lateness_us)
            for frontier in (decision.left, decision.right)
        )
        self._left.forget_below(of_right)
        self._right.forget_older(min(of_left, of_right))

    def _match(self, sought: _Sought) -> Found:
        """The right row of each left one."""
        runs = _settled_runs(self._right, sought)
        return _newest(runs, sought, self._right, is_strict=self._node.is_strict)

    def _rematch(self, right: Side) -> list[Part]:
        """Remember the changes of the right side, and say again which left rows they concern."""
        times = times_of(right.rows.column(self._node.right_time))
        changed = _Sought(right.keys, right.hashes, times)
        until = _next_times(_settled_runs(self._right, changed), changed, self._right.keys)
        rows, ticks = _between(
            self._left, changed, until, right.ticks, is_strict=self._node.is_strict
        )
        old = self._match(rows.sought) if len(rows) else None
        self._right.insert_rows(right.rows.cast(self._right.schema), right.hashes, right.weights)
        if old is None:
            return []
        new = self._match(rows.sought)
        same = rows_equal(old.rows.columns, None, new.rows.columns, None)
        assert same is not None, "a right side has at least its time"
        places = np.flatnonzero(~(same & (old.mask == new.mask)))
        batch = rows.batch.take(pa.array(places))
        weights = rows.weights.take(places)
        ticks = None if ticks is None else ticks.take(places)
        gone = self._pairs(batch, _found_at(old, places), -weights, ticks)
        return gone + self._pairs(batch, _found_at(new, places), weights, ticks)

    def _pairs(
        self,
        rows: pa.RecordBatch,
        found: Found,
        weights: Int64Array | None,
        ticks: Int64Array | None,
    ) -> list[Part]:
        """Left rows with what was found for them; in an inner join those that have a match."""
        if self._node.is_left or found.mask.all():
            return [Part([*rows.columns, *found.rows.columns], weights, ticks)]
        places = np.flatnonzero(found.mask)
        columns = [taken(c, places) for c in (*rows.columns, *found.rows.columns)]
        ticks = None if ticks is None else ticks.take(places)
        return [Part(columns, weighed(weights, places, None), ticks)]


@dataclass(frozen=True, slots=True)
class _Sought:
    """Keys and times to look up."""

    keys: pa.RecordBatch
    hashes: UInt64Array
    times: Int64Array


@dataclass(frozen=True, slots=True)
class _LeftRows:
    """Remembered left rows, and how to look them up on the right."""

    batch: pa.RecordBatch
    weights: Int64Array
    sought: _Sought

    def __len__(self) -> int:
        return len(self.weights)


def _conformed(side: Side, schema: pa.Schema) -> Side:
    """The side's rows as those of the schema, in which any column may be null."""
    return replace(side, rows=side.rows.cast(schema))


def _found_at(found: Found, places: Int64Array) -> Found:
    return Found(found.mask.take(places), found.rows.take(pa.array(places)))


def _settled_runs(rows: Multiset, sought: _Sought) -> Sequence[Run]:
    """Runs in which the sought keys' rows, and no withdrawals of them, stand."""
    runs = rows.runs()
    if not any(run.weights is not None and (run.weights < 0).any() for run in runs):
        return runs
    met = sum(int((r.ends() - r.first).sum()) for r in (run.find(sought.hashes) for run in runs))
    if met * _FEW >= rows.size()[0]:
        return rows.whole()
    keys, _ = sorted_run(sought.hashes, sought.keys, None)
    first = first_alike(keys.hashes, keys.rows.columns)
    if first is not None:
        keys = keys.take(np.flatnonzero(first == np.arange(len(first))), None)
    matches = rows.probe(keys.rows, keys.hashes)
    assert rows.time is not None
    times = times_of(matches.rows.column(rows.time))
    hashes = keys.hashes.take(matches.probes)
    run, _ = sorted_run(hashes, matches.rows, matches.weights, times)
    return [consolidated(merge([run]))]


def _newest(runs: Sequence[Run], sought: _Sought, rows: Multiset, *, is_strict: bool) -> Found:
    """For each sought key the row with the greatest time that is not after the sought one."""
    count = len(sought.hashes)
    best_times = np.full(count, np.iinfo(np.int64).min)
    # The run that holds the best row so far (-1: none does), and its place there.
    best_runs = np.full(count, -1)
    best_places = np.zeros(count, dtype=np.int64)
    for number, run in enumerate(runs):
        probes, places = _places_before(run, sought, rows.keys, is_strict=is_strict)
        assert run.times is not None
        times = run.times.take(places)
        # Of rows of equal time the one that came last counts, and later runs hold later rows.
        better = (times >= best_times[probes]) | (best_runs[probes] < 0)
        probes, places = probes[better], places[better]
        best_times[probes], best_places[probes] = times[better], places
        best_runs[probes] = number
    return _gather(runs, best_runs, best_places, rows.schema)


def _gather(runs: Sequence[Run], which: Int64Array, places: Int64Array, schema: pa.Schema) -> Found:
    """The row at a place of a run for each probe; null where `which` is -1."""
    mask = which >= 0
    if not mask.any():
        return Found(mask, nulls(schema, len(mask)))
    used = [number for number in range(len(runs)) if (which == number).any()]
    if len(used) == 1:
        at = pa.array(places, mask=None if mask.all() else ~mask)
        return Found(mask, runs[used[0]].rows.take(at))
    at = np.zeros(len(which), dtype=np.int64)
    chosen, start = [], 0
    for number in used:
        probes = np.flatnonzero(which == number)
        at[probes] = np.arange(start, start + len(probes))
        chosen.append(places[probes])
        start += len(probes)
    rows = gathered([runs[number] for number in used], chosen)
    return Found(mask, rows.take(pa.array(at, mask=~mask)))


def _places_before(
    run: Run, sought: _Sought, names: Sequence[str], *, is_strict: bool
) -> tuple[Int64Array, Int64Array]:
    """For each sought key that has one the last place in the run that is not after its time."""
    ranges = run.find(sought.hashes)
    assert run.times is not None
    probes, first = ranges.probes, ranges.first
    times = sought.times.take(probes)
    places = search_times(run.times, first, ranges.ends(), times, after_equal=not is_strict) - 1
    candidates = _Candidates(probes, places, first, step=-1)
    return _same_key(run, sought, names, candidates)


def _next_times(runs: Sequence[Run], sought: _Sought, names: Sequence[str]) -> Int64Array:
    """For each sought key the time of its first row after the sought time."""
    following = np.full(len(sought.hashes), AFTER_ALL)
    for run in runs:
        ranges = run.find(sought.hashes)
        assert run.times is not None
        probes, end = ranges.probes, ranges.ends()
        times = sought.times.take(probes)
        places = search_times(run.times, ranges.first, end, times, after_equal=True)
        candidates = _Candidates(probes, places, end - 1, step=1)
        probes, places = _same_key(run, sought, names, candidates)
        following[probes] = np.minimum(following[probes], run.times.take(places))
    return following


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Where probes begin to look for their key, the last places to look at, and the step."""

    probes: Int64Array
    places: Int64Array
    limits: Int64Array
    step: int


def _same_key(
    run: Run, sought: _Sought, names: Sequence[str], candidates: _Candidates
) -> tuple[Int64Array, Int64Array]:
    """Step on from each place to the first one whose key is the sought one.

    A step is needed only where different keys share a hash.
    """
    probes, places, step = candidates.probes, candidates.places.copy(), candidates.step
    columns = [run.rows.column(name) for name in names]
    kept = np.zeros(len(probes), dtype=np.bool_)
    left = (candidates.limits - places) * step
    rest = np.flatnonzero(left >= 0)
    while len(rest):
        same = rows_equal(sought.keys.columns, probes[rest], columns, places[rest])
        if same is None:
            kept[rest] = True
            break
        kept[rest[same]] = True
        rest = rest[~same]
        places[rest] += step
        left[rest] -= 1
        rest = rest[left[rest] >= 0]
    return probes[kept], places[kept]


def _between(
    left: Multiset,
    changed: _Sought,
    until: Int64Array,
    ticks: Int64Array | None,
    *,
    is_strict: bool,
) -> tuple[_LeftRows, Int64Array | None]:
    """The left rows whose match a change may have altered, and the last tick of these changes."""
    batches, weights, hashes, times, last = [], [], [], [], []
    for run in left.runs():
        ranges = run.find(changed.hashes)
        assert run.times is not None
        probes, first, end = ranges.probes, ranges.first, ranges.ends()
        start, stop = changed.times.take(probes), until.take(probes)
        low = search_times(run.times, first, end, start, after_equal=is_strict)
        # Nothing follows: all to the end, also those at the greatest time there can be.
        high = search_times(run.times, first, end, stop, after_equal=is_strict)
        high = np.where(stop == AFTER_ALL, end, high)
        probes, places = spread(probes, low, np.maximum(high, low))
        columns = [run.rows.column(name) for name in left.keys]
        same = rows_equal(changed.keys.columns, probes, columns, places)
        if same is not None:
            probes, places = probes[same], places[same]
        distinct, at = np.unique(places, return_inverse=True)
        batches.append(run.rows.take(pa.array(distinct)))
        weights.append(run.ones().take(distinct))
        hashes.append(run.hashes.take(distinct))
        times.append(run.times.take(distinct))
        if ticks is not None:
            latest = np.full(len(distinct), np.iinfo(np.int64).min)
            np.maximum.at(latest, at, ticks.take(probes))
            last.append(latest)
    if not batches:
        nothing = np.zeros(0, dtype=np.int64)
        empty = nulls(left.schema, 0)
        sought = _Sought(empty.select(left.keys), nothing.astype(np.uint64), nothing)
        return _LeftRows(empty, nothing, sought), None
    batch = pa.concat_batches(batches)
    keys = batch.select(left.keys)
    sought = _Sought(keys, np.concatenate(hashes), np.concatenate(times))
    rows = _LeftRows(batch, np.concatenate(weights), sought)
    return rows, None if ticks is None else np.concatenate(last)

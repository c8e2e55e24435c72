"""Rows with weights, by key: what an operator remembers of an input.

The rows lie in a spine of sorted runs. Inserting costs a copy of the rows and, amortised, one more
for each doubling of the state; looking up a key costs a probe of each run, of which there are about
as many as the number of rows has digits. Equal rows become one only when runs merge, so a row may
be found in several places: its weight is the sum over them.

Rows of a key are found in the order of their arrival. A row that was withdrawn and added again
stands where it first arrived or where it came back, depending on which runs have merged since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, WEIGHT, Delta, Int64Array, UInt64Array
from headwater.state.afar import Afar
from headwater.state.checkpoint import Loader, Saver
from headwater.state.equality import BoolArray, are_last, first_alike, taken
from headwater.state.loose import Loose
from headwater.state.matching import Accept, Seek, matching_between, matching_by_two
from headwater.state.peek import Peek
from headwater.state.run import (
    Merge,
    Run,
    cancelled,
    closing_of,
    conformed,
    consolidated,
    load_run,
    merge,
    times_of,
)
from headwater.state.spine import Behind, Limits, Merged, Spine
from headwater.state.zones import Near, has_zones

_BEFORE_ALL = int(np.iinfo(np.int64).min)
# Fewer rows than this are not worth looking through for older ones.
_THINNED_MIN = 64


@dataclass(frozen=True, slots=True)
class Matches:
    """What was found for probing rows.

    Args:
        probes: The index of the probing row of each match, ascending.
        rows: The rows that were found; those of one probing row in order of arrival.
        weights: Their weights, always given.

    """

    probes: Int64Array
    rows: pa.RecordBatch
    weights: Int64Array

    def __len__(self) -> int:
        return len(self.probes)

    def counts(self, probes: int) -> Int64Array:
        """For each of so many probing rows the sum of the weights of its matches."""
        # Sums of float64 are exact here: no weight comes near 2**53.
        totals = np.bincount(self.probes, weights=self.weights, minlength=probes)
        return totals.astype(np.int64)


@dataclass(frozen=True, slots=True)
class Found:
    """As `Matches`, where the rows lie.

    Args:
        probes: The index of the probing row of each match, ascending.
        rows: The rows that were found; those of one probing row in order of arrival.
        weights: Their weights; None when all are 1.

    """

    probes: Int64Array
    rows: Afar
    weights: Int64Array | None

    def __len__(self) -> int:
        return len(self.probes)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a multiset held at some moment; may be read from any thread.

    Args:
        rows: The number of rows, each counted as often as it is there.

    """

    rows: int
    _schema: pa.Schema
    _peek: Peek

    def table(self) -> pa.Table:
        """All rows, each as often as it is there, in the order of the hash of their keys."""
        parts = [_repeated(consolidated(merge(runs))) for runs in self._peek.parts() if runs]
        return pa.Table.from_batches(parts, self._schema)


class Multiset:
    """Rows with integer weights, by key.

    Args:
        schema: The columns of the rows.
        keys: The key columns; may be empty, then all rows have the same key.
        time: A timestamp, date or integer column without nulls by which rows of one hash are sorted
            before they are by arrival.
        closing: A timestamp by which rows may be forgotten, where they are not sorted by one; rows
            in which it is null stay.
        merges_equal: False where equal rows that nobody withdraws may stay apart; merges are
            then cheaper where many rows share a key. Only without `time`.
        is_coded: Whether the hashes of keys are codes (`state.codes`); then there is one key.
        limits: How large the rows may grow before they are split by hash.

    """

    def __init__(  # noqa: PLR0913 - how rows are kept, by keyword
        self,
        schema: pa.Schema,
        keys: Sequence[str],
        *,
        time: str | None = None,
        closing: str | None = None,
        merges_equal: bool = True,
        is_coded: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.schema = schema
        self.keys = tuple(keys)
        self.time = time
        self._closing = closing
        self._merged = consolidated if merges_equal else cancelled
        self._is_coded = is_coded
        behind = Behind(self._begin)
        self._spine = Spine(self._settled, limits=limits, is_coded=is_coded, behind=behind)
        self._rows = 0
        # Times below the bound are forgotten; the highest time so far, and that of the rows that
        # were there when all of them were last brought together.
        self._bound = self._high = self._settled_high = _BEFORE_ALL
        # How many rows were left when those that are outdone last went.
        self._thinned_rows = 0

    @property
    def bound(self) -> int:
        """Rows below this time may have been forgotten."""
        return self._bound

    def insert(self, delta: Delta) -> None:
        """Add the delta's rows, which carry the hash of the key columns.

        The multiset's columns are taken from the delta by name; others are ignored.
        """
        self.insert_rows(conformed(delta.rows, self.schema), delta.hashes, delta.weights)

    def insert_rows(
        self, rows: pa.RecordBatch, hashes: UInt64Array, weights: Int64Array | None
    ) -> None:
        """Add rows of the multiset's schema; weights of None stand for 1."""
        times = None if self.time is None else times_of(rows.column(self.time))
        closing = times if self._closing is None else closing_of(rows.column(self._closing))
        if closing is not None and len(closing):
            self._high = max(self._high, int(closing.max()))
        self._spine.add(Loose(hashes, rows, weights, times))
        self._rows += len(hashes) if weights is None else int(weights.sum())

    def probe(
        self,
        keys: pa.RecordBatch,
        hashes: UInt64Array,
        *,
        null_equal: bool = True,
        seek: Seek | None = None,
        near: Sequence[Near] = (),
    ) -> Matches:
        """Find the rows of equal key for each of `keys`.

        Args:
            keys: The probing side's key columns in the order of `self.keys`, under any names.
            hashes: Their hashes, made as those of the inserted rows. Rows of another key that share
                the hash are not found.
            null_equal: Whether a null in a key finds a null.
            seek: Finds the pairs instead; only among rows of these hashes where there are keys.
            near: What the rows that are found have in common beside, as far as it is known.

        """
        return self._read(self.find(keys, hashes, null_equal=null_equal, seek=seek, near=near))

    def find(
        self,
        keys: pa.RecordBatch,
        hashes: UInt64Array,
        *,
        null_equal: bool = True,
        seek: Seek | None = None,
        near: Sequence[Near] = (),
    ) -> Found:
        """As `probe`, and no row is copied."""
        compared = None if self._is_coded else keys
        found: list[tuple[Int64Array, Run, Int64Array]] = []
        for run in self._runs_with(hashes, near):
            if seek is not None:
                probes, places = seek(run)
            else:
                probes, places = matching_by_two(
                    run, compared, hashes, self.keys, null_equal=null_equal
                )
            if len(probes):
                found.append((probes, run, places))
        return _lying(found, self.schema)

    def between(
        self,
        keys: pa.RecordBatch,
        hashes: UInt64Array,
        times: tuple[Int64Array, Int64Array],
        accept: Accept | None = None,
    ) -> Matches:
        """As `probe`, but only rows whose time is near, and only the pairs that are accepted.

        Args:
            times: For each of `keys` the first and the last time of the rows that it finds.

        """
        found: list[tuple[Int64Array, Run, Int64Array]] = []
        for run in self._spine.runs():
            probes, places = matching_between(run, keys, hashes, times, self.keys, accept)
            if len(probes):
                found.append((probes, run, places))
        return self._read(_lying(found, self.schema))

    def forget_below(self, bound: int) -> None:
        """Drop rows whose time is below `bound`, and that nobody will ask for again.

        They go when runs meet, or at the latest when all rows have fallen below the bound that were
        there when they last went. So a row is copied for this at most once, and what is kept is at
        most a few times what must be. What waits unsorted goes piece by piece.
        """
        if bound <= self._bound:
            return
        self._bound = bound
        has_runs = True
        if self._closing is not None:
            has_runs = self._spine.forget_waiting(self._is_forgotten)
        if has_runs and bound > self._settled_high:
            self._spine.settled(anew=lambda merge, _: self._settled(merge))
            self._settled_high = self._high

    def forget_older(self, bound: int) -> None:
        """Drop, of each key, the rows before `bound` but for the newest; no more of them will come.

        They go when there are twice as many rows as were left the last time, so a row is copied for
        this about once, and what is kept is at most twice what must be.
        """
        if bound > _BEFORE_ALL:
            self._thin(lambda run: _but_one(run, self.keys, bound, keeps_newest=True))

    def forget_newer(self, bound: int) -> None:
        """As `forget_older`, but the oldest row of each key stays."""
        if bound > _BEFORE_ALL:
            self._thin(lambda run: _but_one(run, self.keys, bound, keeps_newest=False))

    def forget_some(self, are_over: Callable[[Run], BoolArray]) -> bool:
        """Drop rows that nobody will ask for again, when it is time as in `forget_older`.

        Args:
            are_over: Says which they are. Equal rows are alike in this.

        Returns:
            Whether they went; if so, all of them.

        """
        return self._thin(lambda run: ~are_over(run))

    def _runs_with(self, hashes: UInt64Array, near: Sequence[Near]) -> list[Run]:
        if self.keys:
            return self._spine.runs_with(hashes, near)
        return [run for run in self._spine.runs() if run.reaches(near)]

    def _is_forgotten(self, loose: Loose) -> bool:
        """Whether all rows of a piece are below the bound; a null is not."""
        assert self._closing is not None
        column = loose.rows.column(self._closing)
        if column.null_count or not has_zones(column.type):
            return False
        return int(loose.zones(self._closing).high.max()) < self._bound

    def runs(self) -> Sequence[Run]:
        """The runs, oldest first."""
        return self._spine.runs()

    def whole(self) -> Sequence[Run]:
        """All rows, equal ones as one, as runs of which no two share a hash."""
        return self._spine.settled()

    def all(self) -> Delta:
        """All rows with hash and weight, equal ones as one, by hash and then by arrival."""
        runs = self._spine.settled()
        fields = [*self.schema, pa.field(HASH, pa.uint64()), pa.field(WEIGHT, pa.int64())]
        schema = pa.schema(fields)
        if not runs:
            return Delta(pa.RecordBatch.from_pylist([], schema=schema))
        run = merge(runs).run()
        columns = [*run.rows.columns, pa.array(run.hashes), pa.array(run.ones())]
        return Delta(pa.RecordBatch.from_arrays(columns, schema=schema))

    def snapshot(self) -> Snapshot:
        """What is held now; cheap, whatever its size."""
        return Snapshot(self._rows, self.schema, self._spine.peek())

    def size(self) -> tuple[int, int]:
        """Rows and bytes that are held; equal rows that have not met yet count each."""
        return self._spine.size()

    def save(self, saver: Saver) -> Any:
        """Hand the rows over; return a JSON value from which `load` finds them."""
        # The place before the last once held what nobody needs.
        times = [self._bound, self._high, self._settled_high, _BEFORE_ALL, self._thinned_rows]
        return {"rows": self._rows, "times": times, "spine": self._spine.save(saver)}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._spine.load(
            manifest["spine"], lambda name: load_run(name, loader, self.schema, self.time)
        )
        self._rows = manifest["rows"]
        known = manifest.get("times", [])
        times = [*known, *[_BEFORE_ALL, _BEFORE_ALL, _BEFORE_ALL, _BEFORE_ALL, 0][len(known) :]]
        self._bound, self._high, self._settled_high, _, self._thinned_rows = times

    def _read(self, found: Found) -> Matches:
        """What was found, gathered."""
        columns = found.rows.columns(self.schema.names)
        rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        ones = np.ones(len(found), dtype=np.int64)
        return Matches(found.probes, rows, ones if found.weights is None else found.weights)

    def _thin(self, are_kept: Callable[[Run], BoolArray | None]) -> bool:
        rows = self._spine.size()[0]
        if rows < _THINNED_MIN or rows < 2 * self._thinned_rows:
            return False

        def settle(merge: Merge, _: bool) -> Run:
            run = self._settled(merge)
            mask = are_kept(run)
            if mask is None or mask.all():
                return run
            kept = np.flatnonzero(mask)
            return run.take(kept, None if run.weights is None else run.weights.take(kept))

        self._spine.settled(anew=settle)
        self._thinned_rows = self._spine.size()[0]
        return True

    def _begin(self) -> Callable[[Merge, bool], Merged]:
        bound = self._bound
        return lambda merge, _: Merged(self._above(merge, bound))

    def _settled(self, merge: Merge, _has_oldest: bool = True) -> Run:
        return self._above(merge, self._bound)

    def _above(self, merge: Merge, bound: int) -> Run:
        """The run without what is forgotten at a bound."""
        run = self._merged(merge)
        if bound == _BEFORE_ALL:
            return run
        times = run.times
        if self._closing is not None:
            times = closing_of(run.rows.column(self._closing))
        if times is None or not (times < bound).any():
            return run
        kept = np.flatnonzero(times >= bound)
        return run.take(kept, None if run.weights is None else run.weights.take(kept))


def _but_one(run: Run, keys: Sequence[str], bound: int, *, keeps_newest: bool) -> BoolArray | None:
    """Which rows are not before the bound, or are the one of their key that stays; None for all."""
    assert run.times is not None
    old = np.flatnonzero(run.times < bound)
    if len(old) < 2:
        return None
    first = first_alike(run.hashes.take(old), [taken(run.rows.column(name), old) for name in keys])
    if first is None:
        return None
    stays = are_last(first) if keeps_newest else first == np.arange(len(old))
    is_kept = run.times >= bound
    is_kept[old[stays]] = True
    return is_kept


def _repeated(run: Run) -> pa.RecordBatch:
    """Each row as often as its weight says."""
    if run.weights is None:
        return run.rows
    assert int(run.weights.min(initial=1)) > 0, "a row was withdrawn that was not there"
    return run.rows.take(pa.array(np.repeat(np.arange(len(run)), run.weights)))


def _lying(found: Sequence[tuple[Int64Array, Run, Int64Array]], schema: pa.Schema) -> Found:
    """What was found in several runs, ordered by probe and then by run."""
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return Found(nothing, Afar([_empty(schema)], nothing), None)
    batches = [run.rows for _, run, _ in found]
    weights = None
    if any(run.weights is not None for _, run, _ in found):
        weights = np.concatenate([run.weights_at(places) for _, run, places in found])
    if len(found) == 1:
        return Found(found[0][0], Afar(batches, found[0][2]), weights)
    probes = np.concatenate([part[0] for part in found])
    order = np.argsort(probes, kind="stable")
    firsts = np.cumsum([0, *(batch.num_rows for batch in batches)]).tolist()
    places = np.concatenate([part[2] + first for part, first in zip(found, firsts, strict=False)])
    weights = None if weights is None else weights.take(order)
    return Found(probes.take(order), Afar(batches, places.take(order)), weights)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.nulls(0, f.type) for f in schema], schema=schema)

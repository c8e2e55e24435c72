"""Rows with weights, by key, that lie in a pile: what is sorted and merged are their places.

As a `Multiset`, for rows that are wide. The runs of its spine have the columns by which rows are
found and told apart, and each row's place in the pile (`state.pile`); whole rows are gathered only
for who asks. So inserting costs no copy of the rows, and a merge moves a few numbers.

A row is withdrawn by its place, by who has found it, or by its content. In the second case the row
that was withdrawn lies in the pile too, and stands in the runs with its place negated: where it
meets rows of its hash these are compared.

The pile forgets when half of its rows are held no more, so a row is copied for this a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Delta, Int64Array, UInt64Array
from headwater.state.checkpoint import Loader, Saver
from headwater.state.equality import first_alike
from headwater.state.loose import Loose
from headwater.state.matching import matching
from headwater.state.multiset import Matches
from headwater.state.peek import Peek
from headwater.state.pile import Pile, PilePeek
from headwater.state.run import Merge, Run, closing_of, conformed, load_run, merge, summed
from headwater.state.seen import Seen
from headwater.state.spine import Behind, Limits, Merged, Spine

PLACE = "__place"
# So many rows of the pile may be held no more, beside half of them, before it forgets some.
_GARBAGE_MIN = 1 << 16
# Fewer rows than this are not worth looking through for those that may go.
_FORGOTTEN_MIN = 64
# From so many rows on it is worth knowing which keys are not there, once one key was asked for, for
# so many rows.
_SEEN_ROWS_MIN = 1 << 14
_SEEN_SHARE = 16


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for probing rows, each row once, in the order of arrival.

    Args:
        probes: The index of the probing row of each.
        rows: The columns that are kept beside the places.
        places: Where the whole rows are.
        weights: Their weights. One of another weight than 1 may be there twice, or be a row that
            was withdrawn by its content and has not met what it withdraws.

    """

    probes: Int64Array
    rows: pa.RecordBatch
    places: Int64Array
    weights: Int64Array

    def __len__(self) -> int:
        return len(self.probes)


@dataclass(frozen=True, slots=True)
class PiledSnapshot:
    """What was held at some moment; may be read from any thread.

    Args:
        rows: The number of rows, each counted as often as it is there.

    """

    rows: int
    _peek: Peek
    _pile: PilePeek

    def table(self) -> pa.Table:
        """All rows, each as often as it is there, in the order of their arrival."""
        parts = [_settled(merge(runs), self._pile) for runs in self._peek.parts() if runs]
        places = np.concatenate([_repeated(run) for run in parts]) if parts else _NOWHERE
        return pa.Table.from_batches([self._pile.take(np.sort(places))], self._pile.schema)


class Piled:
    """Rows with integer weights, by key.

    Args:
        schema: The columns of the rows.
        keys: The key columns; may be empty, then all rows of one hash are found by it.
        beside: Further columns that are at hand without the pile.
        closing: A key, a timestamp, by which rows may be forgotten; those in which it is null stay.
        limits: How large the runs may grow before they are split by hash.

    """

    def __init__(
        self,
        schema: pa.Schema,
        keys: Sequence[str],
        *,
        beside: Sequence[str] = (),
        closing: str | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.schema = schema
        self.keys = tuple(keys)
        self.narrow = pa.schema([schema.field(n) for n in dict.fromkeys([*keys, *beside])])
        self._placed = self.narrow.append(pa.field(PLACE, pa.int64()))
        self._pile = Pile(schema)
        self._spine = Spine(
            lambda merge, _: _settled(merge, self._pile.peek()),
            limits=limits,
            behind=Behind(self._begin),
        )
        self._rows = 0
        self._closing = closing
        self._limits = limits
        # Up to where rows were forgotten, and how many were left then.
        self._bound, self._left_rows = int(np.iinfo(np.int64).min), 0
        # The keys that may be here, once many were asked for, and how many were.
        self._seen: Seen | None = None
        self._sought = 0

    def insert(self, delta: Delta) -> None:
        """Add the delta's rows, which carry the hash of the key columns, by name."""
        self.insert_rows(conformed(delta.rows, self.schema), delta.hashes, delta.weights)

    def insert_rows(
        self, rows: pa.RecordBatch | pa.Table, hashes: UInt64Array, weights: Int64Array | None
    ) -> None:
        """Add rows of the schema; weights of None stand for 1. A table's batches stay apart."""
        places = self._pile.add(rows)
        if self._seen is not None and self._seen.has_room(len(hashes)):
            self._seen.add(hashes)
        else:
            # It is made anew when somebody asks, if it had no room.
            self._seen = None
        narrow = [_whole_column(rows.column(name)) for name in self.narrow.names]
        if weights is None or not self._is_apart(weights):
            if weights is not None:
                places = np.where(weights < 0, ~places, places)
            self._add(narrow, places, hashes, weights)
            self._tidy()
            return
        # Rows with weights are sorted before long. Most have none, and need not be.
        for is_meant, has_weights in ((weights == 1, False), (weights != 1, True)):
            some = np.flatnonzero(is_meant)
            at, own = pa.array(some), weights[some]
            signed = np.where(own < 0, ~places[some], places[some])
            columns = [column.take(at) for column in narrow]
            self._add(columns, signed, hashes[some], own if has_weights else None)
        self._tidy()

    def withdraw(self, rows: pa.RecordBatch, places: Int64Array, hashes: UInt64Array) -> None:
        """Take rows out that were found, each once.

        Args:
            rows: The columns that are kept beside the places.
            places: Where they are.
            hashes: Of their keys.

        """
        self._add(rows.columns, places, hashes, np.full(len(places), -1))
        self._tidy()

    def near(self, hashes: UInt64Array) -> Int64Array:
        """Which of some keys may be here, by the places of their hashes; the others are not."""
        self._sought += len(hashes)
        if self._seen is None:
            if self._rows < _SEEN_ROWS_MIN or self._sought * _SEEN_SHARE < self._rows:
                return np.arange(len(hashes))
            self._seen = self._see()
        return self._seen.near(hashes)

    def find(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Found:
        """The rows of equal key for each of `keys`, which are all different.

        Args:
            keys: The probing side's key columns in the order of `self.keys`, under any names.
            hashes: Their hashes, made as those of the inserted rows.

        """
        parts = []
        for run in self._spine.runs_with(hashes):
            probes, at = matching(run, keys, hashes, self.keys)
            if len(probes):
                rows = run.rows.take(pa.array(at))
                parts.append((probes, rows, run.weights_at(at)))
        if not parts:
            rows = pa.RecordBatch.from_pylist([], schema=self.narrow)
            return Found(_NOWHERE, rows, _NOWHERE, _NOWHERE)
        return self._together(parts)

    def forget_below(self, bound: int) -> None:
        """Drop the rows before the bound; nobody will ask for them again.

        They go when there are twice as many rows as were left the last time.
        """
        if bound <= self._bound or self._rows < 2 * self._left_rows + _FORGOTTEN_MIN:
            return
        self._bound, pile = bound, self._pile.peek()
        runs = self._spine.settled(anew=lambda merge, _: self._not_before(_settled(merge, pile)))
        self._rows = self._left_rows = sum(int(run.ones().sum()) for run in runs)
        self._forget()

    def take(self, places: Int64Array) -> pa.RecordBatch:
        """Whole rows; quickest when the places ascend."""
        return self._pile.take(places)

    def probe(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Matches:
        """As `find`, with whole rows and ordered by probe; some may be found with their opposite.

        This is what `Multiset.probe` gives.
        """
        found = self.find(keys, hashes)
        order = np.argsort(found.probes, kind="stable")
        rows = self._pile.take(found.places[order])
        return Matches(found.probes[order], rows, found.weights[order])

    def snapshot(self) -> PiledSnapshot:
        """What is held now; cheap, whatever its size."""
        return PiledSnapshot(self._rows, self._spine.peek(), self._pile.peek())

    def size(self) -> tuple[int, int]:
        """Rows and bytes that are held; withdrawn rows count until they meet what they withdraw."""
        rows, size_bytes = self._spine.size()
        seen_bytes = 0 if self._seen is None else self._seen.size_bytes
        return rows, size_bytes + self._pile.size_bytes + seen_bytes

    def save(self, saver: Saver) -> Any:
        """Hand the rows over; return a JSON value from which `load` finds them."""
        spine = self._spine.save(saver)
        return {"rows": self._rows, "spine": spine, "pile": self._pile.save(saver)}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._rows = manifest["rows"]
        self._pile.load(manifest["pile"], loader)
        self._spine.load(manifest["spine"], lambda name: load_run(name, loader, self._placed))

    def _add(
        self,
        narrow: Sequence[pa.Array],
        places: Int64Array,
        hashes: UInt64Array,
        weights: Int64Array | None,
    ) -> None:
        placed = pa.RecordBatch.from_arrays([*narrow, pa.array(places)], schema=self._placed)
        self._spine.add(Loose(hashes, placed, weights))
        self._rows += len(hashes) if weights is None else int(weights.sum())

    def _begin(self) -> Callable[[Merge, bool], Merged]:
        pile = self._pile.peek()
        return lambda merge, _: Merged(_settled(merge, pile))

    def _tidy(self) -> None:
        """Let the pile forget, if much of it is no longer held, once all of it is in the spine."""
        if len(self._pile) > 2 * self._rows + _GARBAGE_MIN:
            self._forget()

    def _is_apart(self, weights: Int64Array) -> bool:
        """Whether rows are so many, and so few of them have weights, that these are kept apart."""
        if len(weights) <= self._limits.weighted_rows:
            return False
        return 2 * int(np.count_nonzero(weights == 1)) > len(weights)

    def _see(self) -> Seen:
        """Know which keys are here from now on."""
        parts = self._spine.hashes()
        seen = Seen(2 * sum(map(len, parts)))
        for hashes in parts:
            seen.add(hashes)
        return seen

    def _not_before(self, run: Run) -> Run:
        """The rows of a run that are not before the bound."""
        assert self._closing is not None
        kept = np.flatnonzero(closing_of(run.rows.column(self._closing)) >= self._bound)
        return run.take(kept, None if run.weights is None else run.weights.take(kept))

    def _forget(self) -> None:
        """Let the pile forget what is no longer held."""
        places = [run.rows.column(PLACE).to_numpy() for run in self._spine.settled()]
        self._pile.keep(np.sort(_whole(np.concatenate(places))) if places else _NOWHERE)

    def _together(self, parts: list[tuple[Int64Array, pa.RecordBatch, Int64Array]]) -> Found:
        """What was found in several runs, in the order of places; what cancels is left out."""
        probes = np.concatenate([part[0] for part in parts])
        rows = parts[0][1] if len(parts) == 1 else pa.concat_batches([part[1] for part in parts])
        weights = np.concatenate([part[2] for part in parts])
        places = _whole(rows.column(PLACE).to_numpy())
        order = np.argsort(places, kind="stable")
        if not (weights == 1).all():
            ordered = places[order]
            is_new = np.append(True, ordered[1:] != ordered[:-1])
            totals = np.add.reduceat(weights[order], np.flatnonzero(is_new))
            order = order[is_new][totals != 0]
            weights[order] = totals[totals != 0]
        narrow = rows.select(self.narrow.names).take(pa.array(order))
        return Found(probes[order], narrow, places[order], weights[order])


_NOWHERE = np.zeros(0, dtype=np.int64)


def _settled(merge: Merge, pile: PilePeek) -> Run:
    """The run without rows that were withdrawn."""
    if merge.weights is None:
        return merge.run()
    places = merge.rows.column(PLACE).to_numpy()
    places = places if merge.order is None else places.take(merge.order)
    is_new = np.append(True, merge.hashes[1:] != merge.hashes[:-1])[: len(merge)]
    group = np.cumsum(is_new) - 1
    mixed = _in_mixed(group, merge.weights != 1)
    totals = _summed_by_place(merge.weights, _whole(places), mixed)
    is_content = (places < 0) & (totals != 0)
    if is_content.any():
        some = _in_mixed(group, is_content)
        # What is withdrawn by its place stays so: that row may be in another run.
        some = some[(totals[some] > 0) | is_content[some]]
        alike = first_alike(merge.hashes[some], pile.take(_whole(places[some])).columns)
        if alike is not None:
            totals[some] = summed(totals[some], alike)
        # What more was withdrawn than is here goes on looking for its like.
        places = places.copy()
        places[some] = _whole(places[some]) ^ (totals[some] >> 63)
    kept = np.flatnonzero(totals)
    if len(kept) == len(merge) and (totals == merge.weights).all():
        return merge.run()
    weights = totals[kept]
    run = merge.take(kept, None if bool((weights == 1).all()) else weights)
    return replace(run, rows=_with_places(run.rows, places[kept])) if is_content.any() else run


def _with_places(rows: pa.RecordBatch, places: Int64Array) -> pa.RecordBatch:
    columns = [*rows.columns[:-1], pa.array(places)]
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)


def _whole_column(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _whole(places: Int64Array) -> Int64Array:
    """Places in the pile."""
    # A negated place is shifted to all ones, and turned round by them.
    return places ^ (places >> 63)


def _in_mixed(group: Int64Array, is_meant: Any) -> Int64Array:
    """All rows of the groups that have one of these."""
    has_one = np.zeros(int(group[-1]) + 1 if len(group) else 0, dtype=np.bool_)
    has_one[group[is_meant]] = True
    return np.flatnonzero(has_one[group])


def _summed_by_place(weights: Int64Array, places: Int64Array, some: Int64Array) -> Int64Array:
    """The weights, those of rows with the same place with the first of them."""
    totals = weights.copy()
    order = some[np.argsort(places[some], kind="stable")]
    ordered = places[order]
    is_new = np.append(True, ordered[1:] != ordered[:-1])[: len(order)]
    if is_new.all():
        return totals
    totals[order] = 0
    totals[order[is_new]] = np.add.reduceat(weights[order], np.flatnonzero(is_new))
    return totals


def _repeated(run: Run) -> Int64Array:
    """The place of each row as often as its weight says."""
    places = _whole(run.rows.column(PLACE).to_numpy())
    if run.weights is None:
        return places
    assert int(run.weights.min(initial=1)) > 0, "a row was withdrawn that was not there"
    return np.repeat(places, run.weights)

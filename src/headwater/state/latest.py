"""One row per key: the newest wins.

The rows lie in a spine of sorted runs, each of which holds a key at most once. A look-up asks the
newest run first. A key that is gone leaves a mark (a row of weight 0) that hides older rows until
it meets the oldest run. Putting costs a copy of the rows and, amortised, one more for each
doubling of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.checkpoint import Loader, Saver
from headwater.state.equality import BoolArray, are_last
from headwater.state.loose import Loose
from headwater.state.matching import matching
from headwater.state.peek import Peek
from headwater.state.run import Merge, Run, closing_of, conformed, load_run, merge
from headwater.state.spine import Behind, Limits, Merged, Spine


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for probing keys.

    Args:
        mask: Which keys have a row.
        rows: A row for each key, all null where it has none.

    """

    mask: BoolArray
    rows: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class LatestSnapshot:
    """What a `Latest` held at some moment; may be read from any thread."""

    _schema: pa.Schema
    _keys: tuple[str, ...]
    _peek: Peek

    @property
    def rows(self) -> int:
        """The number of keys. Counted anew at each call, without copying the rows."""
        keys = list(self._keys)
        return sum(
            len(_last(_merged_keys(runs, keys), keys, is_oldest=True))
            for runs in self._peek.parts()
            if runs
        )

    def table(self) -> pa.Table:
        """The newest row of each key."""
        parts = [
            _last(merge(runs), self._keys, is_oldest=True).rows
            for runs in self._peek.parts()
            if runs
        ]
        return pa.Table.from_batches(parts, self._schema)


class Latest:
    """One row per key.

    Args:
        schema: The columns of the rows.
        keys: The key columns; may be empty, then there is one row at most.
        limits: How large the rows may grow before they are split by hash.

    """

    def __init__(
        self,
        schema: pa.Schema,
        keys: Sequence[str],
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        # What is not found comes out null.
        self.schema = pa.schema([pa.field(f.name, f.type) for f in schema])
        self.keys = tuple(keys)
        self._bound: tuple[str, int] | None = None
        self._spine = Spine(self._settled, limits=limits, behind=Behind(self._begin))

    def find(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Found:
        """The newest row of each of `keys`; a null in a key is a value like any other.

        Args:
            keys: Key columns in the order of `self.keys`, under any names.
            hashes: Their hashes, made as those that were put.

        """
        mask = np.zeros(len(hashes), dtype=np.bool_)
        # Where in the rows gathered so far the row of each key stands.
        at = np.zeros(len(hashes), dtype=np.int64)
        parts: list[pa.RecordBatch] = []
        gathered = 0
        for run, probes, places in self._lookups(keys, hashes):
            is_there = (
                np.ones(len(probes), np.bool_)
                if run.weights is None
                else (run.weights.take(places) > 0)
            )
            mask[probes] = is_there
            at[probes] = np.arange(gathered, gathered + len(probes))
            parts.append(run.rows.take(pa.array(places)))
            gathered += len(probes)
        if not parts:
            return Found(mask, nulls(self.schema, len(hashes)))
        rows = parts[0] if len(parts) == 1 else pa.concat_batches(parts)
        if len(parts) == 1 and gathered == len(hashes) and mask.all():
            return Found(mask, rows)
        return Found(mask, rows.take(pa.array(at, mask=~mask)))

    def put(
        self, rows: pa.RecordBatch, hashes: UInt64Array, removed: BoolArray | None = None
    ) -> None:
        """Make `rows` the newest of their keys.

        Args:
            rows: At most one row per key; columns are taken by name.
            hashes: The hashes of the key columns.
            removed: Which of the keys are gone.

        """
        weights = None
        if removed is not None and removed.any():
            weights = np.where(removed, 0, 1).astype(np.int64)
        self._spine.add(Loose(hashes, conformed(rows, self.schema), weights))

    def forget_below(self, column: str, bound: int) -> None:
        """Drop, in time, rows whose key will never be asked for again.

        Args:
            column: One of the keys, a timestamp, date or integer; rows in which it is null stay.
            bound: Rows below this (in the column's own unit) may go.

        """
        assert column in self.keys, f"{column} is no key: a row may hide an older one"
        if self._bound is None or bound > self._bound[1]:
            self._bound = (column, bound)

    def all(self) -> pa.RecordBatch:
        """The newest row of each key, by hash."""
        runs = self._spine.settled()
        if not runs:
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        return self._settled(merge(runs), True).rows

    def settled(self) -> list[Run]:
        """The newest row of each key, as runs of which no two share a hash."""
        return [self._settled(merge([run]), True) for run in self._spine.settled()]

    def snapshot(self) -> LatestSnapshot:
        """What is held now; cheap, whatever its size."""
        return LatestSnapshot(self.schema, self.keys, self._spine.peek())

    def size(self) -> tuple[int, int]:
        """Rows and bytes that are held, hidden ones too."""
        return self._spine.size()

    def save(self, saver: Saver) -> Any:
        """Hand the rows over; return a JSON value from which `load` finds them."""
        return self._spine.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._spine.load(manifest, lambda name: load_run(name, loader, self.schema))

    def _lookups(
        self, keys: pa.RecordBatch, hashes: UInt64Array
    ) -> list[tuple[Run, Int64Array, Int64Array]]:
        """From the newest run to the oldest, the probes that it answers, and where."""
        found = []
        rest: Int64Array | None = None
        for run in reversed(self._spine.runs()):
            if rest is None:
                probes, places = matching(run, keys, hashes, self.keys)
                answered = probes
            else:
                some = keys.take(pa.array(rest)) if self.keys else keys
                answered, places = matching(run, some, hashes[rest], self.keys)
                probes = rest[answered]
            if len(probes):
                found.append((run, probes, places))
                rest = np.delete(np.arange(len(hashes)) if rest is None else rest, answered)
            if rest is not None and not len(rest):
                break
        return found

    def _begin(self) -> Callable[[Merge, bool], Merged]:
        bound = self._bound
        return lambda merge, is_oldest: Merged(_newest(merge, self.keys, bound, is_oldest))

    def _settled(self, merge: Merge, is_oldest: bool) -> Run:
        return _newest(merge, self.keys, self._bound, is_oldest)


def nulls(schema: pa.Schema, rows: int) -> pa.RecordBatch:
    """Rows of nulls."""
    return pa.RecordBatch.from_arrays([pa.nulls(rows, f.type) for f in schema], schema=schema)


def _merged_keys(runs: Sequence[Run], keys: list[str]) -> Merge:
    return merge([Run(run.hashes, run.rows.select(keys), run.weights) for run in runs])


def _newest(
    merge: Merge, keys: Sequence[str], bound: tuple[str, int] | None, is_oldest: bool
) -> Run:
    """The last row of each key, of those that are not forgotten."""
    run = _last(merge, keys, is_oldest=is_oldest)
    if bound is None or not len(run):
        return run
    column, least = bound
    kept = np.flatnonzero(closing_of(run.rows.column(column)) >= least)
    if len(kept) == len(run):
        return run
    return run.take(kept, None if run.weights is None else run.weights.take(kept))


def _last(merge: Merge, keys: Sequence[str], *, is_oldest: bool) -> Run:
    """The last row of each key; without the marks of gone keys where they hide nothing."""
    first = merge.first_alike(keys)
    kept = None if first is None else np.flatnonzero(are_last(first))
    if is_oldest and merge.weights is not None:
        kept = np.flatnonzero(merge.weights) if kept is None else kept[merge.weights.take(kept) > 0]
    if kept is None or len(kept) == len(merge):
        return merge.run()
    weights = None if merge.weights is None else merge.weights.take(kept)
    if weights is not None and bool(weights.all()):
        weights = None
    return merge.take(kept, weights)

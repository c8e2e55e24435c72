"""Batches sorted by one integer column, taken out from the low end.

Each epoch adds a run. Runs of like size are merged, so that there are few of them however many
epochs there were, and a row is copied as often as the number of runs has digits in base two. What
is below a bound is a range at the start of each run. This is how what waits for the watermark is
kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.operators.operator import Loader, Saver
from headwater.operators.statement import one_batch
from headwater.state.checkpoint import MAPPED_BYTES_MIN

RUNS_MAX = 16


@dataclass(frozen=True, slots=True)
class _Run:
    """A sorted batch that starts `offset` rows into what a checkpoint has as `stored`.

    Args:
        is_mapped: Whether it lies in that checkpoint's file, and not in memory.

    """

    rows: pa.RecordBatch
    stored: str | None = None
    offset: int = 0
    is_mapped: bool = False


class Runs:
    """Rows that wait, sorted by an int64 column.

    Args:
        schema: The rows' columns.
        column: The column they are sorted by. Equal values keep the order in which they came.
        merge: Makes rows of several runs fewer before they are sorted, if there is a way.

    """

    def __init__(
        self,
        schema: pa.Schema,
        column: str,
        merge: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None,
    ) -> None:
        self._schema = schema
        self._column = column
        self._merge = merge
        self._runs: list[_Run] = []

    def add(self, rows: pa.RecordBatch) -> None:
        """Keep rows, in any order."""
        if not rows.num_rows:
            return
        self._runs.append(_Run(self._sorted(rows)))
        if len(self._runs) > RUNS_MAX:
            self._merge_tail()

    def between(self, first: int, stop: int) -> pa.RecordBatch:
        """The rows from value `first` up to and without `stop`, run by run."""
        parts = []
        for run in self._runs:
            low, high = np.searchsorted(self._values(run.rows), [first, stop])
            if high > low:
                parts.append(run.rows.slice(low, high - low))
        return joined(parts, self._schema)

    def apart(self, first: int, stop: int) -> tuple[list[pa.RecordBatch], pa.RecordBatch | None]:
        """The rows from value `first` up to and without `stop`, of which no run need be copied.

        Returns:
            Rows of which each value stands in one run alone, in stretches of runs; and all rows of
            the other values, run by run, if there are any.

        """
        bounds = [np.searchsorted(self._values(run.rows), [first, stop]) for run in self._runs]
        pairs = zip(self._runs, bounds, strict=True)
        parts = [run.rows.slice(low, high - low) for run, (low, high) in pairs if high > low]
        starts = [_changes(self._values(part)) for part in parts]
        if not parts:
            return [], None
        found = [self._values(part)[at] for part, at in zip(parts, starts, strict=True)]
        values, counts = np.unique(np.concatenate(found), return_counts=True)
        is_shared = [np.isin(some, values[counts > 1]) for some in found]
        alone: list[pa.RecordBatch] = []
        shared: list[pa.RecordBatch] = []
        for part, at, mask in zip(parts, starts, is_shared, strict=True):
            edges = np.append(_changes(mask), len(mask))
            places = np.append(at, part.num_rows)
            for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
                stretch = part.slice(places[low], places[high] - places[low])
                (shared if mask[low] else alone).append(stretch)
        return alone, joined(shared, self._schema) if shared else None

    def take_below(self, bound: int) -> pa.RecordBatch:
        """Remove and return the rows below `bound`, run by run."""
        parts, kept = [], []
        for run in self._runs:
            done = int(np.searchsorted(self._values(run.rows), bound))
            if done:
                parts.append(run.rows.slice(0, done))
            if done < run.rows.num_rows:
                rest = run.rows.slice(done)
                kept.append(replace(run, rows=rest, offset=run.offset + done) if done else run)
        self._runs = kept
        return joined(parts, self._schema)

    def lowest(self) -> int | None:
        """The lowest value of the column; None without rows."""
        firsts = [int(self._values(run.rows)[0]) for run in self._runs if run.rows.num_rows]
        return min(firsts, default=None)

    def size(self) -> tuple[int, int]:
        """Rows and bytes."""
        rows = sum(run.rows.num_rows for run in self._runs)
        return rows, sum(run.rows.nbytes for run in self._runs)

    def save(self, saver: Saver) -> Any:
        """Hand the runs over; only those that no checkpoint has yet are written."""
        saved = []
        for run in self._runs:
            if run.stored is None:
                saved.append(_Run(run.rows, saver.put(run.rows)))
            else:
                saver.keep(run.stored)
                is_large = run.rows.nbytes >= MAPPED_BYTES_MIN
                saved.append(self._mapped(run, saver) if is_large and not run.is_mapped else run)
        self._runs = saved
        return [[run.stored, run.offset] for run in self._runs]

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the runs back."""
        self._runs = [
            _Run(self._stored(loader.get(name), offset), name, offset, is_mapped=True)
            for name, offset in manifest
        ]

    def _mapped(self, run: _Run, saver: Saver) -> _Run:
        assert run.stored is not None
        stored = saver.stored(run.stored)
        if stored is None:
            return run
        return replace(run, rows=self._stored(stored, run.offset), is_mapped=True)

    def _stored(self, batch: pa.RecordBatch, offset: int) -> pa.RecordBatch:
        return batch.select(self._schema.names).slice(offset)

    def _merge_tail(self) -> None:
        """Merge the newest runs, as far back as they are together half as large as the next."""
        first = len(self._runs) - 2
        rows = sum(run.rows.num_rows for run in self._runs[first:])
        while first > 0 and 2 * rows >= self._runs[first - 1].rows.num_rows:
            first -= 1
            rows += self._runs[first].rows.num_rows
        merged = joined([run.rows for run in self._runs[first:]], self._schema)
        if self._merge is not None:
            merged = self._merge(merged)
        self._runs[first:] = [_Run(self._sorted(merged))]

    def _sorted(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        values = self._values(rows)
        if bool((values[1:] >= values[:-1]).all()):
            return rows
        return rows.take(pa.array(np.argsort(values, kind="stable")))

    def _values(self, rows: pa.RecordBatch) -> Int64Array:
        return np.asarray(rows.column(self._column).to_numpy())


def _changes(values: Any) -> Int64Array:
    """Where something begins that differs from what is before it."""
    return np.flatnonzero(np.append(True, values[1:] != values[:-1]))


def joined(parts: list[pa.RecordBatch], schema: pa.Schema) -> pa.RecordBatch:
    """Batches one after the other, as one."""
    filled = [part for part in parts if part.num_rows]
    if len(filled) == 1:
        return filled[0]
    return one_batch(pa.Table.from_batches(filled, schema=schema))

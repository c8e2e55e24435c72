"""A spine: rows as a few sorted runs, the largest first.

What is inserted waits unsorted until somebody looks for it. Then it becomes a run, and runs are
merged while the last is not much smaller than the one before it, so that there are about as many
runs as the number of rows has digits, and each row is copied as often as that (as in DBSP and in
differential dataflow).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.run import Run, merged, sorted_run

# A run is merged into the one before it when it has at least this part of its rows.
_LIKE_SIZE = 2
# Rows that nobody asks for wait at most so long: sorting them later would be one long stop.
_LOOSE_ROWS_MAX = 1 << 22


@dataclass(frozen=True, slots=True)
class Loose:
    """Rows as they came."""

    hashes: UInt64Array
    rows: pa.RecordBatch
    weights: Int64Array | None
    times: Int64Array | None = None

    def __len__(self) -> int:
        return len(self.hashes)


Settle = Callable[[Run, bool], Run]


class Spine:
    """Sorted runs and rows on their way to become one.

    Args:
        settle: What becomes of rows that were sorted or merged (equal ones become one, say); the
            second argument says whether no older run is left out. Given and returned runs are never
            changed.

    """

    def __init__(self, settle: Settle) -> None:
        self._settle = settle
        self._runs: list[Run] = []
        self._loose: list[Loose] = []
        self._loose_rows = 0

    def add(self, loose: Loose) -> None:
        """Take rows in."""
        if not len(loose):
            return
        self._loose.append(loose)
        self._loose_rows += len(loose)
        if self._loose_rows >= _LOOSE_ROWS_MAX:
            self.runs()

    def runs(self) -> Sequence[Run]:
        """All rows as runs, the oldest first."""
        if self._loose:
            run = sort(self._loose)
            self._loose, self._loose_rows = [], 0
            self._push(run)
        return self._runs

    def peek(self) -> tuple[tuple[Run, ...], tuple[Loose, ...]]:
        """What there is now, as it is; both are immutable."""
        return tuple(self._runs), tuple(self._loose)

    def one(self) -> Run | None:
        """All rows as one run, which the spine then consists of; None when there are none."""
        runs = self.runs()
        if len(runs) > 1:
            whole = self._settle(merged(runs), True)
            self._runs = [whole] if len(whole) else []
        return self._runs[0] if self._runs else None

    def replace(self, runs: Sequence[Run]) -> None:
        """Hold these runs instead of all that is held."""
        self._runs = [run for run in runs if len(run)]
        self._loose, self._loose_rows = [], 0

    def size(self) -> tuple[int, int]:
        """Rows and bytes, those counted twice that are not yet merged."""
        rows = sum(len(run) for run in self._runs) + self._loose_rows
        size_bytes = sum(run.size_bytes for run in self._runs)
        for loose in self._loose:
            size_bytes += int(loose.rows.nbytes) + loose.hashes.nbytes
        return rows, size_bytes

    def _push(self, run: Run) -> None:
        first = len(self._runs)
        rows = len(run)
        while first and rows * _LIKE_SIZE >= len(self._runs[first - 1]):
            first -= 1
            rows += len(self._runs[first])
        parts = [*self._runs[first:], run]
        settled = self._settle(merged(parts), first == 0)
        self._runs[first:] = [settled] if len(settled) else []


def sort(loose: Sequence[Loose]) -> Run:
    """Batches of rows, in the order of their arrival, as one run."""
    if len(loose) == 1:
        one = loose[0]
        return sorted_run(one.hashes, one.rows, one.weights, one.times)[0]
    hashes = np.concatenate([part.hashes for part in loose])
    rows = pa.concat_batches([part.rows for part in loose])
    weights = None
    if any(part.weights is not None for part in loose):
        weights = np.concatenate([_ones(part) for part in loose])
    times = None
    if loose[0].times is not None:
        times = np.concatenate([part.times for part in loose if part.times is not None])
    return sorted_run(hashes, rows, weights, times)[0]


def _ones(loose: Loose) -> Int64Array:
    return np.ones(len(loose), dtype=np.int64) if loose.weights is None else loose.weights

"""Rows as they came, on their way to become a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.checkpoint import Saver
from headwater.state.index import sifted
from headwater.state.run import Run, sorted_run
from headwater.state.zones import Near, Zones, near_all, zones_of

HASH_MAX = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Loose:
    """Rows in the order of their arrival.

    Args:
        low: The least of their hashes, or less.
        high: The highest, or more.
        name: What a checkpoint calls them, once they are in one.
        is_mapped: Whether they lie in that checkpoint's file.

    """

    hashes: UInt64Array
    rows: pa.RecordBatch
    weights: Int64Array | None
    times: Int64Array | None = None
    name: str | None = None
    is_mapped: bool = False
    low: int = 0
    high: int = HASH_MAX
    _zones: dict[str, Zones] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.hashes)

    def zones(self, column: str) -> Zones:
        """The numbers of a column, block by block."""
        found = self._zones.get(column)
        if found is None:
            found = self._zones[column] = zones_of(self.rows.column(column))
        return found

    def stretches(self, near: Sequence[Near]) -> list[tuple[int, int]]:
        """Where rows may be that are near in every respect."""
        return near_all([(self.zones(one.column), one) for one in near], len(self))

    def bounded(self) -> Loose:
        """The same with the bounds that its hashes have."""
        return replace(self, low=int(self.hashes.min()), high=int(self.hashes.max()))

    def meets(self, low: int, high: int) -> bool:
        """Whether there may be a hash from `low` to `high`."""
        return self.low <= high and low <= self.high


def sort(loose: Sequence[Loose]) -> Run:
    """Batches of rows, in the order of their arrival, as one run."""
    one = joined(loose)
    return sorted_run(one.hashes, one.rows, one.weights, one.times)[0]


def joined(loose: Sequence[Loose]) -> Loose:
    """Batches of rows as one, in the order of their arrival."""
    if len(loose) == 1:
        return loose[0]
    hashes = np.concatenate([part.hashes for part in loose])
    rows = pa.concat_batches([part.rows for part in loose])
    weights = None
    if any(part.weights is not None for part in loose):
        weights = np.concatenate([_ones(part) for part in loose])
    times = None
    if loose[0].times is not None:
        times = np.concatenate([part.times for part in loose if part.times is not None])
    low, high = min(part.low for part in loose), max(part.high for part in loose)
    return Loose(hashes, rows, weights, times, low=low, high=high)


def with_hashes(loose: Loose, stretches: Sequence[tuple[int, int]], hashes: UInt64Array) -> Loose:
    """The rows in some stretches that have one of these hashes."""
    parts = [_sifted(loose.hashes[start:stop], hashes) + start for start, stop in stretches]
    near = np.concatenate([np.zeros(0, np.int64), *parts])
    sought = np.sort(hashes)
    found = loose.hashes[near]
    at = np.minimum(np.searchsorted(sought, found), len(sought) - 1)
    places = near[sought[at] == found] if len(sought) else near
    return Loose(
        loose.hashes[places],
        loose.rows.take(pa.array(places)),
        None if loose.weights is None else loose.weights[places],
        None if loose.times is None else loose.times[places],
    )


def _sifted(hashes: UInt64Array, sought: UInt64Array) -> Int64Array:
    """As `sifted`, which is prepared for many."""
    return np.flatnonzero(hashes == sought[0]) if len(sought) == 1 else sifted(hashes, sought)


def met_by(loose: Sequence[Loose], some: Sequence[Loose]) -> list[Loose]:
    """Some of the batches, and the older ones that may share a hash with any of these.

    Args:
        loose: Batches in the order of their arrival.
        some: Of them the ones that are wanted.

    """
    wanted: list[Loose] = []
    for part in reversed(loose):
        is_met = any(one.meets(part.low, part.high) for one in wanted)
        if is_met or any(part is one for one in some):
            wanted.append(part)
    return wanted[::-1]


def saved(loose: Loose, saver: Saver) -> Loose:
    """The rows, stored under a name."""
    run = Run(
        loose.hashes,
        loose.rows,
        loose.weights,
        loose.times,
        name=loose.name,
        is_mapped=loose.is_mapped,
    )
    name = run.save(saver)
    return replace(
        loose,
        hashes=run.hashes,
        rows=run.rows,
        weights=run.weights,
        name=name,
        is_mapped=run.is_mapped,
    )


def _ones(loose: Loose) -> Int64Array:
    return np.ones(len(loose), dtype=np.int64) if loose.weights is None else loose.weights

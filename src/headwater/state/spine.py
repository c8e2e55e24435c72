"""A spine: rows as a few sorted runs, the largest first.

What is inserted waits unsorted until somebody looks for it. Then it becomes a run, and runs are
merged while the last is not much smaller than the one before it, so that there are about as many
runs as the number of rows has digits, and each row is copied as often as that (as in DBSP and in
differential dataflow).

Where many rows wait (the side of a join that nobody has asked yet), who looks for a few hashes
scans them instead: to sort wide rows once costs as much as to scan them a dozen times. When they
have been scanned so often they are sorted, of a very large pile a piece at each look, so that no
look stops for long.

A spine that grows large is split by the top bits of the hash into shards, each a spine of its own,
so that no merge is long and no run too large for an Arrow array. New runs then grow in the spine
until they are worth handing down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.checkpoint import Saver
from headwater.state.index import sifted
from headwater.state.run import Merge, Run, merge, sorted_run
from headwater.state.zones import Near, Zones, near_all, zones_of

# A run is merged into the one before it when it has at least this part of its rows.
_LIKE_SIZE = 2
# One look may ask for so many hashes for each row of a pile before it is cheaper to sort it all.
_SCAN_SHARE = 16
# So often all waiting rows may be scanned before they are sorted, which costs about as much.
_SCANS_MAX = 16
# A shard takes over so many bits of the hash.
_SHARD_BITS = 5
# Runs are handed down to the shards when they have this part of the rows that a spine may have.
_HANDED_DOWN = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a spine may grow before it is split.

    Args:
        rows: In rows.
        size_bytes: In bytes.
        piece_rows: Waiting rows are kept in pieces of about so many; of a larger pile a look for a
            few hashes sorts one piece.
        scan_rows: Fewer waiting rows than this are sorted at the first look.
        weighted_rows: So many rows with weights may wait. They may cancel others, and would be kept
            for ever where nobody looks; the more wait, the longer the epoch takes that sorts them.

    """

    rows: int = 1 << 23
    size_bytes: int = 1 << 29
    piece_rows: int = 1 << 20
    scan_rows: int = 1 << 14
    weighted_rows: int = 1 << 13


@dataclass(frozen=True, slots=True)
class Loose:
    """Rows as they came."""

    hashes: UInt64Array
    rows: pa.RecordBatch
    weights: Int64Array | None
    times: Int64Array | None = None
    name: str | None = None
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


@dataclass(frozen=True, slots=True)
class Span:
    """The hashes that a spine is for: all that begin with some bits.

    Args:
        low: The least of them.
        bits: How many bits they begin with.

    """

    low: int = 0
    bits: int = 0

    @property
    def high(self) -> int:
        """What is above all of them."""
        return self.low + (1 << (64 - self.bits))

    def parts(self) -> list[Span]:
        """The spans of the shards."""
        bits = self.bits + _SHARD_BITS
        return [Span(self.low + (n << (64 - bits)), bits) for n in range(1 << _SHARD_BITS)]


@dataclass(frozen=True, slots=True)
class Peek:
    """What a spine held at some moment. Immutable, so that any thread may read it."""

    span: Span
    runs: tuple[Run, ...]
    shards: tuple[Peek, ...]
    loose: tuple[Loose, ...]

    def parts(self, younger: Sequence[Run] = ()) -> Iterator[list[Run]]:
        """For each span of hashes its runs, the oldest first; spans in ascending order."""
        runs = [*self.runs, *([sort(self.loose)] if self.loose else []), *younger]
        if not self.shards:
            yield [run for run in runs if len(run)]
            return
        for shard in self.shards:
            low, high = shard.span.low, shard.span.high
            yield from shard.parts([run.between(low, high) for run in runs])


Settle = Callable[[Merge, bool], Run]


class Spine:
    """Sorted runs and rows on their way to become one.

    Args:
        settle: What becomes of runs that meet (equal rows become one, say); the second argument
            says whether no older run is left out.

    """

    def __init__(
        self,
        settle: Settle,
        *,
        limits: Limits = Limits(),
        span: Span = Span(),
    ) -> None:
        self._settle = settle
        self._limits = limits
        self._span = span
        self._runs: list[Run] = []
        self._shards: list[Spine] = []
        self._loose: list[Loose] = []
        self._loose_rows = 0
        # How many waiting rows were scanned since all were sorted.
        self._scanned_rows = 0

    def add(self, loose: Loose) -> None:
        """Take rows in."""
        if not len(loose):
            return
        self._loose_rows += len(loose)
        while self._loose and self._are_alike(self._loose[-1], loose):
            loose = joined([self._loose.pop(), loose])
        self._loose.append(loose)
        weighted = sum(len(part) for part in self._loose if part.weights is not None)
        if weighted > self._limits.weighted_rows:
            self._sort()

    def runs(self) -> list[Run]:
        """All rows as runs; of two that share hashes the older stands first."""
        self._sort()
        return [*(run for shard in self._shards for run in shard.runs()), *self._runs]

    def runs_with(self, hashes: UInt64Array, near: Sequence[Near] = ()) -> list[Run]:
        """Runs that have all rows of these hashes, the older of two that share hashes first.

        As `runs`, but rows that wait are sorted only once scanning them has cost about as much.

        Args:
            near: What the sought rows have in common beside; others may be left out.

        """
        is_few = len(hashes) * _SCAN_SHARE <= self._loose_rows
        if not is_few or self._loose_rows < self._limits.scan_rows:
            return [run for run in self.runs() if run.reaches(near)]
        places = [loose.stretches(near) for loose in self._loose]
        self._scanned_rows += sum(stop - start for some in places for start, stop in some)
        if self._scanned_rows > _SCANS_MAX * self._loose_rows:
            if self._loose_rows <= self._limits.piece_rows:
                return [run for run in self.runs() if run.reaches(near)]
            oldest, places = self._loose.pop(0), places[1:]
            self._loose_rows -= len(oldest)
            self._push(sort([oldest]))
        found = [_with_hashes(*pair, hashes) for pair in zip(self._loose, places, strict=True)]
        picked = [piece for piece in found if len(piece)]
        sorted_runs = [*(run for shard in self._shards for run in shard.runs()), *self._runs]
        near_runs = [run for run in sorted_runs if run.reaches(near)]
        return [*near_runs, *([sort(picked)] if picked else [])]

    def forget_waiting(self, is_forgotten: Callable[[Loose], bool]) -> bool:
        """Drop pieces of rows that wait; return whether there are rows that do not wait."""
        self._loose = [loose for loose in self._loose if not is_forgotten(loose)]
        self._loose_rows = sum(map(len, self._loose))
        return bool(self._runs or self._shards)

    def settled(self, *, anew: Settle | None = None) -> list[Run]:
        """All rows as runs of which no two share a hash, in ascending order; so they stay.

        Args:
            anew: What becomes of the rows when what is kept has changed; then a run that is alone
                is settled too.

        """
        self._sort()
        if self._shards:
            self._hand_down()
            return [run for shard in self._shards for run in shard.settled(anew=anew)]
        if len(self._runs) > 1 or (anew is not None and self._runs):
            self._runs = _some((anew or self._settle)(merge(self._runs), True))
        return list(self._runs)

    def peek(self) -> Peek:
        """What there is now, as it is."""
        shards = tuple(shard.peek() for shard in self._shards)
        return Peek(self._span, tuple(self._runs), shards, tuple(self._loose))

    def size(self) -> tuple[int, int]:
        """Rows and bytes, those counted twice that are not yet merged."""
        rows = sum(len(run) for run in self._runs) + self._loose_rows
        size_bytes = sum(run.size_bytes for run in self._runs)
        for loose in self._loose:
            size_bytes += int(loose.rows.nbytes) + loose.hashes.nbytes
        sizes = [(rows, size_bytes), *(shard.size() for shard in self._shards)]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def save(self, saver: Saver) -> Any:
        """Hand the runs over; return a JSON value from which `load` finds them.

        A few waiting rows are sorted first, so that a checkpoint has fewer pieces; many are not, as
        epochs wait for this.
        """
        if self._loose_rows <= self._limits.scan_rows:
            self._sort()
        self._loose = [_saved(loose, saver) for loose in self._loose]
        return {
            "runs": [run.save(saver) for run in self._runs],
            "shards": [shard.save(saver) for shard in self._shards],
            "loose": [loose.name for loose in self._loose],
        }

    def load(self, manifest: Any, load: Callable[[str], Run]) -> None:
        """Take back what `save` handed over."""
        for name in manifest["loose"]:
            run = load(name)
            self._loose.append(Loose(run.hashes, run.rows, run.weights, run.times, name))
            self._loose_rows += len(run)
        self._runs = [load(name) for name in manifest["runs"]]
        self._shards = self._new_shards() if manifest["shards"] else []
        for shard, part in zip(self._shards, manifest["shards"], strict=True):
            shard.load(part, load)

    def _are_alike(self, older: Loose, newer: Loose) -> bool:
        """Whether to make one piece of them: each row is so copied once for each doubling."""
        is_like = len(newer) * _LIKE_SIZE >= len(older)
        return is_like and len(newer) + len(older) <= self._limits.piece_rows

    def _sort(self) -> None:
        waiting, self._loose, self._loose_rows = self._loose, [], 0
        self._scanned_rows = 0
        while waiting:
            rows = count = 0
            while count < len(waiting) and rows < self._limits.piece_rows:
                rows += len(waiting[count])
                count += 1
            self._push(sort(waiting[:count]))
            waiting = waiting[count:]

    def _push(self, run: Run) -> None:
        """Hold a run that is younger than all others."""
        first = len(self._runs)
        rows = len(run)
        while first and rows * _LIKE_SIZE >= len(self._runs[first - 1]):
            first -= 1
            rows += len(self._runs[first])
        is_oldest = first == 0 and not self._shards
        parts = [*self._runs[first:], run]
        self._runs[first:] = _some(self._settle(merge(parts), is_oldest))
        if self._is_full():
            self._hand_down()

    def _is_full(self) -> bool:
        if not self._runs:
            return False
        run, limits = self._runs[0], self._limits
        part = _HANDED_DOWN if self._shards else 1
        is_large = len(run) * part >= limits.rows or run.size_bytes * part >= limits.size_bytes
        can_split = self._span.bits + _SHARD_BITS <= 64 and run.hashes[0] != run.hashes[-1]
        return is_large and (can_split or bool(self._shards))

    def _hand_down(self) -> None:
        if not self._shards:
            self._shards = self._new_shards()
        for run in self._runs:
            for shard in self._shards:
                part = run.between(shard._span.low, shard._span.high)
                if len(part):
                    shard._push(part)
        self._runs = []

    def _new_shards(self) -> list[Spine]:
        spans = self._span.parts()
        return [Spine(self._settle, limits=self._limits, span=span) for span in spans]


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
    return Loose(hashes, rows, weights, times)


def _with_hashes(loose: Loose, stretches: Sequence[tuple[int, int]], hashes: UInt64Array) -> Loose:
    """The rows in some stretches that have one of these hashes."""
    parts = [sifted(loose.hashes[start:stop], hashes) + start for start, stop in stretches]
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


def _saved(loose: Loose, saver: Saver) -> Loose:
    """The rows, stored under a name."""
    run = Run(loose.hashes, loose.rows, loose.weights, loose.times, name=loose.name)
    return replace(loose, name=run.save(saver))


def _ones(loose: Loose) -> Int64Array:
    return np.ones(len(loose), dtype=np.int64) if loose.weights is None else loose.weights


def _some(run: Run) -> list[Run]:
    return [run] if len(run) else []

"""What a spine held at some moment, for readers of any thread (`state.spine`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from headwater.delta.delta import UInt64Array
from headwater.state.loose import HASH_MAX, Loose, sort, with_hashes
from headwater.state.mapped import place_of
from headwater.state.run import Run

# So many shards share what a spine is for.
SHARDS = 32


@dataclass(frozen=True, slots=True)
class Span:
    """The hashes that a spine is for.

    Args:
        low: The least of them.
        high: What is above all of them.

    """

    low: int = 0
    high: int = HASH_MAX + 1

    def parts(self, low: int, high: int) -> list[Span]:
        """The spans of the shards: of those from `low` to below `high` each has a like part."""
        inner = [low + (high - low) * n // SHARDS for n in range(1, SHARDS)]
        return spans([self.low, *inner], self.high)


ALL = Span()


def spans(lows: Sequence[int], high: int) -> list[Span]:
    """Spans next to each other, from the least of each; the last one is up to below `high`."""
    return [Span(*bounds) for bounds in pairwise([*lows, high])]


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

    def with_hashes(self, hashes: UInt64Array) -> list[Run]:
        """Runs that have all rows of these few hashes; of two the older stands first.

        What waits is scanned and not sorted.
        """
        low, high = int(hashes.min()), int(hashes.max())
        found = [
            run
            for shard in self.shards
            if shard.span.low <= high and low < shard.span.high
            for run in shard.with_hashes(hashes)
        ]
        found += [run for run in self.runs if run.hashes[0] <= high and low <= run.hashes[-1]]
        picked = [with_hashes(loose, [(0, len(loose))], hashes) for loose in self.loose]
        picked = [some for some in picked if len(some)]
        return [*found, *([sort(picked)] if picked else [])]

    def places_of(self, sought: int) -> Iterator[tuple[pa.RecordBatch, range]]:
        """Where the rows of one hash are, of all batches that have some; the older stand first."""
        for shard in self.shards:
            if shard.span.low <= sought < shard.span.high:
                yield from shard.places_of(sought)
        for run in self.runs:
            first = place_of(run.hashes, sought)
            if first >= 0:
                yield run.rows, _alike_from(run.hashes, first)
        for loose in self.loose:
            for at in np.flatnonzero(loose.hashes == np.uint64(sought)).tolist():
                yield loose.rows, range(at, at + 1)


def _alike_from(hashes: UInt64Array, first: int) -> range:
    """The places of a hash, of which the first is known."""
    end = first + 1
    while end < len(hashes) and hashes[end] == hashes[first]:
        end += 1
    return range(first, end)

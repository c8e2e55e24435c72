"""A chunk: rows of a topic's partition, and their places in the one order of the whole log."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.log.snapshot import Snapshot, Stored
from headwater.log.zones import Zones

# Stretches of so many rows are worth a step of their own.
_LONG_ROWS = 256


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one append, or a cut of them; or of several appends, as they are stored.

    Args:
        offset_first: The offset of the first row in its partition. The others follow it; but not
            those of a file that was compacted.
        tick_first: Its place in the log's one order.
        arrived_us: When the append arrived, the last of several.
        rows: The rows, in the topic's Arrow schema; fewer columns where fewer were asked for.
        leaps: Where rows of other topics stand between its rows, or such as were compacted; None
            when they stand nowhere.
        zones: What is known of its event times; None where nothing is.

    """

    partition: int
    offset_first: int
    tick_first: int
    arrived_us: int
    rows: pa.RecordBatch
    leaps: Leaps | None = None
    zones: Zones | None = field(default=None, compare=False)

    @property
    def offset_to(self) -> int:
        """The offset after the last row."""
        return self.offset_first + int(self.rows.num_rows)

    @property
    def tick_to(self) -> int:
        """The tick after the last row."""
        rows = int(self.rows.num_rows)
        if self.leaps is None:
            return self.tick_first + rows
        return int(self.leaps.ticks[-1]) + rows - int(self.leaps.starts[-1])

    def ticks(self) -> Int64Array:
        """The place of each row in the log's one order."""
        rows = int(self.rows.num_rows)
        if self.leaps is None or rows < _LONG_ROWS * len(self.leaps.starts):
            return self.ticks_at(np.arange(rows, dtype=np.int64))
        # Stretch by stretch, so that no other array of this length is needed.
        ticks = np.empty(rows, dtype=np.int64)
        starts = [*self.leaps.starts.tolist(), rows]
        for (start, stop), first in zip(
            itertools.pairwise(starts), self.leaps.ticks.tolist(), strict=True
        ):
            ticks[start:stop] = np.arange(first, first + stop - start)
        return ticks

    def ticks_at(self, rows: Int64Array) -> Int64Array:
        """The places of some rows, whose numbers ascend."""
        if self.leaps is None:
            return rows + self.tick_first
        starts = self.leaps.starts
        counts = np.diff(np.searchsorted(rows, starts), append=len(rows))
        return rows + np.repeat(self.leaps.ticks - starts, counts)


@dataclass(frozen=True, slots=True, eq=False)
class Leaps:
    """The stretches of a chunk whose rows follow each other in the log's one order.

    Args:
        starts: The row with which each begins, the first 0.
        ticks: That row's tick.

    """

    starts: Int64Array
    ticks: Int64Array


def chunks_of(
    partition: int,
    snapshot: Snapshot,
    span: tuple[int, int],
    columns: Sequence[str] | None,
) -> list[Chunk]:
    """The rows at positions [from, to) of a partition, append by append."""
    pieces = snapshot.pieces(*span, columns, marks=2)
    return [
        Chunk(
            partition,
            position,
            tick + position - start,
            arrived_us,
            rows,
            None if positions is None else _leaps(positions + (tick - start)),
        )
        for position, start, (tick, arrived_us), rows, positions in pieces
    ]


def _leaps(ticks: Int64Array) -> Leaps | None:
    """The stretches of rows with these ticks."""
    rows = np.flatnonzero(np.diff(ticks, prepend=ticks[0] - 2) != 1)
    return Leaps(rows, ticks[rows]) if len(rows) > 1 else None


def stored_chunk(stored: Stored, time_column: str | None) -> Chunk:
    """What is stored together in a topic's only partition.

    Args:
        time_column: The column with the event times, perhaps not among the columns that were read.

    """
    position, starts = stored.position, stored.starts
    ticks, arrivals = stored.marks[:2]
    if stored.positions is not None:
        chunks = np.searchsorted(starts, stored.positions, side="right") - 1
        found = stored.positions + (ticks - starts)[chunks]
        arrived_us = int(arrivals[-1])
        return Chunk(0, position, int(found[0]), arrived_us, stored.rows, _leaps(found))
    rows: Int64Array = np.maximum(starts - position, 0)
    ticks = ticks + (rows + position - starts)
    # Appends between which nothing stands are one stretch.
    is_leap = np.ones(len(rows), dtype=np.bool_)
    is_leap[1:] = np.diff(ticks) != np.diff(rows)
    rows, ticks = rows[is_leap], ticks[is_leap]
    leaps = Leaps(rows, ticks) if len(rows) > 1 else None
    zones = _zones(stored, time_column)
    return Chunk(0, position, int(ticks[0]), int(arrivals[-1]), stored.rows, leaps, zones)


def _zones(stored: Stored, time_column: str | None) -> Zones | None:
    """The zones of rows whose event times were read, and have been summed up."""
    sums = stored.marks[2:]
    if not sums or time_column not in stored.rows.schema.names:
        return None
    zones = Zones(np.maximum(stored.starts - stored.position, 0), *sums)
    first = int(stored.starts[0]) < stored.position
    last = stored.end > stored.position + stored.rows.num_rows
    if not first and not last:
        return zones
    return zones.cut(stored.rows.column(time_column), first=first, last=last)

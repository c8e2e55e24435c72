"""One moment of a lane: its segments and so much of its tail as there was.

Appends, flushes and seals leave it as it is, so a reader holds no lock. Finding a place costs two
bisections, one over the parts and one over a part's chunks; reading costs the chunks touched.

Positions are dense and stay what they were. Of a part that was compacted (`log.compaction`) rows
are gone: to read it gives fewer rows than positions, and `kept` says where they stand.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from headwater.cores import Chore
from headwater.delta.delta import Int64Array


class Highest(NamedTuple):
    """The highest value that a mark has over some rows, as far as marks know it.

    Args:
        value: Over the chunks that lie whole among the rows; None where there is none.
        unknown: The positions [from, to) of the rows that it does not tell of.

    """

    value: int | None
    unknown: list[tuple[int, int]]


class Part(Protocol):
    """A stretch of positions with at least one chunk: a `Segment` or a `TailPart`."""

    @property
    def position_first(self) -> int:
        """Its first position."""
        ...

    @property
    def position_to(self) -> int:
        """The position after its last row."""
        ...

    def low(self, mark: int) -> int:
        """The first chunk's `mark`."""
        ...

    def chunk_at(self, position: int) -> int:
        """The number of the chunk that has `position`, or the count of chunks after all of them."""
        ...

    def chunk_by_mark(self, mark: int, value: int) -> int:
        """The number of the last chunk whose `mark`, ascending, is at most `value`; -1 for none."""
        ...

    def first_with(self, mark: int, value: int, chunk_from: int) -> int | None:
        """The first chunk from `chunk_from` on that may have rows whose `mark` is >= `value`."""
        ...

    @property
    def is_summed_up(self) -> bool:
        """Whether its marks sum up the rows, beside those that its appends were given."""
        ...

    def highest(self, mark: int, position_from: int, position_to: int) -> Highest:
        """The highest of a mark that sums up rows, as far as it is known of [from, to)."""
        ...

    def starts(self, chunk_from: int, chunk_to: int) -> list[int]:
        """Where the chunks begin, and last where the last of them ends."""
        ...

    def marks(self, mark: int, chunk_from: int, chunk_to: int) -> list[int]:
        """One mark of the chunks."""
        ...

    def read(
        self, position_from: int, position_to: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        """The rows at [position_from, position_to), as they are stored."""
        ...

    def kept(self, position_from: int, position_to: int) -> Int64Array | None:
        """Where the rows stand that `read` gives; None: at all of these positions."""
        ...

    def unready(self, columns: Sequence[str]) -> list[Chore]:
        """What reading these columns for the first time would have to wait for."""
        ...


class Piece(NamedTuple):
    """A chunk, or a cut of one.

    Args:
        position: Where its first row stands.
        start: Where its chunk began.
        marks: The chunk's first marks, as many as were asked for.
        positions: Where each row stands; None: one after the other.

    """

    position: int
    start: int
    marks: tuple[int, ...]
    rows: pa.RecordBatch
    positions: Int64Array | None = None


class Stored(NamedTuple):
    """Rows as they are stored, of one chunk or of several.

    Args:
        position: Where its first row stands.
        starts: Where each of its chunks begins, the first perhaps before `position`.
        marks: The first marks of its chunks, as many as were asked for and are known.
        end: Where the last of its chunks ends, perhaps after the rows.
        positions: Where each row stands; None: one after the other.

    """

    position: int
    rows: pa.RecordBatch
    starts: Int64Array
    marks: tuple[Int64Array, ...]
    end: int
    positions: Int64Array | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of a lane at [position_first, position_to).

    Args:
        parts: None of them empty, in the order of positions, without a gap.

    """

    parts: tuple[Part, ...]
    position_first: int
    position_to: int

    def position_of_tick(self, tick: int) -> int:
        """The first position whose tick is at least `tick`.

        A row's tick is the mark 0 of its chunk and its place in the chunk, added.
        """
        number = bisect_right(self.parts, tick, key=lambda part: part.low(0)) - 1
        if number < 0:
            return self.position_first
        part = self.parts[number]
        chunk = part.chunk_by_mark(0, tick)
        start, end = part.starts(chunk, chunk + 1)
        return min(start + tick - part.marks(0, chunk, chunk + 1)[0], end)

    def unready(self, tick_from: int, tick_to: int, columns: Sequence[str] | None) -> list[Chore]:
        """What reading rows by tick, in [from, to), would have to wait for.

        Args:
            columns: Those that will be read; None where the rows are only counted.

        """
        first = max(0, bisect_right(self.parts, tick_from, key=lambda part: part.low(0)) - 1)
        # Where the last row stands is found in the part that has the next.
        last = bisect_right(self.parts, tick_to, key=lambda part: part.low(0))
        ends = self.parts[max(first, last - 1) : last]
        found = [chore for part in ends for chore in part.unready(())]
        if columns is None:
            return found
        read = bisect_left(self.parts, tick_to, key=lambda part: part.low(0))
        return [c for part in self.parts[first:read] for c in part.unready(columns)] + found

    def position_of_mark(self, value: int) -> int:
        """The first position of the first chunk whose mark 0, ascending, is at least `value`."""
        number = bisect_right(self.parts, value - 1, key=lambda part: part.low(0)) - 1
        if number < 0:
            return self.position_first
        part = self.parts[number]
        chunk = part.chunk_by_mark(0, value - 1) + 1
        return part.starts(chunk, chunk)[0]

    def mark_at(self, position: int, mark: int = 0) -> int:
        """The mark of the chunk that has `position`."""
        part = next(self._between(position, position + 1))
        chunk = part.chunk_at(position)
        return part.marks(mark, chunk, chunk + 1)[0]

    def tick_at(self, position: int) -> int:
        """The tick of the row at `position`."""
        part = next(self._between(position, position + 1))
        chunk = part.chunk_at(position)
        (start,) = part.starts(chunk, chunk)
        return part.marks(0, chunk, chunk + 1)[0] + position - start

    def chunks_with(self, mark: int, value: int) -> Iterator[tuple[int, int]]:
        """The positions [from, to) of each chunk that may have rows whose `mark` is >= `value`."""
        for part in self.parts:
            chunk = part.first_with(mark, value, 0)
            while chunk is not None:
                start, end = part.starts(chunk, chunk + 1)
                yield start, end
                chunk = part.first_with(mark, value, chunk + 1)

    def marks_by_row(self, mark: int, position_from: int, position_to: int) -> Int64Array:
        """The `mark` of each row's chunk."""
        found = [np.empty(0, dtype=np.int64)]
        for part in self._between(position_from, position_to):
            low, high = max(position_from, part.position_first), min(position_to, part.position_to)
            first, last = part.chunk_at(low), part.chunk_at(high - 1) + 1
            starts, kept = part.starts(first, last), part.kept(low, high)
            bounds = np.clip(starts, low, high) if kept is None else np.searchsorted(kept, starts)
            found.append(np.repeat(part.marks(mark, first, last), np.diff(bounds)))
        return np.concatenate(found)

    def positions(self, position_from: int, position_to: int) -> Int64Array:
        """Where the rows stand that `read` gives."""
        found = [np.empty(0, dtype=np.int64)]
        for part in self._between(position_from, position_to):
            low, high = max(position_from, part.position_first), min(position_to, part.position_to)
            kept = part.kept(low, high)
            found.append(np.arange(low, high) if kept is None else kept)
        return np.concatenate(found)

    def position_after(self, position: int, rows: int) -> int:
        """The position after so many rows from `position` on, or after all rows."""
        if rows <= 0:
            return position
        for part in self._between(position, self.position_to):
            low = max(position, part.position_first)
            kept = part.kept(low, part.position_to)
            count = part.position_to - low if kept is None else len(kept)
            if count >= rows:
                return low + rows if kept is None else int(kept[rows - 1]) + 1
            rows -= count
        return max(position, self.position_to)

    def highest(self, mark: int, position_from: int, position_to: int) -> Highest:
        """The highest of a mark that sums up rows, as far as it is known of [from, to)."""
        found = [
            part.highest(
                mark,
                max(position_from, part.position_first),
                min(position_to, part.position_to),
            )
            for part in self._between(position_from, position_to)
        ]
        known = [part.value for part in found if part.value is not None]
        return Highest(max(known, default=None), [span for part in found for span in part.unknown])

    def read(
        self, position_from: int, position_to: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        """The rows at [position_from, position_to), in batches as they are stored."""
        found: list[pa.RecordBatch] = []
        for part in self._between(position_from, position_to):
            low, high = max(position_from, part.position_first), min(position_to, part.position_to)
            found += part.read(low, high, columns)
        return found

    def pieces(
        self,
        position_from: int,
        position_to: int,
        columns: Sequence[str] | None,
        *,
        marks: int,
    ) -> Iterator[Piece]:
        """The rows at [position_from, position_to), cut where chunks and stored batches end.

        Args:
            marks: How many of each chunk's marks are wanted.

        """
        for part in self._between(position_from, position_to):
            low, high = max(position_from, part.position_first), min(position_to, part.position_to)
            first, last = part.chunk_at(low), part.chunk_at(high - 1) + 1
            starts = part.starts(first, last)
            columns_of_marks = [part.marks(mark, first, last) for mark in range(marks)]
            found = list(zip(*columns_of_marks, strict=True))
            batches, kept = part.read(low, high, columns), part.kept(low, high)
            if kept is None:
                yield from _cut_up(batches, low, starts, found)
            else:
                yield from _cut_up_kept(batches, kept, starts, found)

    def stored(
        self,
        position_from: int,
        position_to: int,
        columns: Sequence[str] | None,
        *,
        marks: int,
        sums: int = 0,
    ) -> Iterator[Stored]:
        """The rows at [position_from, position_to), cut where stored batches end.

        Args:
            marks: How many of each chunk's marks are wanted.
            sums: How many more, of those that sum up rows, where they are known.

        """
        for part in self._between(position_from, position_to):
            low, high = max(position_from, part.position_first), min(position_to, part.position_to)
            first, last = part.chunk_at(low), part.chunk_at(high - 1) + 1
            bounds = np.array(part.starts(first, last), dtype=np.int64)
            starts, ends = bounds[:-1], bounds[1:]
            known = range(marks + sums if part.is_summed_up else marks)
            found = [np.array(part.marks(n, first, last), dtype=np.int64) for n in known]
            kept, row = part.kept(low, high), 0
            for rows in part.read(low, high, columns):
                at, positions = low, None
                low += rows.num_rows
                if kept is not None:
                    positions = kept[row : row + rows.num_rows]
                    at, low = int(positions[0]), int(positions[-1]) + 1
                    row += rows.num_rows
                chunks = slice(
                    int(np.searchsorted(starts, at, side="right")) - 1,
                    int(np.searchsorted(starts, low)),
                )
                of_chunks = tuple(column[chunks] for column in found)
                end = int(ends[chunks][-1])
                yield Stored(at, rows, starts[chunks], of_chunks, end, positions)

    def _between(self, position_from: int, position_to: int) -> Iterator[Part]:
        """The parts that have positions in [position_from, position_to)."""
        first = bisect_right(self.parts, position_from, key=lambda part: part.position_to)
        for number in range(first, len(self.parts)):
            part = self.parts[number]
            if part.position_first >= position_to or position_from >= position_to:
                return
            yield part


def _cut_up(
    batches: list[pa.RecordBatch], position: int, starts: list[int], marks: list[tuple[int, ...]]
) -> Iterator[Piece]:
    """Cut batches, the first of which begins at `position`, where chunks begin."""
    chunk = 0
    for batch in batches:
        row, rows = 0, batch.num_rows
        while row < rows:
            while starts[chunk + 1] <= position:
                chunk += 1
            count = min(rows - row, starts[chunk + 1] - position)
            cut = batch if count == rows else batch.slice(row, count)
            yield Piece(position, starts[chunk], marks[chunk], cut)
            row, position = row + count, position + count


def _cut_up_kept(
    batches: list[pa.RecordBatch],
    kept: Int64Array,
    starts: list[int],
    marks: list[tuple[int, ...]],
) -> Iterator[Piece]:
    """Cut batches, the rows of which stand at the positions `kept`, where chunks begin."""
    for batch in batches:
        here, kept = kept[: batch.num_rows], kept[batch.num_rows :]
        bounds = np.searchsorted(here, starts)
        for chunk in np.flatnonzero(np.diff(bounds)).tolist():
            low, high = int(bounds[chunk]), int(bounds[chunk + 1])
            positions = here[low:high]
            rows = batch.slice(low, high - low)
            yield Piece(int(positions[0]), starts[chunk], marks[chunk], rows, positions)

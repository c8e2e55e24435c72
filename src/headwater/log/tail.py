"""The newest rows of a lane, in memory, as they were appended.

Lists that only grow. A reader takes the number of chunks first and never looks past it, so it needs
no lock; the one appender writes that number last. An append costs a few list entries, a search a
bisection; nothing is copied.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate

import pyarrow as pa

from headwater.cores import Chore
from headwater.log.snapshot import Highest
from headwater.schema.versions import Reading

_SAMPLE = 100


class Tail:
    """Chunks that are in no segment yet.

    Args:
        position_first: Where its first chunk begins.
        marks: How many marks each chunk has.

    """

    __slots__ = ("_bytes_counted", "batches", "marks", "starts")

    def __init__(self, position_first: int, marks: int) -> None:
        self.batches: list[pa.RecordBatch] = []
        self.marks: tuple[list[int], ...] = tuple([] for _ in range(marks))
        self.starts = [position_first]
        self._bytes_counted = (0, 0)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def append(self, batches: Sequence[pa.RecordBatch], marks: Sequence[int]) -> None:
        """Add chunks with the same marks, none of them empty. One thread at a time."""
        ends = list(accumulate((rows.num_rows for rows in batches), initial=self.starts[-1]))
        self.batches += batches
        for column, mark in zip(self.marks, marks, strict=True):
            column.extend([mark] * len(batches))
        # Last, and all at once: a reader that counts these chunks finds the rest of them in place.
        self.starts += ends[1:]

    def without_first(self, chunks: int) -> Tail:
        """A tail with all but the first `chunks`. The appender must hold still."""
        rest = Tail(self.starts[chunks], 0)
        rest.batches = self.batches[chunks:]
        rest.marks = tuple(column[chunks:] for column in self.marks)
        rest.starts = self.starts[chunks:]
        return rest

    def evolved(self, reading: Reading) -> Tail:
        """The same rows with other columns. The appender must hold still."""
        other = Tail(self.starts[0], 0)
        other.batches = [reading.read(batch) for batch in self.batches]
        other.marks = tuple(column.copy() for column in self.marks)
        other.starts = self.starts.copy()
        return other

    @property
    def size_bytes(self) -> int:
        """About what its rows take in memory.

        Looks only at chunks that it has not looked at before, and of many at some: asking a batch
        costs 10 us, which a million appends of one row would feel.
        """
        counted, total = self._bytes_counted
        chunks = len(self)
        if counted < chunks:
            sample = self.batches[counted : chunks : 1 + (chunks - counted) // _SAMPLE]
            rows = self.starts[chunks] - self.starts[counted]
            sampled_rows = sum(batch.num_rows for batch in sample)
            total += sum(batch.nbytes for batch in sample) * rows // sampled_rows
            self._bytes_counted = (chunks, total)
        return total


class TailPart:
    """The first `chunks` chunks of a tail: one moment of it, as a part of a `Snapshot`."""

    __slots__ = ("_tail", "chunks")

    def __init__(self, tail: Tail, chunks: int) -> None:
        self._tail = tail
        self.chunks = chunks

    @property
    def position_first(self) -> int:
        """Its first position."""
        return self._tail.starts[0]

    @property
    def position_to(self) -> int:
        """The position after its last row."""
        return self._tail.starts[self.chunks]

    def low(self, mark: int) -> int:
        """The first chunk's `mark`."""
        return self._tail.marks[mark][0]

    def chunk_at(self, position: int) -> int:
        """The number of the chunk that has `position`, or the count of chunks after all of them."""
        return bisect_right(self._tail.starts, position, 1, self.chunks + 1) - 1

    def chunk_by_mark(self, mark: int, value: int) -> int:
        """The number of the last chunk whose `mark`, ascending, is at most `value`; -1 for none."""
        return bisect_right(self._tail.marks[mark], value, 0, self.chunks) - 1

    def first_with(self, mark: int, value: int, chunk_from: int) -> int | None:
        """The first chunk from `chunk_from` on that may have `mark`s of at least `value`."""
        if mark >= len(self._tail.marks):
            # Not known before the chunk is in a segment: its rows must be looked at.
            return chunk_from if chunk_from < self.chunks else None
        column = self._tail.marks[mark]
        found = (c for c in range(chunk_from, self.chunks) if column[c] >= value)
        return next(found, None)

    @property
    def is_summed_up(self) -> bool:
        """Rows are summed up when they are written to a file."""
        return False

    def highest(self, mark: int, position_from: int, position_to: int) -> Highest:
        """Nothing is known of these rows."""
        del mark
        return Highest(None, [(position_from, position_to)])

    def starts(self, chunk_from: int, chunk_to: int) -> list[int]:
        """Where the chunks begin, and last where the last of them ends."""
        return self._tail.starts[chunk_from : chunk_to + 1]

    def marks(self, mark: int, chunk_from: int, chunk_to: int) -> list[int]:
        """One mark of the chunks."""
        return self._tail.marks[mark][chunk_from:chunk_to]

    def read(
        self, position_from: int, position_to: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        """The rows at [position_from, position_to), chunk by chunk, without a copy."""
        starts = self._tail.starts
        first = self.chunk_at(position_from)
        last = bisect_left(starts, position_to, first, self.chunks + 1)
        found = []
        for batch, start in zip(self._tail.batches[first:last], starts[first:last], strict=True):
            chosen = batch if columns is None else batch.select(columns)
            found.append(cut(chosen, start, position_from, position_to))
        return found

    def kept(self, position_from: int, position_to: int) -> None:
        """Nothing in memory was compacted."""
        del position_from, position_to

    def unready(self, columns: Sequence[str]) -> list[Chore]:
        """Nothing: it is in memory."""
        del columns
        return []


def cut(batch: pa.RecordBatch, start: int, position_from: int, position_to: int) -> pa.RecordBatch:
    """The part of `batch`, whose first row stands at `start`, at [position_from, position_to)."""
    first, last = max(0, position_from - start), min(batch.num_rows, position_to - start)
    return batch if last - first == batch.num_rows else batch.slice(first, last - first)

"""One ordered run of rows: what a topic's partition and a view's changes have in common.

Rows are appended in chunks and stand at dense positions. The newest are in memory (`Tail`); `flush`
writes them as a hot segment, and `seal` combines hot segments into one file of a good size for the
archive; before they are enough for that, many small ones become a larger one. `drop` lets the
first segments go. A reader takes a `Snapshot` and sees the same rows wherever they are.

Durability is the journal's: the tail is lost in a crash and appended again from the journal. A
manifest names the segments; whoever stores it decides when it counts. A file is deleted only when
no manifest names it from which a start may begin, so a crash at any moment leaves all of those
whole, and perhaps some files that none names, which the next start removes.

Any number of threads may read, while one appends, one flushes and one seals.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.log.content import arrow_file, is_parquet_exact, parquet_file
from headwater.log.index import Index
from headwater.log.segment import HOT, Entry, Segment, SegmentFiles
from headwater.log.snapshot import Part, Snapshot
from headwater.log.tail import Tail, TailPart
from headwater.schema.versions import Reading

ARCHIVE = "data"
# So many rows are read at once where all are read.
STRETCH_ROWS = 1_000_000
# From so many segments on they are combined, if together they are so many times their largest.
MANY = 16
_LARGER = 4
# The mark of a topic's appends that says when they arrived.
_ARRIVED = 1


@dataclass(frozen=True, slots=True)
class SealAt:
    """How much the hot segments of a lane hold together when they are sealed: any is enough.

    Args:
        span_us: How far the arrivals of a topic's rows lie apart; None: that does not matter.

    """

    rows: int = 2_000_000
    size_bytes: int = 128 * 1024 * 1024
    span_us: int | None = None


DEFAULT_SEAL_AT = SealAt()


@dataclass(frozen=True, slots=True)
class Shape:
    """What the lanes of a topic, or of a view's changes, keep.

    Args:
        schema: The Arrow types of the stored rows.
        marks: How many marks an append has. Mark 0 ascends from chunk to chunk.
        summarise: More marks of the chunks that begin at the given rows of a table, which sum up
            their rows; they are computed when a segment is written.
        archive_columns: The columns of a sealed file beside those of the schema.
        archive_folder: Where below `data/` a sealed file goes whose first chunk has these marks;
            empty, or with a slash at its end.
        seal_at: When hot segments are sealed.

    """

    schema: pa.Schema
    marks: int
    summarise: Callable[[pa.Table, Int64Array], tuple[Int64Array, ...]]
    archive_columns: Callable[[Index], dict[str, pa.Array]]
    archive_folder: Callable[[tuple[int, ...]], str]
    seal_at: SealAt


class Lane:
    """An append-only run of rows.

    Args:
        stem: What the names of its files begin with.
        entries: Its segments, in order.
        start: Where it begins when it has none.

    """

    def __init__(
        self,
        shape: Shape,
        files: SegmentFiles,
        stem: str,
        entries: Iterable[Entry] = (),
        start: int = 0,
    ) -> None:
        self._shape = shape
        self._files = files
        self._stem = stem
        segments = tuple(Segment(entry, files) for entry in entries)
        position = segments[-1].position_to if segments else start
        self._lock = threading.Lock()
        self._now: tuple[tuple[Segment, ...], Tail] = (segments, Tail(position, shape.marks))

    @property
    def position_to(self) -> int:
        """The position of the next row."""
        return self._now[1].starts[-1]

    @property
    def position_first(self) -> int:
        """The position of the first row it has."""
        segments, tail = self._now
        return segments[0].position_first if segments else tail.starts[0]

    @property
    def rows_kept(self) -> int:
        """How many rows it has."""
        segments, tail = self._now
        return sum(s.entry.rows_kept for s in segments) + tail.starts[-1] - tail.starts[0]

    @property
    def size_bytes(self) -> int:
        """Bytes in files and in memory."""
        segments, tail = self._now
        return sum(segment.entry.size_bytes for segment in segments) + tail.size_bytes

    @property
    def tail_bytes(self) -> int:
        """Bytes in memory that a flush would write."""
        return self._now[1].size_bytes

    def append(self, rows: pa.RecordBatch | pa.Table, marks: Sequence[int]) -> None:
        """Add a chunk at the end, or one for each batch of a table. They are visible at once."""
        assert rows.schema.equals(self._shape.schema), f"{rows.schema} in {self._files.path('')}"
        if rows.num_rows:
            batches = [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches()
            with self._lock:
                self._now[1].append(batches, marks)

    def snapshot(self) -> Snapshot:
        """All rows that are there now."""
        segments, tail = self._now
        chunks = len(tail)
        if not chunks:
            first = segments[0].position_first if segments else tail.starts[0]
            return Snapshot(segments, first, tail.starts[0])
        parts: tuple[Part, ...] = (*segments, TailPart(tail, chunks))
        return Snapshot(parts, parts[0].position_first, parts[-1].position_to)

    def evolved(self, shape: Shape, reading: Reading) -> Lane:
        """The same rows with other columns, to go on from; this lane may be read, and no more.

        Nobody may append, flush or seal meanwhile. Costs the rows in memory.

        Args:
            reading: How the columns so far are read as those of `shape`.

        """
        lane = Lane(shape, self._files, self._stem)
        segments, tail = self._now
        lane._now = (tuple(segment.renewed() for segment in segments), tail.evolved(reading))
        return lane

    def stretches(self, position_to: int) -> Iterator[tuple[Snapshot, int, int]]:
        """All rows before `position_to` in stretches [from, to), each with a snapshot of it.

        Each has a new snapshot, so that a slow reader does not keep what was replaced.
        """
        low = self.position_first
        while low < position_to:
            snapshot = self.snapshot()
            # The first rows may be let go while somebody reads.
            low = max(low, snapshot.position_first)
            high = min(low + STRETCH_ROWS, position_to)
            if low < high:
                yield snapshot, low, high
            low = high

    def flush(self) -> int:
        """Write the tail as hot segments; return the count of rows. They are durable on return."""
        tail = self._now[1]
        chunks = len(tail)
        if not chunks:
            return 0
        added = [self._write_hot(tail, first, last) for first, last in self._hot_cuts(tail, chunks)]
        with self._lock:
            self._now = ((*self._now[0], *added), tail.without_first(chunks))
        return added[-1].position_to - added[0].position_first

    def seal(self) -> int:
        """Combine hot segments into archive files where they are enough; return the count of files.

        Where they are not, many small ones become a larger one. The files that were combined stay
        until `SegmentFiles.remove_retired`.
        """
        groups = list(self._full_groups())
        sealed = [self.replace(group, self._write_sealed(group)) for group in groups]
        group = small_group([s for s in self._now[0] if s.entry.is_hot])
        if group:
            self.replace(group, self._write_merged(group))
        return sum(sealed)

    def drop(self, position_to: int) -> tuple[Segment, ...]:
        """Let the segments go that end at `position_to` or before it; return them.

        Their files stay until `SegmentFiles.remove_retired`.
        """
        with self._lock:
            segments, tail = self._now
            count = bisect_right(segments, position_to, key=lambda segment: segment.position_to)
            self._now = (segments[count:], tail)
        self._retire(segments[:count])
        return segments[:count]

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Its files, in order."""
        return self._now[0]

    def manifest(self) -> tuple[int, list[dict[str, Any]]]:
        """Where it begins, and the segments, as JSON. The tail is not in it."""
        segments, tail = self._now
        start = segments[0].position_first if segments else tail.starts[0]
        return start, [segment.entry.save() for segment in segments]

    def replace(self, group: Sequence[Segment], made: Segment) -> bool:
        """Put one segment in the place of some; False if these were let go meanwhile."""
        with self._lock:
            segments, tail = self._now
            kept = [segment for segment in segments if segment not in group]
            is_there = len(kept) + len(group) == len(segments)
            if is_there:
                place = sum(s.position_first < made.position_first for s in kept)
                self._now = ((*kept[:place], made, *kept[place:]), tail)
        self._retire(group if is_there else [made])
        return is_there

    def _retire(self, segments: Sequence[Segment]) -> None:
        entries = [segment.entry for segment in segments]
        self._files.retire([entry.name for entry in entries if not entry.is_archived])

    def _hot_cuts(self, tail: Tail, chunks: int) -> Iterator[tuple[int, int]]:
        """The chunks [first, last) of each hot segment: like parts, each about an archive file."""
        rows = tail.starts[chunks] - tail.starts[0]
        row_bytes = max(1, tail.size_bytes // rows)
        rows_max = min(self._shape.seal_at.rows, self._shape.seal_at.size_bytes // row_bytes)
        parts = max(1, round(rows / max(1, rows_max)))
        first = 0
        for part in range(1, parts + 1):
            last = bisect_left(tail.starts, tail.starts[0] + rows * part // parts, hi=chunks)
            if last > first:
                yield first, last
                first = last

    def _write_hot(self, tail: Tail, first: int, last: int) -> Segment:
        table = pa.Table.from_batches(tail.batches[first:last], self._shape.schema)
        index = Index.of(tail.starts[first : last + 1], [m[first:last] for m in tail.marks])
        index = self._summed_up(table, index)
        name = f"{HOT}/{self._name(index)}.arrow"
        return self._files.write(name, arrow_file(table, index), index)

    def _write_merged(self, group: Sequence[Segment]) -> Segment:
        table, index = self._joined(group)
        name = f"{HOT}/{self._name(index)}.arrow"
        return self._files.write(name, arrow_file(table, index), index)

    def _joined(self, group: Sequence[Segment]) -> tuple[pa.Table, Index]:
        """The rows of segments that follow each other."""
        appended = self._shape.marks
        index = Index.join([segment.content.index.with_marks(appended) for segment in group])
        batches = [batch for s in group for batch in s.read(s.position_first, s.position_to, None)]
        table = pa.Table.from_batches(batches, self._shape.schema).unify_dictionaries()
        return table, self._summed_up(table, index)

    def _write_sealed(self, group: Sequence[Segment]) -> Segment:
        table, index = self._joined(group)
        firsts = tuple(int(column[0]) for column in index.marks)
        name = f"{ARCHIVE}/{self._shape.archive_folder(firsts)}{self._name(index)}"
        if not is_parquet_exact(self._shape.schema):
            return self._files.write(f"{name}.arrow", arrow_file(table, index), index)
        for column, values in self._shape.archive_columns(index).items():
            table = table.append_column(column, values)
        return self._files.write(f"{name}.parquet", parquet_file(table, index), index)

    def _summed_up(self, table: pa.Table, index: Index) -> Index:
        """The index of a table with the marks that sum up its rows."""
        more = self._shape.summarise(table, index.starts[:-1] - index.starts[0])
        return Index(index.starts, index.marks + more)

    def _name(self, index: Index) -> str:
        return f"{self._stem}{index.starts[0]:020}-{index.starts[-1] - 1:020}"

    def _full_groups(self) -> Iterator[list[Segment]]:
        """Hot segments that follow each other and are together large enough for an archive file."""
        group: list[Segment] = []
        for segment in self._now[0]:
            if segment.entry.is_hot:
                group.append(segment)
                if self._is_full(group):
                    yield group
                    group = []

    def _is_full(self, group: Sequence[Segment]) -> bool:
        seal_at = self._shape.seal_at
        rows = group[-1].position_to - group[0].position_first
        size = sum(segment.entry.size_bytes for segment in group)
        if rows >= seal_at.rows or size >= seal_at.size_bytes:
            return True
        if seal_at.span_us is None:
            return False
        first_us, last_us = group[0].entry.firsts[_ARRIVED], group[-1].entry.highest[_ARRIVED]
        return last_us - first_us >= seal_at.span_us


def small_group(segments: Sequence[Segment]) -> Sequence[Segment]:
    """The last of these segments, if they are many and small; else none.

    They are when together they are several times as large as the largest of them: so a row is
    written again only when what it lies in has grown by as much, and of segments there are few,
    as many as the logarithm of their size.
    """
    sizes = [segment.entry.size_bytes for segment in segments]
    for first in range(len(segments) - MANY + 1):
        if sum(sizes[first:]) >= _LARGER * max(sizes[first:]):
            return segments[first:]
    return ()

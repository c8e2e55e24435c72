"""A topic: the accepted rows of each partition, by offset, by tick and by time.

A row has an offset, dense in its partition, and a tick, its place in the one order of the whole
log. Both are given by whoever appends, so the log's order is decided in one place. An append is one
chunk: one partition, offsets and ticks that follow each other, one arrival time.

A partition is a `Lane`; positions are offsets. The engine reads the newest ticks of every epoch:
that is a few bisections and no copy. Files, below the topic's folder:

    hot/<partition>-<first offset>-<last offset>.arrow
    data/arrived=<day>/<partition>-<first offset>-<last offset>.parquet

`arrived` is the UTC day on which the file's first row arrived. It is not the event time's day,
because a file is a stretch of offsets and events arrive out of order: by event time a late row
would need a file of its own, or a finished file would have to be written again. A file that spans
midnight has rows of the next day too. Sealed files have a column `_offset` beside the topic's own.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from headwater.cores import Chore
from headwater.delta.delta import Int64Array
from headwater.errors import DefinitionError
from headwater.log import zones
from headwater.log.archive import Archive
from headwater.log.chunk import Chunk, chunks_of, stored_chunk
from headwater.log.columns import (
    ARRIVED,
    OFFSET,
    PARTITION,
    PLACE_FIELDS,
    check_names,
    offsets,
    times_us,
    with_places,
)
from headwater.log.compaction import BoolArray, Compactable, Settled, compactable, compacted
from headwater.log.index import Index
from headwater.log.lane import (
    DEFAULT_SEAL_AT,
    STRETCH_ROWS,
    Lane,
    SealAt,
    Shape,
)
from headwater.log.manifest import (
    Manifest,
    load_entries,
    load_starts,
    names_in,
    save_lanes,
    tidy,
)
from headwater.log.retention import expired, sealed_by
from headwater.log.segment import Entry, Segment, SegmentFiles
from headwater.log.snapshot import Snapshot
from headwater.log.zones import Newest
from headwater.plan.pipeline import TopicDefinition
from headwater.storage.blobs import Blobs
from headwater.storage.store import Place

# The marks that an append is given. More of them (`zones`) are known of chunks in segments only.
_TICK, _ARRIVED = 0, 1


class Topic:
    """The rows of a topic.

    Any number of threads may read, while one appends, one flushes (and takes the manifest), and one
    seals.

    Args:
        folder: Where its files are in the data folder, for example `topics/clicks`. Nobody else's
            files may be there.
        seal_at: When the hot segments of a partition are sealed.

    Raises:
        DefinitionError: A column has a name that the log keeps for itself.

    """

    def __init__(
        self,
        definition: TopicDefinition,
        blobs: Blobs,
        folder: str,
        *,
        seal_at: SealAt = DEFAULT_SEAL_AT,
    ) -> None:
        taken = [field.name for field in PLACE_FIELDS]
        check_names(f"topic {definition.name}", definition.schema, taken)
        self.definition = definition
        self.schema: pa.Schema = definition.schema.arrow
        self._time_column = _column_name(definition)
        self._sums = 0 if self._time_column is None else zones.COUNT
        place = definition.life.archive
        store = None if place is None else Place.parse(place).open()
        files = SegmentFiles(
            blobs,
            folder,
            self.schema,
            self._time_column,
            versions=definition.versions,
            archive=None if store is None else (store, definition.name),
        )
        self._files = files
        self._archive = Archive(definition.name, store, files)
        self._shape = self._shaped(sealed_by(definition.life, seal_at))
        self._lanes = self._new_lanes([], [])
        self._saved: Manifest | None = None
        # Whether another goes on from it: then its files are that one's to combine and move.
        self._is_past = False
        self._settled = Settled(set(), 0)

    @classmethod
    def open(  # noqa: PLR0913 - what it is, where it is, and what it was
        cls,
        definition: TopicDefinition,
        blobs: Blobs,
        folder: str,
        manifest: Manifest | None,
        *,
        older: Sequence[Manifest | None] = (),
        seal_at: SealAt = DEFAULT_SEAL_AT,
    ) -> Topic:
        """The topic as `manifest` has it; then append again what the journal has after it.

        Files that the manifest does not name are removed: a crash left them. Opens no segment.

        Args:
            manifest: What `manifest` returned, also after a trip through JSON; None before the
                first.
            older: Stored manifests that a start could fall back to; their files are not removed.

        Raises:
            DefinitionError: The definition has fewer partitions than the topic.
            StateError: A file is missing. (A damaged one is found when it is read.)

        """
        topic = cls(definition, blobs, folder, seal_at=seal_at)
        entries = load_entries(manifest)
        starts = load_starts(manifest)
        beyond = (*entries[definition.partitions :], *starts[definition.partitions :])
        if any(beyond):
            raise DefinitionError(
                f"topic {definition.name} has rows in {len(entries)} partitions and is now "
                f"defined with {definition.partitions}",
                hint=f"give it partitions={len(entries)} or more",
            )
        tidy(topic._files, manifest, older)
        topic._archive.load(manifest, older)
        topic._saved = manifest
        topic._lanes = topic._new_lanes(entries, starts)
        return topic

    def evolved(self, definition: TopicDefinition) -> Topic:
        """The same rows as another version of the columns has them; to go on from.

        Whoever reads this topic goes on doing so and sees the rows as they were; nobody may append
        to it any more. Nobody may append, flush or seal meanwhile. Costs the rows in memory.

        Args:
            definition: With the next version of the columns.

        """
        versions = definition.versions
        assert versions is not None
        reading = versions.reading(self.definition.version)
        assert reading is not None
        topic = copy(self)
        topic.definition, topic.schema = definition, definition.schema.arrow
        topic._time_column = _column_name(definition)
        topic._files.evolve(versions, topic._time_column)
        topic._shape = topic._shaped(self._shape.seal_at)
        topic._lanes = [lane.evolved(topic._shape, reading) for lane in self._lanes]
        self._is_past = True
        return topic

    # What there is.

    @property
    def rows_total(self) -> int:
        """How many rows it has taken, those among them that were let go."""
        return sum(lane.position_to for lane in self._lanes)

    @property
    def rows_kept(self) -> int:
        """How many rows it has."""
        return sum(lane.rows_kept for lane in self._lanes)

    @property
    def rows_let_go(self) -> int:
        """How many rows its retention let go; the first of each partition."""
        return sum(lane.position_first for lane in self._lanes)

    @property
    def rows_compacted(self) -> int:
        """How many rows are gone between others, because newer ones have replaced them."""
        spans = sum(lane.position_to - lane.position_first for lane in self._lanes)
        return spans - self.rows_kept

    @property
    def oldest_us(self) -> int | None:
        """When the first append arrived of which it has rows; None when it has none."""
        firsts = [lane.snapshot().parts[:1] for lane in self._lanes]
        return min((part.low(_ARRIVED) for first in firsts for part in first), default=None)

    @property
    def size_bytes(self) -> int:
        """Bytes in files and in memory."""
        return sum(lane.size_bytes for lane in self._lanes)

    @property
    def tail_bytes(self) -> int:
        """Bytes in memory that a `flush` would move to a file."""
        return sum(lane.tail_bytes for lane in self._lanes)

    def next_offset(self, partition: int) -> int:
        """The offset that the next row of the partition gets."""
        return self._lanes[partition].position_to

    def first_offset(self, partition: int) -> int:
        """The offset of the partition's first row that is kept, or of its next when none is."""
        return self._lanes[partition].position_first

    # Writing.

    def append(self, chunk: Chunk) -> None:
        """Take in a chunk, which every reader sees at once.

        A chunk that the topic has already is passed over, so that the journal may be read again
        from a little before the manifest's moment.

        Args:
            chunk: Its ticks are above those of all earlier chunks of its partition. The batch is
                kept and must not be changed.

        """
        lane = self._lanes[chunk.partition]
        if chunk.offset_to <= lane.position_to:
            return
        assert chunk.offset_first == lane.position_to, (
            f"{self.definition.name}/{chunk.partition}: offset {chunk.offset_first} after "
            f"{lane.position_to}"
        )
        lane.append(chunk.rows, (chunk.tick_first, chunk.arrived_us))

    def flush(self) -> int:
        """Move the rows in memory to hot segments; return how many. They are durable on return.

        Appends and reads go on meanwhile.
        """
        return sum(lane.flush() for lane in self._lanes)

    def seal(self) -> int:
        """Combine hot segments into archive files where there are enough; return how many.

        It may take seconds; appends, flushes and reads go on meanwhile. Store a new manifest, then
        `remove_unreferenced`.
        """
        return 0 if self._is_past else sum(lane.seal() for lane in self._lanes)

    def expired(self, now_us: int, tick_to: int) -> list[int]:
        """Where each partition's rows would begin if those went that need not be kept.

        Args:
            now_us: The time of day.
            tick_to: Rows from this tick on are needed.

        """
        if self.definition.life.is_endless:
            return [lane.position_first for lane in self._lanes]
        return expired(
            [lane.segments for lane in self._lanes],
            [lane.position_first for lane in self._lanes],
            self.definition.life,
            size_bytes=self.size_bytes,
            now_us=now_us,
            tick_to=tick_to,
        )

    def has_expired(self, now_us: int, tick_to: int) -> bool:
        """Whether `retain` would let any row go."""
        return self.expired(now_us, tick_to) != [lane.position_first for lane in self._lanes]

    def retain(self, now_us: int, tick_to: int) -> None:
        """Let go of the rows that need not be kept.

        No reader sees them from now on. They are gone for good once a manifest that was asked for
        later is stored; `remove_unreferenced` then deletes their files.

        Args:
            now_us: The time of day.
            tick_to: Rows from this tick on are needed: for those a start steps again.

        """
        for lane, first in zip(self._lanes, self.expired(now_us, tick_to), strict=True):
            self._archive.let_go(lane.drop(first))

    def manifest(self) -> Manifest:
        """A JSON value that names the segments, for `open`. Rows not yet flushed are not in it."""
        self._saved = save_lanes(self._lanes) | self._archive.save()
        return self._saved

    def note_kept(self, manifests: Sequence[Manifest | None], tick_to: int) -> None:
        """Say which manifests are kept, so that `archive` knows which files may be moved.

        Args:
            manifests: All that are stored and from which a start may begin.
            tick_to: Such a start reads rows from this tick on.

        """
        self._archive.note(manifests, tick_to)
        if self.definition.life.is_compact:
            on_disk = [names_in([manifest]) for manifest in manifests]
            self._settled = Settled(set.intersection(*on_disk) if on_disk else set(), tick_to)

    def compactable(self, read_to: Sequence[int]) -> Compactable:
        """The files of which rows may go that newer ones have replaced.

        Args:
            read_to: Up to which offset of each partition nobody waits for rows.

        """
        if self._is_past or not self.definition.life.is_compact:
            return Compactable(tuple(() for _ in self._lanes), 0)
        return compactable(self._lanes, self._settled, read_to)

    def compact(
        self, partition: int, group: Sequence[Segment], is_kept: Sequence[BoolArray]
    ) -> bool:
        """Write files that follow each other as one, with the rows that are kept.

        Store a new manifest, then `remove_unreferenced`.

        Args:
            group: As `compactable` gave them.
            is_kept: Which rows of each file are kept.

        Returns:
            False if they were let go meanwhile, or the topic goes on with other columns.

        """
        if self._is_past:
            return False
        lane = self._lanes[partition]
        made = compacted(self._shape, self._files, f"{partition}-", group, is_kept)
        return lane.replace(group, made)

    def archive(self) -> bool:
        """Move a sealed file to the archive, if the topic has one; return whether more are due.

        Store a new manifest, then `remove_unreferenced`.

        Raises:
            ConnectorError: It cannot be used now. The file stays where it is.

        """
        return not self._is_past and self._archive.move(self._lanes) > 1

    @property
    def archived_bytes(self) -> int:
        """Bytes that are in the archive, of those that it takes."""
        entries = [segment.entry for lane in self._lanes for segment in lane.segments]
        return sum(entry.size_bytes for entry in entries if entry.is_archived)

    def remove_unreferenced(self, *manifests: Manifest | None) -> None:
        """Delete the files that sealing replaced.

        Args:
            manifests: All that are stored and from which a start may begin. Their files are kept,
                and so are those of the manifest that was asked for last.

        """
        self._files.remove_retired(names_in([*manifests, self._saved]))

    # Reading by tick.

    def read_ticks(
        self,
        tick_from: int,
        tick_to: int,
        columns: Sequence[str] | None = None,
        *,
        joined: bool = False,
    ) -> list[Chunk]:
        """The rows with ticks in [tick_from, tick_to), by tick.

        Nothing is copied, except that of sealed segments the row groups touched are decoded. All of
        it is in memory at once: see `iter_ticks`.

        Args:
            columns: Those wanted, in this order; None for all. May be empty.
            joined: What is stored together comes together, as one chunk with leaps; but not where
                there are several partitions, whose chunks take turns.

        """
        if joined and len(self._lanes) == 1:
            snapshot = self._lanes[0].snapshot()
            span = snapshot.position_of_tick(tick_from), snapshot.position_of_tick(tick_to)
            found = snapshot.stored(*span, columns, marks=2, sums=self._sums)
            return [stored_chunk(stored, self._time_column) for stored in found]
        chunks: list[Chunk] = []
        for partition, lane in enumerate(self._lanes):
            snapshot = lane.snapshot()
            low = snapshot.position_of_tick(tick_from)
            high = snapshot.position_of_tick(tick_to)
            if low < high:
                chunks += chunks_of(partition, snapshot, (low, high), columns)
        if len(self._lanes) > 1:
            chunks.sort(key=lambda chunk: chunk.tick_first)
        return chunks

    def newest(self, tick_from: int, tick_to: int) -> list[Newest]:
        """Of each partition that has rows with ticks in [tick_from, tick_to), the highest time.

        What lies in files whole appends long is not read.
        """
        assert self._time_column is not None, f"topic {self.definition.name} has no event time"
        found = []
        for partition, lane in enumerate(self._lanes):
            snapshot = lane.snapshot()
            span = snapshot.position_of_tick(tick_from), snapshot.position_of_tick(tick_to)
            if span[0] < span[1]:
                highest_us = zones.highest_us(snapshot, span, self._time_column)
                arrived_us = snapshot.mark_at(span[1] - 1, _ARRIVED)
                found.append(Newest(partition, highest_us, arrived_us))
        return found

    def rows_between(self, tick_from: int, tick_to: int) -> int:
        """How many rows have ticks in [tick_from, tick_to)."""
        snapshots = [lane.snapshot() for lane in self._lanes]
        return sum(s.position_of_tick(tick_to) - s.position_of_tick(tick_from) for s in snapshots)

    def unready(self, tick_from: int, tick_to: int, columns: Sequence[str] | None) -> list[Chore]:
        """What reading the rows with ticks in [tick_from, tick_to) would have to wait for.

        Calls that open files and check columns, so that whoever reads finds that done. They may be
        left out and be made in any order and by any thread; what is damaged is the reader's to
        find.

        Args:
            columns: Those that will be read; None where the rows are only counted.

        """
        snapshots = [lane.snapshot() for lane in self._lanes]
        return [c for s in snapshots for c in s.unready(tick_from, tick_to, columns)]

    def seams(self, tick_from: int, tick_to: int) -> list[int]:
        """The ticks in [tick_from, tick_to) whose rows are the first of a file, or in memory.

        Rows between two seams are read without a copy, those across a seam in two parts.
        """
        found: list[int] = []
        for lane in self._lanes:
            parts = lane.snapshot().parts
            first = bisect_left(parts, tick_from, 1, key=lambda p: p.low(0)) if parts else 0
            last = bisect_left(parts, tick_to, first, key=lambda part: part.low(0))
            found += [part.low(0) for part in parts[first:last]]
        return sorted(found)

    def row_bytes(self, columns: Sequence[str]) -> int:
        """About what a row takes in these columns."""
        widths = {field.name: _width(field.type) for field in self.schema}
        known = sum(width for width in widths.values() if width is not None)
        row_bytes = self.size_bytes // max(1, self.rows_kept)
        others = [name for name, width in widths.items() if width is None]
        other = max(8, (row_bytes - known) // max(1, len(others)))
        return sum(other if (width := widths[name]) is None else width for name in columns)

    def iter_ticks(
        self,
        tick_from: int,
        tick_to: int,
        *,
        rows_max: int = STRETCH_ROWS,
        columns: Sequence[str] | None = None,
        joined: bool = False,
    ) -> Iterator[list[Chunk]]:
        """The same rows in several lists, each of at most about `rows_max` rows, none empty.

        While one list is used the next is read by another thread; no more than two are in memory.
        """
        # A thread of its own: decoding Parquet releases the GIL, so it overlaps with the caller.
        with ThreadPoolExecutor(1, thread_name_prefix="headwater-read") as reader:
            ahead: Future[list[Chunk]] | None = None
            for low, high in self._windows(tick_from, tick_to, rows_max):
                following = reader.submit(self.read_ticks, low, high, columns, joined=joined)
                if ahead is not None and (chunks := ahead.result()):
                    yield chunks
                ahead = following
            if ahead is not None and (chunks := ahead.result()):
                yield chunks

    def _windows(self, tick_from: int, tick_to: int, rows_max: int) -> Iterator[tuple[int, int]]:
        """Stretches of ticks of at most `rows_max` rows each (or one row of each partition)."""
        share = max(1, rows_max // len(self._lanes))
        while tick_from < tick_to:
            high = tick_to
            for lane in self._lanes:
                snapshot = lane.snapshot()
                position = snapshot.position_of_tick(tick_from) + share
                if position < snapshot.position_to:
                    high = min(high, snapshot.tick_at(position))
            yield tick_from, high
            tick_from = high

    # Reading by offset and by time.

    def read_offsets(
        self,
        partition: int,
        offset_from: int,
        rows_max: int,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """At most `rows_max` rows from an offset on; none when there are none yet.

        An offset before the first row that is kept means that row.

        Args:
            columns: Those wanted, hidden ones among them; None for the topic's own and then
                `_partition`, `_offset` and `_arrived`.

        """
        wanted = self._all_names() if columns is None else columns
        snapshot = self._lanes[partition].snapshot()
        low = max(offset_from, snapshot.position_first)
        high = snapshot.position_after(low, rows_max)
        batches = self._with_places(partition, snapshot, (low, high), wanted)
        return pa.Table.from_batches(batches, self._schema_of(wanted))

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """All rows that are there now, partition by partition, by offset, a few at a time.

        Args:
            columns: As for `read_offsets`, except that None is the topic's own columns only.

        """
        wanted = tuple(self.schema.names if columns is None else columns)
        ends = [lane.position_to for lane in self._lanes]
        for partition, (lane, end) in enumerate(zip(self._lanes, ends, strict=True)):
            for snapshot, low, high in lane.stretches(end):
                yield from self._with_places(partition, snapshot, (low, high), wanted)

    def reader(self, columns: Sequence[str] | None = None) -> pa.RecordBatchReader:
        """The same as one Arrow stream, which DuckDB can query without reading it all first."""
        wanted = tuple(self.schema.names if columns is None else columns)
        return pa.RecordBatchReader.from_batches(self._schema_of(wanted), self.batches(wanted))

    def offset_at_time(
        self, partition: int, *, event_time_us: int | None = None, arrived_us: int | None = None
    ) -> int:
        """The first offset whose event time, or arrival, is at or after a time.

        Events come out of order: rows after it may be earlier, none before it is at or after.

        Returns:
            The next offset of the partition where no row is.

        """
        assert (event_time_us is None) != (arrived_us is None), "exactly one of the two times"
        snapshot = self._lanes[partition].snapshot()
        if arrived_us is not None:
            chunks = snapshot.chunks_with(_ARRIVED, arrived_us)
            return next((start for start, _ in chunks), snapshot.position_to)
        assert event_time_us is not None
        assert self._time_column is not None, f"topic {self.definition.name} has no event time"
        for start, end in snapshot.chunks_with(zones.HIGHEST, event_time_us):
            rows = snapshot.read(start, end, (self._time_column,))
            times = [times_us(pa.chunked_array([batch.column(0)])) for batch in rows]
            is_match = np.concatenate([np.empty(0, np.int64), *times]) >= event_time_us
            if is_match.any():
                return int(snapshot.positions(start, end)[np.argmax(is_match)])
        return snapshot.position_to

    def arrived_us(self, partition: int, offset: int) -> int | None:
        """When a row arrived, or a little before; None when it is not there any more.

        The archive is not asked.
        """
        snapshot = self._lanes[partition].snapshot()
        if not snapshot.position_first <= offset < snapshot.position_to:
            return None
        number = bisect_right(snapshot.parts, offset, key=lambda part: part.position_to)
        part = snapshot.parts[number]
        if isinstance(part, Segment) and part.entry.is_archived:
            return part.low(_ARRIVED)
        return snapshot.mark_at(offset, _ARRIVED)

    # Inside.

    def _shaped(self, seal_at: SealAt) -> Shape:
        """What its lanes keep."""
        return Shape(
            schema=self.schema,
            marks=2,
            summarise=self._summarise,
            archive_columns=_archive_columns,
            archive_folder=_archive_folder,
            seal_at=seal_at,
        )

    def _new_lanes(self, entries: list[list[Entry]], starts: list[int]) -> list[Lane]:
        count = self.definition.partitions
        padded = itertools.islice(itertools.chain(entries, itertools.repeat([])), count)
        begun = [*starts, *itertools.repeat(0, count)]
        return [
            Lane(self._shape, self._files, f"{n}-", lane, begun[n]) for n, lane in enumerate(padded)
        ]

    def _all_names(self) -> list[str]:
        return [*self.schema.names, PARTITION, OFFSET, ARRIVED]

    def _schema_of(self, columns: Sequence[str]) -> pa.Schema:
        fields = {field.name: field for field in (*self.schema, *PLACE_FIELDS)}
        return pa.schema([fields[name] for name in columns])

    def _with_places(
        self, partition: int, snapshot: Snapshot, span: tuple[int, int], columns: Sequence[str]
    ) -> list[pa.RecordBatch]:
        """The rows at positions [from, to) in the columns asked for."""
        own = [name for name in columns if name in self.schema.names]
        if len(own) == len(columns) and own:
            return snapshot.read(*span, own)
        schema = self._schema_of(columns)
        positions = snapshot.positions(*span)
        arrivals = snapshot.marks_by_row(_ARRIVED, *span)
        found, row = [], 0
        # A batch without a column would not know how many rows it has.
        for batch in snapshot.read(*span, own or self.schema.names[:1]):
            rows = slice(row, row + batch.num_rows)
            arrays = with_places(
                batch,
                columns,
                partition=partition,
                positions=positions[rows],
                arrivals=arrivals[rows],
            )
            found.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
            row = rows.stop
        return found

    def _summarise(self, table: pa.Table, rows: Int64Array) -> tuple[Int64Array, ...]:
        """What is known of the event times of each chunk, where `rows` says the chunks begin."""
        if self._time_column is None:
            return ()
        return zones.summaries(times_us(table.column(self._time_column)), rows)


def _width(kind: pa.DataType) -> int | None:
    """The bytes of a value, where all take the same."""
    try:
        return max(1, kind.bit_width // 8)
    except ValueError:
        return None


def _archive_columns(index: Index) -> dict[str, pa.Array]:
    return {OFFSET: offsets(int(index.starts[0]), int(index.starts[-1]))}


def _archive_folder(marks: tuple[int, ...]) -> str:
    day = datetime.fromtimestamp(marks[_ARRIVED] // 1_000_000, tz=UTC).date()
    return f"arrived={day.isoformat()}/"


def _column_name(definition: TopicDefinition) -> str | None:
    """The event-time column as the schema spells it."""
    if definition.event_time is None:
        return None
    return definition.schema[definition.event_time].name

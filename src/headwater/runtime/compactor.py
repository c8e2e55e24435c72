"""Take rows out of the log of a table that newer ones of their key have replaced.

It is done beside epochs, by the thread that seals, when as much has come since the last time as
there is besides: then about every row that is written is read and written once more. All keys of
the files are looked at, by the top bits of their hash in as many passes as keep within memory (a
pass reads the key's columns alone); what is remembered of all rows is one bool each. Then files are
written anew where that gives back a good part of them, neighbours together as far as they make one
file of a good size.

The content of a table is the newest row of each key, so it is the same over what is left, however
far this has come. Rows stay that a recovery steps through again, or that a consumer group has not
confirmed. A row that deletes its key hides the older ones: it goes only once it is alone, all rows
before it are here, and the time for it has passed. In a table with versions it stays, since an
older row may come at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.clock import Clock
from headwater.delta.delta import Int64Array
from headwater.log.compaction import BoolArray, Compactable, places_of
from headwater.log.lane import DEFAULT_SEAL_AT
from headwater.log.segment import Segment
from headwater.log.topic import Topic
from headwater.operators.feed import KeyHash
from headwater.operators.statement import Engine, one_batch, plain
from headwater.plan.life import TOMBSTONES_US
from headwater.state.newest import versions_of
from headwater.state.superseded import standing

# So many rows are looked at together: with their keys some hundred megabytes.
PASS_ROWS = 1 << 22
# Files are written anew when at least this part of their rows goes.
_WORTH = 8

# Says up to where consumers have read each partition of a topic.
ReadTo = Callable[[Topic], Sequence[int]]


@dataclass(frozen=True, slots=True, eq=False)
class _File:
    """A file that is looked at, and which of its rows are kept."""

    partition: int
    segment: Segment
    is_kept: BoolArray

    @property
    def rows_left(self) -> int:
        return int(self.is_kept.sum())

    @property
    def bytes_left(self) -> int:
        return self.segment.entry.size_bytes * self.rows_left // max(1, len(self.is_kept))


class Compactor:
    """Compacts the tables of a pipeline, one after the other.

    Args:
        read_to: Up to where rows have been read by all who were promised them.
        is_stopping: Whether the thread is to end soon.

    """

    def __init__(self, clock: Clock, read_to: ReadTo, is_stopping: Callable[[], bool]) -> None:
        self._clock = clock
        self._read_to = read_to
        self._is_stopping = is_stopping
        self._looked_to: dict[str, list[int]] = {}

    def turn(self, topic: Topic, hand: AbstractContextManager[object]) -> int:
        """Compact a topic if it is a table that wants it and much has come; return how many files.

        Args:
            hand: Who has it may change the topic's files.

        """
        if not topic.definition.life.is_compact:
            return 0
        found = topic.compactable(self._read_to(topic))
        if not self._is_due(topic, found):
            return 0
        files = [
            _File(partition, segment, np.ones(segment.entry.rows_kept, np.bool_))
            for partition, lane in enumerate(found.lanes)
            for segment in lane
        ]
        if not self._looked(topic, files, found):
            return 0
        written = 0
        for group in _groups(files):
            if self._is_stopping():
                return written
            segments, kept = [f.segment for f in group], [f.is_kept for f in group]
            with hand:
                written += topic.compact(group[0].partition, segments, kept)
        ends = [lane[-1].position_to if lane else 0 for lane in found.lanes]
        self._looked_to[topic.definition.name] = ends
        return written

    def _is_due(self, topic: Topic, found: Compactable) -> bool:
        """Whether as many rows have come since the last time as were left then."""
        looked_to = self._looked_to.get(topic.definition.name)
        new = total = 0
        for partition, lane in enumerate(found.lanes):
            for segment in lane:
                total += segment.entry.rows_kept
                if looked_to is None:
                    # What an earlier process has looked at is not known; what it wrote is.
                    is_new = segment.entry.rows is None
                else:
                    is_new = segment.position_first >= looked_to[partition]
                new += is_new * segment.entry.rows_kept
        return bool(new) and 2 * new >= total

    def _looked(self, topic: Topic, files: Sequence[_File], found: Compactable) -> bool:
        """Note in the files which of their rows are kept; False if there was no time for that."""
        rows = sum(len(file.is_kept) for file in files)
        bits = max(0, (rows - 1) // PASS_ROWS).bit_length()
        with Engine() as engine:
            for part in range(1 << bits):
                look = _Look(topic, engine, bits, part)
                for number, file in enumerate(files):
                    if self._is_stopping():
                        return False
                    look.take(number, file.segment)
                for number, row in look.gone(found.complete_to, self._clock.now_us()):
                    files[number].is_kept[row] = False
        return True


class _Look:
    """One pass over the keys of all files: over those whose hash begins with certain bits."""

    def __init__(self, topic: Topic, engine: Engine, bits: int, part: int) -> None:
        definition = topic.definition
        self._definition = definition
        self._keys = plain(definition.schema.select(definition.key))
        self._hash = KeyHash(list(definition.key), definition.schema, engine)
        self._bits, self._part = bits, part
        self._found: list[Mapping[str, pa.Array]] = []
        self._key_rows: list[pa.RecordBatch] = []

    def take(self, number: int, segment: Segment) -> None:
        """Look at a file."""
        definition = self._definition
        named = (*definition.key, definition.newest_by, definition.deleted_by)
        columns = list(dict.fromkeys(name for name in named if name is not None))
        batches = segment.read(segment.position_first, segment.position_to, columns)
        if not batches:
            return
        rows = one_batch(pa.Table.from_batches(batches))
        keys = one_batch(pa.Table.from_batches([rows]).select(self._keys.names)).cast(self._keys)
        hashes = self._hash.of(keys).to_numpy()
        places = places_of(segment)
        at = np.arange(len(hashes), dtype=np.int64)
        if self._bits:
            at = np.flatnonzero(hashes >> np.uint64(64 - self._bits) == self._part)
        taken = pa.array(at)
        self._key_rows.append(keys.take(taken))
        columns_found = {
            "file": np.full(len(at), number),
            "row": at,
            "hash": hashes[at],
            "tick": places.ticks[at],
            "arrived_us": places.arrived_us[at],
            "version": _versions(rows.take(taken), definition.newest_by),
            "deletes": _deletes(rows.take(taken), definition.deleted_by),
        }
        self._found.append(columns_found)

    def gone(self, complete_to: int, now_us: int) -> Iterator[tuple[int, Int64Array]]:
        """Of each file the rows that may go."""
        if not self._found:
            return
        column = {
            name: np.concatenate([found[name] for found in self._found]) for name in self._found[0]
        }
        keys = one_batch(pa.Table.from_batches(self._key_rows))
        definition = self._definition
        has_versions = definition.newest_by is not None
        found = standing(
            column["hash"],
            keys.columns,
            versions=column["version"] if has_versions else None,
            ticks=column["tick"],
        )
        is_gone = found.is_replaced
        if definition.deleted_by is not None and not has_versions:
            kept_us = definition.life.tombstones_us
            kept_us = TOMBSTONES_US if kept_us is None else kept_us
            is_over = column["arrived_us"] < now_us - kept_us
            is_whole = column["tick"] < complete_to
            is_gone = is_gone | (column["deletes"] & found.is_alone & is_over & is_whole)
        files, rows = column["file"][is_gone], column["row"][is_gone]
        for number in np.unique(files).tolist():
            yield number, rows[files == number]


def _versions(rows: pa.RecordBatch, newest_by: str | None) -> Int64Array:
    if newest_by is None:
        return np.zeros(rows.num_rows, dtype=np.int64)
    return versions_of(rows.column(newest_by))


def _deletes(rows: pa.RecordBatch, deleted_by: str | None) -> BoolArray:
    if deleted_by is None:
        return np.zeros(rows.num_rows, dtype=np.bool_)
    found: BoolArray = pc.fill_null(rows.column(deleted_by), False).to_numpy(zero_copy_only=False)
    return found


def _groups(files: Sequence[_File]) -> Iterator[list[_File]]:
    """Files that are worth to be written anew, those together that make one file of a good size."""
    group: list[_File] = []
    for file in [*files, None]:
        if group and (file is None or not _fits(group, file)):
            rows, left = sum(len(f.is_kept) for f in group), sum(f.rows_left for f in group)
            if (rows - left) * _WORTH >= rows and left < rows:
                yield group
            group = []
        if file is not None:
            group.append(file)


def _fits(group: Sequence[_File], file: _File) -> bool:
    if file.partition != group[0].partition:
        return False
    together = [*group, file]
    return (
        sum(f.rows_left for f in together) <= DEFAULT_SEAL_AT.rows
        and sum(f.bytes_left for f in together) <= DEFAULT_SEAL_AT.size_bytes
    )

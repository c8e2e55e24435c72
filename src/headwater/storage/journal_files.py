"""The files of a journal: written at the end, read from anywhere, dropped from the start.

One thread writes; any thread may read or drop meanwhile. A file that has reached its size is
followed by a new one with the next write, so a write is never split over two files. The newest
file always stays, since its name and its records say which number comes next.

A write costs one append and one sync, and a sync of the folder for a new file. The files are
synced in their order: a newer file is begun only after the older one is durable.

Small writes go into room that was made ahead, of zeros: where the file's length stays as it is, a
sync is one write to the disk. Else it also waits for the file system's own journal, and with it for
whatever others have written: under load one sync in a hundred takes twenty times as long.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median

import pyarrow as pa

from headwater.clock import Clock
from headwater.errors import StateError
from headwater.storage import journal_file
from headwater.storage.disk import AppendFile, Disk
from headwater.storage.journal_file import Record
from headwater.storage.journal_recovery import Recovered, Segment

_SYNCS_REMEMBERED = 256
# Room is made for as much as the file has, within these bounds.
_ROOM_BYTES_MIN = 1 << 20
_ROOM_BYTES_MAX = 1 << 22
# Larger writes are many at once; to write twice as much would cost more than to wait.
_SMALL_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class SyncSeconds:
    """How long the disk takes to sync; zero before the first time."""

    last: float
    median: float


class JournalFiles:
    """The files of a journal.

    Args:
        disk: Where they are.
        folder: The journal's own folder.
        found: What is in it.
        file_bytes_max: A file of this length is followed by a new one.
        sync: False only to measure what syncs cost.
        clock: For the durations of syncs.

    """

    def __init__(  # noqa: PLR0913  # three are settings that `Journal.open` names
        self,
        disk: Disk,
        folder: str,
        found: Recovered,
        *,
        file_bytes_max: int,
        sync: bool,
        clock: Clock,
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._file_bytes_max = file_bytes_max
        self._sync = sync
        self._clock = clock
        self._file: AppendFile | None = None
        # How long the file is with the room in it; nobody tries again where there is none to have.
        self._room_end = 0
        self._has_room = True
        self._lock = threading.Lock()  # guards the two below
        self._segments = list(found.segments)
        self._sync_times: deque[float] = deque(maxlen=_SYNCS_REMEMBERED)
        self.written_bytes = 0

    @property
    def first_lsn(self) -> int:
        """The number of the first record, or of the one that will be the first."""
        with self._lock:
            return self._segments[0].lsn_first if self._segments else 0

    @property
    def size_bytes(self) -> int:
        """How many bytes all files have together."""
        with self._lock:
            return sum(segment.size_bytes for segment in self._segments)

    @property
    def sync_seconds(self) -> SyncSeconds:
        """How long the last syncs took."""
        with self._lock:
            times = list(self._sync_times)
        return SyncSeconds(times[-1], median(times)) if times else SyncSeconds(0.0, 0.0)

    def write(self, parts: list[bytes | memoryview | pa.Buffer], lsn_end: int) -> None:
        """Write whole records, and sync.

        Args:
            parts: The records' bytes.
            lsn_end: One more than the last record's number.

        """
        segment = self._segment_to_write()
        if segment.size_bytes == 0:
            parts = [journal_file.file_header(segment.lsn_first), *parts]
        if self._file is None:
            self._file = self._disk.append_to(segment.path)
        self._file.append(parts)
        grown_bytes = sum(map(len, parts))
        size_bytes = segment.size_bytes + grown_bytes
        if grown_bytes <= _SMALL_BYTES_MAX and size_bytes > self._room_end:
            self._make_room(self._file, size_bytes)
        self._sync_file(self._file, is_new=segment.size_bytes == 0)
        with self._lock:
            self._segments[-1] = replace(segment, lsn_end=lsn_end, size_bytes=size_bytes)
        self.written_bytes += grown_bytes

    def read(self, lsn_from: int) -> Iterator[Record]:
        """The durable records with a number of at least `lsn_from`, in order, mapped now."""
        with self._lock:
            segments = [s for s in self._segments if s.lsn_end > lsn_from]
            # Under the lock, so that no file is deleted between its choice and its mapping.
            contents = [self._disk.map(segment.path) for segment in segments]
        return (
            record
            for segment, content in zip(segments, contents, strict=True)
            for record in journal_file.records(content, segment.size_bytes, lsn_from)
        )

    def drop_before(self, lsn: int) -> None:
        """Delete the files that have no record from `lsn` on, but never the newest."""
        with self._lock:
            while len(self._segments) > 1 and self._segments[0].lsn_end <= lsn:
                self._disk.delete(self._segments[0].path)
                # One by one: a crash must never leave an older file without the one after it.
                self._disk.sync_folder(self._folder)
                del self._segments[0]

    def close(self) -> None:
        """Release the file that is written, without its room."""
        file, self._file = self._file, None
        if file is None:
            return
        file.close()
        segment = self._segments[-1]
        if self._room_end > segment.size_bytes:
            # The next start would do it.
            with suppress(StateError):
                self._disk.truncate(segment.path, segment.size_bytes)
        self._room_end = 0

    def _make_room(self, file: AppendFile, size_bytes: int) -> None:
        """Lengthen the file ahead of what will be written."""
        room_bytes = min(max(size_bytes, _ROOM_BYTES_MIN), _ROOM_BYTES_MAX)
        room_bytes = min(room_bytes, self._file_bytes_max - size_bytes)
        if room_bytes <= 0 or not (self._sync and self._has_room):
            return
        try:
            file.reserve(room_bytes)
        except StateError:
            self._has_room = False
        else:
            self._room_end = size_bytes + room_bytes

    def _segment_to_write(self) -> Segment:
        """The newest file, or a new one after it when it is full."""
        if self._segments and self._segments[-1].size_bytes < self._file_bytes_max:
            return self._segments[-1]
        self.close()
        lsn = self._segments[-1].lsn_end if self._segments else 0
        segment = Segment(f"{self._folder}/{journal_file.name_of(lsn)}", lsn, lsn, 0)
        with self._lock:
            self._segments.append(segment)
        return segment

    def _sync_file(self, file: AppendFile, *, is_new: bool) -> None:
        if not self._sync:
            return
        start = self._clock.monotonic()
        file.sync()
        seconds = self._clock.monotonic() - start
        if is_new:
            self._disk.sync_folder(self._folder)
        with self._lock:
            self._sync_times.append(seconds)

"""One append-only journal of checksummed records, with group commit.

An append takes a number and a place in the queue, and returns. One writer thread takes all that
is queued, writes it with one call and syncs once; while it does, the next group gathers. So a lone
record waits for one sync, and a thousand at once wait for one or two.

What holds:

- Records are on disk in the order of their numbers (lsn 0, 1, 2, ...), without a gap.
- A ticket is done only after its record was synced.
- After a failed write the journal is broken: what was being written may or may not be there, so
  nothing more is accepted, and the next start decides by what it finds.
- What `open` found was synced by it, so that nothing is built on a record that may yet be lost.

A crash can leave the last group unfinished: `open` removes what is left of it. Other damage is
refused with file and position (`journal_recovery`).

Files are `<folder>/<lsn of the first record, 20 digits>.hwj`; `journal_file` has their bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from headwater.clock import Clock, SystemClock
from headwater.errors import StateError
from headwater.storage.disk import Disk
from headwater.storage.journal_file import Record, record_parts
from headwater.storage.journal_files import JournalFiles, SyncSeconds
from headwater.storage.journal_recovery import recovered
from headwater.storage.ticket import Group, Ticket

_FILE_BYTES_MAX = 64 * 1024 * 1024


class Journal:
    """One append-only journal, made by `Journal.open`; safe to use from many threads.

    Args:
        files: Where the records go; owned by the journal.
        next_lsn: The first number to give.
        torn_bytes: What was cut off when the files were checked.

    """

    def __init__(self, files: JournalFiles, next_lsn: int, torn_bytes: int) -> None:
        self._files = files
        self._torn_bytes = torn_bytes
        self._durable_lsn = next_lsn
        # `_work` guards what follows.
        self._work = threading.Condition(threading.Lock())
        self._next_lsn = next_lsn
        self._queue = Group()
        self._in_flight: Group | None = None
        self._is_closing = False
        self._stopped: StateError | None = None
        self._failed: StateError | None = None
        self._writer = threading.Thread(target=self._run, name="journal", daemon=True)
        self._writer.start()

    @classmethod
    def open(
        cls,
        disk: Disk,
        folder: str = "journal",
        *,
        file_bytes_max: int = _FILE_BYTES_MAX,
        sync: bool = True,
        clock: Clock | None = None,
    ) -> Journal:
        """Open a journal, or begin one; check all that is there and cut off a torn end.

        Args:
            disk: Where the files are.
            folder: The journal's own folder; other files in it are left alone.
            file_bytes_max: A file of this length is followed by a new one.
            sync: False only to measure what syncs cost: a crash may then lose done records.
            clock: For the durations of syncs.

        Raises:
            StateError: Records are damaged or missing, or written in a newer format.

        """
        found = recovered(disk, folder, sync=sync)
        files = JournalFiles(
            disk,
            folder,
            found,
            file_bytes_max=file_bytes_max,
            sync=sync,
            clock=clock or SystemClock(),
        )
        return cls(files, found.lsn_end, found.torn_bytes)

    @property
    def next_lsn(self) -> int:
        """The number that the next record will get."""
        return self._next_lsn

    @property
    def durable_lsn(self) -> int:
        """All records below this number are durable."""
        return self._durable_lsn

    @property
    def first_lsn(self) -> int:
        """The lowest number that `read` can return."""
        return self._files.first_lsn

    @property
    def torn_bytes(self) -> int:
        """How many bytes of unfinished records `open` cut off."""
        return self._torn_bytes

    @property
    def written_bytes(self) -> int:
        """How many bytes were made durable since `open`. Never falls."""
        return self._files.written_bytes

    @property
    def size_bytes(self) -> int:
        """How many bytes all files have together."""
        return self._files.size_bytes

    @property
    def failure(self) -> StateError | None:
        """What broke the journal; None while it takes records."""
        return self._failed

    @property
    def sync_seconds(self) -> SyncSeconds:
        """How long the last syncs took."""
        return self._files.sync_seconds

    def append(self, kind: int, parts: Sequence[bytes | memoryview | pa.Buffer]) -> Ticket:
        """Queue a record. Its number is that of the call's place among all calls.

        Args:
            kind: 0 to 255, the caller's own.
            parts: The payload in pieces of bytes, under 4 GiB together. They are not copied, and
                must not change before the ticket is done.

        Raises:
            StateError: The journal is broken or closed.

        """
        assert 0 <= kind <= 255, kind
        with self._work:
            if self._stopped is not None:
                raise self._stopped
            lsn, group = self._next_lsn, self._queue
            self._next_lsn = lsn + 1
            if not group.entries:
                self._work.notify()
            group.entries.append((lsn, kind, parts))
        return Ticket(lsn, group, self)

    def call_after(self, lsn: int, group: Group, callback: Callable[[], None]) -> Group:
        """Have the writer call back when record `lsn` of the group is durable (see `Ticket`)."""
        with self._work:
            if self._stopped is not None:
                return group
            if group.is_synced:
                # Too late for its own group: it goes with the next, and first, by its lower lsn.
                group = self._queue
                self._work.notify()
            group.callbacks.append((lsn, callback))
        return group

    def read(self, from_lsn: int = 0) -> Iterator[Record]:
        """All records that are durable now, with a number of at least `from_lsn`, in order.

        Dropped ones are left out (see `first_lsn`). Payloads are views of the mapped files:
        nothing is copied, and who holds one keeps it, whatever is dropped.
        """
        return self._files.read(from_lsn)

    def drop_before(self, lsn: int) -> None:
        """Delete the files that have no record from `lsn` on; the newest file always stays."""
        self._files.drop_before(lsn)

    def close(self) -> None:
        """Make all that was appended durable, and release the files. May be called twice.

        Raises:
            StateError: The journal broke, now or before.

        """
        with self._work:
            self._is_closing = True
            self._work.notify()
        self._writer.join()
        if self._failed is not None:
            raise self._failed

    def _run(self) -> None:
        """The writer's thread."""
        try:
            while (group := self._next_group()) is not None:
                self._commit(group)
        except StateError as refused:
            self._failed = refused
        except BaseException as bug:
            # Nobody may wait for ever for a writer that is gone. The bug itself goes on its way.
            self._failed = StateError(f"the journal's writer stopped: {bug!r}")
            raise
        finally:
            self._stop(self._failed or StateError("the journal is closed"))

    def _next_group(self) -> Group | None:
        """Wait for work and take all of it; None when all is written and the journal closes."""
        with self._work:
            while not (self._queue.entries or self._queue.callbacks):
                if self._is_closing:
                    return None
                self._work.wait()
            self._in_flight, self._queue = self._queue, Group()
            return self._in_flight

    def _commit(self, group: Group) -> None:
        if group.entries:
            lsn_end = group.entries[-1][0] + 1
            parts: list[bytes | memoryview | pa.Buffer] = []
            for before, entry in enumerate(group.entries):
                parts += record_parts(*entry, before)
            self._files.write(parts, lsn_end)
            self._durable_lsn = lsn_end
            group.entries.clear()  # tickets that are kept must not keep payloads
        with self._work:
            group.is_synced = True
        for _, callback in sorted(group.callbacks, key=lambda waiting: waiting[0]):
            callback()
        group.settle(None)

    def _stop(self, error: StateError) -> None:
        """Accept nothing more, and tell all who still wait."""
        with self._work:
            self._stopped = error
            unsettled = [self._in_flight, self._queue]
        self._files.close()
        for group in unsettled:
            if group is not None and not group.settled.is_set():
                group.settle(error)

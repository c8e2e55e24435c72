"""Bugs in the journal, the files, the checkpoint, recovery and sinks (see `planting`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headwater.connectors.parquet import ParquetSink
from headwater.runtime import recovery
from headwater.runtime.checkpoint import BatchSaver, Checkpoints, Manifest
from headwater.runtime.checkpointer import Checkpointer
from headwater.runtime.records import Append
from headwater.runtime.recovery import Recovery
from headwater.storage import journal, journal_recovery
from headwater.storage.blobs import Blobs
from headwater.storage.journal import Journal
from headwater.storage.journal_files import JournalFiles
from headwater.storage.paths import folder_of
from simulation.planting import Law, Patch, bug
from simulation.stores import StoreSink


@bug(
    "journal",
    "a write is not synced",
    lost="rows that were acknowledged, when the machine goes off",
    law=Law.ROWS,
    after=1,
)
def no_sync(patch: Patch) -> None:
    patch.setattr(JournalFiles, "_sync_file", lambda self, file, *, is_new: None)


@bug(
    "journal",
    "a record is acknowledged before it is written",
    lost="rows that were acknowledged",
    law=Law.ROWS,
    after=6,
)
def early_ticket(patch: Patch) -> None:
    real = Journal._commit

    def commit(self: Journal, group: Any) -> None:
        group.settle(None)
        real(self, group)

    patch.setattr(Journal, "_commit", commit)


@bug(
    "journal",
    "a torn end is not cut off",
    lost="all that is written behind it: the next start refuses the file",
    law=Law.START,
    after=2,
)
def torn_kept(patch: Patch) -> None:
    real = journal_recovery.recovered

    class Uncut:
        def __init__(self, disk: Any) -> None:
            self._disk = disk

        def truncate(self, path: str, size_bytes: int) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return getattr(self._disk, name)

    patch.setattr(journal, "recovered", lambda disk, *rest, **by: real(Uncut(disk), *rest, **by))


@bug(
    "journal",
    "one file too many is dropped",
    lost="epochs that no checkpoint has: the folder does not start",
    law=Law.START,
    after=3,
)
def dropped_far(patch: Patch) -> None:
    real = JournalFiles.drop_before

    def drop(self: JournalFiles, lsn: int) -> None:
        later = [each.lsn_end for each in self._segments if each.lsn_end > lsn]
        real(self, later[0] if later else lsn)

    patch.setattr(JournalFiles, "drop_before", drop)


@bug(
    "files",
    "a new name is not synced",
    lost="a file that the checkpoint names, when the machine goes off",
    law=Law.START,
    after=2,
)
def no_name_sync(patch: Patch) -> None:
    def put(self: Blobs, path: str, parts: Any) -> None:
        unfinished = f"{path}.0.{next(self._numbers)}.hw-unfinished"
        self._disk.write(unfinished, parts)
        self._disk.rename(unfinished, path)

    patch.setattr(Blobs, "put", put)


@bug(
    "files",
    "a file is written in its place, not beside it",
    lost="the folder: half a manifest is the newest one",
    law=Law.START,
    after=10,
)
def in_place(patch: Patch) -> None:
    def put(self: Blobs, path: str, parts: Any) -> None:
        self._disk.write(path, parts)
        self._disk.sync_folder(folder_of(path))

    patch.setattr(Blobs, "put", put)


@bug(
    "files",
    "names of files that were added are not synced",
    lost="state that the checkpoint names, when the machine goes off",
    law=Law.START,
    after=2,
)
def unsettled(patch: Patch) -> None:
    patch.setattr(Blobs, "settle", lambda self, folder: None)


@bug(
    "checkpoint",
    "the manifest is put in place before the state is written",
    lost="the checkpoint, in a crash between the two",
    law=Law.WAITS,
    after=2,
)
def manifest_first(patch: Patch) -> None:
    waiting: list[BatchSaver] = []
    write, put = BatchSaver.write, Checkpoints.put

    def put_first(self: Checkpoints, manifest: Manifest) -> int:
        lsn = put(self, manifest)
        while waiting:
            write(waiting.pop(), lambda: None)
        return lsn

    def write_later(self: BatchSaver, pause: Callable[[], None]) -> None:
        del pause
        waiting.append(self)

    patch.setattr(BatchSaver, "write", write_later)
    patch.setattr(Checkpoints, "put", put_first)


@bug(
    "checkpoint",
    "rows in memory are not written before it",
    lost="rows that were acknowledged, once the journal lets go of them",
    law=Law.DAMAGE,
    after=2,
)
def unflushed(patch: Patch) -> None:
    patch.setattr(Checkpointer, "_flush", lambda self: None)


@bug(
    "checkpoint",
    "it counts a record as its own that it has not",
    lost="a row, or an epoch, after every start",
    law=Law.START,
    after=1,
)
def lsn_ahead(patch: Patch) -> None:
    put = Checkpoints.put
    patch.setattr(Checkpoints, "put", lambda self, m: put(self, replace(m, lsn=m.lsn + 1)))


@bug(
    "recovery",
    "an epoch gets another cut than it had",
    lost="the start, or what was published before",
    law=Law.SUMS,
    after=1,
)
def wrong_cut(patch: Patch) -> None:
    real = recovery.Cut

    def cut(epoch: int, tick_from: int, tick_to: int, *rest: Any) -> Any:
        return real(epoch, tick_from, max(tick_from, tick_to - 1), *rest)

    patch.setattr(recovery, "Cut", cut)


@bug(
    "recovery",
    "the sums of an epoch are not compared, and its cut is another",
    lost="what was published before: a reader has other changes than the log",
    law=Law.BATCH,
    after=1,
)
def wrong_cut_unseen(patch: Patch) -> None:
    wrong_cut(patch)
    patch.setattr(recovery, "_compare", lambda *args: None)


@bug(
    "recovery",
    "rejected rows are not taken back",
    lost="the bytes of what was rejected",
    law=Law.ROWS,
    after=1,
)
def rejects_lost(patch: Patch) -> None:
    real = Recovery._take_rows

    def take(self: Recovery, append: Append, *, is_rejected: bool) -> None:
        if not is_rejected:
            real(self, append, is_rejected=False)

    patch.setattr(Recovery, "_take_rows", take)


@bug(
    "sink",
    "what is more than a write takes is passed over",
    lost="changes that the store never gets",
    law=Law.SINK,
    after=2,
)
def passed_over(patch: Patch) -> None:
    real = ParquetSink.write

    def write(self: ParquetSink, changes: Any, offset_from: int, offset_to: int) -> None:
        real(self, changes.slice(0, 3), offset_from, offset_to)

    patch.setattr(ParquetSink, "write", write)


@bug(
    "sink",
    "the position is committed, and then the rows",
    lost="the rows of a write, when the process ends between the two",
    law=Law.SINK,
    after=5,
)
def position_first(patch: Patch) -> None:
    real = StoreSink._commit

    def commit(self: StoreSink, offset_from: int, offset_to: int, change: Any) -> bool:
        if not real(self, offset_from, offset_to, []):
            return False
        self._reach()
        for row, weight in change:
            self._content.rows[row] += weight
        return True

    patch.setattr(StoreSink, "_commit", commit)

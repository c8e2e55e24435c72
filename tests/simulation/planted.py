"""Bugs that are put into the system, to see that the simulation finds them.

Each is a mistake that somebody could make in that place: an order turned round, a check left out, a
value shared that has to be copied.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from headwater.log.segment import SegmentFiles
from headwater.runtime import recovery
from headwater.runtime.checkpoint import BatchSaver, Checkpoints, Manifest
from headwater.runtime.records import EpochRecord, Fact, Kind
from headwater.runtime.recovery import Recovery
from headwater.runtime.senders import SenderWatermark
from headwater.storage import journal_recovery, sealed
from headwater.storage.blobs import Blobs
from headwater.storage.journal import Journal
from headwater.storage.journal_files import JournalFiles
from headwater.storage.paths import folder_of

Patch = pytest.MonkeyPatch


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug.

    Args:
        place: In which part of the system it is.
        what: What is wrong there, in words.
        plant: Puts it in.

    """

    place: str
    what: str
    plant: Callable[[Patch], None]


BUGS: list[Bug] = []


def bug(place: str, what: str) -> Callable[[Callable[[Patch], None]], Callable[[Patch], None]]:
    def listed(plant: Callable[[Patch], None]) -> Callable[[Patch], None]:
        BUGS.append(Bug(place, what, plant))
        return plant

    return listed


@bug("journal", "a write is not synced")
def no_sync(patch: Patch) -> None:
    patch.setattr(JournalFiles, "_sync_file", lambda self, file, *, is_new: None)


@bug("journal", "the folder of a new file is not synced")
def no_folder_sync(patch: Patch) -> None:
    real = JournalFiles._sync_file
    patch.setattr(
        JournalFiles, "_sync_file", lambda self, file, *, is_new: real(self, file, is_new=False)
    )


@bug("journal", "a record is acknowledged before it is written")
def early_ticket(patch: Patch) -> None:
    real = Journal._commit

    def commit(self: Journal, group: Any) -> None:
        group.settle(None)
        real(self, group)

    patch.setattr(Journal, "_commit", commit)


@bug("journal", "a torn end is not cut off")
def torn_kept(patch: Patch) -> None:
    real = journal_recovery.recovered

    class Uncut:
        def __init__(self, disk: Any) -> None:
            self._disk = disk

        def truncate(self, path: str, size_bytes: int) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return getattr(self._disk, name)

    patch.setattr(
        "headwater.storage.journal.recovered",
        lambda disk, folder, *, sync: real(Uncut(disk), folder, sync=sync),
    )


@bug("files", "a new name is not synced")
def no_name_sync(patch: Patch) -> None:
    def put(self: Blobs, path: str, parts: Any) -> None:
        unfinished = f"{path}.0.{next(self._numbers)}.hw-unfinished"
        self._disk.write(unfinished, parts)
        self._disk.rename(unfinished, path)

    patch.setattr(Blobs, "put", put)


@bug("files", "a file is written in its place, not beside it")
def in_place(patch: Patch) -> None:
    def put(self: Blobs, path: str, parts: Any) -> None:
        self._disk.write(path, parts)
        self._disk.sync_folder(folder_of(path))

    patch.setattr(Blobs, "put", put)


@bug("checkpoint", "the manifest is put in place before the state is written")
def manifest_first(patch: Patch) -> None:
    waiting: list[BatchSaver] = []
    write, put = BatchSaver.write, Checkpoints.put

    def put_first(self: Checkpoints, manifest: Manifest) -> int:
        lsn = put(self, manifest)
        while waiting:
            write(waiting.pop())
        return lsn

    def write_later(self: BatchSaver) -> None:
        waiting.append(self)

    patch.setattr(BatchSaver, "write", write_later)
    patch.setattr(Checkpoints, "put", put_first)


@bug("checkpoint", "the state of the one before is removed before the new one is in place")
def removed_early(patch: Patch) -> None:
    put = Checkpoints.put

    def put_last(self: Checkpoints, manifest: Manifest) -> int:
        self._remove_unnamed([manifest])
        return put(self, manifest)

    patch.setattr(Checkpoints, "put", put_last)


@bug("checkpoint", "it counts a record as its own that it has not")
def lsn_ahead(patch: Patch) -> None:
    put = Checkpoints.put
    patch.setattr(Checkpoints, "put", lambda self, m: put(self, replace(m, lsn=m.lsn + 1)))


@bug("checkpoint", "the checksum of a manifest is not compared")
def manifest_unchecked(patch: Patch) -> None:
    patch.setattr(sealed, "_crc", lambda value: 0)


@bug("checkpoint", "the names of senders are shared with the next epochs")
def shared_names(patch: Patch) -> None:
    real = SenderWatermark.save
    patch.setattr(SenderWatermark, "save", lambda self: real(self) | {"senders": self._names})


@bug("recovery", "an epoch is passed over")
def epoch_skipped(patch: Patch) -> None:
    real = Recovery._take_epoch

    def take(self: Recovery, record: EpochRecord) -> None:
        if record.epoch % 7 != 3:
            real(self, record)

    patch.setattr(Recovery, "_take_epoch", take)


@bug("recovery", "what was said of a watermark is lost")
def facts_lost(patch: Patch) -> None:
    real = Fact.parse
    patch.setattr(Fact, "parse", lambda payload: replace(real(payload), until_us=0))


@bug("recovery", "an epoch gets another cut than it had")
def wrong_cut(patch: Patch) -> None:
    real = recovery.Cut

    def cut(epoch: int, tick_from: int, tick_to: int, *rest: Any) -> Any:
        return real(epoch, tick_from, max(tick_from, tick_to - 1), *rest)

    patch.setattr(recovery, "Cut", cut)


@bug("recovery", "the sums of an epoch are not compared, and its cut is another")
def wrong_cut_unseen(patch: Patch) -> None:
    wrong_cut(patch)
    patch.setattr(recovery, "_compare", lambda *args: None)


@bug("epochs", "changes are shown before their epoch is durable")
def epoch_early(patch: Patch) -> None:
    class Unwaited:
        def wait(self) -> None:
            pass

    real = Journal.append

    def append(self: Journal, kind: int, parts: Any) -> Any:
        ticket = real(self, kind, parts)
        return Unwaited() if kind == Kind.EPOCH else ticket

    patch.setattr(Journal, "append", append)


@bug("archive", "files that were combined are deleted at once")
def archived_early(patch: Patch) -> None:
    def retire(self: SegmentFiles, names: Any) -> None:
        for name in names:
            self._blobs.delete(self.path(name))

    patch.setattr(SegmentFiles, "retire", retire)


@bug("sink", "a file is there before its rows are")
def rows_after_position(patch: Patch) -> None:
    from headwater.connectors.parquet import ParquetSink

    real = Blobs.put

    def write(self: ParquetSink, changes: Any, offset_from: int, offset_to: int) -> None:
        name = f"changes-{offset_from:020d}-{offset_to:020d}.parquet"
        real(self._blobs, name, [b""])
        original(self, changes, offset_from, offset_to)

    original = ParquetSink.write
    patch.setattr(ParquetSink, "write", write)

"""What a journal's files hold when it is opened.

A crash can only take what was not synced: bytes at the end of the last file, those of the records
that were written last, together. What is left of these after the first that is not whole is
removed, since nobody was told that it is there. Every other damage (a whole record of a later write
stands after it, another file follows, numbers are missing between files) destroyed what was
durable, and is refused with its place.

What remains is synced before anyone reads it: after a kill, without a crash of the machine, the
end of the file may be in the system's memory only.
"""

from __future__ import annotations

from dataclasses import dataclass

from headwater.errors import StateError
from headwater.storage.disk import Disk
from headwater.storage.journal_file import Scan, lsn_of, scanned


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of the journal.

    Args:
        path: On the disk.
        lsn_first: The lsn of its first record.
        lsn_end: One more than the lsn of its last durable record.
        size_bytes: The length of its durable part; 0 when it has no header yet.

    """

    path: str
    lsn_first: int
    lsn_end: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """A journal's files, each begun by the record after the last of the one before it.

    Args:
        torn_bytes: What was cut off the end.

    """

    segments: tuple[Segment, ...]
    torn_bytes: int

    @property
    def lsn_end(self) -> int:
        """The number that the next record gets."""
        return self.segments[-1].lsn_end if self.segments else 0


def recovered(disk: Disk, folder: str, *, sync: bool = True) -> Recovered:
    """Check all files of the journal in a folder, cut off a torn end, and sync the rest.

    Raises:
        StateError: Records are damaged or missing, or written in a newer format.

    """
    named = sorted((lsn, path) for path in disk.list(folder) if (lsn := lsn_of(path)) is not None)
    segments: list[Segment] = []
    torn_bytes = 0
    for number, (lsn_first, path) in enumerate(named, 1):
        _check_follows(segments, lsn_first, path)
        content = disk.map(path)
        size_bytes = content.size
        scan = scanned(content, lsn_first, path)
        del content  # a mapped file must not be cut
        if scan.good_bytes < size_bytes or not scan.good_bytes:
            _check_torn(disk, path, scan, is_last=number == len(named))
            torn_bytes = scan.torn_bytes
            disk.truncate(path, scan.good_bytes)
        segments.append(Segment(path, lsn_first, scan.lsn_end, scan.good_bytes))
    if segments and sync:
        _sync(disk, folder, segments[-1].path)
    return Recovered(tuple(segments), torn_bytes)


def _check_follows(segments: list[Segment], lsn_first: int, path: str) -> None:
    if segments and segments[-1].lsn_end != lsn_first:
        raise StateError(
            f"records {segments[-1].lsn_end} to {lsn_first - 1} are missing between "
            f"{segments[-1].path} and {path}",
            hint=f"restore the files between them, or {segments[-1].path}, from a copy",
        )


def _check_torn(disk: Disk, path: str, scan: Scan, *, is_last: bool) -> None:
    """Refuse damage that no crash can have made."""
    if is_last and scan.sound_at is None:
        return
    where = disk.local_path(path) or path
    after = (
        f"a whole record stands after it, at byte {scan.sound_at}"
        if scan.sound_at is not None
        else "newer files follow it"
    )
    what = f"record {scan.lsn_end}" if scan.good_bytes else "its header"
    raise StateError(
        f"{where} is damaged at byte {scan.good_bytes}, in {what}: {after}",
        hint=f"restore {where} from a copy; without one, all from record {scan.lsn_end} on is lost",
    )


def _sync(disk: Disk, folder: str, path: str) -> None:
    file = disk.append_to(path)
    try:
        file.sync()
    finally:
        file.close()
    disk.sync_folder(folder)

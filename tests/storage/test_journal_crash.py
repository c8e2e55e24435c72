"""A crash in every call of the disk, and what a restart finds.

A run appends groups of records of several sizes over several small files, and drops old files as it
goes. It is killed in one call after the other. Whatever the crash leaves of the calls that were not
synced (the seed decides), a restart finds all that was acknowledged, in order, none twice, and
nothing that was not appended; then it goes on, and is killed again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from headwater.errors import StateError
from headwater.storage.journal import Journal
from headwater.storage.journal_files import JournalFiles
from headwater.testing.disk import FakeDisk

FILE_BYTES = 300
GROUPS = (1, 4, 2, 1, 7, 3, 1, 5, 2, 6)
SECONDS = 30
NEVER = 10**9


@dataclass
class Run:
    """What was asked of the journal over all its lives."""

    appended: dict[int, bytes] = field(default_factory=dict)
    acknowledged: int = 0  # all records below this lsn
    dropped: int = 0  # records below this lsn may be gone

    def append_groups(self, journal: Journal) -> None:
        """Append, one group after the other, and drop what is two groups old."""
        drop_next = journal.first_lsn
        for size in GROUPS:
            start = journal.next_lsn
            self._append_group(journal, size)
            self.dropped = max(self.dropped, drop_next)
            journal.drop_before(drop_next)
            drop_next = start

    def _append_group(self, journal: Journal, size: int) -> None:
        # Whatever is appended in a callback waits for the writer, so it is one group in every run.
        done = threading.Event()

        def append_all() -> None:
            for _ in range(size):
                lsn = journal.next_lsn
                self.appended[lsn] = payload_of(lsn)
                ticket = journal.append(1, [self.appended[lsn]])
                ticket.add_callback(lambda end=lsn + 1: self._acknowledge(end))
            last.append(ticket)
            done.set()

        last: list = []
        first = journal.append(0, [])
        self.appended[first.lsn] = b""
        first.add_callback(append_all)
        first.wait(SECONDS)
        self._acknowledge(first.lsn + 1)
        assert done.wait(SECONDS)
        last[0].wait(SECONDS)

    def _acknowledge(self, end: int) -> None:
        self.acknowledged = max(self.acknowledged, end)

    def check(self, journal: Journal) -> None:
        """Check what a restart found, and forget what the crash took."""
        found = {record.lsn: bytes(record.payload) for record in journal.read()}
        assert list(found) == list(range(journal.first_lsn, journal.next_lsn))
        assert journal.first_lsn <= self.dropped or not found
        assert journal.next_lsn >= self.acknowledged
        assert found.items() <= self.appended.items()
        self.appended = found
        self.acknowledged = journal.next_lsn  # shown to a reader, so it must stay


def payload_of(lsn: int) -> bytes:
    return b"%d " % lsn * (lsn * 5 % 23)


def looked_at(run: Run, disk: FakeDisk) -> None:
    """Open, check and close."""
    journal = Journal.open(disk, file_bytes_max=FILE_BYTES)
    run.check(journal)
    journal.close()


def lived(run: Run, disk: FakeDisk, crash_in: int) -> bool:
    """Open, check, append, until the machine goes off or fails; return whether it did."""
    disk.crash_at(disk.calls + crash_in)
    journal = None
    try:
        journal = Journal.open(disk, file_bytes_max=FILE_BYTES)
        run.check(journal)
        run.append_groups(journal)
        journal.close()
    except StateError as error:
        assert "the machine" in str(error)
        if journal is not None:
            with suppress(StateError):
                journal.close()  # only ends its thread: the machine is off
        return True
    return False


def calls_of_a_whole_run() -> int:
    disk = FakeDisk(seed=0)
    assert not lived(Run(), disk, crash_in=NEVER)
    return disk.calls


def calls_for_room() -> set[int]:
    """The calls of a whole run that only make room ahead, or give it back: it goes on without."""
    disk, found = FakeDisk(seed=0), set[int]()

    def noting(method: Callable[..., None]) -> Callable[..., None]:
        def noted(*args: Any) -> None:
            before = disk.calls
            method(*args)
            found.update(range(before + 1, disk.calls + 1))

        return noted

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_make_room", "close"):
            patch.setattr(JournalFiles, name, noting(getattr(JournalFiles, name)))
        assert not lived(Run(), disk, crash_in=NEVER)
    assert found
    return found


@pytest.mark.parametrize("seed", range(10))
def test_a_crash_in_any_call_loses_and_doubles_nothing(seed: int) -> None:
    for call in range(1, calls_of_a_whole_run() + 1):
        run, disk = Run(), FakeDisk(seed)
        assert lived(run, disk, crash_in=call)
        assert not lived(run, disk.crash(), crash_in=NEVER)


@pytest.mark.parametrize("again_in", range(1, 12))
def test_a_second_crash_while_recovering_loses_and_doubles_nothing(again_in: int) -> None:
    for call in range(1, calls_of_a_whole_run() + 1):
        run, disk = Run(), FakeDisk(seed=call)
        assert lived(run, disk, crash_in=call)
        disk = disk.crash()
        assert lived(run, disk, crash_in=again_in)
        assert not lived(run, disk.crash(), crash_in=NEVER)


@pytest.mark.parametrize("seed", range(6))
def test_what_a_restart_has_shown_survives_a_crash_right_after(seed: int) -> None:
    for_room = calls_for_room()
    for call in range(1, calls_of_a_whole_run() + 1):
        run, disk = Run(), FakeDisk(seed)
        disk.fail_at(call, StateError("the machine refuses"))
        assert lived(run, disk, crash_in=NEVER) == (call not in for_room)
        looked_at(run, disk)
        looked_at(run, disk.crash())


@pytest.mark.parametrize("seed", range(3))
def test_a_call_that_fails_loses_and_doubles_nothing(seed: int) -> None:
    for_room = calls_for_room()
    for call in range(1, calls_of_a_whole_run() + 1):
        run, disk = Run(), FakeDisk(seed)
        disk.fail_at(call, StateError("the machine refuses"))
        assert lived(run, disk, crash_in=NEVER) == (call not in for_room)
        assert not lived(run, disk, crash_in=NEVER)
        assert not lived(run, disk.crash(), crash_in=NEVER)


def test_the_runs_are_the_same_every_time() -> None:
    assert calls_of_a_whole_run() == calls_of_a_whole_run() > 50

"""Several epochs are on their way to the disk at once, and shown in their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.errors import StateError
from headwater.runtime.commits import WAITING_MAX, Commit, Commits
from headwater.storage.disk import AppendFile
from headwater.storage.journal import Journal
from headwater.storage.local import LocalDisk, LocalFile

SECONDS = 20.0


class GatedFile(LocalFile):
    """A file whose syncs wait for a gate."""

    gate: threading.Event
    syncs: list[int]

    def sync(self) -> None:
        assert self.gate.wait(SECONDS)
        self.syncs.append(1)
        super().sync()


class GatedDisk(LocalDisk):
    """A disk whose syncs wait for a gate, and are counted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate, self.syncs = threading.Event(), list[int]()

    def append_to(self, path: str) -> AppendFile:
        opened = super().append_to(path)
        gated = GatedFile.__new__(GatedFile)
        for slot in LocalFile.__slots__:
            setattr(gated, slot, getattr(opened, slot))
        gated.gate, gated.syncs = self.gate, self.syncs
        return gated


@pytest.fixture
def disk(tmp_path: Path) -> GatedDisk:
    return GatedDisk(tmp_path)


@pytest.fixture
def journal(disk: GatedDisk) -> Iterator[Journal]:
    found = Journal.open(disk)
    yield found
    disk.gate.set()
    found.close()


def numbered(journal: Journal, number: int, shown: list[int]) -> Commit:
    return Commit(lambda: journal.append(1, [bytes([number])]), lambda: shown.append(number))


def test_one_sync_is_for_several_epochs_and_none_is_shown_before(
    journal: Journal, disk: GatedDisk
) -> None:
    commits, shown = Commits(), list[int]()
    for number in range(WAITING_MAX):
        commits.add(numbered(journal, number, shown))
    assert shown == []

    disk.gate.set()
    commits.wait()

    assert shown == list(range(WAITING_MAX))
    # The first had none to wait for; all others were handed over while it was synced.
    assert len(disk.syncs) == 2
    assert [bytes(r.payload)[0] for r in journal.read()] == list(range(WAITING_MAX))
    commits.close()


def test_no_more_are_on_their_way_than_may_be(journal: Journal, disk: GatedDisk) -> None:
    commits, shown = Commits(), list[int]()
    for number in range(WAITING_MAX):
        commits.add(numbered(journal, number, shown))
    another = threading.Thread(target=lambda: commits.add(numbered(journal, 99, shown)))
    another.start()
    another.join(0.05)
    assert another.is_alive()

    disk.gate.set()
    another.join(SECONDS)
    commits.wait()

    assert shown == [*range(WAITING_MAX), 99]
    commits.close()


def test_after_one_that_fails_none_is_recorded_or_shown(journal: Journal, disk: GatedDisk) -> None:
    commits, shown = Commits(), list[int]()

    def fail() -> None:
        raise StateError("it cannot be shown")

    disk.gate.set()
    commits.add(numbered(journal, 0, shown))
    commits.wait()
    commits.add(Commit(lambda: journal.append(1, [b"\x01"]), fail))

    with pytest.raises(StateError, match="cannot be shown"):
        commits.wait()
    commits.add(numbered(journal, 2, shown))
    commits.wait()

    assert shown == [0]
    assert journal.next_lsn == 2
    commits.close()

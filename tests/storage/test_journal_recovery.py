from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.errors import StateError
from headwater.storage.disk import Disk
from headwater.storage.journal import Journal
from headwater.storage.local import LocalDisk
from headwater.testing.disk import FakeDisk

MAKERS: dict[str, Callable[[Path], Disk]] = {
    "local": LocalDisk,
    "fake": lambda _: FakeDisk(seed=1),
}
FIRST, SECOND = "journal/00000000000000000000.hwj", "journal/00000000000000000003.hwj"
HEADER, RECORD = 24, 32


@pytest.fixture(params=MAKERS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    """A disk with a journal of five records in two files, three in the first."""
    disk = MAKERS[request.param](tmp_path)
    journal = Journal.open(disk, file_bytes_max=HEADER + 3 * RECORD)
    for n in range(5):
        journal.append(1, [b"%08d" % n]).wait()
    journal.close()
    assert disk.list("journal") == [FIRST, SECOND]
    return disk


def change(disk: Disk, path: str, at: int) -> None:
    content = bytearray(disk.read(path))
    content[at] ^= 1
    disk.write(path, [bytes(content)])


def test_a_torn_end_is_cut_off_and_told(disk: Disk) -> None:
    disk.truncate(SECOND, HEADER + RECORD + 13)

    journal = Journal.open(disk)
    assert (journal.torn_bytes, journal.next_lsn) == (13, 4)
    assert journal.append(1, [b"new"]).lsn == 4
    journal.close()
    again = Journal.open(disk)
    payloads = [bytes(record.payload) for record in again.read()]
    assert payloads == [b"00000000", b"00000001", b"00000002", b"00000003", b"new"]
    assert again.torn_bytes == 0
    again.close()


def test_a_last_record_that_does_not_check_is_cut_off(disk: Disk) -> None:
    change(disk, SECOND, HEADER + 2 * RECORD - 1)

    journal = Journal.open(disk)
    assert (journal.torn_bytes, journal.next_lsn) == (RECORD, 4)
    journal.close()


@pytest.mark.parametrize("size", [0, 1, HEADER - 1])
def test_a_last_file_without_a_whole_header_is_begun_again(disk: Disk, size: int) -> None:
    disk.truncate(SECOND, size)

    journal = Journal.open(disk)
    assert (journal.torn_bytes, journal.next_lsn) == (size, 3)
    journal.append(1, [b"new"])
    journal.close()
    again = Journal.open(disk)
    assert [(r.lsn, bytes(r.payload)) for r in again.read(2)] == [(2, b"00000002"), (3, b"new")]
    again.close()


def test_damage_before_a_whole_record_is_refused_with_its_place(disk: Disk) -> None:
    change(disk, SECOND, HEADER + 30)

    with pytest.raises(StateError) as refused:
        Journal.open(disk)

    where = disk.local_path(SECOND) or SECOND
    assert refused.value.message == (
        f"{where} is damaged at byte {HEADER}, in record 3: "
        f"a whole record stands after it, at byte {HEADER + RECORD}"
    )
    assert f"restore {where} from a copy" in (refused.value.hint or "")
    assert disk.size(SECOND) == HEADER + 2 * RECORD, "what is there is left alone"


@pytest.mark.parametrize("at", [0, HEADER + 3, HEADER + 3 * RECORD - 1])
def test_damage_in_an_earlier_file_is_refused(disk: Disk, at: int) -> None:
    change(disk, FIRST, at)

    with pytest.raises(StateError, match="is damaged at byte"):
        Journal.open(disk)


def test_an_earlier_file_that_is_cut_is_refused(disk: Disk) -> None:
    disk.truncate(FIRST, HEADER + RECORD + 5)

    with pytest.raises(StateError, match=r"in record 1: newer files follow it"):
        Journal.open(disk)


def test_an_earlier_file_that_is_cut_between_records_is_refused(disk: Disk) -> None:
    disk.truncate(FIRST, HEADER + RECORD)

    with pytest.raises(StateError, match="records 1 to 2 are missing"):
        Journal.open(disk)


def test_a_file_of_another_place_is_refused(disk: Disk) -> None:
    disk.write(FIRST, [disk.read(SECOND)])

    with pytest.raises(StateError, match="is damaged at byte 0"):
        Journal.open(disk)


def test_a_journal_that_begins_late_is_whole(disk: Disk) -> None:
    disk.delete(FIRST)

    journal = Journal.open(disk)
    assert (journal.first_lsn, journal.next_lsn) == (3, 5)
    journal.close()


def test_a_newer_format_is_refused_and_left_alone(disk: Disk) -> None:
    content = bytearray(disk.read(SECOND))
    content[8] = 2
    disk.write(SECOND, [bytes(content)])

    with pytest.raises(StateError, match="has format 2") as refused:
        Journal.open(disk)

    assert "pip install --upgrade headwater" in (refused.value.hint or "")
    assert disk.read(SECOND) == content


def test_other_files_in_the_folder_are_left_alone(disk: Disk) -> None:
    disk.write("journal/notes.txt", [b"mine"])
    Journal.open(disk).close()

    assert disk.read("journal/notes.txt") == b"mine"

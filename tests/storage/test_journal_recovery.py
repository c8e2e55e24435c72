from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.errors import StateError
from headwater.storage.disk import Disk
from headwater.storage.journal import Journal
from headwater.storage.journal_file import file_header, record_parts
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
    disk.truncate(SECOND, HEADER + RECORD + 17)

    journal = Journal.open(disk)
    assert (journal.torn_bytes, journal.next_lsn) == (17, 4)
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
    # Zeros at the end are no loss: the number of the first record ends in seven of them.
    assert (journal.torn_bytes, journal.next_lsn) == (min(size, HEADER - 7), 3)
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
    content[8] = 3
    disk.write(SECOND, [bytes(content)])

    with pytest.raises(StateError, match="has format 3") as refused:
        Journal.open(disk)

    assert "pip install --upgrade headwater" in (refused.value.hint or "")
    assert disk.read(SECOND) == content


def test_other_files_in_the_folder_are_left_alone(disk: Disk) -> None:
    disk.write("journal/notes.txt", [b"mine"])
    Journal.open(disk).close()

    assert disk.read("journal/notes.txt") == b"mine"


def in_one_group(disk: Disk, payloads: list[bytes]) -> None:
    """Append a record, and then all the others with one write."""
    journal = Journal.open(disk)
    done = threading.Event()

    def append_all() -> None:
        tickets = [journal.append(1, [payload]) for payload in payloads[1:]]
        tickets[-1].add_callback(done.set)

    journal.append(1, [payloads[0]]).add_callback(append_all)
    assert done.wait(30)
    journal.close()


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_of_a_last_write_that_is_not_whole_only_the_beginning_stays(lost: int) -> None:
    disk = FakeDisk(seed=1)
    in_one_group(disk, [b"%08d" % number for number in range(5)])
    content = bytearray(disk.read(FIRST))
    at = HEADER + lost * RECORD
    content[at : at + RECORD] = bytes(RECORD)
    disk.write(FIRST, [bytes(content), bytes(1000)])

    journal = Journal.open(disk)

    assert (journal.next_lsn, journal.torn_bytes) == (lost, (5 - lost) * RECORD)
    assert [bytes(record.payload) for record in journal.read()] == [
        b"%08d" % number for number in range(lost)
    ]
    journal.close()


def test_a_write_before_the_last_that_is_not_whole_is_refused() -> None:
    disk = FakeDisk(seed=1)
    in_one_group(disk, [b"%08d" % number for number in range(5)])
    journal = Journal.open(disk)
    journal.append(1, [b"after"]).wait()
    journal.close()
    content = bytearray(disk.read(FIRST))
    content[HEADER + 2 * RECORD : HEADER + 3 * RECORD] = bytes(RECORD)
    disk.write(FIRST, [bytes(content)])

    with pytest.raises(StateError, match=f"a whole record stands .* at byte {HEADER + 5 * RECORD}"):
        Journal.open(disk)


def test_room_that_was_made_ahead_is_no_damage(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    journal = Journal.open(disk)
    journal.append(1, [b"one"]).wait()
    size_bytes = disk.size(FIRST)
    left = disk.read(FIRST)
    journal.append(1, [b"two"]).wait()
    assert disk.size(FIRST) == size_bytes > 1 << 20, "the second took the place of zeros"
    journal.close()
    assert disk.size(FIRST) == HEADER + 2 * RECORD, "a journal that was closed has none"

    # As a process leaves it that is killed.
    disk.write(FIRST, [left])
    again = Journal.open(disk)
    assert (again.torn_bytes, again.next_lsn) == (0, 1)
    assert disk.size(FIRST) == HEADER + RECORD
    again.close()


def test_large_writes_make_no_room(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    journal = Journal.open(disk)
    journal.append(1, [bytes(1 << 20)]).wait()

    assert disk.size(FIRST) == HEADER + HEADER + (1 << 20)
    journal.close()


def test_a_file_of_version_1_is_read_and_gone_on_with() -> None:
    disk = FakeDisk(seed=1)
    old = [file_header(0, version=1), *record_parts(0, 1, [b"old"])]
    disk.write(FIRST, old)

    journal = Journal.open(disk)
    journal.append(1, [b"new"]).wait()
    journal.close()

    again = Journal.open(disk)
    assert [bytes(record.payload) for record in again.read()] == [b"old", b"new"]
    again.close()

"""What the disk that tests own loses in a crash, and what it keeps."""

from __future__ import annotations

import pytest

from headwater.errors import StateError
from headwater.storage.disk import Disk
from headwater.testing.disk import FakeDisk

SEEDS = range(40)


def durable(disk: Disk, path: str, content: bytes) -> None:
    disk.write(path, [content])
    disk.sync_folder(path.rpartition("/")[0])


def test_a_crash_keeps_all_that_was_synced() -> None:
    for seed in SEEDS:
        disk = FakeDisk(seed)
        durable(disk, "a/x", b"written")
        file = disk.append_to("a/log")
        file.append([b"synced"])
        file.sync()
        disk.sync_folder("a")

        after = disk.crash()

        assert after.read("a/x") == b"written"
        assert after.read("a/log") == b"synced"


def test_a_crash_keeps_any_prefix_of_what_was_not_synced() -> None:
    kept = set()
    for seed in SEEDS:
        disk = FakeDisk(seed)
        durable(disk, "log", b"ab")
        disk.append_to("log").append([b"cd"])
        kept.add(disk.crash().read("log"))

    assert kept == {b"ab", b"abc", b"abcd"}


def test_a_crash_may_lose_a_name_whose_folder_was_not_synced() -> None:
    kept = set()
    for seed in SEEDS:
        disk = FakeDisk(seed)
        disk.write("a/x", [b"1"])
        disk.sync_folder("b")
        kept.add(tuple(disk.crash().list("")))

    assert kept == {(), ("a/x",)}


def test_a_rename_is_whole_or_not_at_all() -> None:
    kept = set()
    for seed in SEEDS:
        disk = FakeDisk(seed)
        durable(disk, "x", b"old")
        durable(disk, "new", b"new")
        disk.rename("new", "x")
        after = disk.crash()
        kept.add(tuple((path, after.read(path)) for path in after.list("")))

    assert kept == {(("new", b"new"), ("x", b"old")), (("x", b"new"),)}


def test_a_delete_may_be_undone_until_the_folder_is_synced() -> None:
    unsynced, synced = set(), set()
    for seed in SEEDS:
        disk = FakeDisk(seed)
        durable(disk, "x", b"1")
        disk.delete("x")
        unsynced.add(tuple(disk.crash().list("")))
        disk = FakeDisk(seed)
        durable(disk, "x", b"1")
        disk.delete("x")
        disk.sync_folder("")
        synced.add(tuple(disk.crash().list("")))

    assert unsynced == {(), ("x",)}
    assert synced == {()}


def test_a_crashed_machine_answers_no_more() -> None:
    disk = FakeDisk(seed=1)
    file = disk.append_to("log")
    disk.crash()

    for call in (lambda: file.append([b"1"]), file.sync, lambda: disk.list("")):
        with pytest.raises(StateError, match="the machine is off"):
            call()


def test_the_same_seed_leaves_the_same_disk() -> None:
    def left(seed: int) -> list[tuple[str, bytes]]:
        disk = FakeDisk(seed)
        for name in "abcdef":
            disk.append_to(name).append([b"0123456789"])
        after = disk.crash()
        return [(path, after.read(path)) for path in after.list("")]

    assert left(7) == left(7)
    assert len({str(left(seed)) for seed in range(8)}) > 1


def test_a_failing_call_may_do_a_part_and_the_next_succeeds() -> None:
    lengths = set()
    for seed in SEEDS:
        disk = FakeDisk(seed)
        file = disk.append_to("log")
        disk.fail_at(2)
        with pytest.raises(StateError, match="Input/output error"):
            file.append([b"abc"])
        written = disk.size("log")
        lengths.add(written)
        file.append([b"d"])
        assert disk.read("log") == b"d" + b"abc"[1:written]

    assert lengths == {0, 1, 2, 3}


def test_a_failing_call_raises_what_it_is_told() -> None:
    disk = FakeDisk(seed=1)
    disk.write("x", [b"1"])
    disk.fail_at(disk.calls + 1, StateError("chosen"))

    with pytest.raises(StateError, match="chosen"):
        disk.read("x")
    assert disk.read("x") == b"1"


def test_a_full_disk_takes_what_has_room_and_more_when_there_is_more() -> None:
    disk = FakeDisk(seed=1, room_bytes=5)
    file = disk.append_to("log")
    file.append([b"abc"])

    with pytest.raises(StateError, match="No space left on device"):
        file.append([b"defg"])

    assert disk.read("log") == b"abcde"
    disk.room_bytes = 10
    file.append([b"defg"])
    assert disk.read("log") == b"abcdefg"


def test_a_crash_keeps_any_sectors_of_what_took_the_place_of_zeros() -> None:
    found = set()
    for seed in range(64):
        disk = FakeDisk(seed)
        file = disk.append_to("log")
        file.append([b"a" * 60])
        file.reserve(140)
        file.sync()
        disk.sync_folder("")
        file.append([b"b" * 70])
        left = disk.crash().read("log")
        assert len(left) == 200
        assert left[:60] == b"a" * 60
        assert left[130:] == bytes(70)
        # Sectors end at 64 and 128.
        parts = [left[60:64], left[64:128], left[128:130]]
        assert all(set(part) in ({0}, {ord("b")}) for part in parts)
        found.add(tuple(part[0] for part in parts))

    assert len(found) == 8


def test_what_took_the_place_of_zeros_and_was_synced_stays() -> None:
    disk = FakeDisk(seed=1)
    file = disk.append_to("log")
    file.reserve(8)
    file.sync()
    disk.sync_folder("")
    file.append([b"abc"])
    file.sync()

    assert disk.crash().read("log") == b"abc" + bytes(5)

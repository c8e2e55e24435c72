from __future__ import annotations

import pytest

from headwater.errors import StateError
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk


def test_what_is_put_is_read_mapped_and_listed() -> None:
    blobs = Blobs.open(FakeDisk(seed=1))
    blobs.put("a/x", [b"one ", b"two"])
    blobs.put("b/y", [])

    assert blobs.read("a/x") == blobs.map("a/x").to_pybytes() == b"one two"
    assert blobs.list("") == ["a/x", "b/y"]
    assert blobs.list("a") == ["a/x"]


def test_a_deleted_blob_is_gone() -> None:
    blobs = Blobs.open(FakeDisk(seed=1))
    blobs.put("x", [b"1"])
    blobs.delete("x")
    blobs.delete("x")

    assert blobs.list("") == []
    with pytest.raises(FileNotFoundError):
        blobs.read("x")


def test_what_was_put_survives_a_crash() -> None:
    for seed in range(20):
        disk = FakeDisk(seed)
        Blobs.open(disk).put("a/x", [b"new"])

        assert Blobs.open(disk.crash()).read("a/x") == b"new"


def test_what_was_added_survives_a_crash_once_it_is_settled() -> None:
    for seed in range(20):
        disk = FakeDisk(seed)
        blobs = Blobs.open(disk)
        blobs.add("a/x", [b"one ", b"two"])
        blobs.add("a/y", [])
        blobs.settle("a")
        again = Blobs.open(disk.crash())

        assert again.list("") == ["a/x", "a/y"]
        assert again.read("a/x") == b"one two"


@pytest.mark.parametrize("old", [None, b"old content"])
def test_a_crash_anywhere_leaves_the_old_or_the_new_and_nothing_else(old: bytes | None) -> None:
    found = set()
    for seed in range(20):
        for call in range(1, 5):
            disk = FakeDisk(seed)
            if old is not None:
                Blobs(disk).put("a/x", [old])
            blobs = Blobs.open(disk)
            disk.crash_at(disk.calls + call)
            try:
                blobs.put("a/x", [b"new"])
            except StateError:
                assert call <= 3, "the fourth call is not made"
            after_disk = disk.crash()
            after = Blobs.open(after_disk)
            assert after_disk.list("") == after.list("")
            found.add(after.read("a/x") if after.list("") else None)

    assert found == {old, b"new"}


def test_an_unfinished_blob_is_not_listed() -> None:
    disk = FakeDisk(seed=1, room_bytes=2)
    with pytest.raises(StateError):
        Blobs(disk).put("x", [b"1234"])

    assert len(disk.list("")) == 1
    assert Blobs(disk).list("") == []
    Blobs.open(disk)
    assert disk.list("") == []

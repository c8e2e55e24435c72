"""The contract of `Disk`, over every disk there is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from headwater.errors import StateError
from headwater.storage.disk import Disk
from headwater.storage.local import LocalDisk
from headwater.testing.disk import FakeDisk

MAKERS: dict[str, Callable[[Path], Disk]] = {
    "local": LocalDisk,
    "fake": lambda _: FakeDisk(seed=1),
}


@pytest.fixture(params=MAKERS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    return MAKERS[request.param](tmp_path)


def test_what_is_appended_stands_at_the_end_in_order(disk: Disk) -> None:
    file = disk.append_to("a/b/log")
    file.append([b"one", memoryview(b"two"), pa.py_buffer(b"three")])
    file.close()
    again = disk.append_to("a/b/log")
    again.append([b"", b"four"])
    again.sync()
    again.close()

    assert disk.read("a/b/log") == b"onetwothreefour"
    assert disk.size("a/b/log") == 15


def test_what_is_appended_takes_the_place_of_what_was_reserved(disk: Disk) -> None:
    file = disk.append_to("log")
    file.append([b"one"])
    file.reserve(5)
    assert disk.read("log") == b"one" + bytes(5)
    file.append([b"two"])
    assert disk.read("log") == b"onetwo" + bytes(2)
    file.append([b"three"])
    file.reserve(2)
    file.sync()
    file.close()

    assert disk.read("log") == b"onetwothree" + bytes(2)


def test_parts_of_every_size_and_number_arrive_whole(disk: Disk) -> None:
    parts = [bytes([n % 251]) * (n * 37 % 40_000) for n in range(3_000)]
    file = disk.append_to("log")
    file.append(parts)
    file.close()

    assert disk.read("log") == b"".join(parts)


def test_opening_for_appending_creates_an_empty_file(disk: Disk) -> None:
    disk.append_to("new").close()

    assert disk.list("") == ["new"]
    assert disk.size("new") == 0


def test_a_file_may_be_closed_twice(disk: Disk) -> None:
    file = disk.append_to("log")
    file.close()
    file.close()


def test_write_replaces_the_whole_content(disk: Disk) -> None:
    disk.write("x/y", [b"a longer content"])
    disk.write("x/y", [b"short", b"er"])

    assert disk.read("x/y") == b"shorter"


@pytest.mark.parametrize("call", [Disk.read, Disk.map, Disk.size])
def test_a_missing_file_is_file_not_found(disk: Disk, call: Callable[..., object]) -> None:
    with pytest.raises(FileNotFoundError):
        getattr(disk, call.__name__)("none/such")


def test_a_mapping_outlives_its_file(disk: Disk) -> None:
    disk.write("x", [b"mapped"])
    mapping = disk.map("x")
    disk.delete("x")

    assert mapping.to_pybytes() == b"mapped"
    assert not mapping.is_mutable


def test_an_empty_file_maps_to_nothing(disk: Disk) -> None:
    disk.write("x", [])

    assert disk.map("x").size == 0


def test_truncate_cuts_the_end(disk: Disk) -> None:
    disk.write("x", [b"12345678"])
    disk.truncate("x", 3)
    file = disk.append_to("x")
    file.append([b"!"])
    file.close()

    assert disk.read("x") == b"123!"


def test_rename_replaces_the_target(disk: Disk) -> None:
    disk.write("a/new", [b"new"])
    disk.write("b/old", [b"old"])
    disk.rename("a/new", "b/old")
    disk.rename("b/old", "made/for/it")

    assert disk.list("") == ["made/for/it"]
    assert disk.read("made/for/it") == b"new"


@pytest.mark.parametrize("change", [lambda d: d.rename("no", "x"), lambda d: d.truncate("no", 0)])
def test_changing_a_missing_file_is_refused(disk: Disk, change: Callable[[Disk], None]) -> None:
    with pytest.raises(StateError, match="No such file"):
        change(disk)


def test_delete_takes_what_is_there_and_forgives_what_is_not(disk: Disk) -> None:
    disk.write("x", [b"1"])
    disk.delete("x")
    disk.delete("x")
    disk.delete("none/such")

    assert disk.list("") == []


def test_list_goes_into_folders_and_sorts(disk: Disk) -> None:
    for path in ("b", "a/2", "a/1", "a/deep/er", "ab/1"):
        disk.write(path, [])

    assert disk.list("") == ["a/1", "a/2", "a/deep/er", "ab/1", "b"]
    assert disk.list("a") == disk.list("a/") == ["a/1", "a/2", "a/deep/er"]
    assert disk.list("none") == []


def test_any_folder_can_be_synced(disk: Disk) -> None:
    disk.write("a/b/c", [b"1"])
    for folder in ("", "a", "a/b", "none"):
        disk.sync_folder(folder)

    assert disk.read("a/b/c") == b"1"


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\0b"])
def test_a_path_out_of_the_folder_is_refused(disk: Disk, path: str) -> None:
    calls = (
        disk.append_to,
        disk.read,
        disk.map,
        disk.delete,
        disk.size,
        disk.local_path,
        lambda path: disk.write(path, [b"1"]),
        lambda path: disk.truncate(path, 0),
        lambda path: disk.rename(path, "x"),
        lambda path: disk.rename("x", path),
    )
    for call in calls:
        with pytest.raises(StateError, match="inside the data folder"):
            call(path)


@pytest.mark.parametrize("folder", ["/etc", "..", "a/.."])
def test_a_folder_outside_is_refused(disk: Disk, folder: str) -> None:
    with pytest.raises(StateError, match="inside the data folder"):
        disk.list(folder)
    with pytest.raises(StateError, match="inside the data folder"):
        disk.sync_folder(folder)

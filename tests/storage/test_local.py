from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.errors import StateError
from headwater.storage import local
from headwater.storage.disk import Disk
from headwater.storage.local import LocalDisk

# The device that is always full.
FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_a_full_disk_is_refused_with_path_cause_and_hint(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(FULL)
    file = LocalDisk(tmp_path).append_to("log")

    with pytest.raises(StateError) as refused:
        file.append([b"some bytes"])

    file.close()
    assert refused.value.message == f"cannot append to {tmp_path}/log: No space left on device"
    assert (
        refused.value.hint
        == f"the disk is full: make room (df -h {tmp_path}); start again if it does not go on"
    )


CALLS: dict[str, Callable[[Disk], object]] = {
    "append_to": lambda disk: disk.append_to("a/x"),
    "write": lambda disk: disk.write("a/x", [b"1"]),
    "read": lambda disk: disk.read("a/x"),
    "map": lambda disk: disk.map("a/x"),
    "size": lambda disk: disk.size("a/x"),
    "rename": lambda disk: disk.rename("a/x", "b/x"),
    "truncate": lambda disk: disk.truncate("a/x", 0),
    "sync_folder": lambda disk: disk.sync_folder("a"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_data_folder_that_is_gone_is_refused_and_not_made_anew(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    disk = LocalDisk(root)
    disk.write("a/x", [b"1"])
    shutil.rmtree(root)

    with pytest.raises(StateError, match="No such file or directory") as refused:
        CALLS[name](disk)

    assert "mount it again" in (refused.value.hint or "")
    assert not root.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StateError, match="Permission denied"):
        LocalDisk(tmp_path).write("x", [b"1"])
    tmp_path.chmod(0o700)


def test_a_folder_where_a_file_is_meant_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()

    with pytest.raises(StateError, match="Is a directory"):
        LocalDisk(tmp_path).write("x", [b"1"])


def test_bytes_that_the_system_takes_piece_by_piece_arrive_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole_writev = os.writev
    # The system may take any part of what it is given: here seven bytes at most.
    monkeypatch.setattr(os, "writev", lambda fd, pieces: whole_writev(fd, [pieces[0][:7]]))
    parts = [b"12345", b"x" * 20_000, b"", b"67", b"y" * 17_000, b"89"]
    disk = LocalDisk(tmp_path)

    disk.write("x", parts)

    assert disk.read("x") == b"".join(parts)


def test_other_readers_find_the_file(tmp_path: Path) -> None:
    disk = LocalDisk(tmp_path)
    disk.write("a/x", [b"1"])

    assert Path(disk.local_path("a/x") or "").read_bytes() == b"1"


@pytest.mark.skipif(sys.platform != "linux", reason="finds a descriptor's file in /proc")
def test_every_durable_step_syncs_its_file_or_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def note(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append(target.relative_to(tmp_path).as_posix())

    monkeypatch.setattr(local, "_sync_bytes", note)
    monkeypatch.setattr(os, "fsync", note)
    disk = LocalDisk(tmp_path)

    def syncs_of(call: Callable[[], object]) -> list[str]:
        synced.clear()
        call()
        return synced

    assert syncs_of(lambda: disk.write("a/b/x", [b"123"])) == [".", "a", "a/b/x"]
    assert syncs_of(lambda: disk.write("a/b/x", [b"123"])) == ["a/b/x"]
    file = disk.append_to("a/b/x")
    assert syncs_of(file.sync) == ["a/b/x"]
    file.close()
    assert syncs_of(lambda: disk.truncate("a/b/x", 1)) == ["a/b/x"]
    assert syncs_of(lambda: disk.sync_folder("a/b")) == ["a/b"]
    assert syncs_of(lambda: disk.rename("a/b/x", "c/x")) == ["."]

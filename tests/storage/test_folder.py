from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.errors import StateError
from headwater.storage.folder import DataFolder

OPEN_AND_WAIT = """
import sys
from pathlib import Path
from headwater.storage.folder import DataFolder
folder = DataFolder.open(Path(sys.argv[1]), command="headwater run shop.py")
print("open", flush=True)
sys.stdin.read()
"""


def test_a_new_folder_is_made_with_its_format(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path / "new" / "data", command="test")
    folder.close()

    written = json.loads((tmp_path / "new/data/FORMAT").read_bytes())
    assert written["format"] == 1
    assert isinstance(written["written_by"], str)


def test_the_files_of_a_folder_are_there_when_it_is_opened_again(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path, command="test")
    folder.blobs.put("a/x", [b"1"])
    folder.close()

    again = DataFolder.open(tmp_path, command="test")
    assert again.disk.read("a/x") == b"1"
    again.close()
    again.close()


def test_a_second_process_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_WAIT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"open\n"

        with pytest.raises(StateError) as refused:
            DataFolder.open(tmp_path, command="the second")

        first.kill()  # the lock ends with its owner, also so
    expected = f"{tmp_path} is in use by process {first.pid} (headwater run shop.py)"
    assert refused.value.message == expected
    assert f"kill {first.pid}" in (refused.value.hint or "")
    DataFolder.open(tmp_path, command="the second").close()


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path, command="once")
    with pytest.raises(StateError, match=rf"process {os.getpid()} \(once\)"):
        DataFolder.open(tmp_path, command="twice")
    folder.close()


def test_an_owner_that_has_not_yet_said_its_name_keeps_out_as_well(tmp_path: Path) -> None:
    folder = DataFolder.open(tmp_path, command="once")
    (tmp_path / "LOCK").write_bytes(b"")
    with pytest.raises(StateError, match="in use by a process that has only just started"):
        DataFolder.open(tmp_path, command="twice")
    folder.close()


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text('{"format": 2, "written_by": "9.1"}')

    with pytest.raises(StateError, match=r"has format 2, written by Headwater 9\.1") as refused:
        DataFolder.open(tmp_path, command="test")

    assert refused.value.hint == "pip install --upgrade headwater"
    assert (tmp_path / "FORMAT").read_text() == '{"format": 2, "written_by": "9.1"}'


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not JSON", '{"format": "1"}', "\x80"])
def test_a_format_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_bytes(text.encode("latin-1"))

    with pytest.raises(StateError, match="does not say a format"):
        DataFolder.open(tmp_path, command="test")


def test_a_refused_folder_is_not_kept_locked(tmp_path: Path) -> None:
    (tmp_path / "FORMAT").write_text("{}")
    for _ in range(2):
        with pytest.raises(StateError, match="does not say a format"):
            DataFolder.open(tmp_path, command="test")


def test_a_journal_without_a_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "00000000000000000000.hwj").write_bytes(b"")

    with pytest.raises(StateError, match="has a journal but no FORMAT"):
        DataFolder.open(tmp_path, command="test")


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StateError, match="cannot create"):
        DataFolder.open(tmp_path / "data", command="test")

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from headwater.errors import NoRoomError, StateError
from headwater.storage.refusal import refusing


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "able to write"),
        (errno.EIO, "good disk"),
        (errno.EMFILE, "ulimit"),
        (errno.ENAMETOOLONG, "see what is there"),
    ],
)
def test_a_refusal_names_path_and_cause_and_says_what_to_do(
    number: int, hint: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(StateError) as refused,
        refusing("write", tmp_path / "x", tmp_path),
    ):
        raise OSError(number, "")

    assert refused.value.message == f"cannot write {tmp_path}/x: {os.strerror(number)}"
    assert hint in (refused.value.hint or "")


def test_what_the_system_did_not_refuse_goes_its_way(tmp_path: Path) -> None:
    with pytest.raises(KeyError), refusing("write", tmp_path, tmp_path):
        raise KeyError


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_from_other_refusals(number: int, tmp_path: Path) -> None:
    with pytest.raises(NoRoomError), refusing("write", tmp_path / "x", tmp_path):
        raise OSError(number, "")

    with pytest.raises(StateError) as refused, refusing("write", tmp_path / "x", tmp_path):
        raise OSError(errno.EIO, "")
    assert not isinstance(refused.value, NoRoomError)

"""Small real file systems, for tests that run as root where something can be mounted."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Mount = Callable[..., Path]
FAULTS = Path("/sys/fs/ext4")


def mount(*arguments: str) -> None:
    """Call `mount`, or skip the test where it is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount {' '.join(arguments)}: {done.stderr.strip()}")


def fail(place: Path) -> None:
    """Have an ext4 file system find an error in itself, after which it is read-only."""
    found = subprocess.run(
        ["findmnt", "--noheadings", "--output", "SOURCE", str(place)],
        capture_output=True,
        text=True,
        check=True,
    )
    fault = FAULTS / Path(found.stdout.strip()).name / "trigger_fs_error"
    if not fault.exists():
        pytest.skip("this kernel fails no file system on request")
    fault.write_text("a test")


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """Makes folders that are file systems of their own: `mounted("tmpfs", megabytes)`."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    places: list[Path] = []

    def make(kind: str, megabytes: int = 16) -> Path:
        place = tmp_path / f"disk{len(places)}"
        place.mkdir()
        if kind == "tmpfs":
            mount("-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(place))
        else:
            image = tmp_path / f"image{len(places)}"
            with image.open("wb") as file:
                file.truncate(megabytes << 20)
            if shutil.which("mkfs.ext4") is None:
                pytest.skip("there is no mkfs.ext4")
            subprocess.run(["mkfs.ext4", "-q", "-m0", str(image)], check=True)
            mount("-o", "loop,errors=remount-ro", str(image), str(place))
        places.append(place)
        return place

    yield make
    for place in reversed(places):
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)

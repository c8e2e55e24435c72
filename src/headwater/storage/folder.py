"""The folder that holds all of one Headwater's data, owned by one process at a time.

    LOCK      locked by the process that has the folder open; says who that is
    FORMAT    JSON: the format of the folder, and what wrote it first
    journal/  and what else the layers above keep

The lock is the system's (`flock`), so it ends with the process however that ends; the text in the
file only gives it a name. The format is checked before anything else is read, so that an older
Headwater never touches what a newer one wrote.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from headwater.errors import StateError
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk, is_at
from headwater.storage.refusal import gone, refusing

FORMAT = 1

_LOCK = "LOCK"
_FORMAT = "FORMAT"
_JOURNAL = "journal"
# After a full disk one goes on with so much room, or on a small disk with this part of it.
_ROOM_BYTES = 64 << 20
_ROOM_SHARE = 10


class DataFolder:
    """A data folder that this process owns until `close`.

    Args:
        path: Where it is.
        disk: Its files.
        blobs: The same, as whole files.
        lock: The descriptor that holds the lock; owned by this object.

    """

    __slots__ = ("_lock", "_path", "blobs", "disk")

    def __init__(self, path: Path, disk: LocalDisk, blobs: Blobs, lock: int) -> None:
        self._path = path
        self.disk = disk
        self.blobs = blobs
        self._lock = lock

    @classmethod
    def open(cls, path: Path, *, command: str) -> DataFolder:
        """Open a data folder, made when missing, and keep every other process out.

        Args:
            path: The folder.
            command: What this process is, for whom it keeps out: its command line.

        Raises:
            StateError: Another process has it open; it has a newer format, or none that can be
                read; or the disk refuses.

        """
        path = path.absolute()
        with refusing("create", path, path):
            path.mkdir(parents=True, exist_ok=True)
        lock = _locked(path, command)
        try:
            disk = LocalDisk(path)
            blobs = Blobs.open(disk)
            _check_format(path, blobs)
        except BaseException:
            os.close(lock)
            raise
        return cls(path, disk, blobs, lock)

    @property
    def problem(self) -> str | None:
        """What is wrong with the folder as a whole, in words; None when it is where it was."""
        file = self._path / _LOCK
        if self._lock < 0 or is_at(self._lock, file):
            return None
        return str(gone(file, self._path))

    @property
    def has_room(self) -> bool:
        """Whether there is so much room that it is worth to go on after a full disk."""
        try:
            usage = shutil.disk_usage(self._path)
        except OSError:
            return False
        return usage.free >= min(_ROOM_BYTES, usage.total // _ROOM_SHARE)

    def close(self) -> None:
        """Let others in. May be called twice."""
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def _locked(path: Path, command: str) -> int:
    """Lock the folder and write our name into the lock."""
    file = path / _LOCK
    with refusing("open", file, path):
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with refusing("lock", file, path):
            _flock(lock, path)
            os.ftruncate(lock, 0)
            os.pwrite(lock, json.dumps({"pid": os.getpid(), "command": command}).encode(), 0)
    except BaseException:
        os.close(lock)
        raise
    return lock


def _flock(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(lock)
        if owner is None:
            raise StateError(
                f"{path} is in use by a process that has only just started",
                hint="name another folder: --data OTHER",
            ) from None
        raise StateError(
            f"{path} is in use by process {owner[0]} ({owner[1]})",
            hint=f"stop it first: kill {owner[0]}; or name another folder: --data OTHER",
        ) from None


def _owner(lock: int) -> tuple[str, str] | None:
    # The owner writes its name just after it has the lock: in between, the name is not there yet.
    try:
        owner = json.loads(os.pread(lock, 65_536, 0))
        return str(owner["pid"]), str(owner["command"])
    except (ValueError, KeyError, TypeError):
        return None


def _check_format(path: Path, blobs: Blobs) -> None:
    try:
        text = blobs.read(_FORMAT)
    except FileNotFoundError:
        _write_format(path, blobs)
        return
    found = _parsed_format(path, text)
    if found["format"] > FORMAT:
        raise StateError(
            f"{path} has format {found['format']}, written by Headwater "
            f"{found.get('written_by', 'of an unknown version')}; "
            f"this one reads formats up to {FORMAT}",
            hint="pip install --upgrade headwater",
        )


def _parsed_format(path: Path, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or type(found.get("format")) is not int:
        raise StateError(
            f"{path / _FORMAT} does not say a format: {text[:80]!r}",
            hint="restore it from a copy, or name another folder: --data OTHER",
        )
    return found


def _write_format(path: Path, blobs: Blobs) -> None:
    # FORMAT is durable before anything else is written: a journal without it has lost it.
    if blobs.list(_JOURNAL):
        raise StateError(
            f"{path} has a journal but no {_FORMAT}",
            hint=f"restore {path / _FORMAT} from a copy, or name another folder: --data OTHER",
        )
    text = json.dumps({"format": FORMAT, "written_by": version("headwater")})
    blobs.put(_FORMAT, [text.encode() + b"\n"])

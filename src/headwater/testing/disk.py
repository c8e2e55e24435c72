"""A disk in memory that a test owns, fails and crashes.

It promises what the contract of `Disk` promises and not a byte more:

- A crash keeps what was synced. Of bytes that were not, it keeps a prefix, and any selection of the
  sectors that took the place of reserved zeros; of names that were created, renamed or deleted
  since their folder was synced, any selection.
- A call that fails may have done a part of its work.

Both are drawn from the seed, so a run of the same calls with the same seed ends the same way.
"""

from __future__ import annotations

import errno
import itertools
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import pyarrow as pa

from headwater.errors import StateError
from headwater.storage.paths import checked, checked_folder, folder_of
from headwater.storage.refusal import refusal

Part: TypeAlias = bytes | memoryview | pa.Buffer

_ROOT = "(a disk in memory)"
# What a crash leaves as a whole. Far less than real ones have, so that small tests have several.
_SECTOR_BYTES = 64


@dataclass(slots=True)
class _Content:
    """A file's bytes; the first `synced_bytes` of them are durable, or zeros that are.

    Args:
        unsynced: From where to where something else than zeros stands there now.

    """

    data: bytearray = field(default_factory=bytearray)
    synced_bytes: int = 0
    unsynced: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Naming:
    """A change of names that a crash may undo.

    Args:
        names: What each path names after it; None where it names nothing.
        folders: Those that must yet be synced until it is durable.

    """

    names: dict[str, _Content | None]
    folders: set[str]


class FakeFile:
    """A file of a `FakeDisk`, open for appending."""

    def __init__(self, disk: FakeDisk, path: str, content: _Content) -> None:
        self._disk = disk
        self._path = path
        self._content = content
        self._end = len(content.data)

    def append(self, parts: Sequence[Part]) -> None:
        """Write the parts, in order, after all that was appended."""
        data = b"".join(parts)
        self._disk.extend(self._path, self._content, data, self._end)
        self._end += len(data)

    def reserve(self, size_bytes: int) -> None:
        """Lengthen the file by so many zeros, whose place what is appended later takes."""
        self._disk.extend(self._path, self._content, bytes(size_bytes), self._end)

    def sync(self) -> None:
        """Return when all that was appended is durable."""
        self._disk.settle(self._path, self._content)

    def close(self) -> None:
        """Release the file. Does not sync. May be called twice."""


class FakeDisk:
    """A disk in memory. Safe to use from many threads.

    Args:
        seed: Decides what crashes and failing calls leave behind.
        room_bytes: How many bytes can yet be written; None for no end. May be set at any time.

    Attributes:
        calls: How many calls were made of the disk and its files, `close` and `local_path` aside.

    """

    def __init__(self, seed: int, *, room_bytes: int | None = None) -> None:
        self.room_bytes = room_bytes
        self.calls = 0
        self._random = random.Random(seed)  # noqa: S311  # a test wants the same numbers again
        self._lock = threading.RLock()
        self._names: dict[str, _Content] = {}
        self._durable: dict[str, _Content] = {}
        self._pending: list[_Naming] = []
        self._errors: dict[int, Exception] = {}
        self._crash_at: int | None = None
        self._is_off = False

    def fail_at(self, call: int, error: Exception | None = None) -> None:
        """Have one call fail, after some of its work; the calls after it succeed again.

        Args:
            call: Its number, counted from 1.
            error: What it raises; by default the disk refuses with an input/output error.

        """
        refused = refusal("use", f"call {call}", _ROOT, OSError(errno.EIO, ""))
        self._errors[call] = error or refused

    def crash_at(self, call: int) -> None:
        """Have the machine go off in a call, after some of its work; every later call fails."""
        self._crash_at = call

    @property
    def is_off(self) -> bool:
        """Whether the machine went off: every call fails."""
        return self._is_off

    def switch_off(self) -> None:
        """Let every later call fail."""
        self._is_off = True

    def paths(self) -> list[str]:
        """All files that are there; also when the machine is off, and not counted as a call."""
        return sorted(self._names)

    def peek(self, path: str) -> bytes:
        """A file's content; also when the machine is off, and not counted as a call."""
        return bytes(self._names[path].data)

    def copy(self) -> FakeDisk:
        """A disk with the same files, on which all that is there is durable."""
        with self._lock:
            after = FakeDisk(self._random.getrandbits(64), room_bytes=self.room_bytes)
            found = {path: bytearray(content.data) for path, content in self._names.items()}
            after._names = {path: _Content(data, len(data)) for path, data in found.items()}
            after._durable = dict(after._names)
            return after

    def damage(self, path: str, data: bytes | None) -> None:
        """Have a file be something else, durably and at once; None for gone."""
        with self._lock:
            for names in (self._names, self._durable):
                names.pop(path, None)
                if data is not None:
                    names[path] = _Content(bytearray(data), len(data))

    def kill(self) -> FakeDisk:
        """End the process that uses this disk; return the disk as the next one finds it.

        The machine goes on: what was written is there, though it may not be durable yet.
        """
        with self._lock:
            self._is_off = True
            after = FakeDisk(self._random.getrandbits(64), room_bytes=self.room_bytes)
            after._names, after._durable = self._names, self._durable
            after._pending = self._pending
            return after

    def crash(self) -> FakeDisk:
        """Switch this machine off; return the disk as it is when the machine is on again."""
        with self._lock:
            self._is_off = True
            names = dict(self._durable)
            for naming in self._pending:
                if self._is_lucky():
                    _apply(naming, names)
            after = FakeDisk(self._random.getrandbits(64), room_bytes=self.room_bytes)
            after._names = {path: self._surviving(content) for path, content in names.items()}
            after._durable = dict(after._names)
            return after

    def append_to(self, path: str) -> FakeFile:
        """Open a file for appending; it is created when missing."""
        with self._lock:
            error = self._begin(checked(path), "open")
            if error is not None and not self._is_lucky():
                raise error
            content = self._created(path)
            if error is not None:
                raise error
            return FakeFile(self, path, content)

    def write(self, path: str, parts: Sequence[Part]) -> None:
        """Create or replace a file with the parts and sync it; not atomic."""
        with self._lock:
            error = self._begin(checked(path), "write")
            content = self._created(path)
            content.data.clear()
            content.unsynced.clear()
            content.synced_bytes = 0
            self._take(path, content, b"".join(parts), 0, error)
            content.synced_bytes = len(content.data)

    def read(self, path: str) -> bytes:
        """The whole content. Raises `FileNotFoundError` when there is no such file."""
        return bytes(self._content(path, "read").data)

    def map(self, path: str) -> pa.Buffer:
        """The whole content as it is now; later changes are not seen."""
        return pa.py_buffer(bytes(self._content(path, "map").data))

    def truncate(self, path: str, size_bytes: int) -> None:
        """Cut a file to `size_bytes` and sync it."""
        with self._lock:
            error = self._begin(checked(path), "truncate")
            content = self._there(path, "truncate")
            if error is None or self._is_lucky():
                content.data[size_bytes:] = b""
                content.synced_bytes = len(content.data)
                content.unsynced.clear()
            if error is not None:
                raise error

    def rename(self, source: str, target: str) -> None:
        """Give a file a new path, replacing what is there, atomically."""
        with self._lock:
            error = self._begin(checked(source), "rename")
            content = self._there(source, f"rename to {checked(target)}")
            if error is None or self._is_lucky():
                self._name({source: None, target: content})
            if error is not None:
                raise error

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        with self._lock:
            error = self._begin(checked(path), "delete")
            if path in self._names and (error is None or self._is_lucky()):
                self._name({path: None})
            if error is not None:
                raise error

    def sync_folder(self, path: str) -> None:
        """Return when the names in folder `path` are durable."""
        with self._lock:
            error = self._begin(checked_folder(path), "sync")
            if error is not None and not self._is_lucky():
                raise error
            for naming in self._pending:
                naming.folders.discard(checked_folder(path))
                if not naming.folders:
                    _apply(naming, self._durable)
            self._pending = [naming for naming in self._pending if naming.folders]
            if error is not None:
                raise error

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below folder `prefix`, sorted; empty when it does not exist."""
        folder = checked_folder(prefix)
        with self._lock:
            error = self._begin(folder, "list")
            if error is not None:
                raise error
            lead = f"{folder}/" if folder else ""
            return sorted(path for path in self._names if path.startswith(lead))

    def size(self, path: str) -> int:
        """The file's length in bytes. Raises `FileNotFoundError` when there is no such file."""
        return len(self._content(path, "look at").data)

    def local_path(self, path: str) -> str | None:
        """Nowhere: the operating system does not know these files."""
        checked(path)
        return None

    def extend(self, path: str, content: _Content, data: bytes, at: int) -> None:
        """What a file's `append` does, and its `reserve`."""
        with self._lock:
            self._take(path, content, data, at, self._begin(path, "append to"))

    def settle(self, path: str, content: _Content) -> None:
        """What a file's `sync` does."""
        with self._lock:
            error = self._begin(path, "sync")
            if error is None:
                content.synced_bytes = len(content.data)
                content.unsynced.clear()
                return
            content.synced_bytes = self._random.randint(content.synced_bytes, len(content.data))
            raise error

    def _begin(self, path: str, action: str) -> Exception | None:
        """Count a call; return with what it shall fail, if it shall."""
        self.calls += 1
        if self._is_off:
            raise StateError(f"cannot {action} {path}: the machine is off")
        if self.calls == self._crash_at:
            self._is_off = True
            return StateError(f"cannot {action} {path}: the machine went off")
        return self._errors.pop(self.calls, None)

    def _take(
        self, path: str, content: _Content, data: bytes, at: int, error: Exception | None
    ) -> None:
        """Write what there is room for, or, in a failing call, some of it."""
        taken = len(data) if error is None else self._random.randint(0, len(data))
        grown = max(0, at + taken - len(content.data))
        if self.room_bytes is not None:
            if grown > self.room_bytes:
                taken -= grown - self.room_bytes
                grown = self.room_bytes
                error = error or refusal("write", path, _ROOT, OSError(errno.ENOSPC, ""))
            self.room_bytes -= grown
        content.data[at : at + taken] = data[:taken]
        if at < content.synced_bytes:
            content.unsynced.append((at, min(at + taken, content.synced_bytes)))
        if error is not None:
            raise error

    def _content(self, path: str, action: str) -> _Content:
        with self._lock:
            error = self._begin(checked(path), action)
            if error is not None:
                raise error
            if path not in self._names:
                raise FileNotFoundError(errno.ENOENT, "No such file", path)
            return self._names[path]

    def _there(self, path: str, action: str) -> _Content:
        if path not in self._names:
            raise refusal(action, path, _ROOT, OSError(errno.ENOENT, ""))
        return self._names[path]

    def _created(self, path: str) -> _Content:
        if path not in self._names:
            self._name({path: _Content()})
        return self._names[path]

    def _name(self, names: dict[str, _Content | None]) -> None:
        naming = _Naming(names, {folder_of(path) for path in names})
        self._pending.append(naming)
        _apply(naming, self._names)

    def _surviving(self, content: _Content) -> _Content:
        kept = self._random.randint(content.synced_bytes, len(content.data))
        data = content.data[:kept]
        for first, stop in content.unsynced:
            bounds = range(first - first % _SECTOR_BYTES + _SECTOR_BYTES, stop, _SECTOR_BYTES)
            for start, end in itertools.pairwise([first, *bounds, stop]):
                if not self._is_lucky():
                    data[start:end] = bytes(end - start)
        return _Content(data, kept)

    def _is_lucky(self) -> bool:
        return self._random.random() < 0.5


def _apply(naming: _Naming, names: dict[str, _Content]) -> None:
    for path, content in naming.names.items():
        if content is None:
            names.pop(path, None)
        else:
            names[path] = content

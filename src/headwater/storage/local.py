"""A `Disk` on the machine's own file system.

Every durable step is one system call that the reader can name: `pwritev` to append, `fdatasync` for
bytes, `fsync` of the folder for names, `rename` to replace. Large parts go to the kernel where they
lie; small neighbours are joined first, since a system call per thousand of them costs more than
copying them.

A folder that has to be made is synced into its parent at once, so that `sync_folder` of the folder
of a file is enough to keep the file.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from headwater.storage.paths import checked, checked_folder
from headwater.storage.refusal import gone, refusing

Part: TypeAlias = bytes | memoryview | pa.Buffer

# Linux takes at most 1,024 pieces in one `pwritev` (limits.h, UIO_MAXIOV).
_PIECES_MAX = 1024
_SMALL_BYTES = 16 * 1024
# macOS has no fdatasync. Where there is one it saves writing the time of change.
_sync_bytes = getattr(os, "fdatasync", os.fsync)


class LocalFile:
    """A file open for appending.

    Args:
        descriptor: Open for writing; owned by this object.
        path: For messages.
        root: The data folder, for messages.

    """

    __slots__ = ("_descriptor", "_end", "_path", "_root")

    def __init__(self, descriptor: int, path: Path, root: Path) -> None:
        self._descriptor = descriptor
        self._end = os.fstat(descriptor).st_size
        self._path = path
        self._root = root

    def append(self, parts: Sequence[Part]) -> None:
        """Write the parts, in order, after all that was appended."""
        with refusing("append to", self._path, self._root):
            self._end = _write_all(self._descriptor, parts, self._end)

    def reserve(self, size_bytes: int) -> None:
        """Lengthen the file by so many zeros, whose place what is appended later takes."""
        with refusing("append to", self._path, self._root):
            _write_all(self._descriptor, [bytes(size_bytes)], self._end)

    def sync(self) -> None:
        """Return when all that was appended and reserved is durable."""
        with refusing("sync", self._path, self._root):
            _sync_bytes(self._descriptor)
            is_there = is_at(self._descriptor, self._path)
        if not is_there:
            # What is written into a file without a name is durable, and nobody will find it.
            raise gone(self._path, self._root)

    def close(self) -> None:
        """Release the file. Does not sync. May be called twice."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class LocalDisk:
    """The files below a folder of this machine.

    Args:
        root: The folder; it must exist.

    """

    __slots__ = ("_root",)

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @classmethod
    def made(cls, root: Path) -> LocalDisk:
        """The disk of a folder that is made, with those above it, when it is missing.

        Raises:
            StateError: It cannot be made.

        """
        with refusing("make", root, root):
            root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    def append_to(self, path: str) -> LocalFile:
        """Open a file for appending; it and its folders are created when missing."""
        target = self._at(path)
        with refusing("open", target, self._root):
            descriptor = self._opened(target, os.O_WRONLY | os.O_CREAT)
        return LocalFile(descriptor, target, self._root)

    def write(self, path: str, parts: Sequence[Part]) -> None:
        """Create or replace a file with the parts and sync it; not atomic."""
        target = self._at(path)
        with refusing("write", target, self._root):
            descriptor = self._opened(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                _write_all(descriptor, parts, 0)
                _sync_bytes(descriptor)
            finally:
                os.close(descriptor)

    def read(self, path: str) -> bytes:
        """The whole content. Raises `FileNotFoundError` when there is no such file."""
        target = self._at(path)
        with refusing("read", target, self._root, may_be_missing=True):
            return target.read_bytes()

    def map(self, path: str) -> pa.Buffer:
        """The whole content as a read-only mapping, valid also after the file is deleted.

        Raises `FileNotFoundError` when there is no such file.
        """
        target = self._at(path)
        with refusing("map", target, self._root, may_be_missing=True):
            if target.stat().st_size == 0:
                return pa.py_buffer(b"")  # the system maps no empty file
            with pa.memory_map(str(target)) as mapping:
                return mapping.read_buffer()

    def truncate(self, path: str, size_bytes: int) -> None:
        """Cut a file to `size_bytes` and sync it."""
        target = self._at(path)
        with refusing("truncate", target, self._root):
            descriptor = os.open(target, os.O_WRONLY)
            try:
                os.ftruncate(descriptor, size_bytes)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def rename(self, source: str, target: str) -> None:
        """Give a file a new path, replacing what is there, atomically."""
        old, new = self._at(source), self._at(target)
        with refusing(f"rename {old} to", new, self._root):
            self._make_folder(new.parent)
            old.replace(new)

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        target = self._at(path)
        with refusing("delete", target, self._root):
            target.unlink(missing_ok=True)

    def sync_folder(self, path: str) -> None:
        """Return when the names in folder `path` are durable."""
        target = self._root / checked_folder(path)
        with refusing("sync", target, self._root):
            if target.is_dir() or not self._root.is_dir():
                _sync_names(target)

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below folder `prefix`, sorted; empty when it does not exist."""
        top = self._root / checked_folder(prefix)
        with refusing("list", top, self._root):
            if not top.is_dir():
                return []
            return sorted(_files_below(top, self._root))

    def size(self, path: str) -> int:
        """The file's length in bytes. Raises `FileNotFoundError` when there is no such file."""
        target = self._at(path)
        with refusing("look at", target, self._root, may_be_missing=True):
            return target.stat().st_size

    def local_path(self, path: str) -> str | None:
        """Where the operating system finds the file."""
        return str(self._at(path))

    def _at(self, path: str) -> Path:
        return self._root / checked(path)

    def _opened(self, target: Path, flags: int) -> int:
        """Open a file, and make its folder only when that fails: it is nearly always there."""
        try:
            return os.open(target, flags, 0o644)
        except FileNotFoundError:
            self._make_folder(target.parent)
            return os.open(target, flags, 0o644)

    def _make_folder(self, folder: Path) -> None:
        # The data folder itself is never made here: if it is gone, its disk is gone.
        if folder == self._root or folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_names(folder.parent)


def is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one at its path: not removed, nor its folder renamed."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _files_below(top: Path, root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(top):
        relative = Path(folder).relative_to(root).as_posix()
        lead = "" if relative == "." else f"{relative}/"
        yield from (lead + name for name in names)


def _sync_names(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, parts: Iterable[Part], at: int) -> int:
    """Write every byte from a position on; return where they end.

    The system may take fewer than it is given, at any point.
    """
    pieces = deque(_pieces(parts))
    while pieces:
        taken_bytes = os.pwritev(descriptor, list(islice(pieces, _PIECES_MAX)), at)
        at += taken_bytes
        while pieces and taken_bytes >= len(pieces[0]):
            taken_bytes -= len(pieces.popleft())
        if taken_bytes:
            pieces[0] = pieces[0][taken_bytes:]
    return at


def _pieces(parts: Iterable[Part]) -> Iterator[memoryview]:
    """The same bytes in fewer pieces: neighbours that are small are joined."""
    small: list[Part] = []
    for part in parts:
        if len(part) < _SMALL_BYTES:
            small.append(part)
            continue
        if small:
            yield memoryview(b"".join(small))
            small.clear()
        yield memoryview(part).cast("B")
    if small:
        yield memoryview(b"".join(small))

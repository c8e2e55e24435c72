"""The one door to files.

Only this package opens, syncs, renames or deletes a file, and it does so through a `Disk`, so that
a test can own the disk and fail it. Paths are relative to the data folder, with forward slashes.

What a crash may do: bytes that were not synced may be lost, wholly or from some point on, and of
those that took the place of reserved zeros any sector; a created or renamed file may be missing
until `sync_folder` of its folder has returned. Nothing that was synced changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa


class AppendFile(Protocol):
    """A file that only grows."""

    def append(self, parts: Sequence[bytes | memoryview | pa.Buffer]) -> None:
        """Write the parts, in order, after all that was appended."""
        ...

    def reserve(self, size_bytes: int) -> None:
        """Lengthen the file by so many zeros, whose place what is appended later takes.

        A sync then writes bytes alone, and does not wait until the system has made the file's new
        length durable. May be called when nothing is left of what was reserved before.
        """
        ...

    def sync(self) -> None:
        """Return when all that was appended and reserved is durable."""
        ...

    def close(self) -> None:
        """Release the file. Does not sync."""
        ...


class Disk(Protocol):
    """A folder of files.

    Every method raises `StateError`, naming path and cause, when the disk refuses (full, read-only,
    gone); a hint says what to do.
    """

    def append_to(self, path: str) -> AppendFile:
        """Open a file for appending; it and its folders are created when missing."""
        ...

    def write(self, path: str, parts: Sequence[bytes | memoryview | pa.Buffer]) -> None:
        """Create or replace a file with the parts and sync it; not atomic (see `Blobs`)."""
        ...

    def read(self, path: str) -> bytes:
        """The whole content. Raises `FileNotFoundError` when there is no such file."""
        ...

    def map(self, path: str) -> pa.Buffer:
        """The whole content as a read-only mapping, valid also after the file is deleted."""
        ...

    def truncate(self, path: str, size_bytes: int) -> None:
        """Cut a file to `size_bytes` and sync it."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give a file a new path, replacing what is there, atomically."""
        ...

    def delete(self, path: str) -> None:
        """Remove a file; nothing happens when it is not there."""
        ...

    def sync_folder(self, path: str) -> None:
        """Return when the names in folder `path` are durable."""
        ...

    def list(self, prefix: str) -> list[str]:
        """The paths of all files below folder `prefix`, sorted; empty when it does not exist."""
        ...

    def size(self, path: str) -> int:
        """The file's length in bytes."""
        ...

    def local_path(self, path: str) -> str | None:
        """Where the operating system finds the file, for readers such as DuckDB, or None."""
        ...

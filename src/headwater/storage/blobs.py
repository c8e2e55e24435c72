"""Whole files that appear at once or not at all.

A blob is written under a temporary name, synced, renamed and its folder synced. A crash before the
rename leaves the old blob, or none, and a temporary file that `Blobs.open` removes; a crash after
it leaves the new one. Where names count only once something else names them, `add` does without
most of that.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pyarrow as pa

from headwater.storage.disk import Disk
from headwater.storage.paths import folder_of

# Long enough that no file of a user's ends in it by chance.
_UNFINISHED = ".hw-unfinished"


class Blobs:
    """The blobs of a disk.

    Args:
        disk: Where they are.

    """

    __slots__ = ("_disk", "_numbers")

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._numbers = itertools.count()

    @classmethod
    def open(cls, disk: Disk) -> Blobs:
        """The blobs of a disk that nobody writes to yet: what a crash left unfinished is removed.

        `DataFolder.open` has done this; a second `Blobs` of the same disk is made by `Blobs(disk)`.
        """
        for path in disk.list(""):
            if path.endswith(_UNFINISHED):
                disk.delete(path)
        return cls(disk)

    def put(self, path: str, parts: Sequence[bytes | memoryview | pa.Buffer]) -> None:
        """Make the parts the content of `path`, durably; readers see the old or the new whole."""
        unfinished = f"{path}.{id(self):x}.{next(self._numbers)}{_UNFINISHED}"
        self._disk.write(unfinished, parts)
        self._disk.rename(unfinished, path)
        self._disk.sync_folder(folder_of(path))

    def add(self, path: str, parts: Sequence[bytes | memoryview | pa.Buffer]) -> None:
        """Write a blob under a name that nobody knows before `settle` has returned.

        Costs less than `put`, of many blobs above all. After a crash before that it may be there,
        whole or in part, or not: whoever lists the folder must know which names count.
        """
        self._disk.write(path, parts)

    def settle(self, folder: str) -> None:
        """Return when what was added to a folder is durable."""
        self._disk.sync_folder(folder)

    def map(self, path: str) -> pa.Buffer:
        """The content, mapped. Raises `FileNotFoundError` when there is no such blob."""
        return self._disk.map(path)

    def read(self, path: str) -> bytes:
        """The content, copied. Raises `FileNotFoundError` when there is no such blob."""
        return self._disk.read(path)

    def delete(self, path: str) -> None:
        """Remove a blob; nothing happens when there is none. After a crash it may be back."""
        self._disk.delete(path)

    def list(self, prefix: str) -> list[str]:
        """The paths of all blobs below folder `prefix`, sorted."""
        return [path for path in self._disk.list(prefix) if not path.endswith(_UNFINISHED)]

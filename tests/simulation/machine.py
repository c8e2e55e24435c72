"""The machine that a life of the pipeline runs on: its disk calls are where things happen.

Every call of the disk lets other threads go on, may take long, and may be the one in which the
process is killed, the machine goes off, or the disk refuses.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from headwater.errors import StateError
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk
from headwater.testing.turns import Turns

FAULTS = ("none", "kill", "off", "off within", "refused", "full")
_NAME_OF_OBJECT = re.compile(r"\.[0-9a-f]+\.(\d+)\.hw-unfinished")


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in a life.

    Args:
        kind: One of `FAULTS`.
        call: In which call of the disk, counted from the life's first.
        room_bytes: For a full disk: how much yet fits on it.
        slow: How often a call takes long.

    """

    kind: str
    call: int = 0
    room_bytes: int | None = None
    slow: float = 0.0

    @property
    def is_refusal(self) -> bool:
        """Whether errors are to be expected while the process goes on."""
        return self.kind in ("refused", "full")


def fault_of(random: Random, *, is_first: bool) -> Fault:
    """A fault, drawn."""
    kind = random.choice(FAULTS)
    call = int(3 ** random.uniform(0 if not is_first else 2.5, 5.6))
    room = random.choice([200, 1_000, 4_000, 12_000]) if kind == "full" else None
    return Fault(kind, call, room, random.choice([0.0, 0.0, 0.0, 0.1]))


class Machine:
    """A disk for one life, behind which a fault waits. It has the methods of a `Disk`.

    Args:
        trace: Takes the name and path of each call.

    """

    def __init__(
        self, disk: FakeDisk, turns: Turns, fault: Fault, random: Random, trace: deque[str]
    ) -> None:
        self.disk = disk
        self.calls = 0
        self.is_refusing = False
        self.is_away = False
        self._turns = turns
        self._fault = fault
        self._random = random
        self._trace = trace
        disk.room_bytes = fault.room_bytes
        if fault.kind == "off within":
            disk.crash_at(disk.calls + fault.call)
        if fault.kind == "refused":
            disk.fail_at(disk.calls + fault.call)

    def append_to(self, path: str) -> Any:
        """See `Disk`."""
        return _File(self, path, self.call("append_to", path))

    def write(self, path: str, parts: Sequence[Any]) -> None:
        """See `Disk`."""
        self.call("write", path, parts)

    def read(self, path: str) -> bytes:
        """See `Disk`."""
        return self.call("read", path)

    def map(self, path: str) -> Any:
        """See `Disk`."""
        return self.call("map", path)

    def truncate(self, path: str, size_bytes: int) -> None:
        """See `Disk`."""
        self.call("truncate", path, size_bytes)

    def rename(self, source: str, target: str) -> None:
        """See `Disk`."""
        self.call("rename", source, target)

    def delete(self, path: str) -> None:
        """See `Disk`."""
        self.call("delete", path)

    def sync_folder(self, path: str) -> None:
        """See `Disk`."""
        self.call("sync_folder", path)

    def list(self, prefix: str) -> list[str]:
        """See `Disk`."""
        return self.call("list", prefix)

    def size(self, path: str) -> int:
        """See `Disk`."""
        return self.call("size", path)

    def local_path(self, path: str) -> str | None:
        """See `Disk`."""
        return self.disk.local_path(path)

    def call(self, name: str, path: str, *rest: Any) -> Any:
        """Make a call of the disk, with all that may come between."""
        return self.at(name, path, lambda: getattr(self.disk, name)(path, *rest))

    def at(self, name: str, path: str, act: Any) -> Any:
        """The same for a call of one of its files."""
        turns, fault = self._turns, self._fault
        turns.pause()
        if self.is_away:
            raise StateError(f"cannot {name} {path}: it is not there")
        if self._random.random() < fault.slow:
            turns.sleep(self._random.uniform(0.01, 3.0))
        self.calls += 1
        plain = _NAME_OF_OBJECT.sub(r".\1.unfinished", path)
        self._trace.append(f"{self.calls:4} {turns.now.name}: {name} {plain}")
        if self.calls == fault.call and fault.kind in ("kill", "off"):
            self.disk.switch_off()
            turns.power_off()
        try:
            return act()
        except StateError:
            if self.disk.is_off:
                turns.power_off()
            self.is_refusing = True
            raise


class Archive:
    """Where the folders of archives are: on a disk of the life that goes on now."""

    machine: Machine

    def blobs(self) -> Blobs:
        """What a folder's store finds there."""
        return Blobs(self.machine)


ARCHIVE = Archive()


class _File:
    """An open file of a `Machine`."""

    def __init__(self, machine: Machine, path: str, file: Any) -> None:
        self._machine = machine
        self._path = path
        self._file = file

    def append(self, parts: Sequence[Any]) -> None:
        self._machine.at("append", self._path, lambda: self._file.append(parts))

    def reserve(self, size_bytes: int) -> None:
        self._machine.at("reserve", self._path, lambda: self._file.reserve(size_bytes))

    def sync(self) -> None:
        self._machine.at("sync", self._path, self._file.sync)

    def close(self) -> None:
        self._file.close()

"""The promise that a record will be durable.

All records that are synced together form a group, and a ticket is a record's place in its group:
thousands of waiters share one event, and an append makes no lock of its own. A group is settled
once: synced, or failed with one error that every one of its tickets raises.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa

from headwater.errors import StateError

Entry = tuple[int, int, Sequence[bytes | memoryview | pa.Buffer]]


class Group:
    """The records of one sync.

    Only the journal changes a group, and, until the group is settled, under the journal's lock.
    """

    __slots__ = ("callbacks", "entries", "error", "is_synced", "settled")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.callbacks: list[tuple[int, Callable[[], None]]] = []
        self.settled = threading.Event()
        self.is_synced = False
        self.error: StateError | None = None

    def settle(self, error: StateError | None) -> None:
        """Wake all who wait."""
        self.error = error
        self.settled.set()


class Registrar(Protocol):
    """Who takes a ticket's callbacks: the journal."""

    def call_after(self, lsn: int, group: Group, callback: Callable[[], None]) -> Group:
        """Have the callback called; return the group after whose settling it has been."""
        ...


class Ticket:
    """The promise that a record will be durable.

    Args:
        lsn: The record's number.
        group: What it is synced with.
        registrar: Who takes callbacks.

    """

    __slots__ = ("_group", "_registrar", "lsn")

    def __init__(self, lsn: int, group: Group, registrar: Registrar) -> None:
        self.lsn = lsn
        self._group = group
        self._registrar = registrar

    @property
    def done(self) -> bool:
        """Whether `wait` would return, or raise, at once."""
        return self._group.settled.is_set()

    def wait(self, timeout: float | None = None) -> None:
        """Return when the record is durable and this ticket's callbacks have returned.

        Args:
            timeout: Seconds, or None to wait for as long as it takes.

        Raises:
            StateError: The record could not be written. It may or may not be on disk: the next
                start decides.
            TimeoutError: The time is over; the record may yet become durable.

        """
        group = self._group
        if not group.settled.wait(timeout):
            raise TimeoutError(f"record {self.lsn} is not durable after {timeout} seconds")
        if group.error is not None:
            raise group.error

    def add_callback(self, callback: Callable[[], None]) -> None:
        """Have the writer call back when the record is durable.

        Callbacks are called one at a time, on the writer's thread, in the order of their records
        as far as they are there in time, and before `wait` returns. They may append; they must be
        quick, and must not wait for a ticket. None is called for a record that failed, nor once the
        journal is closed or broken.
        """
        self._group = self._registrar.call_after(self.lsn, self._group, callback)

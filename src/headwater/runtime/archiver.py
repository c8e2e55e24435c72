"""Combine small segments into archive files, beside everything else.

Each checkpoint leaves a hot segment a log. When a log has enough of them they become one Parquet
file of a good size, in a thread of its own, so that no epoch waits for it. What was combined stays
until a checkpoint that names the new file is durable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from headwater.errors import StateError


class Sealable(Protocol):
    """A log that can combine its hot segments."""

    def seal(self) -> int:
        """Combine what is enough for a file; return how many files were made."""
        ...


class Archiver:
    """Seals logs in the background.

    Args:
        logs: Gives all logs.
    """

    def __init__(self, logs: Callable[[], Sequence[Sealable]]) -> None:
        self._logs = logs
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="headwater-archive", daemon=True)
        self.problem: str | None = None

    def start(self) -> None:
        """Begin; `wake` then says when to look."""
        self._thread.start()

    def wake(self) -> None:
        """Look whether there is something to combine."""
        self._wake.set()

    def stop(self) -> None:
        """End after the file in hand."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._stopping:
                return
            self._seal_all()

    def _seal_all(self) -> None:
        try:
            for log in self._logs():
                if self._stopping:
                    return
                log.seal()
        except StateError as error:
            # The rows are safe in their hot segments; the next checkpoint tries again.
            self.problem = f"the archive could not be written: {error}"
        else:
            self.problem = None

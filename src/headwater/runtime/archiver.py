"""Combine small segments into archive files, and what else is done with files, beside epochs.

Each checkpoint leaves a hot segment a log. When a log has enough of them they become one Parquet
file of a good size, in a thread of its own, so that no epoch waits for it. What was combined stays
until a checkpoint that names the new file is durable. Then the same thread compacts tables
(`runtime.compactor`), and moves what is old enough to where the topic has its archive. Where that
is away files stay here, and it is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from headwater.errors import ConnectorError, StateError

RETRY_SECONDS = 15.0


class Sealable(Protocol):
    """A log that can combine its hot segments."""

    def seal(self) -> int:
        """Combine what is enough for a file; return how many files were made."""
        ...


class Movable(Protocol):
    """A log that can move files to an archive."""

    def archive(self) -> bool:
        """Move a file that may be moved; return whether there are more."""
        ...


def _nothing(_hand: threading.Lock) -> None:
    """There is nothing to be compacted."""


class Archiver:
    """Seals logs in the background, and moves what is sealed.

    Args:
        logs: Gives all logs.
        topics: Gives those that may have an archive.
        compact: Compacts what is to be compacted, given what keeps files from being changed.
    """

    def __init__(
        self,
        logs: Callable[[], Sequence[Sealable]],
        topics: Callable[[], Sequence[Movable]] = tuple,
        compact: Callable[[threading.Lock], None] = _nothing,
    ) -> None:
        self._logs = logs
        self._topics = topics
        self._compact = compact
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="headwater-archive", daemon=True)
        # Who has it keeps files from being combined and moved.
        self.hand = threading.Lock()
        self._sealing: str | None = None
        self._compacting: str | None = None
        self._moving: str | None = None

    @property
    def problem(self) -> str | None:
        """What is wrong, in words; None when all is well."""
        found = [why for why in self._problems() if why is not None]
        return "; ".join(found) or None

    @property
    def is_stopping(self) -> bool:
        """Whether the thread is to end soon."""
        return self._stopping

    def _problems(self) -> tuple[str | None, ...]:
        return self._sealing, self._compacting, self._moving

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
            # An archive that was away is looked for again, also when nothing comes in.
            self._wake.wait(None if self._moving is None else RETRY_SECONDS)
            self._wake.clear()
            if self._stopping:
                return
            self.turn()

    def turn(self) -> None:
        """Do all that is to be done now."""
        self._seal_all()
        self._compact_all()
        self._move_all()

    def _seal_all(self) -> None:
        try:
            for log in self._logs():
                if self._stopping:
                    return
                with self.hand:
                    log.seal()
        except StateError as error:
            # The rows are safe in their hot segments; the next checkpoint tries again.
            self._sealing = f"older rows could not be put into larger files: {error}"
        else:
            self._sealing = None

    def _compact_all(self) -> None:
        try:
            self._compact(self.hand)
        except StateError as error:
            # What was to be compacted is as it was; the next checkpoint tries again.
            self._compacting = f"a table could not be compacted: {error}"
        else:
            self._compacting = None

    def _moved_one(self, topic: Movable) -> bool:
        with self.hand:
            return bool(topic.archive())

    def _move_all(self) -> None:
        found = []
        for topic in self._topics():
            try:
                while not self._stopping and self._moved_one(topic):
                    pass
            except (ConnectorError, StateError) as error:
                found.append(error.message)
        self._moving = "; ".join(dict.fromkeys(found)) or None

"""Epochs on their way into the journal, while the next ones are computed.

One thread puts them there in their order, and shows each once its record is synced. It puts all
that have been handed over into the journal before it waits for the oldest: so one sync is for
several epochs where they are computed quicker than the disk syncs, and none of these waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from headwater.storage.ticket import Ticket

# So many epochs may be on their way: what they put out is in memory, shown or not.
WAITING_MAX = 8


@dataclass(frozen=True, slots=True)
class Commit:
    """How an epoch is committed.

    Args:
        record: Puts its record into the journal.
        publish: Shows what it put out, once the record is durable.

    """

    record: Callable[[], Ticket]
    publish: Callable[[], None]

    def run(self) -> None:
        """Commit it at once."""
        self.record().wait()
        self.publish()


class Commits:
    """Commits epochs in their order, in a thread of its own."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._turns: deque[Future[None]] = deque()
        self._new: deque[Commit] = deque()
        # Only the thread reads or changes these.
        self._recorded: deque[tuple[Ticket, Commit]] = deque()
        self._has_failed = False

    def add(self, commit: Commit) -> None:
        """Hand over an epoch; wait where too many are on their way.

        Raises:
            BaseException: What one before raised; then this one, as all after that, is not
                committed.

        """
        while self._turns and (len(self._turns) >= WAITING_MAX or self._turns[0].done()):
            self._turns.popleft().result()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="headwater-commit")
        self._new.append(commit)
        self._turns.append(self._thread.submit(self._turn))

    def wait(self) -> None:
        """Return when all that were handed over are committed.

        Raises:
            BaseException: What one of them raised; said once.

        """
        while self._turns:
            self._turns.popleft().result()

    def close(self) -> None:
        """Wait for what runs, and end the thread."""
        if self._thread is not None:
            self._thread.shutdown()

    def _turn(self) -> None:
        """Record all that are new, and show the oldest: each turn one."""
        if self._has_failed:
            return
        try:
            while self._new:
                commit = self._new.popleft()
                self._recorded.append((commit.record(), commit))
            ticket, oldest = self._recorded.popleft()
            ticket.wait()
            oldest.publish()
        except BaseException:
            self._has_failed = True
            raise

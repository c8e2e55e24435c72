"""How much a recovery would do again, and how long an epoch may be.

A recovery reads the journal after the last checkpoint and steps its epochs again. So what it takes
is known while the engine runs: the seconds that these epochs took, without what waited for the
disk, and something for each record and each byte of the journal. A checkpoint is due by that
(`runtime.checkpointer`), and not only by the clock: ten seconds of catch-up are ten seconds of
recovery, thirty quiet ones are none.

No checkpoint is taken within an epoch, so none may take long. From the last one it is known how
many rows are computed in a second, and the next takes in no more than that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headwater.clock import Clock

# What an epoch may take.
EPOCH_SECONDS_MAX = 0.5
# So many rows are computed before it is known how long they take.
_ROWS_UNKNOWN = 1 << 17
# Fewer say little about the time that a row takes.
_TELLING_ROWS_MIN = 1 << 14
# What an epoch may take whatever its rows: the first of a process prepares its statements.
_FIXED_SECONDS = 0.1
# What a recovery takes for each record of the journal, and to check and read so many bytes.
_RECORD_SECONDS = 25e-6
_BYTES_PER_SECOND = 1e9


@dataclass(frozen=True, slots=True)
class Work:
    """What was done since the start of the process, as far as a recovery does it again.

    Args:
        seconds: Of epochs, without waiting.
        records: Of the journal.
        size_bytes: Of the journal.

    """

    seconds: float
    records: int
    size_bytes: int

    def seconds_since(self, earlier: Work) -> float:
        """About how long a recovery takes that does again what came after an earlier moment."""
        return (
            (self.seconds - earlier.seconds)
            + (self.records - earlier.records) * _RECORD_SECONDS
            + (self.size_bytes - earlier.size_bytes) / _BYTES_PER_SECOND
        )


class Pace:
    """Measures the work of epochs, which two threads do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._rows_per_second: float | None = None
        self.seconds = 0.0
        # What the longest of the last few epochs took.
        self.epoch_seconds = 0.0

    @property
    def rows_max(self) -> int:
        """How many rows the next epoch may take in."""
        if self._rows_per_second is None:
            return _ROWS_UNKNOWN
        return max(_TELLING_ROWS_MIN, int(self._rows_per_second * EPOCH_SECONDS_MAX))

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count the time of a part of an epoch that a recovery does again."""
        started = self._clock.monotonic()
        try:
            yield
        finally:
            with self._lock:
                self.seconds += self._clock.monotonic() - started

    def note(self, rows: int, seconds: float) -> None:
        """Say how long an epoch took, and how many rows it took in that some view reads."""
        if rows >= _TELLING_ROWS_MIN:
            by_rows = max(seconds - _FIXED_SECONDS, seconds / 4, 1e-6)
            self._rows_per_second = rows / by_rows
        self.epoch_seconds = max(seconds, self.epoch_seconds / 2)

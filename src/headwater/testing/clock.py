"""A clock that a test owns.

It stands still until it is told to advance, so that a test decides every time that the code sees.
"""

from __future__ import annotations

import threading
from datetime import timedelta


class ManualClock:
    """A clock that moves only when told. Safe to use from many threads.

    Args:
        now_us: What it shows first: microseconds since 1970-01-01 UTC; 2026-01-01 when not given.

    """

    def __init__(self, now_us: int = 1_767_225_600_000_000) -> None:
        self._lock = threading.Lock()
        self._now_us = now_us
        self._elapsed_us = 0

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        with self._lock:
            return self._now_us

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        with self._lock:
            return self._elapsed_us / 1_000_000

    def advance(self, by: timedelta | float) -> None:
        """Let time pass.

        Args:
            by: A duration, or seconds; not negative.

        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        assert seconds >= 0, seconds
        with self._lock:
            self._now_us += round(seconds * 1_000_000)
            self._elapsed_us += round(seconds * 1_000_000)

    def set_wall(self, now_us: int) -> None:
        """Set the time of day, as an administrator might, also back; `monotonic` stands."""
        with self._lock:
            self._now_us = now_us

"""The one door to the time of day.

Nothing else in Headwater reads a clock, so that a test can own time, and so that what an operator
computes can depend only on the times that the journal records.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC, by the wall clock. May step back."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never goes back; for durations and rates only."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

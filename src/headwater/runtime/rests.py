"""Pauses in work that goes on beside the epochs, so that it holds none of them up for long.

Two cores and one interpreter are shared by all. A checkpoint that is written at one go makes every
epoch of that time slow; in small parts, with pauses between them, it is hardly felt. Whoever waits
for it says so, and the rest is done without a pause.
"""

from __future__ import annotations

import threading

from headwater.clock import Clock

# A pause is so many times as long as the part before it took, and at most so long.
_TIMES = 4
_SECONDS_MAX = 0.05


class Rests:
    """The pauses of one worker.

    Args:
        clock: For how long a part took.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hurried = threading.Event()
        self._since = clock.monotonic()

    def begin(self, *, is_hurried: bool) -> None:
        """Say that work is handed to the worker, and whether somebody waits for it."""
        self._since = self._clock.monotonic()
        if is_hurried:
            self._hurried.set()
        else:
            self._hurried.clear()

    def hurry(self) -> None:
        """Say that somebody waits: end the pause, and make no more until the next `begin`."""
        self._hurried.set()

    def pause(self) -> None:
        """Pause after a part. Only the worker calls it."""
        took = self._clock.monotonic() - self._since
        self._hurried.wait(min(took * _TIMES, _SECONDS_MAX))
        self._since = self._clock.monotonic()

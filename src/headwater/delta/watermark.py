"""How a watermark ran along the rows of an epoch.

Whether a row is late must not depend on where an epoch was cut. So an epoch does not have one
watermark but a curve: the value that the watermark had before each place in the log's one order. A
row is late, or a window closes, at a place on that curve, and the same place is found again
whatever the cut.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from headwater.delta.delta import Int64Array

# No event has been seen, so nothing is late; and the end of the input, after which all is closed.
BEFORE_ALL = int(np.iinfo(np.int64).min)
AFTER_ALL = int(np.iinfo(np.int64).max)
_NONE = np.empty(0, dtype=np.int64)

Steps: TypeAlias = tuple[Int64Array, Int64Array]


class WatermarkCurve:
    """A step function from ticks to watermarks over one epoch.

    Where it stood before and where it ends is known; what is between may be computed when somebody
    asks for it, as few do where no row is late.

    Args:
        start_us: The watermark before the epoch's first row.
        ticks: Ticks after which the watermark has a new value, ascending.
        values_us: The value from then on, non-decreasing, all above `start_us`.

    """

    __slots__ = ("_points", "_reached", "end_us", "start_us")

    def __init__(self, start_us: int, ticks: Int64Array, values_us: Int64Array) -> None:
        self.start_us = start_us
        # The watermark after the epoch's last row.
        self.end_us = int(values_us[-1]) if len(values_us) else start_us
        self._points: Steps | Callable[[], Steps] = (ticks, values_us)
        self._reached: Callable[[Int64Array], Int64Array] | None = None

    @classmethod
    def later(
        cls,
        start_us: int,
        end_us: int,
        points: Callable[[], Steps],
        reached: Callable[[Int64Array], Int64Array] | None = None,
    ) -> WatermarkCurve:
        """A curve of which no more is known yet.

        Args:
            points: Computes its ticks and values.
            reached: Answers `tick_of` with less work than all of them are, if there is a way.

        """
        curve = cls(start_us, _NONE, _NONE)
        curve.end_us, curve._points, curve._reached = end_us, points, reached
        return curve

    @property
    def ticks(self) -> Int64Array:
        """Ticks after which the watermark has a new value, ascending."""
        return self._known()[0]

    @property
    def values_us(self) -> Int64Array:
        """The value from then on, non-decreasing, all above `start_us`."""
        return self._known()[1]

    def behind(self, by_us: int) -> WatermarkCurve:
        """The curve that stays so much lower; itself where that is nothing."""
        if not by_us:
            return self
        ends = np.array([self.start_us, self.end_us], dtype=np.int64)
        start_us, end_us = _lower(ends, by_us).tolist()
        return WatermarkCurve.later(
            start_us, end_us, lambda: (self.ticks, _lower(self.values_us, by_us))
        )

    def in_steps(self, step_us: int, phase_us: int) -> WatermarkCurve:
        """The curve that stands at the last multiple of a step; itself where that is nothing.

        Args:
            step_us: The step's length.
            phase_us: How far the multiples are shifted, from 0 up to the length.

        """
        if not step_us:
            return self
        before = np.concatenate([np.array([self.start_us], dtype=np.int64), self.values_us])
        steps = _floored(before, step_us, phase_us)
        rises = np.flatnonzero(steps[1:] > steps[:-1])
        return WatermarkCurve(int(steps[0]), self.ticks[rises], steps[1:][rises])

    def between(self, after: int, last: int) -> WatermarkCurve:
        """The part of the curve after one tick, up to and with another."""
        low, high = np.searchsorted(self.ticks, [after, last], side="right").tolist()
        start_us = int(self.values_us[low - 1]) if low else self.start_us
        return WatermarkCurve(start_us, self.ticks[low:high], self.values_us[low:high])

    def before(self, ticks: Int64Array) -> Int64Array:
        """The watermark that stood just before each of `ticks`.

        A row's own event time does not count for the row itself.
        """
        index = np.searchsorted(self.ticks, ticks, side="left")
        steps = np.concatenate([np.array([self.start_us], dtype=np.int64), self.values_us])
        return steps[index]

    def tick_of(self, times_us: Int64Array) -> Int64Array:
        """The tick at which the watermark first reached each of `times_us`.

        Where it had been reached before the epoch, the smallest possible tick; where it is not
        reached in this epoch, the largest.
        """
        if callable(self._points) and self._reached is not None:
            return self._reached(times_us)
        index = np.searchsorted(self.values_us, times_us, side="left")
        ticks = np.concatenate([self.ticks, np.array([AFTER_ALL], dtype=np.int64)])
        return np.where(times_us <= self.start_us, np.int64(BEFORE_ALL), ticks[index])

    def _known(self) -> Steps:
        if callable(self._points):
            self._points = self._points()
        return self._points


def _lower(values_us: Int64Array, by_us: int) -> Int64Array:
    """Watermarks less a length; the end of the input, and what no event has set, stay."""
    is_known = (values_us > BEFORE_ALL + by_us) & (values_us < AFTER_ALL)
    return np.where(is_known, values_us - by_us, values_us)


def _floored(values_us: Int64Array, step_us: int, phase_us: int) -> Int64Array:
    """Watermarks at the last multiple of a step; the end of the input, and no event, stay."""
    is_known = (values_us > BEFORE_ALL + step_us) & (values_us < AFTER_ALL)
    return np.where(is_known, values_us - (values_us - phase_us) % step_us, values_us)


@dataclass(frozen=True, slots=True)
class Shares:
    """How many of a topic's partitions or senders have passed a time.

    Args:
        lows_us: The watermarks of those that are not idle, ascending.
        complete_us: Up to here nobody is waited for, whatever they say later.

    """

    lows_us: Int64Array
    complete_us: int

    def of(self, times_us: Int64Array) -> npt.NDArray[np.float64]:
        """The share, from 0 to 1, that has passed each time; 1 where the topic is complete."""
        count = len(self.lows_us)
        passed = count - np.searchsorted(self.lows_us, times_us, side="left")
        return np.where(times_us <= self.complete_us, 1.0, passed / max(count, 1))

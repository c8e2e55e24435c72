"""The watermark of a topic with one partition, along rows of which only zones are looked at.

Where it stands after each zone follows from the zone's highest time, and that no row of a zone is
late from the lowest: it is not below the watermark after the zone; or it is not below the one
before, and no row is further behind those before it than the delay. So an epoch costs its zones.
Rows are looked at where somebody asks for the whole curve, or when it reached a time: then those of
the zone in which it did.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from headwater.delta.delta import Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, Steps, WatermarkCurve
from headwater.log.chunk import Chunk
from headwater.runtime.curves import Points, at_least, less_delay, rises, times_us_of

# The rows of more zones are not looked at one zone after the other.
_ZONES_MAX = 256


class Zoned:
    """How a watermark ran along the rows of an epoch, as far as somebody asks.

    Args:
        chunks: The rows, all with zones.
        event_time: The column with the times.
        delay_us: How far the watermark stays behind the highest of them.
        start_us: Where it stood before the epoch.
        high_us: The highest time before the epoch.
        floor_us: Where it stands from the first row on, at least.

    """

    def __init__(  # noqa: PLR0913 - all that the curve depends on
        self,
        chunks: Sequence[Chunk],
        *,
        event_time: str,
        delay_us: int,
        start_us: int,
        high_us: int,
        floor_us: int,
    ) -> None:
        self._chunks = chunks
        self._event_time = event_time
        self._delay_us = delay_us
        self._start_us = start_us
        self._floor_us = floor_us
        zones = [chunk.zones for chunk in chunks if chunk.zones is not None]
        assert len(zones) == len(chunks), "rows of which nothing is known"
        self._zones = zones
        self._counts = np.cumsum([0, *(len(some.starts) for some in zones)])
        highest = np.concatenate([[high_us], *(some.highest_us for some in zones)])
        # The highest time before each zone, and last the one after all; and the watermark.
        self._highs: Int64Array = np.maximum.accumulate(highest)
        self._marks = self._standing(self._highs)

    @property
    def high_us(self) -> int:
        """The highest time after the epoch."""
        return int(self._highs[-1])

    def is_in_time(self) -> bool:
        """Whether it is certain that no row came when the watermark had passed its time."""
        lowest = np.concatenate([some.lowest_us for some in self._zones])
        behind = np.concatenate([some.behind_us for some in self._zones])
        is_known = lowest >= self._marks[1:]
        is_known |= (behind <= self._delay_us) & (lowest >= self._marks[:-1])
        return bool(is_known.all())

    def curve(self) -> WatermarkCurve:
        """The curve, of which only the ends are known yet."""
        end_us = max(self._start_us, int(self._marks[-1]))
        return WatermarkCurve.later(self._start_us, end_us, self._points, self._reached)

    def _points(self) -> Steps:
        """The whole curve's places and values."""
        points, number = Points(self._start_us), 0
        for chunk, zones in zip(self._chunks, self._zones, strict=True):
            points.add(*self._along(chunk, (0, chunk.rows.num_rows), number))
            number += len(zones.starts)
        curve = points.curve()
        return curve.ticks, curve.values_us

    def _reached(self, times_us: Int64Array) -> Int64Array:
        """The tick at which it reached each time, as `WatermarkCurve.tick_of` has it."""
        zones = np.searchsorted(self._marks[1:], times_us)
        is_inside = (times_us > self._start_us) & (zones < len(self._marks) - 1)
        wanted = np.flatnonzero(np.bincount(zones[is_inside]))
        if len(wanted) > min(_ZONES_MAX, len(self._marks) // 2):
            return WatermarkCurve(self._start_us, *self._points()).tick_of(times_us)
        ticks = np.where(times_us <= self._start_us, np.int64(BEFORE_ALL), np.int64(AFTER_ALL))
        asked = np.flatnonzero(is_inside)
        asked = asked[np.argsort(times_us[asked], kind="stable")]
        bounds = np.searchsorted(zones[asked], self._counts)
        for number, (first, last) in enumerate(pairwise(bounds.tolist())):
            if first < last:
                some = asked[first:last]
                rows = self._rows_at(number, zones[some], times_us[some])
                ticks[some] = self._chunks[number].ticks_at(rows)
        return ticks

    def _rows_at(self, number: int, zones: Int64Array, times_us: Int64Array) -> Int64Array:
        """The rows of a chunk at which it reached times, which ascend, each in a zone."""
        chunk, starts = self._chunks[number], self._zones[number].starts
        before = int(self._counts[number])
        ends = np.append(starts[1:], chunk.rows.num_rows)
        column = chunk.rows.column(self._event_time)
        edges = np.flatnonzero(np.append(True, zones[1:] != zones[:-1])).tolist()
        found = []
        for low, high in pairwise([*edges, len(zones)]):
            zone = int(zones[low])
            start, end = int(starts[zone - before]), int(ends[zone - before])
            times = times_us_of(column.slice(start, end - start))
            highs = at_least(np.maximum.accumulate(times), int(self._highs[zone]))
            found.append(start + np.searchsorted(self._standing(highs), times_us[low:high]))
        return np.concatenate(found)

    def _along(self, chunk: Chunk, span: tuple[int, int], zone: int) -> Steps:
        """Where the watermark may rise in the rows [from, to), which begin with a zone."""
        low, high = span
        column = chunk.rows.column(self._event_time).slice(low, high - low)
        places, highs = rises(times_us_of(column), int(self._highs[zone]))
        return chunk.ticks_at(places + low), self._standing(highs)

    def _standing(self, highs: Int64Array) -> Int64Array:
        return np.maximum(less_delay(highs, self._delay_us), self._floor_us)


def have_zones(chunks: Sequence[Chunk]) -> bool:
    """Whether there are rows, and something is known of all of them."""
    return bool(chunks) and all(chunk.zones is not None for chunk in chunks)

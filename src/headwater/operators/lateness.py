"""Which rows are too late, and for which windows.

A row is late for a window when, at the row's place in the log, the watermark had already passed
the window's end by the lateness or more. That is decided per row and window on the watermark's
curve, so the same rows are late whatever the cut into epochs. A row in several windows may be
late for the first of them and in time for the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import WEIGHT, Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.slices import Grid
from headwater.schema.schema import Schema
from headwater.state.equality import BoolArray

WATERMARK = "_watermark"
_BLOCK_ROWS = 4_096
# Far below any event time, and far enough from the end of int64 for sums with it.
_LONG_AGO = BEFORE_ALL // 2


@dataclass(frozen=True, slots=True)
class Lateness:
    """The rule of one plan node.

    Args:
        grid: The windows.
        lateness_us: How long after its end a window takes rows.

    """

    grid: Grid
    lateness_us: int

    def may_be_late(self, slices: Int64Array, ticks: Int64Array, curve: WatermarkCurve) -> bool:
        """Whether rows of these slices, the last of them at these ticks, can be late for a window.

        A group's last row tells for all its rows, and in most epochs this alone tells that all
        rows are in time.
        """
        ends = self.grid.start_first(slices) + self.grid.size_us
        closing = ticks_of(curve, ends + self.lateness_us, self.grid.slide_us)
        return bool((ticks > closing).any())

    def is_before(
        self,
        rows: Sequence[tuple[Int64Array, Int64Array]],
        curve: WatermarkCurve,
        lateness_us: int,
    ) -> bool:
        """Whether each row comes before its windows have ended by `lateness_us`.

        First asked of blocks of rows, by their lowest time and their last place in the log, then of
        the rows of the few blocks that do not pass.

        Args:
            rows: Times, none of them near the ends of int64, and places in the log.

        """
        for times, ticks in rows:
            starts = np.arange(0, len(times), _BLOCK_ROWS)
            lows = np.minimum.reduceat(times, starts)
            lasts = np.maximum.reduceat(ticks, starts)
            for start in starts[~self._are_before(lows, lasts, curve, lateness_us)]:
                block = slice(start, start + _BLOCK_ROWS)
                if not self._are_before(times[block], ticks[block], curve, lateness_us).all():
                    return False
        return True

    def _are_before(
        self, times: Int64Array, ticks: Int64Array, curve: WatermarkCurve, lateness_us: int
    ) -> BoolArray:
        ends = self.grid.start_first(self.grid.slice_of(times)) + self.grid.size_us
        before: BoolArray = curve.before(ticks) < ends + lateness_us
        return before

    def first_in_time(self, watermarks: Int64Array) -> Int64Array:
        """The first window start that a row at such a watermark is in time for."""
        known = np.maximum(watermarks, _LONG_AGO)
        return self.grid.start_after(known - self.lateness_us - self.grid.size_us)

    def closed_until(self, watermark_us: int) -> int:
        """No window that starts before this takes rows any more."""
        if watermark_us == BEFORE_ALL:
            return BEFORE_ALL
        bound = watermark_us - self.lateness_us - self.grid.size_us + 1
        return AFTER_ALL if watermark_us == AFTER_ALL else bound


def ticks_of(curve: WatermarkCurve, times_us: Int64Array, step_us: int) -> Int64Array:
    """`curve.tick_of(times_us)` for times that are multiples of a step apart.

    Many rows share few windows, and a look-up costs more than a division.
    """
    if not len(times_us):
        return times_us
    first = int(times_us.min())
    index = (times_us - first) // step_us
    count = int(index.max()) + 1
    if count > len(times_us):
        return curve.tick_of(times_us)
    return curve.tick_of(first + np.arange(count, dtype=np.int64) * step_us).take(index)


def late_rows(
    rows: pa.RecordBatch,
    slices: Int64Array,
    *,
    rule: Lateness,
    watermarks: Int64Array,
) -> tuple[pa.RecordBatch, Int64Array, Int64Array] | None:
    """The rows that are late for a window, once for each such window.

    Args:
        rows: Any columns.
        slices: The slice of each row.
        watermarks: The watermark before each row.

    Returns:
        The rows, the starts of the windows they are late for, and the watermarks; None when no
        row is late.

    """
    grid = rule.grid
    natural = grid.start_first(slices)
    in_time = rule.first_in_time(watermarks)
    suspects = np.flatnonzero(in_time > natural)
    if not len(suspects):
        return None
    bounded = np.minimum(in_time[suspects], grid.start_last(slices[suspects]) + grid.slide_us)
    counts = np.maximum((bounded - natural[suspects]) // grid.slide_us, 0)
    index = np.repeat(suspects, counts)
    if not len(index):
        return None
    nth = np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = natural[index] + nth * grid.slide_us
    return rows.take(pa.array(index)), starts, watermarks[index]


def late_batch(
    late: tuple[pa.RecordBatch, Int64Array, Int64Array],
    *,
    columns: Schema,
    grid: Grid,
    window: tuple[pa.Field, pa.Field],
) -> pa.RecordBatch:
    """Late rows as the view's late rows show them.

    Returns:
        The input's columns (and its weights, where rows can be withdrawn), the window that the row
        missed, and `_watermark`, the watermark that it came behind.

    """
    rows, starts, watermarks = late
    names = [*columns.names, *([WEIGHT] if WEIGHT in rows.schema.names else [])]
    arrays = [rows.column(name) for name in names]
    start, end = window
    arrays.append(times(grid.start_shown(starts), start.type))
    arrays.append(times(starts + grid.size_us, end.type))
    arrays.append(times(watermarks, pa.timestamp("us")))
    return pa.RecordBatch.from_arrays(arrays, names=[*names, start.name, end.name, WATERMARK])


def are_late(times_us: Int64Array, watermarks: Int64Array, lateness_us: int) -> BoolArray:
    """Which rows of a topic's own time, in no window, their watermark had passed by the lateness.

    A row at the watermark is in time: what is expected is nothing before it.
    """
    late: BoolArray = times_us < np.maximum(watermarks, _LONG_AGO) - lateness_us
    return late


def late_alone(
    rows: pa.RecordBatch, weights: Int64Array | None, watermarks: Int64Array
) -> pa.RecordBatch:
    """Late rows that missed no window: their columns and weights, and the watermark."""
    arrays, names = [*rows.columns], [*rows.schema.names]
    if weights is not None:
        arrays.append(pa.array(weights))
        names.append(WEIGHT)
    arrays.append(times(watermarks, pa.timestamp("us")))
    return pa.RecordBatch.from_arrays(arrays, names=[*names, WATERMARK])


def times(values_us: Int64Array, kind: pa.DataType) -> pa.Array:
    """Microseconds as Arrow timestamps, with or without a zone."""
    return pa.array(values_us, type=pa.int64()).view(kind)

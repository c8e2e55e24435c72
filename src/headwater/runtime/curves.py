"""Curves out of the places where a watermark rises.

Where rows are nearly in order few of them raise the highest time, and these are found block by
block; where each is later than the one before, all do, and are taken as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, Steps, WatermarkCurve

_BLOCK_ROWS = 512
_EMPTY = np.empty(0, dtype=np.int64)


class Points:
    """Gathers where a watermark stands along an epoch.

    Args:
        start_us: Where it stood before.

    """

    def __init__(self, start_us: int) -> None:
        self._start_us = start_us
        self._ticks: list[Int64Array] = []
        self._values: list[Int64Array] = []

    def add(self, ticks: Int64Array, values_us: Int64Array) -> None:
        """From each of these ticks on it stands at the value, unless it was further already."""
        self._ticks.append(ticks)
        self._values.append(values_us)

    def add_one(self, tick: int, value_us: int) -> None:
        """The same for one tick."""
        self.add(np.array([tick], dtype=np.int64), np.array([value_us], dtype=np.int64))

    def curve(self) -> WatermarkCurve:
        """The curve through all of them that never goes back."""
        if not self._ticks:
            return WatermarkCurve(self._start_us, _EMPTY, _EMPTY)
        return rising(self._start_us, np.concatenate(self._ticks), np.concatenate(self._values))


def rising(start_us: int, ticks: Int64Array, values_us: Int64Array) -> WatermarkCurve:
    """The curve through these values that never goes back, with only the places where it rises."""
    if len(ticks) and values_us[0] > start_us and _rises_at_each(ticks, values_us):
        return WatermarkCurve(start_us, ticks, values_us)
    highest = np.maximum.accumulate(np.maximum(values_us, start_us))
    before = np.concatenate([np.array([start_us], dtype=np.int64), highest[:-1]])
    rises = highest > before
    ticks, highest = ticks[rises], highest[rises]
    # Of several rises at one tick only the last can be seen by a row.
    last = np.append(ticks[1:] != ticks[:-1], True) if len(ticks) else np.empty(0, dtype=bool)
    return WatermarkCurve(start_us, ticks[last], highest[last])


def _rises_at_each(ticks: Int64Array, values_us: Int64Array) -> bool:
    """Whether these are rises already, as those of rows in order are."""
    return bool((values_us[1:] > values_us[:-1]).all() and (ticks[1:] > ticks[:-1]).all())


def lowest(curves: Sequence[WatermarkCurve]) -> WatermarkCurve:
    """The lowest of several curves, at every tick. No curves: nothing holds time back."""
    if not curves:
        return WatermarkCurve(AFTER_ALL, _EMPTY, _EMPTY)
    if len(curves) == 1:
        return curves[0]
    start_us = min(curve.start_us for curve in curves)
    end_us = min(curve.end_us for curve in curves)
    return WatermarkCurve.later(start_us, end_us, lambda: _lowest(start_us, curves))


def _lowest(start_us: int, curves: Sequence[WatermarkCurve]) -> Steps:
    # Each curve's are sorted, which makes this linear; `np.unique` hashes them, and takes seconds.
    ticks = np.sort(np.concatenate([curve.ticks for curve in curves]), kind="stable")
    ticks = ticks[np.append(True, ticks[1:] != ticks[:-1])[: len(ticks)]]
    # `before(tick + 1)` is the value from `tick` on.
    values = np.min([curve.before(ticks + 1) for curve in curves], axis=0) if len(ticks) else _EMPTY
    curve = rising(start_us, ticks, values)
    return curve.ticks, curve.values_us


def rises(times_us: Int64Array, above_us: int) -> tuple[Int64Array, Int64Array]:
    """The places at which the highest time so far rises, and to what; always the first place too.

    (Where a partition was idle, its first row may move the watermark without a new highest time.)
    """
    if bool((times_us[1:] > times_us[:-1]).all()):
        return np.arange(len(times_us), dtype=np.int64), at_least(times_us, above_us)
    suspects = _above_earlier_blocks(times_us)
    highs = np.maximum.accumulate(times_us[suspects])
    rises = np.flatnonzero(highs[1:] > highs[:-1]) + 1
    first = np.concatenate([np.zeros(1, dtype=np.int64), rises])
    return suspects[first], np.maximum(highs[first], above_us)


def _above_earlier_blocks(times_us: Int64Array) -> Int64Array:
    """The places of times above all times in the blocks of rows before, and the first place.

    All rises are among them. Where rows are nearly in order that is a small part, found at three
    times the speed of following each row.
    """
    whole = len(times_us) // _BLOCK_ROWS
    if whole < 2:
        return np.arange(len(times_us), dtype=np.int64)
    blocks = times_us[: whole * _BLOCK_ROWS].reshape(whole, _BLOCK_ROWS)
    highest = np.maximum.accumulate(blocks.max(axis=1))
    # Of the first block every place is a suspect; the rows after the last block are, too.
    before = np.concatenate([np.full(1, BEFORE_ALL, dtype=np.int64), highest[:-1]])
    is_above = blocks > before[:, None]
    is_above[0] = True
    rest = np.arange(whole * _BLOCK_ROWS, len(times_us), dtype=np.int64)
    return np.concatenate([np.flatnonzero(is_above.ravel()), rest])


def at_least(ascending: Int64Array, lowest: int) -> Int64Array:
    """The greater of each value and `lowest`: nearly always these values, which are not copied."""
    is_so = not len(ascending) or ascending[0] >= lowest
    return ascending if is_so else np.maximum(ascending, lowest)


def at_most(ascending: Int64Array, highest: int) -> Int64Array:
    """The lesser of each value and `highest`."""
    is_so = not len(ascending) or ascending[-1] <= highest
    return ascending if is_so else np.minimum(ascending, highest)


def times_us_of(column: pa.Array) -> Int64Array:
    """Event times as microseconds; a null time never moves a watermark."""
    micros = column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64())
    if micros.null_count:
        micros = pc.fill_null(micros, BEFORE_ALL)
    return np.asarray(micros.to_numpy(zero_copy_only=False), dtype=np.int64)


def less_delay(highs: Int64Array, delay_us: int) -> Int64Array:
    """`highs - delay_us`, where BEFORE_ALL stays what it is."""
    if len(highs) and highs.min() > BEFORE_ALL + delay_us:
        return highs - delay_us
    return np.where(highs <= BEFORE_ALL + delay_us, BEFORE_ALL, highs - delay_us)

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.lateness import Lateness, late_rows
from headwater.operators.slices import Grid
from operators.running import curve_of

grids = st.sampled_from([Grid(10, 10, 0), Grid(10, 2, 1), Grid(7, 3, 0), Grid(4, 10, 2)])
lateness_of = st.integers(0, 8)
times_of = st.lists(st.integers(-30, 30), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(times=times_of, cut=st.integers(0, 11), grid=grids, lateness=lateness_of)
def test_late_is_what_comes_after_the_watermark_passed_the_end_and_the_lateness(
    times: Any, cut: int, grid: Grid, lateness: int
) -> None:
    rule = Lateness(grid, lateness)
    first = min(cut, len(times) - 1)
    curve = curve_of(times, first, len(times))
    here = np.array(times[first:], np.int64)
    ticks = np.arange(first, len(times))
    slices = grid.slice_of(here)

    missed = late_rows(
        pa.record_batch({"row": ticks}), slices, rule=rule, watermarks=curve.before(ticks)
    )

    expected = [
        (tick, start)
        for tick in ticks.tolist()
        for start in range(-60, 60)
        if (start - grid.offset_us) % grid.slide_us == 0
        and start <= times[tick] < start + grid.size_us
        and start + grid.size_us + lateness <= max(times[:tick], default=BEFORE_ALL)
    ]
    got = []
    if missed is not None:
        rows, starts, _ = missed
        got = list(zip(rows.column("row").to_pylist(), starts.tolist(), strict=True))
    assert got == expected


@settings(max_examples=300, deadline=None)
@given(times=times_of, cut=st.integers(0, 11), grid=grids, lateness=lateness_of)
def test_no_group_with_a_late_row_is_told_to_be_in_time(
    times: Any, cut: int, grid: Grid, lateness: int
) -> None:
    rule = Lateness(grid, lateness)
    first = min(cut, len(times) - 1)
    curve = curve_of(times, first, len(times))
    slices = grid.slice_of(np.array(times[first:], np.int64))
    ticks = np.arange(first, len(times))
    in_time = rule.first_in_time(curve.before(ticks))
    natural = grid.start_first(slices)
    is_late = (in_time > natural) & (natural <= grid.start_last(slices))

    for row in np.flatnonzero(is_late):
        assert rule.may_be_late(slices[row : row + 1], ticks[row : row + 1], curve)


def test_the_ends_of_time_do_not_overflow() -> None:
    rule = Lateness(Grid(10, 10, 0), 5)

    assert rule.closed_until(BEFORE_ALL) == BEFORE_ALL
    assert rule.closed_until(AFTER_ALL) == AFTER_ALL
    assert rule.first_in_time(np.array([BEFORE_ALL]))[0] < -(2**60)
    assert rule.first_in_time(np.array([AFTER_ALL]))[0] > 2**60

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.slices import Grid, Span

grids = st.builds(Grid, st.integers(1, 12), st.integers(1, 12), st.integers(-5, 15))
times_of = st.lists(st.integers(-40, 40), max_size=8)


def windows_of(grid: Grid, t: int) -> list[int]:
    starts = range(t - grid.size_us + 1, t + 1)
    return [s for s in starts if (s - grid.offset_us) % grid.slide_us == 0]


@settings(max_examples=300, deadline=None)
@given(grid=grids, times=times_of)
def test_a_slice_is_in_the_windows_of_its_times(grid: Grid, times: Any) -> None:
    slices = grid.slice_of(np.array(times, np.int64))

    index, starts = grid.explode(slices, grid.start_first(slices), Span())

    expected = [(i, s) for i, t in enumerate(times) for s in windows_of(grid, t)]
    assert list(zip(index.tolist(), starts.tolist(), strict=True)) == expected


@settings(max_examples=300, deadline=None)
@given(
    grid=grids,
    times=times_of,
    after=st.integers(-50, 50) | st.just(BEFORE_ALL) | st.just(AFTER_ALL),
    until=st.integers(-50, 50) | st.just(AFTER_ALL) | st.just(BEFORE_ALL),
    first=st.integers(-50, 50),
)
def test_only_windows_of_the_span_and_in_time_are_wanted(
    grid: Grid, times: Any, after: int, until: int, first: int
) -> None:
    slices = grid.slice_of(np.array(times, np.int64))
    starts_from = np.full(len(times), grid.start_after(np.array([first - 1]))[0])

    index, starts = grid.explode(slices, starts_from, Span(after, until))

    expected = [
        (i, s)
        for i, t in enumerate(times)
        for s in windows_of(grid, t)
        if after < s + grid.size_us <= until and s >= first
    ]
    assert list(zip(index.tolist(), starts.tolist(), strict=True)) == expected


@settings(max_examples=300, deadline=None)
@given(grid=grids, watermark=st.integers(-50, 50))
def test_the_first_open_window_is_the_first_that_ends_after_the_watermark(
    grid: Grid, watermark: int
) -> None:
    start = grid.open_from(watermark)

    assert start + grid.size_us > watermark >= start + grid.size_us - grid.slide_us
    assert (start - grid.offset_us) % grid.slide_us == 0

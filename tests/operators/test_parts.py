"""An epoch in parts: the same places for any cut, each row and each rise in one of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.delta.delta import TICK
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.operator import Epoch
from headwater.operators.parts import parted
from headwater.plan.frontier import Frontier

SOURCES = ("t",)
STEP, PHASE, BEHIND = 10, 3, 4
BY = Frontier(SOURCES, BEHIND, STEP, PHASE)

watermarks = st.lists(st.integers(-40, 40) | st.just(AFTER_ALL), min_size=1, max_size=25).map(
    sorted
)


def curve(values: Sequence[int], first: int, stop: int) -> WatermarkCurve:
    """The curve of an epoch in which the row at each place lets the watermark rise so far."""
    start = max([BEFORE_ALL, *values[:first]])
    ticks, rises, highest = [], [], start
    for tick in range(first, stop):
        if values[tick] > highest:
            highest = values[tick]
            ticks.append(tick)
            rises.append(highest)
    return WatermarkCurve(start, np.array(ticks, np.int64), np.array(rises, np.int64))


def step_before(values: Sequence[int], tick: int) -> int:
    """The step at which the frontier stands before a place."""
    highest = max([BEFORE_ALL, *values[:tick]])
    if highest in (BEFORE_ALL, AFTER_ALL):
        return highest
    return (highest - BEHIND - PHASE) // STEP * STEP + PHASE


@given(values=watermarks)
def test_a_curve_in_steps_is_the_curve_at_its_last_step(values: list[int]) -> None:
    epoch = Epoch(1, 0, len(values) - 1, {SOURCES: curve(values, 0, len(values))})
    places = np.arange(len(values) + 1)

    assert epoch.passed(BY).before(places).tolist() == [step_before(values, t) for t in places]
    for time in range(-50, 50):
        first = next((t for t in places if step_before(values, t + 1) >= time), AFTER_ALL)
        assert epoch.passed(BY).tick_of(np.array([time]))[0] == first


@given(
    values=watermarks,
    cuts=st.lists(st.integers(1, 24), max_size=4),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_rows_of_a_part_have_one_step_and_no_part_crosses_one(
    values: list[int], cuts: list[int], shuffled: object
) -> None:
    bounds = sorted({0, len(values), *(c for c in cuts if c < len(values))})
    parts: list[list[int]] = []
    for first, stop in itertools.pairwise(bounds):
        ticks = list(range(first, stop))
        shuffled.shuffle(ticks)  # type: ignore[attr-defined]
        table = pa.table({TICK: pa.array(ticks, pa.int64())})
        epoch = Epoch(1, 0, stop - 1, {SOURCES: curve(values, first, stop)})
        for inputs, part in parted({"t": table}, epoch, [BY]):
            rows = inputs["t"].column(TICK).to_pylist() if "t" in inputs else []
            parts.append(rows)
            assert all(tick <= part.tick_last for tick in rows)
            assert len({step_before(values, tick) for tick in rows}) <= 1
            if rows:
                whole = part.watermarks[SOURCES]
                expected = [max([BEFORE_ALL, *values[:tick]]) for tick in rows]
                assert whole.before(np.array(rows)).tolist() == expected
                # All that came before the part's end has been said when it ends.
                assert whole.end_us == max(values[: part.tick_last + 1])

    assert sorted(itertools.chain(*parts)) == list(range(len(values)))
    assert [max(p) for p in parts if p] == sorted(max(p) for p in parts if p)


def test_without_steps_an_epoch_is_its_only_part() -> None:
    epoch = Epoch(1, 0, 1, {SOURCES: curve([10, 20], 0, 2)})
    inputs = {"t": pa.table({TICK: [0, 1]})}

    assert list(parted(inputs, epoch, [])) == [(inputs, epoch)]


def test_a_watermark_that_is_ready_early_ends_a_part_too() -> None:
    late, early = curve([0, 0, 0], 0, 3), curve([0, 20, 40], 0, 3)
    epoch = Epoch(1, 0, 2, {SOURCES: late}, ready={SOURCES: early})
    inputs = {"t": pa.table({TICK: [0, 1, 2]})}

    parts = list(parted(inputs, epoch, [BY]))

    assert [rows["t"].column(TICK).to_pylist() for rows, _ in parts] == [[0], [1], [2]]
    assert [part.ready[SOURCES].end_us for _, part in parts] == [0, 20, 40]

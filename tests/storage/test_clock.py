from __future__ import annotations

from datetime import timedelta

from headwater.clock import Clock
from headwater.testing.clock import ManualClock


def test_time_stands_until_it_is_advanced() -> None:
    clock: Clock = ManualClock(now_us=5)

    assert (clock.now_us(), clock.now_us()) == (5, 5)
    assert clock.monotonic() == clock.monotonic() == 0


def test_advancing_moves_both_times_alike() -> None:
    clock = ManualClock(now_us=5)
    clock.advance(timedelta(milliseconds=2))
    clock.advance(1.5)

    assert clock.now_us() == 1_502_005
    assert clock.monotonic() == 1.502


def test_a_wall_clock_that_steps_back_leaves_the_monotonic_time() -> None:
    clock = ManualClock(now_us=5_000_000)
    clock.advance(1)
    clock.set_wall(7)

    assert clock.now_us() == 7
    assert clock.monotonic() == 1

"""Of when epochs were computed enough is remembered, and never too much."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.runtime.epoch_times import EpochTimes


@settings(deadline=None, max_examples=50)
@given(
    steps=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=60),
    at=st.integers(0, 90_000_000),
)
def test_no_epoch_of_a_time_is_before_the_one_that_is_found(steps: list[int], at: int) -> None:
    times, now, computed = EpochTimes(), 0, {}
    for epoch, step in enumerate(steps, 1):
        now += step
        computed[epoch] = now
        times.note(epoch, now)

    found = times.epoch_at(at)

    assert all(time_us < at for epoch, time_us in computed.items() if epoch < found)
    for epoch, time_us in computed.items():
        told = times.time_of(epoch)
        assert told is not None
        assert time_us - 1_000_000 < told <= time_us


def test_years_of_epochs_take_no_more_room_than_an_hour() -> None:
    times = EpochTimes()
    for epoch in range(1, 100_001):
        times.note(epoch, epoch * 1_000_000)

    assert len(times.save()) <= 4097
    again = EpochTimes(times.save())
    # What was of late is known to the second, what was long ago about.
    assert again.epoch_at(99_999_000_000) == 99_999
    assert 0 < again.epoch_at(50_000_000_000) <= 50_000
    assert again.time_of(100_000) == 100_000_000_000


def test_a_clock_that_steps_back_changes_nothing_that_was_noted() -> None:
    times = EpochTimes()
    for epoch, time_us in ((1, 10_000_000), (2, 5_000_000), (3, 12_000_000)):
        times.note(epoch, time_us)

    assert times.save() == [(1, 10_000_000), (3, 12_000_000)]

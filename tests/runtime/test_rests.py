"""Pauses in work beside the epochs: as long as its parts, and none when somebody waits."""

from __future__ import annotations

import threading

from headwater.runtime.rests import Rests
from headwater.testing.clock import ManualClock

SECONDS = 20.0


class Told:
    """Stands for the event that ends a pause: notes how long each pause was to be."""

    def __init__(self, rests: Rests) -> None:
        self.asked: list[float] = []
        self._event = rests._hurried
        rests._hurried = self  # type: ignore[assignment]

    def wait(self, seconds: float) -> bool:
        if not self._event.is_set():
            self.asked.append(seconds)
        return True

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()


def test_a_pause_is_four_times_as_long_as_the_part_before_it_and_not_too_long() -> None:
    clock = ManualClock()
    rests = Rests(clock)
    told = Told(rests)
    rests.begin(is_hurried=False)
    for took in (0.002, 0.010, 3.0):
        clock.advance(took)
        rests.pause()

    assert [round(asked, 6) for asked in told.asked] == [0.008, 0.040, 0.050]


def test_work_that_somebody_waits_for_does_not_pause() -> None:
    clock = ManualClock()
    rests = Rests(clock)
    told = Told(rests)
    rests.begin(is_hurried=True)
    clock.advance(1.0)
    rests.pause()
    rests.begin(is_hurried=False)
    rests.hurry()
    clock.advance(1.0)
    rests.pause()

    assert told.asked == []


def test_whoever_begins_to_wait_ends_a_pause() -> None:
    rests = Rests(ManualClock())
    entered, left = threading.Event(), threading.Event()
    hurried = rests._hurried

    class Endless:
        """A pause that only `hurry` ends."""

        def wait(self, _seconds: float) -> bool:
            entered.set()
            return hurried.wait(SECONDS)

        set, clear = hurried.set, hurried.clear

    rests._hurried = Endless()  # type: ignore[assignment]
    rests.begin(is_hurried=False)
    worker = threading.Thread(target=lambda: (rests.pause(), left.set()))
    worker.start()
    assert entered.wait(SECONDS)
    assert not left.is_set()
    rests.hurry()

    assert left.wait(SECONDS)
    worker.join()

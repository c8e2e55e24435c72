"""Bugs that are put into the system are found, each within a bounded number of seeds.

A seed means another run when the simulation grows, so none is relied on: as many are tried as it
takes, beginning with the one that found the bug when it was put here. What finds it finds nothing
without it.

A run in which a thread goes round for ever is ended after so many seconds of computing: it gives
no turn to others, so turns cannot be counted.
"""

from __future__ import annotations

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater.testing.turns import Ended
from simulation import planted, planted_life, planted_senders  # noqa: F401 - they list bugs
from simulation.pipelines import PIPELINES, topics_of
from simulation.planting import BUGS, Bug
from simulation.run import simulate

PAGE = Path(__file__).parents[2] / "docs/planted-bugs.md"
SEEDS_MAX = 64
SECONDS_MAX = 3.0
# A few pipelines do, which are compiled once; and those that let rows go or archive them.
COMMON = [4, 0, 11, 18]
WITH_LOGS = [number for number in range(PIPELINES) if "logs" in topics_of(number)][:4]


@pytest.mark.parametrize("bug", BUGS, ids=[bug.what for bug in BUGS])
def test_a_planted_bug_is_found(bug: Bug) -> None:
    first = bug.after - 1
    seeds = seeds_of(WITH_LOGS if bug.is_of_logs else COMMON)
    found = next((s for s in [*seeds[first:], *seeds[:first]] if failure(bug, s)), None)

    assert found is not None, f"{SEEDS_MAX} seeds do not find that {bug.what}"
    simulate(found)


def test_the_page_shows_every_planted_bug_as_it_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    shown = [tuple(cell.strip() for cell in line) for line in lines[1:]]

    assert shown == [(b.place, b.what, b.lost, b.law, str(b.after)) for b in BUGS]
    assert f"within {SEEDS_MAX} seeds" in text


def seeds_of(pipelines: list[int]) -> list[int]:
    """The seeds that are tried, over these pipelines in turn."""
    turns = range(SEEDS_MAX // len(pipelines))
    return [number + PIPELINES * turn for turn in turns for number in pipelines]


def failure(bug: Bug, seed: int) -> BaseException | None:
    """What a run says with a bug in it; None when it finds nothing."""
    with pytest.MonkeyPatch.context() as patch:
        bug.plant(patch)
        try:
            with bounded(SECONDS_MAX):
                simulate(seed)
        except (AttributeError, NameError, TypeError):
            # What is planted does not fit the code any more: that would be found always.
            raise
        except (Exception, Ended) as error:
            return error
    return None


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """End the threads that were begun here, and raise, when so much was computed."""
    others = {thread.ident for thread in threading.enumerate()}

    def end(*_: object) -> None:
        for thread in threading.enumerate():
            if thread.ident is not None and thread.ident not in others:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread.ident), ctypes.py_object(Ended)
                )
        raise AssertionError("a thread goes round without end")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

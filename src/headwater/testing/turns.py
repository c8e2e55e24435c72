"""Threads that take turns, as a seed decides.

One thread runs at a time, and another goes on only where the running one waits (`block`), or calls
`pause`, which a disk of the test does in each of its calls. Who goes on is drawn from the seed, so
a run of real threads is the same every time; and what waits for a time waits by the test's clock,
which moves on when nobody can run.

The code under test knows nothing of it: `headwater.testing.standins` gives it locks, conditions and
threads that take turns. `end` is the power switch: no thread gets further than where it stands. A
turn costs about 10 us.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random

from headwater.testing.clock import ManualClock

# How often a thread that could go on lets another: at a call of the disk.
_PAUSES = 0.25
_TURNS_MAX = 500_000
# Times closer than this are the same, and this is the least that the clock moves by.
_MOMENT = 1e-7
_TICK = 1e-6


class Ended(BaseException):
    """The machine went off: the thread goes no further."""


class Task:
    """A thread, as whoever gives the turns sees it."""

    __slots__ = ("deadline", "go", "is_done", "name", "ready", "thread")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: Callable[[], bool] | None = None
        self.deadline: float | None = None
        self.is_done = False
        self.go = threading.Lock()
        self.go.acquire()
        self.thread: threading.Thread | None = None


class Turns:
    """Gives one thread after the other its turn.

    Made in the thread that is to run first, which also has to call `end`.

    Args:
        random: Decides who goes on.
        clock: Moves when nobody can go on and somebody waits for a time.

    Attributes:
        errors: What threads ended with, beside `Ended`.

    """

    def __init__(self, random: Random, clock: ManualClock) -> None:
        self.errors: list[BaseException] = []
        self.is_over = False
        self._is_ending = False
        self._random = random
        self._clock = clock
        self._now = Task("main")
        self._tasks = [self._now]
        self._turns = 0

    @property
    def now(self) -> Task:
        """The thread that runs."""
        return self._now

    def elapsed(self) -> float:
        """Seconds since some moment, by the clock."""
        return self._clock.monotonic()

    def pause(self, often: float = _PAUSES) -> None:
        """Perhaps let another thread go on first."""
        if self.is_over:
            raise Ended
        if len(self._tasks) > 1 and self._random.random() < often:
            self._pass_on()

    def sleep(self, seconds: float) -> None:
        """Let others go on for so long."""
        self.block(_never, seconds)

    def block(self, ready: Callable[[], bool], seconds: float | None = None) -> bool:
        """Let others go on until something is so; False when that took longer than `seconds`."""
        if self.is_over:
            raise Ended
        if ready():
            return True
        task = self._now
        task.ready = ready
        if seconds is not None:
            # Who asks again and again for less than the clock can show is to see it move.
            task.deadline = self._clock.monotonic() + max(seconds, _TICK)
        try:
            self._pass_on()
        finally:
            task.ready = task.deadline = None
        return ready()

    def power_off(self) -> None:
        """Let no thread go any further; the one that calls this ends here.

        Raises:
            Ended: Always.

        """
        self.is_over = True
        raise Ended

    def end(self) -> None:
        """End all threads where they stand. Called by the first thread, after which all is over."""
        self.is_over = self._is_ending = True
        for task in self._tasks:
            if task.thread is not None:
                self._now = task
                task.go.release()
                task.thread.join()
        self._tasks.clear()

    def begin(self, call: Callable[[], None], name: str) -> Callable[[], bool]:
        """Have a call made in a thread of its own; return what says whether it is over."""
        task = Task(name)
        task.thread = threading.Thread(target=self._run, args=(task, call), name=name, daemon=True)
        self._tasks.append(task)
        task.thread.start()
        return lambda: task.is_done

    def _run(self, task: Task, call: Callable[[], None]) -> None:
        task.go.acquire()
        try:
            if not self.is_over:
                call()
        except Ended:
            pass
        except BaseException as error:  # a thread's own bug: the test has to hear of it
            self.errors.append(error)
        finally:
            task.is_done = True
            if not self._is_ending:
                self._tasks.remove(task)
                self._now = self._following()
                self._now.go.release()

    def _pass_on(self) -> None:
        task, following = self._now, self._following()
        if following is not task:
            self._now = following
            following.go.release()
            task.go.acquire()
        if self.is_over:
            raise Ended

    def _following(self) -> Task:
        """Who goes on now; the first thread when all is over."""
        self._turns += 1
        if self._turns > _TURNS_MAX:
            self._give_up("there is no end in sight")
        while not self.is_over:
            now = self._clock.monotonic()
            able = [task for task in self._tasks if _is_able(task, now)]
            if able:
                return able[0] if len(able) == 1 else self._random.choice(able)
            deadlines = [task.deadline for task in self._tasks if task.deadline is not None]
            if not deadlines:
                self._give_up("all wait for ever")
            else:
                self._clock.advance(max(min(deadlines) - now, _TICK))
        return self._tasks[0]

    def _give_up(self, why: str) -> None:
        names = ", ".join(task.name for task in self._tasks)
        self.errors.append(AssertionError(f"{why}: {names}"))
        self.is_over = True


def _is_able(task: Task, now: float) -> bool:
    if task.ready is None or task.ready():
        return True
    return task.deadline is not None and task.deadline < now + _MOMENT


def _never() -> bool:
    return False

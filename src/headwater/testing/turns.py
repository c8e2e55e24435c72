"""Threads that take turns, as a seed decides.

Code under test makes threads, locks and conditions as ever, and a test puts those of `Turns` where
the modules would find Python's own (`patched`). Then one thread runs at a time, and another goes on
only where the running one waits, takes a lock, or calls `pause`, which a disk of the test does in
each of its calls. Who goes on is drawn from the seed, so a run of real threads is the same every
time; and what waits for a time waits by the test's clock, which moves on when nobody can run.

`end` is the power switch: no thread gets further than where it stands. A turn costs about 10 us.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from headwater.testing.clock import ManualClock

# How often a thread that could go on lets another: at a call of the disk, and where it takes a
# lock.
_PAUSES = 0.25
_PAUSES_AT_LOCKS = 0.02
_TURNS_MAX = 500_000
# Times closer than this are the same.
_MOMENT = 1e-7


class Ended(BaseException):
    """The machine went off: the thread goes no further."""


class _Task:
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
        self._now = _Task("main")
        self._tasks = [self._now]
        self._turns = 0

    @property
    def now(self) -> str:
        """The name of the thread that runs."""
        return self._now.name

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
        task.deadline = None if seconds is None else self._clock.monotonic() + seconds
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
        task = _Task(name)
        task.thread = threading.Thread(target=self._run, args=(task, call), name=name, daemon=True)
        self._tasks.append(task)
        task.thread.start()
        return lambda: task.is_done

    def _run(self, task: _Task, call: Callable[[], None]) -> None:
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

    def _following(self) -> _Task:
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
                self._clock.advance(max(min(deadlines) - now, 1e-6))
        return self._tasks[0]

    def _give_up(self, why: str) -> None:
        names = ", ".join(task.name for task in self._tasks)
        self.errors.append(AssertionError(f"{why}: {names}"))
        self.is_over = True

    # What stands in for `threading` and `concurrent.futures`.

    def Lock(self) -> _Lock:  # noqa: N802 - the name that `threading` gives it
        """As `threading.Lock`."""
        return _Lock(self, is_reentrant=False)

    def RLock(self) -> _Lock:  # noqa: N802 - the name that `threading` gives it
        """As `threading.RLock`."""
        return _Lock(self, is_reentrant=True)

    def Condition(self, lock: _Lock | None = None) -> _Condition:  # noqa: N802 - as above
        """As `threading.Condition`."""
        return _Condition(self, lock or self.RLock())

    def Event(self) -> _Event:  # noqa: N802 - the name that `threading` gives it
        """As `threading.Event`."""
        return _Event(self)

    def Thread(  # noqa: N802 - the name that `threading` gives it
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
        **options: Any,
    ) -> _Thread:
        """As `threading.Thread`."""
        assert target is not None, group
        return _Thread(self, target, name or "thread", args, options.get("kwargs") or {})

    def ThreadPoolExecutor(  # noqa: N802 - the name that `concurrent.futures` gives it
        self, max_workers: int | None = None, thread_name_prefix: str = ""
    ) -> _Executor:
        """As `concurrent.futures.ThreadPoolExecutor`, of one thread."""
        del max_workers
        return _Executor(self, thread_name_prefix)

    def __getattr__(self, name: str) -> Any:
        """What else `threading` has."""
        return getattr(threading, name)

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Have the modules of Headwater that are loaded make threads that take turns."""
        found: list[tuple[Any, str, Any]] = []
        for name, module in list(sys.modules.items()):
            if name.startswith("headwater.") and not name.startswith("headwater.testing."):
                known = vars(module)
                if known.get("threading") is threading:
                    found.append((module, "threading", self))
                if "ThreadPoolExecutor" in known:
                    found.append((module, "ThreadPoolExecutor", self.ThreadPoolExecutor))
        before = [(module, name, getattr(module, name)) for module, name, _ in found]
        try:
            for module, name, value in found:
                setattr(module, name, value)
            yield
        finally:
            for module, name, value in before:
                setattr(module, name, value)


class _Lock:
    """A lock, reentrant or not."""

    __slots__ = ("_depth", "_is_reentrant", "_owner", "_turns")

    def __init__(self, turns: Turns, *, is_reentrant: bool) -> None:
        self._turns = turns
        self._is_reentrant = is_reentrant
        self._owner: _Task | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`; when all is over, at once."""
        turns = self._turns
        if turns.is_over:
            return True
        task = turns._now
        if self._is_reentrant and self._owner is task:
            self._depth += 1
            return True
        turns.pause(_PAUSES_AT_LOCKS)
        if self._owner is not None:
            if not blocking:
                return False
            if not turns.block(self._is_free, None if timeout < 0 else timeout):
                return False
        self._owner = task
        self._depth = 1
        return True

    def release(self) -> None:
        """As `threading.Lock.release`."""
        if not self._turns.is_over:
            assert self._owner is not None, "nobody has this lock"
            self._depth -= 1
            if not self._depth:
                self._owner = None

    def locked(self) -> bool:
        """As `threading.Lock.locked`."""
        return self._owner is not None

    def given_up(self) -> int:
        """Let go of the lock, however often it was taken; return how often that was."""
        depth, self._depth, self._owner = self._depth, 0, None
        return depth

    def taken_back(self, depth: int) -> None:
        """Take the lock as often as it was."""
        self._turns.block(self._is_free)
        self._owner, self._depth = self._turns._now, depth

    def _is_free(self) -> bool:
        return self._owner is None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_raised: object) -> None:
        self.release()


class _Condition:
    """A condition."""

    def __init__(self, turns: Turns, lock: _Lock) -> None:
        self._turns = turns
        self._lock = lock
        self._notified = 0
        self._waiting = 0
        self.acquire = lock.acquire
        self.release = lock.release

    def wait(self, timeout: float | None = None) -> bool:
        """As `threading.Condition.wait`."""
        if self._turns.is_over:
            raise Ended
        noted = self._notified
        depth = self._lock.given_up()
        is_notified = self._turns.block(lambda: self._notified != noted, timeout)
        self._lock.taken_back(depth)
        return is_notified

    def wait_for(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """As `threading.Condition.wait_for`."""
        until = None if timeout is None else self._turns._clock.monotonic() + timeout
        while not (found := ready()):
            left = None if until is None else until - self._turns._clock.monotonic()
            if left is not None and left < _MOMENT:
                break
            self.wait(left)
        return found

    def notify(self, n: int = 1) -> None:
        """As `threading.Condition.notify`; more may wake up than need be, as any may."""
        del n
        self._notified += 1

    notify_all = notify

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_raised: object) -> None:
        self._lock.release()


class _Event:
    """An event."""

    __slots__ = ("_is_set", "_turns")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_set = False

    def is_set(self) -> bool:
        """As `threading.Event.is_set`."""
        return self._is_set

    def set(self) -> None:
        """As `threading.Event.set`."""
        self._is_set = True

    def clear(self) -> None:
        """As `threading.Event.clear`."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """As `threading.Event.wait`."""
        return self._turns.block(self.is_set, timeout)


class _Thread:
    """A thread."""

    def __init__(
        self,
        turns: Turns,
        target: Callable[..., object],
        name: str,
        args: tuple[Any, ...],
        options: dict[str, Any],
    ) -> None:
        self.name = name
        self.daemon = True
        self._turns = turns
        self._call = (target, args, options)
        self._is_done: Callable[[], bool] | None = None

    def start(self) -> None:
        """As `threading.Thread.start`."""
        target, args, options = self._call

        def run() -> None:
            target(*args, **options)

        self._is_done = self._turns.begin(run, self.name)

    def join(self, timeout: float | None = None) -> None:
        """As `threading.Thread.join`."""
        assert self._is_done is not None, "it was not started"
        self._turns.block(self._is_done, timeout)

    def is_alive(self) -> bool:
        """As `threading.Thread.is_alive`."""
        return self._is_done is not None and not self._is_done()


class _Future:
    """What a call in another thread came to."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._is_done = False
        self._value: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """As `concurrent.futures.Future.done`."""
        return self._is_done

    def result(self, timeout: float | None = None) -> Any:
        """As `concurrent.futures.Future.result`."""
        if not self._turns.block(self.done, timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value

    def take(self, call: Callable[[], Any]) -> None:
        """Make the call and keep what it comes to."""
        try:
            self._value = call()
        except Ended:
            raise
        except BaseException as error:
            self._error = error
        self._is_done = True


class _Executor:
    """One thread that makes one call after the other."""

    def __init__(self, turns: Turns, name: str) -> None:
        self._turns = turns
        self._name = name
        self._last: _Future | None = None

    def submit(self, call: Callable[..., Any], *args: Any, **options: Any) -> _Future:
        """As `concurrent.futures.Executor.submit`."""
        future, before = _Future(self._turns), self._last
        self._last = future

        def run() -> None:
            if before is not None:
                self._turns.block(before.done)
            future.take(lambda: call(*args, **options))

        self._turns.begin(run, self._name)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As `concurrent.futures.Executor.shutdown`; what was submitted is done all the same."""
        del cancel_futures
        if wait and self._last is not None:
            self._turns.block(self._last.done)

    def __enter__(self) -> _Executor:
        return self

    def __exit__(self, *_raised: object) -> None:
        self.shutdown()


def _is_able(task: _Task, now: float) -> bool:
    if task.ready is None or task.ready():
        return True
    return task.deadline is not None and task.deadline < now + _MOMENT


def _never() -> bool:
    return False

"""What stands where the code under test would find `threading`, for threads that take turns.

Code under test makes threads, locks and conditions as ever; within `patched` those that it gets are
of a `Turns`. No other thread runs between two of its turns, so none of these needs a lock itself.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from headwater.testing.turns import Ended, Task, Turns

# How often a thread that takes a lock lets another go on first.
_PAUSES_AT_LOCKS = 0.02
_MODULE = "threading"
_KNOWN = {_MODULE: threading, "ThreadPoolExecutor": ThreadPoolExecutor, "Future": Future}


@contextmanager
def patched(turns: Turns) -> Iterator[None]:
    """Have the modules of Headwater that are loaded make threads that take turns."""
    instead = _Threading(turns)
    found = _found(len(sys.modules))
    before = [(module, name, getattr(module, name)) for module, name in found]
    try:
        for module, name in found:
            setattr(module, name, instead if name == _MODULE else getattr(instead, name))
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@lru_cache(maxsize=1)
def _found(_modules: int) -> list[tuple[Any, str]]:
    """Which of our modules name which of what is stood in for, when so many are loaded."""
    ours = [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("headwater.") and not name.startswith("headwater.testing.")
    ]
    return [
        (module, name)
        for module in ours
        for name, known in _KNOWN.items()
        if vars(module).get(name) is known
    ]


class _Threading:
    """Stands for `threading` and `concurrent.futures`."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def Lock(self) -> _Lock:  # noqa: N802 - the name that `threading` gives it
        """As `threading.Lock`."""
        return _Lock(self._turns, is_reentrant=False)

    def RLock(self) -> _Lock:  # noqa: N802 - the name that `threading` gives it
        """As `threading.RLock`."""
        return _Lock(self._turns, is_reentrant=True)

    def Condition(self, lock: _Lock | None = None) -> _Condition:  # noqa: N802 - as above
        """As `threading.Condition`."""
        return _Condition(self._turns, lock or self.RLock())

    def Event(self) -> _Event:  # noqa: N802 - the name that `threading` gives it
        """As `threading.Event`."""
        return _Event(self._turns)

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
        return _Thread(self._turns, target, name or "thread", args, options.get("kwargs") or {})

    def ThreadPoolExecutor(  # noqa: N802 - the name that `concurrent.futures` gives it
        self, max_workers: int | None = None, thread_name_prefix: str = ""
    ) -> _Executor:
        """As `concurrent.futures.ThreadPoolExecutor`, of one thread."""
        del max_workers
        return _Executor(self._turns, thread_name_prefix)

    def Future(self) -> _Future:  # noqa: N802 - the name that `concurrent.futures` gives it
        """As `concurrent.futures.Future`."""
        return _Future(self._turns)

    def __getattr__(self, name: str) -> Any:
        """What else `threading` has."""
        return getattr(threading, name)


class _Lock:
    """A lock, reentrant or not."""

    __slots__ = ("_depth", "_is_reentrant", "_owner", "_turns")

    def __init__(self, turns: Turns, *, is_reentrant: bool) -> None:
        self._turns = turns
        self._is_reentrant = is_reentrant
        self._owner: Task | None = None
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As `threading.Lock.acquire`; when all is over, at once."""
        turns = self._turns
        if turns.is_over:
            return True
        task = turns.now
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
        self._owner, self._depth = self._turns.now, depth

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
        until = None if timeout is None else self._turns.elapsed() + timeout
        while not (found := ready()):
            left = None if until is None else until - self._turns.elapsed()
            if left is not None and left <= 0:
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

    def set_result(self, value: Any) -> None:
        """As `concurrent.futures.Future.set_result`."""
        self._value, self._is_done = value, True

    def set_exception(self, error: BaseException) -> None:
        """As `concurrent.futures.Future.set_exception`."""
        self._error, self._is_done = error, True

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

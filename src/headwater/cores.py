"""Two halves of one computation, or one after another, on two cores.

For work in numpy, Arrow or zlib over large arrays, which lets go of Python's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

A = TypeVar("A")
B = TypeVar("B")
# A call that does a small part of some work, and says what else there is to do then.
Chore: TypeAlias = "Callable[[], Iterable[Chore]]"


def both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """The results of two calls that run at the same time, the first in the caller's thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="headwater-half") as other:
        waiting = other.submit(second)
        return first(), waiting.result()


def halves(sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """The numbers of things of these sizes, those of each half about as much as the other's."""
    found: tuple[list[int], list[int]] = ([], [])
    totals = [0, 0]
    for number in sorted(range(len(sizes)), key=lambda n: -sizes[n]):
        lighter = int(totals[1] < totals[0])
        found[lighter].append(number)
        totals[lighter] += sizes[number]
    return found


class Behind:
    """Runs calls in a thread of its own, one after the other, behind whoever hands them over.

    Args:
        name: The thread's.

    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: ThreadPoolExecutor | None = None
        self._running: Future[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a call is not done yet."""
        return self._running is not None and not self._running.done()

    def run(self, call: Callable[[], None]) -> None:
        """Hand over a call, once the one before is done.

        Raises:
            BaseException: What the one before raised; then this one is not run.

        """
        self.wait()
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        self._running = self._thread.submit(call)

    def wait(self) -> None:
        """Return when nothing is to be done.

        Raises:
            BaseException: What the last call raised; said once.

        """
        running, self._running = self._running, None
        if running is not None:
            running.result()

    def close(self) -> None:
        """Wait for what runs, and end the thread."""
        if self._thread is not None:
            self._thread.shutdown()

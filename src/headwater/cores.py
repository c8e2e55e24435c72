"""Two halves of one computation, on two cores.

For work in numpy, Arrow or zlib over large arrays, which lets go of Python's lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


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

"""Two halves of one computation, on two cores.

For work in numpy, Arrow or zlib over large arrays, which lets go of Python's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def both(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """The results of two calls that run at the same time, the first in the caller's thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="headwater-half") as other:
        waiting = other.submit(second)
        return first(), waiting.result()

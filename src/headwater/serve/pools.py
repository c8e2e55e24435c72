"""Threads for the calls that block, so that one kind of work cannot starve another.

The service's calls block on a disk, on a query or on the next epoch. Each kind has its own few
threads: a hundred slow questions leave the senders' threads alone. Threads start when they are
needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from enum import Enum
from typing import Any, TypeVar

T = TypeVar("T")


class Work(Enum):
    """The kinds of work, each with the most threads it may take."""

    SEND = 32
    READ = 8
    SQL = 4
    TAIL = 33
    CONSUME = 64
    COMMIT = 16
    STATUS = 2


class Pools:
    """One pool of threads for each kind of work."""

    def __init__(self) -> None:
        self._pools = {
            kind: ThreadPoolExecutor(
                kind.value, thread_name_prefix=f"headwater-{kind.name.lower()}"
            )
            for kind in Work
        }
        self._running: set[Future[Any]] = set()

    async def run(self, kind: Work, function: Callable[..., T], *args: Any) -> T:
        """Call `function` on a thread of that kind; raise what it raises.

        A caller that is cancelled stops waiting; the call itself runs to its end.
        """
        future = self._pools[kind].submit(function, *args)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return await asyncio.wrap_future(future)

    def close(self, seconds_max: float) -> None:
        """Take no more work; wait, at most so long, for what is running."""
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        wait(list(self._running), timeout=seconds_max)

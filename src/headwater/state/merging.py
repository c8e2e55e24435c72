"""Large merges, done beside the epochs by a thread of their own.

A merge reads runs, which never change, and makes another; so it can be done while epochs go on. Who
wants the result says at which of its own steps it must be there (`state.spine`), and waits there if
it is not: what is known after each step does not depend on the timing, and who brings rows faster
than they can be merged is held up.

There is one such thread for the process, as merges take both time and memory. It does not keep the
process from ending.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class MergeThread:
    """Runs calls one after the other, in the order in which they came."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], ResultT]) -> Future[ResultT]:
        """Run a call when those before it are done. What is cancelled meanwhile is not run."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="headwater-merge", daemon=True
                )
                self._thread.start()
        future: Future[ResultT] = Future()
        self._calls.put((future, call))
        return future

    def _run(self) -> None:
        while True:
            future, call = self._calls.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # Who waits for it is told.
                future.set_exception(error)
            # What was merged belongs to who asked; nothing is held while the queue is empty.
            del future, call


MERGES = MergeThread()

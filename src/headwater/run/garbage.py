"""Keep the search for cyclic garbage short while a pipeline runs.

A pipeline, its plans, and the libraries below it are a hundred thousand objects. Python looks
through all of them now and then, for which every thread waits: 40 ms, many times what an epoch
takes. So what is there when a pipeline has started is not looked through again until it has closed.
"""

from __future__ import annotations

import gc
import threading

_lock = threading.Lock()
_running = 0


def hold() -> None:
    """Keep what is frozen until `release`."""
    global _running  # noqa: PLW0603 - of the process, as the collector is
    with _lock:
        _running += 1


def freeze() -> None:
    """Look through nothing that is there now, as long as somebody holds it."""
    gc.freeze()


def release() -> None:
    """The counterpart of `hold`: nothing is frozen any more once nobody holds it."""
    global _running  # noqa: PLW0603
    with _lock:
        _running -= 1
        if not _running:
            gc.unfreeze()

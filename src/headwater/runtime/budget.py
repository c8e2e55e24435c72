"""A budget for the memory of the process, and what is done to keep it.

What views and tables remember may exceed memory, because what a checkpoint has stored can be mapped
from its files when the next one is taken (`state.checkpoint`). Memory that is the process's own is
quicker, so that is done from three eighths of the budget on, and checkpoints are taken sooner; then
what is left is what has changed since the checkpoint before the last. At five eighths the epochs
wait until all is stored: whoever sends is held up by the disk, and memory stays.

Pages of mapped files do not count: the system takes them back when it needs them.
"""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path

from headwater.heap import HEAP

_PAGE_BYTES = 4096
_STATM = Path("/proc/self/statm")
# <cgroup v2>
_CONTAINER = Path("/sys/fs/cgroup/memory.max")
# What cannot be stored must not be asked for again and again: only once so much more is in use.
_STEP_SHARE = 16


class Pressure(Enum):
    """What is to be done about the memory in use."""

    NONE = "nothing"
    SOON = "a checkpoint is worth taking"
    NOW = "epochs wait for one"


def anonymous_bytes() -> int:
    """The memory that is the process's own; 0 where the system does not tell."""
    try:
        _, resident, shared = _STATM.read_text().split()[:3]
    except (OSError, ValueError):
        return 0
    return (int(resident) - int(shared)) * _PAGE_BYTES


def _memory_bytes() -> int:
    """The memory of the machine, or of the container that this runs in."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(machine, int(_CONTAINER.read_text()))
    except (OSError, ValueError):
        # There is none, or it says "max".
        return machine


class Budget:
    """Watches the memory of the process.

    Args:
        limit_bytes: How much of it there may be; None: three quarters of what the machine, or the
            container, has.

    """

    def __init__(self, limit_bytes: int | None) -> None:
        self._limit_bytes = _memory_bytes() * 3 // 4 if limit_bytes is None else limit_bytes
        self._eased_bytes = 0

    def pressure(self) -> Pressure:
        """How near the budget is; 20 us."""
        limit = self._limit_bytes
        threshold = max(3 * limit // 8, self._eased_bytes + limit // _STEP_SHARE)
        if anonymous_bytes() < threshold:
            return Pressure.NONE
        # Memory that is free already is not what a checkpoint frees.
        HEAP.trim()
        used = anonymous_bytes()
        if used < threshold:
            return Pressure.NONE
        return Pressure.NOW if 8 * used >= 5 * limit else Pressure.SOON

    def ease(self) -> None:
        """Say that all that can be stored is; what is in use now must be."""
        HEAP.trim()
        self._eased_bytes = anonymous_bytes()

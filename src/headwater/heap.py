"""Memory as epochs need it: large arrays, new in every epoch, touched at once.

Settings of the whole process, which the environment may overrule. Arrow's default allocator,
mimalloc, turns huge pages off when it is first used, and the C library gives each thread a heap of
its own, whose large arrays go back to the system and come anew. Both make touching memory many
times slower (decisions/0003). So all large arrays come from one heap.

While a backlog is computed that heap has room ahead: addresses of which the kernel knows that they
may be huge pages. They cost nothing before they are touched; what an epoch frees the next one
uses. When the backlog is done the memory that is free goes back to the system.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import pyarrow as pa

# How much of the heap is made ready at a time, and below what it is time for more: an epoch may
# touch so much.
_AHEAD_BYTES = 1 << 30
_ROOM_BYTES = 512 << 20
_PAGE_BYTES = 1 << 21
# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MMAP_MAX_DEFAULT, _TRIM_THRESHOLD_DEFAULT = 1 << 16, 128 << 10
# <sys/mman.h> of Linux.
_MADV_HUGEPAGE = 14


class _MallInfo(ctypes.Structure):
    """`struct mallinfo2`: what the heap has; `keepcost` is free at its end."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class Heap:
    """The heap of the C library; where that is not glibc, one that nothing is asked of."""

    def __init__(self) -> None:
        self._c = _c_library()
        self._lock = threading.Lock()
        self._has_room = False

    def settle(self) -> None:
        """Choose the allocators, once, before there are threads."""
        if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
            pa.set_memory_pool(pa.system_memory_pool())
        if self._c is not None and "MALLOC_ARENA_MAX" not in os.environ:
            self._c.mallopt(_M_ARENA_MAX, 1)

    def make_room(self) -> None:
        """See to it that much can be allocated quickly; costs 0.1 ms if there is room."""
        if self._c is None:
            return
        with self._lock:
            if not self._has_room:
                self._c.mallopt(_M_MMAP_MAX, 0)
                self._c.mallopt(_M_TRIM_THRESHOLD, -1)
                self._has_room = True
            if self._c.mallinfo2().keepcost < _ROOM_BYTES:
                self._grow()

    def give_back(self) -> None:
        """The counterpart of `make_room`: free memory goes back to the system, if there was any."""
        with self._lock:
            if self._c is None or not self._has_room:
                return
            self._has_room = False
            self._c.mallopt(_M_MMAP_MAX, _MMAP_MAX_DEFAULT)
            self._c.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_DEFAULT)
            self._c.malloc_trim(0)

    def _grow(self) -> None:
        """Take addresses from the end of the heap, ask for huge pages there, and free them.

        Nothing is touched. Where there are no addresses, or no huge pages, all goes on without.
        """
        assert self._c is not None
        start = self._c.malloc(_AHEAD_BYTES)
        if start is None:
            return
        first = -(-start // _PAGE_BYTES) * _PAGE_BYTES
        last = (start + _AHEAD_BYTES) // _PAGE_BYTES * _PAGE_BYTES
        self._c.madvise(first, last - first, _MADV_HUGEPAGE)
        self._c.free(start)


def _c_library() -> Any:
    """The C library if it is glibc on Linux, 2.33 or later; otherwise None."""
    try:
        found = ctypes.CDLL(None)
        names = ("mallopt", "mallinfo2", "malloc_trim", "madvise", "malloc", "free")
        if not all(hasattr(found, name) for name in names):
            return None
    except (OSError, TypeError):
        return None
    found.mallinfo2.restype = _MallInfo
    found.malloc.restype, found.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    found.free.restype, found.free.argtypes = None, [ctypes.c_void_p]
    found.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return found


HEAP = Heap()

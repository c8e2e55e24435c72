"""Memory as epochs need it: large arrays, new in every epoch, touched at once.

Settings of the whole process, which the environment may overrule. Arrow's default allocator,
mimalloc, turns huge pages off when it is first used, and the C library gives each thread a heap of
its own, whose large arrays go back to the system and come anew. Both make touching memory many
times slower (decisions/0003). So all large arrays come from one heap.

While a backlog is computed that heap has room ahead: addresses of which the kernel knows that they
may be huge pages. They cost nothing before they are touched; what an epoch frees the next one
uses. The first of them a second thread touches, because a page that a machine's host has taken back
takes it milliseconds to bring. When the backlog is done the memory that is free goes back to the
system.
"""

from __future__ import annotations

import ctypes
import os
import threading
from typing import Any

import pyarrow as pa

from headwater.cores import Behind

# How much of the heap is made ready at a time, and below what it is time for more: an epoch may
# touch so much.
_AHEAD_BYTES = 1 << 30
_ROOM_BYTES = 512 << 20
_PAGE_BYTES, _SMALL_PAGE_BYTES = 1 << 21, 1 << 12
# So much of it is touched ahead, a piece at a time.
_TOUCHED_BYTES = 64 << 20
_PIECE_BYTES = 4 << 20
# <malloc.h> of glibc.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8
_MMAP_MAX_DEFAULT, _TRIM_THRESHOLD_DEFAULT = 1 << 16, 128 << 10
# <sys/mman.h> of Linux.
_MADV_HUGEPAGE, _MADV_POPULATE_WRITE = 14, 23


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
        self._toucher = Behind("headwater-heap")

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
            if not self._toucher.is_busy:
                self._toucher.run(self._touch)

    def wait(self) -> None:
        """Return when the room is touched."""
        self._toucher.wait()

    def trim(self) -> None:
        """Give free memory back to the system, and keep the room ahead."""
        if self._c is not None:
            self._c.malloc_trim(0)

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

        Where there are no addresses, or no huge pages, all goes on without.
        """
        assert self._c is not None
        start = self._c.malloc(_AHEAD_BYTES)
        if start is None:
            return
        first = _next(start, _PAGE_BYTES)
        last = (start + _AHEAD_BYTES) // _PAGE_BYTES * _PAGE_BYTES
        self._c.madvise(first, last - first, _MADV_HUGEPAGE)
        self._c.free(start)

    def _touch(self) -> None:
        """Have the kernel bring the pages that are used next, unless they are there.

        What stands in them stays as it is: others may use them meanwhile. An older kernel refuses.
        """
        assert self._c is not None
        at, is_done = 0, False
        while not is_done:
            with self._lock:
                if not self._has_room:
                    return
                end = self._c.sbrk(0)
                free = end - self._c.mallinfo2().keepcost
                at = max(at, _next(free, _SMALL_PAGE_BYTES))
                is_done = at + _PIECE_BYTES > min(free + _TOUCHED_BYTES, end)
                if not is_done:
                    is_done = self._c.madvise(at, _PIECE_BYTES, _MADV_POPULATE_WRITE) != 0
            at += _PIECE_BYTES


def _next(address: int, page_bytes: int) -> int:
    return -(-address // page_bytes) * page_bytes


def _c_library() -> Any:
    """The C library if it is glibc on Linux, 2.33 or later; otherwise None."""
    try:
        found = ctypes.CDLL(None)
        names = ("mallopt", "mallinfo2", "malloc_trim", "madvise", "malloc", "free", "sbrk")
        if not all(hasattr(found, name) for name in names):
            return None
    except (OSError, TypeError):
        return None
    found.mallinfo2.restype = _MallInfo
    found.malloc.restype, found.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    found.free.restype, found.free.argtypes = None, [ctypes.c_void_p]
    found.sbrk.restype, found.sbrk.argtypes = ctypes.c_void_p, [ctypes.c_ssize_t]
    found.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return found


HEAP = Heap()

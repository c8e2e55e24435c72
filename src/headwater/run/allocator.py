"""Memory as epochs need it: large arrays, new in every epoch, touched at once.

Two settings of the whole process, each of which the environment may overrule. Arrow's default
allocator, mimalloc, turns huge pages off when it is first used, and the C library gives each thread
a heap of its own, whose large arrays go back to the system and come anew. Both make touching
memory many times slower (decisions/0003).
"""

from __future__ import annotations

import ctypes
import os

import pyarrow as pa

# <malloc.h> of glibc.
_M_ARENA_MAX = -8


def settle() -> None:
    """Choose the allocators, once, before there are threads."""
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:
        pa.set_memory_pool(pa.system_memory_pool())
    if "MALLOC_ARENA_MAX" not in os.environ:
        mallopt = getattr(_c_library(), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_ARENA_MAX, 1)


def _c_library() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None

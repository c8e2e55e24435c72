"""Single values out of large arrays that may be mapped from files, with few reads of the disk.

A page of a mapped file that is not in memory is read when it is touched: one after the other, and,
as the system takes a reader for one that reads on, with a hundred kilobytes around it. Who looks up
one row says first which pages it is about to touch (`will_need`): they are then read at the same
time, and alone. And a number is sought in an ascending array by interpolation, as the hashes of
keys are spread evenly: about two pages are touched, where binary search touches one for nearly each
of its steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array

_PAGE_BYTES = 4096
_NUMBER_BYTES = 8
# So many numbers are looked at together: two pages at most.
_WINDOW = _PAGE_BYTES // _NUMBER_BYTES
# What is spread evenly is found in two or three.
_STEPS_MAX = 6
# <sys/mman.h>, the same on Linux and on others.
_MADV_WILLNEED = 3

# An address and a number of bytes.
Stretch: TypeAlias = tuple[int, int]


def _madvise() -> Callable[[int, int, int], int] | None:
    try:
        call = ctypes.CDLL(None).madvise
    except (OSError, TypeError, AttributeError):
        return None
    call.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return call


_MADVISE = _madvise()


def will_need(stretches: Iterable[Stretch]) -> None:
    """Have the system read mapped pages that are about to be touched; returns at once."""
    if _MADVISE is None:
        return
    for address, size_bytes in stretches:
        first = address // _PAGE_BYTES * _PAGE_BYTES
        _MADVISE(first, address + max(size_bytes, 1) - first, _MADV_WILLNEED)


def row_stretches(rows: pa.RecordBatch, at: int) -> list[Stretch]:
    """Where the values of one row lie; of values of any length about where, if all are alike."""
    found: list[Stretch] = []
    for column in rows.columns:
        found += _value_stretches(column, at)
    return found


def place_of(numbers: UInt64Array | Int64Array, sought: int) -> int:
    """The first place of a number in an ascending array, or -1."""
    low, high = 0, len(numbers)
    least, most = int(numbers[0]), int(numbers[-1])
    if not least <= sought <= most:
        return -1
    address = numbers.ctypes.data
    for _ in range(_STEPS_MAX):
        if high - low <= _WINDOW:
            break
        share = (sought - least) / max(1, most - least)
        start = min(max(low + int(share * (high - low)) - _WINDOW // 2, low), high - _WINDOW)
        will_need([(address + start * _NUMBER_BYTES, _WINDOW * _NUMBER_BYTES)])
        window = numbers[start : start + _WINDOW]
        first, last = int(window[0]), int(window[-1])
        if first < sought <= last or (first == sought and start == 0):
            low, high = start, start + _WINDOW
        elif sought <= first:
            high, most = start + 1, first
        else:
            low, least = start + _WINDOW, last
    at = low + int(np.searchsorted(numbers[low:high], numbers.dtype.type(sought)))
    return at if at < len(numbers) and int(numbers[at]) == sought else -1


def _value_stretches(column: pa.Array, at: int) -> list[Stretch]:
    kind, buffers, place = column.type, column.buffers(), column.offset + at
    found = []
    if buffers[0] is not None:
        found.append((buffers[0].address + place // 8, 1))
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        _, ends, data = buffers
        found.append((ends.address + 4 * place, 8))
        if data is not None and data.size:
            each = data.size / (ends.size // 4)
            start = min(int(place * each), data.size - 1)
            found.append((data.address + start, min(int(each) + 1, data.size - start)))
    elif pa.types.is_primitive(kind) or pa.types.is_decimal(kind):
        bits = place * kind.bit_width
        found.append((buffers[1].address + bits // 8, max(kind.bit_width // 8, 1)))
    return found

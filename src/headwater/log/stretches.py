"""The checksums of a file's stretches, so that reading a column checks that column alone.

A file is cut into stretches where its columns begin and end. What is small, and all that is no
plain column (the schema, the index, dictionaries, nested columns), is checked when the file is
opened; a column when it is first read. Cost: one pass over the bytes at the speed of memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headwater.storage.sums import ByteArray, word_sum

# Below this a column is checked with what stands beside it: a manifest names each stretch.
_COLUMN_BYTES_MIN = 1 << 16


class Part(NamedTuple):
    """A piece of a file that is to be written.

    Args:
        is_column: True for the memory of a plain column.

    """

    content: pa.Buffer
    is_column: bool = False


class Stretch(NamedTuple):
    """What a manifest says of a stretch of a file.

    Args:
        is_column: True when it may be checked as late as it is read.

    """

    size_bytes: int
    checksum: int
    is_column: bool


def stretches_of(parts: Iterable[Part]) -> tuple[Stretch, ...]:
    """The stretches of a file that is written of these parts."""
    found: list[Stretch] = []
    beside: list[pa.Buffer] = []
    for part in parts:
        if part.is_column and part.content.size >= _COLUMN_BYTES_MIN:
            found += _together(beside)
            beside = []
            found.append(Stretch(part.content.size, word_sum(_bytes_of(part.content)), True))
        else:
            beside.append(part.content)
    return (*found, *_together(beside))


def _together(parts: Sequence[pa.Buffer]) -> list[Stretch]:
    content = np.concatenate([np.empty(0, np.uint8), *map(_bytes_of, parts)])
    return [Stretch(len(content), word_sum(content), False)] if len(content) else []


class Checked:
    """A mapped file, whose stretches are checked once, at the latest when they are read.

    Safe to use from many threads.
    """

    def __init__(self, content: pa.Buffer, stretches: Sequence[Stretch]) -> None:
        self._address = content.address
        self._bytes = _bytes_of(content)
        self._stretches = stretches
        self._starts = [0, *accumulate(stretch.size_bytes for stretch in stretches)]
        self._is_checked = [False] * len(stretches)

    def check_beside(self) -> None:
        """Check all that is no column.

        Raises:
            ValueError: It is not what was written.

        """
        for number, stretch in enumerate(self._stretches):
            if not stretch.is_column:
                self._check(number)

    def check(self, column: pa.Array) -> None:
        """Check the bytes of a plain column.

        Raises:
            ValueError: They are not what was written.

        """
        for buffer in column.buffers():
            if buffer is None or not buffer.size:
                continue
            start = buffer.address - self._address
            first = bisect_right(self._starts, start) - 1
            last = bisect_right(self._starts, start + buffer.size - 1) - 1
            for number in range(first, last + 1):
                self._check(number)

    def _check(self, number: int) -> None:
        if self._is_checked[number]:
            return
        start, end = self._starts[number : number + 2]
        if word_sum(self._bytes[start:end]) != self._stretches[number].checksum:
            raise ValueError(
                f"its bytes from {start} to {end} do not have the checksum "
                "that they were written with"
            )
        self._is_checked[number] = True


def _bytes_of(content: pa.Buffer) -> ByteArray:
    return np.frombuffer(content, dtype=np.uint8)

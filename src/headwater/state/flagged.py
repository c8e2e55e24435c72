"""Flags by number: for each of many whole numbers, which of a few things have been seen with it.

Numbers lie in sorted arrays of like growing size, as the runs of a spine do, each number with its
flags, which are only ever added to; where a number lies in several arrays its flags are those of
all of them together. A look-up for numbers that are near each other (ids as a log has them) reads
the stretches of the arrays that they reach into, and arrays that follow each other become one
without a sort. Twelve bytes for each number, where a row with a key has some sixty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.state.checkpoint import Loader, Saver

Int32Array = npt.NDArray[np.int32]

# An array is merged into the one before it when it has at least this part of its numbers.
_LIKE_SIZE = 2
# Larger ones are left as they are: a merge takes no longer than a short moment.
ROWS_MAX = 1 << 23


@dataclass(slots=True)
class _Part:
    """Numbers, ascending, each once, and their flags."""

    numbers: Int64Array
    flags: Int32Array
    name: str | None = None

    def __len__(self) -> int:
        return len(self.numbers)


class Flagged:
    """Whole numbers of 64 bits, each with up to 31 flags.

    Args:
        rows_max: No array becomes larger by a merge.

    """

    def __init__(self, *, rows_max: int = ROWS_MAX) -> None:
        self._parts: list[_Part] = []
        self._rows_max = rows_max

    def add(self, numbers: Int64Array, flags: Int32Array) -> Int32Array:
        """Add flags to numbers; return those that each had before, 0 for a new number.

        Args:
            numbers: Ascending, each once.
            flags: Theirs; not 0.

        """
        before = np.zeros(len(numbers), dtype=np.int32)
        for part in self._parts:
            low = int(np.searchsorted(numbers, part.numbers[0]))
            high = int(np.searchsorted(numbers, part.numbers[-1], side="right"))
            if low < high:
                before[low:high] |= _found(part, numbers[low:high])
        fresh = np.flatnonzero(flags & ~before)
        if len(fresh):
            whole = len(fresh) == len(numbers)
            added = (numbers, flags) if whole else (numbers.take(fresh), flags.take(fresh))
            self._push(_Part(*added))
        return before

    def size(self) -> tuple[int, int]:
        """How many numbers are held, some twice, and in how many bytes."""
        return sum(map(len, self._parts)), sum(
            part.numbers.nbytes + part.flags.nbytes for part in self._parts
        )

    def save(self, saver: Saver) -> Any:
        """Hand the numbers over; return a JSON value from which `load` finds them."""
        for part in self._parts:
            if part.name is None:
                columns = [pa.array(part.numbers), pa.array(part.flags)]
                batch = pa.RecordBatch.from_arrays(columns, names=["number", "flags"])
                part.name = saver.put(batch)
            else:
                saver.keep(part.name)
        return [part.name for part in self._parts]

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._parts = []
        for name in manifest:
            batch = loader.get(name)
            numbers, flags = (batch.column(n).to_numpy() for n in ("number", "flags"))
            self._parts.append(_Part(numbers, flags, name))

    def _push(self, part: _Part) -> None:
        while self._parts and self._are_alike(self._parts[-1], part):
            part = _merged(self._parts.pop(), part)
        self._parts.append(part)

    def _are_alike(self, older: _Part, newer: _Part) -> bool:
        is_like = len(newer) * _LIKE_SIZE >= len(older)
        return is_like and len(newer) + len(older) <= self._rows_max


def _found(part: _Part, numbers: Int64Array) -> Int32Array:
    """The flags of numbers between the first and the last one of a part."""
    first = int(np.searchsorted(part.numbers, numbers[0]))
    stop = int(np.searchsorted(part.numbers, numbers[-1], side="right"))
    known, flags = part.numbers[first:stop], part.flags[first:stop]
    if not len(known):
        return np.zeros(len(numbers), dtype=np.int32)
    at = np.searchsorted(known, numbers)
    np.minimum(at, len(known) - 1, out=at)
    return np.where(known.take(at) == numbers, flags.take(at), np.int32(0))


def _merged(one: _Part, other: _Part) -> _Part:
    """The numbers of both. What lies before or after all of the other part is not sorted."""
    if one.numbers[0] > other.numbers[0]:
        one, other = other, one
    first = int(np.searchsorted(one.numbers, other.numbers[0]))
    stop = int(np.searchsorted(other.numbers, one.numbers[-1], side="right"))
    middle = _together([(one, first, len(one)), (other, 0, stop)])
    numbers = np.concatenate([one.numbers[:first], middle[0], other.numbers[stop:]])
    return _Part(numbers, np.concatenate([one.flags[:first], middle[1], other.flags[stop:]]))


def _together(parts: Sequence[tuple[_Part, int, int]]) -> tuple[Int64Array, Int32Array]:
    """Stretches of parts as one, with flags of equal numbers together."""
    numbers = np.concatenate([part.numbers[first:stop] for part, first, stop in parts])
    flags = np.concatenate([part.flags[first:stop] for part, first, stop in parts])
    if not len(numbers):
        return numbers, flags
    # Linear, as `stable` is Timsort and these are two sorted stretches.
    order = np.argsort(numbers, kind="stable")
    return united(numbers.take(order), flags.take(order))


def united(numbers: Int64Array, flags: Int32Array) -> tuple[Int64Array, Int32Array]:
    """Ascending numbers, each once, with the flags of all that are equal."""
    is_first = np.ones(len(numbers), dtype=np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=is_first[1:])
    if is_first.all():
        return numbers, flags
    first = np.flatnonzero(is_first)
    return numbers.take(first), np.bitwise_or.reduceat(flags, first)

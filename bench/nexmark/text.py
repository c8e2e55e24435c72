"""Columns of made-up text, without a loop over rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_NAMES = ("Ada", "Bo", "Cleo", "Dora", "Eli", "Fay", "Gus", "Hana", "Ira", "Jo", "Kim", "Lou")


def picked(values: Sequence[str], index: np.ndarray) -> pa.Array:
    """One of a few values for each row."""
    return pa.array(values).take(pa.array(index))


def names(rng: np.random.Generator, rows: int) -> pa.Array:
    """A short name for each row."""
    return picked(_NAMES, rng.integers(0, len(_NAMES), rows))


def words(rng: np.random.Generator, rows: int, least: int, most: int | None = None) -> pa.Array:
    """A word of `least` to `most` small letters for each row."""
    lengths = rng.integers(least, (most or least) + 1, rows)
    return _text(rng, lengths, ord("a"), 26)


def digits(rng: np.random.Generator, rows: int, length: int) -> pa.Array:
    """So many digits for each row."""
    return _text(rng, np.full(rows, length), ord("0"), 10)


def numbered(prefix: str, numbers: np.ndarray) -> pa.Array:
    """A text and a number."""
    return joined("", pa.array([prefix] * len(numbers)), pa.array(numbers).cast(pa.string()))


def joined(between: str, *parts: pa.Array) -> pa.Array:
    """The parts of each row, one after the other."""
    return pc.binary_join_element_wise(*parts, between)


def _text(rng: np.random.Generator, lengths: np.ndarray, first: int, letters: int) -> pa.Array:
    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    drawn = rng.integers(first, first + letters, int(ends[-1]), dtype=np.uint8)
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(ends), pa.py_buffer(drawn))

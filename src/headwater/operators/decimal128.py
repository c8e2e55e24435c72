"""Exact sums: 128-bit integers in numpy.

An Arrow decimal is a 128-bit two's complement integer with a scale. DuckDB's exact sums (of
integers and of decimals) come as such, so that a running total is kept and published in one form:
two columns of 64 bits are added with a carry, and no value is ever rounded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.errors import RecordError

BoolArray = npt.NDArray[np.bool_]


def limbs(values: pa.Array) -> Int64Array:
    """The low and high 64 bits of each value, in shape (rows, 2). Those of nulls are undefined."""
    data = values.buffers()[1]
    if data is None or not len(values):
        return np.zeros((0, 2), dtype=np.int64)
    words = np.frombuffer(data, dtype=np.int64)
    first = 2 * values.offset
    return words[first : first + 2 * len(values)].reshape(-1, 2)


def array(words: Int64Array, kind: pa.DataType) -> pa.Array:
    """The values with these limbs, none null, as an Arrow array of decimal type `kind`."""
    data = pa.py_buffer(np.ascontiguousarray(words))
    return pa.Array.from_buffers(kind, len(words), [None, data])


def add(left: Int64Array, right: Int64Array) -> Int64Array:
    """The sums, row by row.

    Raises:
        RecordError: A sum does not fit into 128 bits.

    """
    total = np.empty_like(left)
    low = left[:, 0].view(np.uint64) + right[:, 0].view(np.uint64)
    carry = low < left[:, 0].view(np.uint64)
    high = left[:, 1] + right[:, 1] + carry
    overflows = ((left[:, 1] ^ high) & (right[:, 1] ^ high)) < 0
    if bool(overflows.any()):
        raise RecordError("Out of Range Error: Overflow in a sum: it does not fit into 128 bits")
    total[:, 0] = low.view(np.int64)
    total[:, 1] = high
    return total


def equal(left: Int64Array, right: Int64Array) -> BoolArray:
    """Which rows hold the same value."""
    same: BoolArray = (left == right).all(axis=1)
    return same

"""What an epoch put out, as two numbers: enough for recovery to see whether it repeats itself.

A view that withdraws rows carries a hash of each row, and the sum is that of the hashes by weight.
For a view that only adds rows that hash would cost as much as computing it, and its rows come in an
order that is fixed: there it is a CRC over the columns' bytes, at the speed of memory.
"""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import HASH, Delta
from headwater.schema.schema import Schema


def needs_hash(schema: Schema, *, append_only: bool) -> bool:
    """Whether a view's rows must carry their hash: those of nested columns have no plain bytes."""
    return not append_only or any(pa.types.is_nested(column.type.arrow) for column in schema)


def checksum(delta: Delta) -> tuple[int, int]:
    """Rows put out, and their sum."""
    if HASH not in delta.rows.schema.names:
        return len(delta), _crc(delta.visible())
    hashes, weights = delta.hashes, delta.weights
    if weights is not None:
        hashes = hashes * weights.astype(np.uint64)
    return len(delta), int(hashes.sum(dtype=np.uint64))


def _crc(rows: pa.RecordBatch) -> int:
    columns = [_without_garbage(column) for column in rows.columns]
    plain = pa.RecordBatch.from_arrays(columns, names=rows.schema.names)
    # Serializing drops what lies before and after a slice.
    return zlib.crc32(plain.serialize())


def _without_garbage(column: pa.Array) -> pa.Array:
    """The column with one value under every null: what lies there is whatever lay there before."""
    if not column.null_count:
        return column
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return column
    if pa.types.is_boolean(kind):
        column, kind = column.cast(pa.int8()), pa.int8()
    zeros = np.zeros(len(column) * kind.bit_width // 8, dtype=np.uint8)
    zero = pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(zeros)])
    return pc.if_else(column.is_valid(), column, zero)

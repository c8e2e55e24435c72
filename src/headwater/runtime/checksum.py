"""What an epoch put out, as two numbers: enough for recovery to see whether it repeats itself.

Where rows are withdrawn each row carries a hash, and the sum is that of the hashes by weight. Where
rows are only added that hash would cost as much as computing them, and they come in an order that
is fixed: there it is a CRC over sums of the columns' words, at the speed of memory.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.cores import both, halves
from headwater.delta.delta import HASH, Delta
from headwater.operators.feed import chosen_columns
from headwater.plan.nodes import Node
from headwater.schema.schema import Schema
from headwater.storage.sums import ByteArray, WordSum

# Bytes of values, or the ends of texts, whose differences count.
_Part = npt.NDArray[Any]
_Stream = list[_Part]
# From so many bytes on a second core is worth its start.
_HALVED_BYTES_MIN = 1 << 23


def needs_hash(schema: Schema, root: Node) -> bool:
    """Whether a view's rows must carry their hash from the start.

    Those of nested columns must, as these have no plain bytes, and so must those of a view that may
    withdraw rows and computes its columns, because the hash then comes out of the same statement.
    """
    if any(pa.types.is_nested(column.type.arrow) for column in schema):
        return True
    return not root.append_only and chosen_columns(root) is None


def checksum(delta: Delta) -> tuple[int, int]:
    """Rows put out, and their sum."""
    if HASH not in delta.rows.schema.names:
        return len(delta), _crc(delta.visible())
    hashes, weights = delta.hashes, delta.weights
    if weights is not None:
        hashes = hashes * weights.astype(np.uint64)
    return len(delta), int(hashes.sum(dtype=np.uint64))


def _crc(rows: pa.RecordBatch | pa.Table) -> int:
    streams = [stream for column in rows.columns for stream in _streams(column)]
    sizes = [sum(part.nbytes for part in stream) for stream in streams]
    if sum(sizes) < _HALVED_BYTES_MIN:
        sums = [_sum(stream) for stream in streams]
    else:
        first, second = halves(sizes)
        found = both(
            lambda: [_sum(streams[n]) for n in first], lambda: [_sum(streams[n]) for n in second]
        )
        by_number = dict(zip([*first, *second], [*found[0], *found[1]], strict=True))
        sums = [by_number[n] for n in range(len(streams))]
    return zlib.crc32(np.array(sums, dtype=np.uint32).data)


def _sum(stream: _Stream) -> int:
    sum_ = WordSum()
    for part in stream:
        if part.dtype == np.uint8:
            sum_.add(part)
        else:
            sum_.add_steps(part)
    return sum_.value()


def _streams(column: pa.Array | pa.ChunkedArray) -> list[_Stream]:
    """All that tells a column's values from others, the pieces of a column one after the other."""
    kind = column.type
    if pa.types.is_null(kind) or not len(column):
        return []
    if pa.types.is_boolean(kind):
        return _streams(column.cast(pa.int8()))
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    has_nulls = bool(column.null_count)
    parts = [_parts(chunk, has_nulls=has_nulls) for chunk in chunks if len(chunk)]
    return [list(stream) for stream in zip(*parts, strict=True)]


def _parts(column: pa.Array, *, has_nulls: bool) -> list[_Part]:
    """The values of a piece, not copied where that is possible."""
    kind = column.type
    if not has_nulls:
        return _letters(column) if _has_offsets(kind) else [_values(column)]
    # What lies under a null is whatever lay there before.
    is_valid = _values(column.is_valid().cast(pa.int8()))
    if _has_offsets(kind):
        nothing = "" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else b""
        return [is_valid, *_letters(pc.fill_null(column, nothing))]
    values = _values(column).reshape(len(column), -1)
    return [is_valid, np.where(is_valid[:, None] != 0, values, 0).astype(np.uint8).ravel()]


def _has_offsets(kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return bool(is_text or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _values(column: pa.Array) -> ByteArray:
    width = column.type.bit_width // 8
    data = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    return data[column.offset * width : (column.offset + len(column)) * width]


def _letters(column: pa.Array) -> list[_Part]:
    """Where the texts end, and all letters."""
    _, places, text = column.buffers()
    is_large = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    ends = np.frombuffer(places, dtype=np.int64 if is_large else np.int32)
    ends = ends[column.offset : column.offset + len(column) + 1]
    letters = np.frombuffer(text or b"", dtype=np.uint8)[ends[0] : ends[-1]]
    return [ends, letters]

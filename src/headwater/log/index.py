"""Which appends a run of rows came from: the positions where each began, and its marks.

Rows stand at positions, dense integers. A *chunk* is what one append brought; its *marks* are the
integers it was appended with (its tick, its arrival, its epoch). An index is a few columns of
integers, one value a chunk, so a search in it is a bisection and its cost is that of chunks, never
that of rows.

Stored, it is JSON under the key `headwater.index` in the metadata of the file (of the Arrow schema,
of the Parquet footer): `{"format": 1, "chunks": n, "columns": [starts, mark 0, mark 1, ...]}`, with
a checksum (`storage.sealed`; the first files had none), as nothing else guards a footer. Each
column is int64, differenced, its bytes put plane by plane (all lowest bytes first), compressed with
zstd, in base64: dense positions and ticks come down to almost nothing, arrivals to a byte or two.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.storage.sealed import sealed_json, unsealed_json

INDEX_KEY = b"headwater.index"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Index:
    """The chunks of a run of rows.

    Args:
        starts: The first position of each chunk, and last the position after all; n + 1 values.
        marks: Columns of marks, each with one value a chunk.

    """

    starts: Int64Array
    marks: tuple[Int64Array, ...]

    @staticmethod
    def of(starts: Sequence[int], marks: Sequence[Sequence[int]]) -> Index:
        """The index of plain lists."""
        return Index(
            np.array(starts, dtype=np.int64),
            tuple(np.array(column, dtype=np.int64) for column in marks),
        )

    @staticmethod
    def join(indexes: Sequence[Index]) -> Index:
        """The index of several runs that follow each other without a gap."""
        starts = [index.starts[:-1] for index in indexes] + [indexes[-1].starts[-1:]]
        columns = zip(*(index.marks for index in indexes), strict=True)
        return Index(np.concatenate(starts), tuple(np.concatenate(column) for column in columns))

    def with_marks(self, count: int) -> Index:
        """The same with its first marks alone."""
        return Index(self.starts, self.marks[:count])

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return int(self.starts.nbytes) * (1 + len(self.marks))

    def encode(self) -> bytes:
        """Bytes for a file's metadata."""
        columns = [_pack(column) for column in (self.starts, *self.marks)]
        return sealed_json({"format": _FORMAT, "chunks": len(self), "columns": columns})

    @staticmethod
    def decode(content: bytes) -> Index:
        """Read back what `encode` wrote.

        Raises:
            ValueError: It is something else.

        """
        value = unsealed_json(content, sealed_from=_FORMAT + 1)
        if value["format"] != _FORMAT:
            raise ValueError(f"its index has format {value['format']}, not {_FORMAT}")
        chunks = int(value["chunks"])
        starts, *marks = value["columns"]
        return Index(_unpack(starts, chunks + 1), tuple(_unpack(c, chunks) for c in marks))


def _pack(column: Int64Array) -> str:
    # Neighbours differ little, so the differences' high bytes are nearly all zero; put together,
    # byte by byte, they compress to nothing. Overflow wraps here and wraps back in `_unpack`.
    steps = np.diff(column, prepend=np.int64(0))
    planes = np.ascontiguousarray(steps.view(np.uint8).reshape(-1, 8).T)
    packed = pa.Codec("zstd", compression_level=1).compress(planes.tobytes(), asbytes=True)
    return base64.b64encode(packed).decode()


def _unpack(text: str, count: int) -> Int64Array:
    content = pa.Codec("zstd").decompress(base64.b64decode(text), count * 8, asbytes=True)
    planes = np.frombuffer(content, dtype=np.uint8).reshape(8, count)
    steps = np.ascontiguousarray(planes.T).view(np.int64).reshape(-1)
    return np.cumsum(steps, dtype=np.int64)

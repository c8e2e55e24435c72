"""What became of the records of one body: the accepted as columns, the rejected with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.schema.schema import Schema


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """One record that was not taken.

    Args:
        position: Its index among the records of the body, from 0. Blank lines are no records.
        reason: Why, with the value, as a sentence.
        column: The column at fault, or the unknown name; None when the record is unreadable.
        record: Its bytes as they came; for a row that came as a value, its JSON text.

    """

    position: int
    reason: str
    column: str | None
    record: bytes


@dataclass(frozen=True, slots=True)
class Decoded:
    """Every record of a body, either accepted or rejected.

    Args:
        rows: The accepted rows, in the order they came, of exactly the schema's Arrow schema.
        positions: The index of each accepted row among the records of the body; ascending int64.
        rejected: The others, by position.

    """

    rows: pa.RecordBatch
    positions: npt.NDArray[np.int64]
    rejected: tuple[RejectedRecord, ...]

    @property
    def count(self) -> int:
        """How many records the body had."""
        return self.rows.num_rows + len(self.rejected)


def accepted(rows: pa.RecordBatch) -> Decoded:
    """All rows of a body, none rejected."""
    return Decoded(rows, np.arange(rows.num_rows, dtype=np.int64), ())


def chained(pieces: Sequence[Decoded], schema: Schema) -> Decoded:
    """Consecutive pieces of one body as one."""
    if len(pieces) == 1:
        return pieces[0]
    positions: list[npt.NDArray[np.int64]] = []
    rejected: list[RejectedRecord] = []
    start = 0
    for piece in pieces:
        positions.append(piece.positions + start)
        rejected += (
            RejectedRecord(r.position + start, r.reason, r.column, r.record) for r in piece.rejected
        )
        start += piece.count
    return Decoded(
        one_batch([piece.rows for piece in pieces], schema),
        np.concatenate(positions) if positions else np.empty(0, np.int64),
        tuple(rejected),
    )


def one_batch(batches: Sequence[pa.RecordBatch], schema: Schema) -> pa.RecordBatch:
    """The batches as one, of exactly the schema's Arrow schema."""
    table = pa.Table.from_batches(batches, schema=schema.arrow).combine_chunks()
    arrays = [_whole(column) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)

"""What changed in one epoch: rows with weights.

A delta is a Z-set (Budiu et al., VLDB 2023): rows, each with an integer weight, +1 for a row that
was added and -1 for one that was withdrawn. It is an Arrow batch; what the engine adds to a row are
hidden columns of that batch, so that they pass through DuckDB like any other column:

    __weight  int64   the row's weight. Absent when every weight is +1 (append-only)
    __hash    uint64  DuckDB's hash of the key columns that the next operator asked for
    __own     uint64  the hash of the columns that tell rows apart, where a content is kept by them
    __tick    int64   the row's place in the log's one order; only where lateness must be decided
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

WEIGHT = "__weight"
HASH = "__hash"
OWN = "__own"
TICK = "__tick"
HIDDEN = (WEIGHT, HASH, OWN, TICK)

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]


_ONES: list[Int64Array] = [np.ones(1, dtype=np.int64)]


def ones(count: int) -> Int64Array:
    """So many weights of +1, which must not be written to: memory that all share."""
    if len(_ONES[-1]) < count:
        _ONES[-1] = np.ones(max(count, 2 * len(_ONES[-1])), dtype=np.int64)
        _ONES[-1].flags.writeable = False
    return _ONES[-1][:count]


@dataclass(frozen=True, slots=True)
class Delta:
    """The rows that changed in an epoch.

    Args:
        rows: The rows with their hidden columns. May be empty; the schema is always complete. An
            operator is given one batch; the change of a view may be a table of several.

    """

    rows: pa.RecordBatch | pa.Table

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def weights(self) -> Int64Array | None:
        """The weights in row order, or None when all are +1."""
        return self._hidden(WEIGHT)

    @property
    def hashes(self) -> UInt64Array:
        """The key hashes in row order. The input's plan node must have asked for them."""
        hashes = self._hidden(HASH)
        assert hashes is not None, "this delta carries no key hash"
        return hashes

    @property
    def own(self) -> UInt64Array | None:
        """The hashes of what tells the rows apart, or None where nobody needs them."""
        return self._hidden(OWN)

    @property
    def ticks(self) -> Int64Array | None:
        """The places of the rows in the log's order, or None where nobody needs them."""
        return self._hidden(TICK)

    def table(self) -> pa.Table:
        """The rows as a table, whatever they are."""
        rows = self.rows
        return pa.Table.from_batches([rows]) if isinstance(rows, pa.RecordBatch) else rows

    def visible(self) -> pa.RecordBatch | pa.Table:
        """The rows without hidden columns."""
        return self.rows.select([n for n in self.rows.schema.names if n not in HIDDEN])

    def _hidden(self, name: str) -> Any:
        index = self.rows.schema.get_field_index(name)
        return None if index < 0 else self.rows.column(index).to_numpy()

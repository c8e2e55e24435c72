"""The columns by which rows are told apart that are remembered by them (`state.keyed`), hashed.

A number, a day or a time is spread over all hashes as it is; DuckDB hashes what else there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headwater.delta.delta import UInt64Array
from headwater.operators.feed import KeyHash
from headwater.operators.statement import Engine, Rows
from headwater.schema.schema import Schema
from headwater.state.codes import codes_of, has_codes, scattered


class OwnKey:
    """Columns in which no two rows are equal at any moment.

    Args:
        names: Theirs.
        columns: The columns of the rows, those among them.

    """

    def __init__(self, names: Sequence[str], columns: Schema, engine: Engine) -> None:
        self.names = tuple(names)
        is_coded = len(names) == 1 and has_codes(columns[names[0]].type.arrow)
        self._hash = None if is_coded else KeyHash([*names], columns, engine)

    def hashes(self, rows: Rows) -> UInt64Array:
        """The hash of each row's key; nulls are equal."""
        if self._hash is not None:
            return np.asarray(self._hash.of(rows.select(list(self.names))).to_numpy())
        column = rows.column(self.names[0])
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        return scattered(codes_of(column))

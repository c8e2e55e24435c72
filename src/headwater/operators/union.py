"""The rows of all inputs, one input after the other (UNION ALL). Nothing is remembered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta, ones
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import joined
from headwater.operators.statement import plain
from headwater.plan.nodes import Union


class UnionOperator:
    """Keeps a `Union` up to date.

    Args:
        node: What to compute.
        schemas: The columns of each input, hidden ones included.

    """

    def __init__(self, node: Union, schemas: Sequence[pa.Schema]) -> None:
        fields = [*plain(node.schema)]
        if not node.append_only:
            fields.append(pa.field(WEIGHT, pa.int64()))
        if all(TICK in schema.names for schema in schemas):
            fields.append(pa.field(TICK, pa.int64()))
        self.schema = pa.schema(fields)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """All that changed in any input."""
        return Delta(joined([self._aligned(change.rows) for change in inputs], self.schema))

    def save(self, saver: Saver) -> Any:
        """Nothing is remembered."""
        return None

    def load(self, manifest: Any, loader: Loader) -> None:
        """Nothing is remembered."""

    def state_size(self) -> tuple[int, int]:
        """Nothing is remembered."""
        return (0, 0)

    def _aligned(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with the union's columns; rows that are only ever added weigh 1."""
        if WEIGHT in self.schema.names and WEIGHT not in rows.schema.names:
            rows = rows.append_column(WEIGHT, pa.array(ones(rows.num_rows)))
        columns = [rows.column(name) for name in self.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

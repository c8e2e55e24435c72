"""What a function of the author's makes of rows, batch to batch.

The function works row by row: which rows stand beside a row in a batch changes nothing of what it
makes of it. So it is its own incremental form. Withdrawn rows go through it like added ones, in a
batch of their own, and what comes out of them is withdrawn.

Rows for which it raises are isolated like those that an expression refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HIDDEN, WEIGHT, Delta
from headwater.errors import DefinitionError, RecordError
from headwater.operators.functions import fitted, last_line, whole
from headwater.operators.isolate import isolating
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.statement import Engine, Rows, empty_batch, one_batch, plain
from headwater.plan.nodes import Transform
from headwater.plan.python import PythonStep


class TransformOperator:
    """Keeps a `Transform` up to date; remembers nothing.

    Args:
        input_schema: The input's columns.

    """

    def __init__(self, node: Transform, input_schema: pa.Schema, engine: Engine) -> None:
        self._name = node.name
        self._step = engine.steps[node.name]
        self._is_weighted = WEIGHT in input_schema.names
        fields = [*plain(node.schema)]
        if self._is_weighted:
            fields.append(pa.field(WEIGHT, pa.int64()))
        self.schema = pa.schema(fields)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Transform the rows that were added, and those that were withdrawn."""
        (change,) = inputs
        weights = change.weights
        if weights is None:
            return Delta(self._made(change.rows, epoch))
        parts = []
        for sign in (1, -1):
            times = np.repeat(np.arange(len(weights)), np.maximum(sign * weights, 0))
            made = self._made(change.rows.take(pa.array(times)), epoch)
            signs = pa.array(np.full(made.num_rows, sign, dtype=np.int64))
            parts.append(made.append_column(pa.field(WEIGHT, pa.int64()), signs))
        return Delta(pa.concat_batches(parts).cast(self.schema))

    def save(self, saver: Saver) -> Any:
        """There is nothing to hand over."""
        return None

    def load(self, manifest: Any, loader: Loader) -> None:
        """There is nothing to take back."""

    def state_size(self) -> tuple[int, int]:
        """Nothing."""
        return 0, 0

    def _made(self, rows: pa.RecordBatch, epoch: Epoch) -> pa.RecordBatch:
        return isolating(self._transformed, rows, epoch.failed)[0]

    def _transformed(self, rows: Rows) -> pa.RecordBatch:
        visible = [name for name in rows.schema.names if name not in HIDDEN]
        return transformed(self._step, self._name, rows.select(visible))


def transformed(step: PythonStep, name: str, rows: Rows) -> pa.RecordBatch:
    """What the step's function makes of rows; it is not asked of no rows.

    Raises:
        RecordError: It raised, or a value does not fit its column.
        DefinitionError: It returned something else than rows of the declared columns.

    """
    schema = plain(step.schema)
    if not rows.num_rows:
        return empty_batch(schema)
    batch = rows if isinstance(rows, pa.RecordBatch) else one_batch(rows)
    try:
        made = step.call(batch)
    except Exception as error:
        raise RecordError(f"transform {name} raised {last_line(error)}") from error
    if not isinstance(made, pa.RecordBatch | pa.Table):
        raise DefinitionError(
            f"transform {name} returned {type(made).__name__}, not rows",
            hint="return a pyarrow.RecordBatch or Table, empty for no rows",
        )
    if sorted(made.schema.names) != sorted(schema.names):
        raise DefinitionError(
            f"transform {name} returned the columns {', '.join(made.schema.names)}",
            hint=f"it is declared with {', '.join(schema.names)}",
        )
    columns = []
    for column in step.schema:
        array = whole(made.column(column.name))
        if not array.type.equals(column.type.arrow):
            array = fitted(array, column.type, f"transform {name}, column {column.name},")
        columns.append(array)
    return pa.RecordBatch.from_arrays(columns, schema=schema)

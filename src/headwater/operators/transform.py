"""What a function of the author's makes of rows, batch to batch.

The function works row by row: which rows stand beside a row in a batch changes nothing of what it
makes of it. So it is its own incremental form. Withdrawn rows go through it like added ones, in a
batch of their own, and what comes out of them is withdrawn.

A function that says, in a column `_row`, which row it made each of its rows of, gives these the
weights and the places in the log of those.

Rows for which it raises are isolated like those that an expression refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import HIDDEN, TICK, WEIGHT, Delta
from headwater.errors import DefinitionError, RecordError
from headwater.operators.functions import fitted, last_line, whole
from headwater.operators.isolate import isolating
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.statement import Engine, Rows, empty_batch, one_batch, plain
from headwater.plan.nodes import Transform
from headwater.plan.python import PythonStep
from headwater.schema.types import DataType, parse_type

ROW = "_row"


class TransformOperator:
    """Keeps a `Transform` up to date; remembers nothing.

    Args:
        input_schema: The input's columns.

    """

    def __init__(self, node: Transform, input_schema: pa.Schema, engine: Engine) -> None:
        self._name = node.name
        self._step = engine.steps[node.name]
        passed = (WEIGHT, TICK) if node.placed else (WEIGHT,)
        self._passed = [name for name in passed if name in input_schema.names]
        hidden = [pa.field(name, pa.int64()) for name in self._passed]
        self._is_placed = node.placed
        self.schema = pa.schema([*plain(node.schema), *hidden])

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Transform the rows that were added, and those that were withdrawn."""
        (change,) = inputs
        weights = change.weights
        if self._is_placed:
            return Delta(self._made(change.rows, epoch))
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
        made, of = transformed(self._step, self._name, rows.select(visible))
        if of is None:
            return made
        hidden = [rows.column(name).take(of) for name in self._passed]
        placed = pa.RecordBatch.from_arrays([*made.columns, *hidden], schema=self.schema)
        if TICK not in self._passed:
            return placed
        return placed.take(pa.array(np.argsort(placed.column(TICK).to_numpy(), kind="stable")))


def transformed(step: PythonStep, name: str, rows: Rows) -> tuple[pa.RecordBatch, pa.Array | None]:
    """What the step's function makes of rows, and of which of them; it is not asked of no rows.

    Raises:
        RecordError: It raised, or a value does not fit its column.
        DefinitionError: It returned something else than rows of the declared columns.

    """
    schema = plain(step.schema)
    if not rows.num_rows:
        return empty_batch(schema), pa.array([], pa.int64()) if step.tells_rows else None
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
    wanted = [*schema.names, *([ROW] if step.tells_rows else [])]
    if sorted(made.schema.names) != sorted(wanted):
        raise DefinitionError(
            f"transform {name} returned the columns {', '.join(made.schema.names)}",
            hint=f"it is to return {', '.join(wanted)}",
        )
    columns = [_fitted(made, c.name, c.type, name) for c in step.schema]
    of = _rows_of(made, name, batch.num_rows) if step.tells_rows else None
    return pa.RecordBatch.from_arrays(columns, schema=schema), of


def _fitted(made: Rows, column: str, kind: DataType, name: str) -> pa.Array:
    array = whole(made.column(column))
    if array.type.equals(kind.arrow):
        return array
    return fitted(array, kind, f"transform {name}, column {column},")


def _rows_of(made: Rows, name: str, rows: int) -> pa.Array:
    """Of which row each row was made."""
    of = _fitted(made, ROW, parse_type("BIGINT"), name)
    if of.null_count or (len(of) and not 0 <= pc.min(of).as_py() <= pc.max(of).as_py() < rows):
        raise DefinitionError(
            f"transform {name} returned a {ROW} that is no row of the {rows} it was given",
            hint="rows are numbered from 0",
        )
    return of

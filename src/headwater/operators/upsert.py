"""A table's rows, in the order of the log, as the changes of its content.

The newest row of each key is the content. Within an epoch the last row of a key wins; it
withdraws the newest row there was. A row that says what is already known changes nothing. An
epoch costs its rows, whatever the size of the table.

Where somebody decides lateness over the table's rows, each row withdraws the one before it, also
within an epoch: what held when a window closed must not depend on where the epoch was cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array, UInt64Array
from headwater.operators import render
from headwater.operators.accumulate import interleaved
from headwater.operators.decimal128 import BoolArray
from headwater.operators.operator import Loader, Saver
from headwater.operators.statement import Engine, Rows, Statement, empty_batch, one_batch, plain
from headwater.schema.schema import Schema
from headwater.state.equality import rows_equal
from headwater.state.latest import Latest, LatestSnapshot

POSITION = "__position"
BEFORE = "__before"


class UpsertOperator:
    """Turns the log of a table into the changes of its content.

    Args:
        schema: The table's columns.
        keys: Its primary key.
        has_ticks: True when the rows carry `__tick`; the changes then carry that of their row.
        is_stepwise: True when what was replaced within an epoch comes out too.

    """

    def __init__(
        self,
        schema: Schema,
        keys: tuple[str, ...],
        engine: Engine,
        *,
        has_ticks: bool = False,
        is_stepwise: bool = False,
    ) -> None:
        self._rows = plain(schema)
        self._keys = list(keys)
        self._has_ticks = has_ticks
        self._latest = Latest(self._rows, keys)
        self._is_stepwise = is_stepwise
        self._taken = (_each_row if is_stepwise else _last_rows)(schema, keys, engine)
        hidden = [WEIGHT, *([TICK] if has_ticks else [])]
        self.schema = pa.schema([*self._rows, *(pa.field(name, pa.int64()) for name in hidden)])

    def step(self, rows: Rows) -> Delta:
        """Take the table's new rows, in the order of the log; return how the content changed.

        Returns:
            The table's columns and the weights; a withdrawn row stands before the one in its place.

        """
        if not rows.num_rows:
            return Delta(empty_batch(self.schema))
        newest, hashes, ticks, before = self._newest(rows)
        found = self._latest.find(newest.select(self._keys), hashes)
        old, existed = found.rows, np.asarray(found.mask)
        is_last = np.ones(len(hashes), dtype=np.bool_)
        if before is not None:
            follows = before >= 0
            is_last[before[follows]] = False
            places = np.where(follows, len(hashes) + before, np.arange(len(hashes)))
            old = pa.concat_batches([old.cast(newest.schema), newest]).take(pa.array(places))
            existed = existed | follows
        changed = ~self._unchanged(old, newest, existed)
        last = np.flatnonzero(is_last)
        self._latest.put(newest.take(pa.array(last)), hashes.take(last))
        changes = interleaved(old, existed & changed, newest, changed, ticks)
        return Delta(changes.cast(self.schema))

    def save(self, saver: Saver) -> Any:
        """Hand the content over."""
        return self._latest.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the content back."""
        self._latest.load(manifest, loader)

    def snapshot(self) -> LatestSnapshot:
        """What the table holds now, for readers in other threads; cheap."""
        return self._latest.snapshot()

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of the content."""
        return self._latest.size()

    def _newest(self, rows: Rows) -> tuple[pa.RecordBatch, UInt64Array, Any, Int64Array | None]:
        """The last row of each key, in the order of the log, with its hash and tick.

        Or, stepwise, each row, with the place of the row of its key before it, or -1.
        """
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        positions = pa.array(np.arange(table.num_rows))
        taken = self._taken.run(input=table.select(self._keys).append_column(POSITION, positions))
        order = np.argsort(taken.column(POSITION).to_numpy(), kind="stable")
        chosen = taken.take(pa.array(order))
        names = [*self._rows.names, *([TICK] if self._has_ticks else [])]
        newest = one_batch(table.select(names).take(chosen.column(POSITION)))
        ticks = newest.column(TICK) if self._has_ticks else None
        content = newest.select(self._rows.names).cast(self._rows)
        before = chosen.column(BEFORE).to_numpy() if self._is_stepwise else None
        return content, chosen.column(HASH).to_numpy(), ticks, before

    def _unchanged(self, old: pa.RecordBatch, new: pa.RecordBatch, existed: BoolArray) -> BoolArray:
        """Which rows say what was already known."""
        unchanged = np.zeros(new.num_rows, dtype=np.bool_)
        known = np.flatnonzero(existed)
        if len(known):
            unchanged[known] = rows_equal(old.columns, known, new.columns, known)
        return unchanged


def _last_rows(schema: Schema, keys: tuple[str, ...], engine: Engine) -> Statement:
    """The statement that finds the last position of each key, and the key's hash."""
    rows, inputs = _rows_of(schema, keys)
    last = render.named(exp.Max(this=render.column(POSITION)), POSITION)
    query = render.select([render.key_hash(keys), last], rows, None)
    query = query.group_by(*map(render.column, keys), copy=False)
    return Statement(engine, query, inputs, is_ordered=False)


def _each_row(schema: Schema, keys: tuple[str, ...], engine: Engine) -> Statement:
    """The statement that finds each row's key hash, and the position of its key's row before it."""
    rows, inputs = _rows_of(schema, keys)
    position = render.column(POSITION)
    lag = exp.Lag(
        this=position, offset=exp.Literal.number(1), default=exp.Neg(this=exp.Literal.number(1))
    )
    before = exp.Window(
        this=lag,
        partition_by=[render.column(key) for key in keys],
        order=exp.Order(expressions=[exp.Ordered(this=position.copy())]),
    )
    columns = [render.key_hash(keys), position.copy(), render.named(before, BEFORE)]
    return Statement(engine, render.select(columns, rows, None), inputs, is_ordered=False)


def _rows_of(schema: Schema, keys: tuple[str, ...]) -> tuple[exp.Select, dict[str, pa.Schema]]:
    """The keys and positions of the rows."""
    key_schema = schema.select(keys)
    typed = [*render.typed(key_schema), render.column(POSITION)]
    inputs = {render.INPUT: plain(key_schema).append(pa.field(POSITION, pa.int64()))}
    return render.select(typed, render.INPUT, None), inputs

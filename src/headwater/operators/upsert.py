"""A table's rows, in the order of the log, as the changes of its content.

The newest row of each key is the content. Within an epoch the last row of a key wins; it
withdraws the newest row there was. A row that says what is already known changes nothing. An
epoch costs its rows, whatever the size of the table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.operators import render
from headwater.operators.accumulate import interleaved
from headwater.operators.decimal128 import BoolArray
from headwater.operators.operator import Loader, Saver
from headwater.operators.statement import Engine, Rows, Statement, empty_batch, one_batch, plain
from headwater.schema.schema import Schema
from headwater.state.equality import rows_equal
from headwater.state.latest import Latest, LatestSnapshot

POSITION = "__position"


class UpsertOperator:
    """Turns the log of a table into the changes of its content.

    Args:
        schema: The table's columns.
        keys: Its primary key.
        has_ticks: True when the rows carry `__tick`; the changes then carry that of their row.

    """

    def __init__(
        self, schema: Schema, keys: tuple[str, ...], engine: Engine, *, has_ticks: bool = False
    ) -> None:
        self._rows = plain(schema)
        self._keys = list(keys)
        self._has_ticks = has_ticks
        self._latest = Latest(self._rows, keys)
        self._last = _last_rows(schema, keys, engine)
        hidden = [WEIGHT, *([TICK] if has_ticks else [])]
        self.schema = pa.schema([*self._rows, *(pa.field(name, pa.int64()) for name in hidden)])

    def step(self, rows: Rows) -> Delta:
        """Take the table's new rows, in the order of the log; return how the content changed.

        Returns:
            The table's columns and the weights; a withdrawn row stands before the one in its place.

        """
        if not rows.num_rows:
            return Delta(empty_batch(self.schema))
        newest, hashes, ticks = self._newest(rows)
        found = self._latest.find(newest.select(self._keys), hashes)
        existed = np.asarray(found.mask)
        changed = ~self._unchanged(found.rows, newest, existed)
        self._latest.put(newest, hashes)
        changes = interleaved(found.rows, existed & changed, newest, changed, ticks)
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

    def _newest(self, rows: Rows) -> tuple[pa.RecordBatch, Any, Any]:
        """The last row of each key, in the order of the log, with its hash and tick."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        positions = pa.array(np.arange(table.num_rows))
        last = self._last.run(input=table.select(self._keys).append_column(POSITION, positions))
        order = np.argsort(last.column(POSITION).to_numpy(), kind="stable")
        chosen = last.take(pa.array(order))
        names = [*self._rows.names, *([TICK] if self._has_ticks else [])]
        newest = one_batch(table.select(names).take(chosen.column(POSITION)))
        ticks = newest.column(TICK) if self._has_ticks else None
        content = newest.select(self._rows.names).cast(self._rows)
        return content, chosen.column(HASH).to_numpy(), ticks

    def _unchanged(self, old: pa.RecordBatch, new: pa.RecordBatch, existed: BoolArray) -> BoolArray:
        """Which rows say what was already known."""
        unchanged = np.zeros(new.num_rows, dtype=np.bool_)
        known = np.flatnonzero(existed)
        if len(known):
            unchanged[known] = rows_equal(old.columns, known, new.columns, known)
        return unchanged


def _last_rows(schema: Schema, keys: tuple[str, ...], engine: Engine) -> Statement:
    """The statement that finds the last position of each key, and the key's hash."""
    key_schema = schema.select(keys)
    typed = [*render.typed(key_schema), render.column(POSITION)]
    rows = render.select(typed, render.INPUT, None)
    last = render.named(exp.Max(this=render.column(POSITION)), POSITION)
    query = render.select([render.key_hash(keys), last], rows, None)
    query = query.group_by(*map(render.column, keys), copy=False)
    inputs = {render.INPUT: plain(key_schema).append(pa.field(POSITION, pa.int64()))}
    return Statement(engine, query, inputs, is_ordered=False)

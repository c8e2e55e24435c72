"""A table's rows, in the order of the log, as the changes of its content.

The newest row of each key is the content: the last, or the one with the highest version. Within an
epoch the newest row of a key wins; it withdraws the newest row there was. A row that says what is
already known changes nothing; one that says that its key is deleted withdraws what there was. An
epoch costs its rows, whatever the size of the table; one of a table whose changes nobody reads
costs about the hashes of its keys.

Where somebody decides lateness over the table's rows, each row withdraws the one before it, also
within an epoch: what held when a window closed must not depend on where the epoch was cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array, UInt64Array
from headwater.operators import render
from headwater.operators.accumulate import interleaved
from headwater.operators.decimal128 import BoolArray
from headwater.operators.feed import KeyHash
from headwater.operators.operator import Loader, Saver
from headwater.operators.statement import Engine, Rows, Statement, empty_batch, one_batch, plain
from headwater.schema.schema import Schema
from headwater.state.equality import rows_equal
from headwater.state.newest import Newest, NewestSnapshot, versions_of

POSITION = "__position"
BEFORE = "__before"
VERSION = "__version"


class UpsertOperator:
    """Turns the log of a table into the changes of its content.

    Args:
        schema: The table's columns.
        keys: Its primary key.
        newest_by: The column by which the newest row is known; None: it is the last.
        deleted_by: The column that is true of a row that deletes its key; None: no row does.
        has_ticks: True when the rows carry `__tick`; the changes then carry that of their row.
        is_stepwise: True when what was replaced within an epoch comes out too.

    """

    def __init__(  # noqa: PLR0913 - what the table is, and its settings by keyword
        self,
        schema: Schema,
        keys: tuple[str, ...],
        engine: Engine,
        *,
        newest_by: str | None = None,
        deleted_by: str | None = None,
        has_ticks: bool = False,
        is_stepwise: bool = False,
    ) -> None:
        self._rows = plain(schema)
        self._keys = list(keys)
        self._newest_by = newest_by
        self._deleted_by = deleted_by
        self._has_ticks = has_ticks
        self._held = Newest(
            self._rows, keys, newest_by=newest_by, has_deletions=deleted_by is not None
        )
        self._hash = KeyHash(self._keys, schema, engine)
        self._is_stepwise = is_stepwise
        choose = _each_row if is_stepwise else _last_rows
        self._chosen = choose(schema, keys, engine, has_version=newest_by is not None)
        hidden = [WEIGHT, *([TICK] if has_ticks else [])]
        self.schema = pa.schema([*self._rows, *(pa.field(name, pa.int64()) for name in hidden)])

    def put(self, rows: pa.Table) -> None:
        """Take the table's new rows, in the order of the log, where nobody asks what changed."""
        content = one_batch(rows.select(self._rows.names)).cast(self._rows)
        self._held.put(content, self.hashes(content), self._deletions(content))

    def step(self, rows: Rows) -> Delta:
        """Take the table's new rows, in the order of the log; return how the content changed.

        Returns:
            The table's columns and the weights; a withdrawn row stands before the one in its place.

        """
        table = self._current(rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows]))
        if not table.num_rows:
            return Delta(empty_batch(self.schema))
        newest, hashes, ticks, before = self._newest(table)
        found = self._held.find(newest.select(self._keys), hashes)
        old, existed = found.rows, np.asarray(found.mask)
        gone = self._deletions(newest)
        is_last = np.ones(len(hashes), dtype=np.bool_)
        if before is not None:
            follows = before >= 0
            is_last[before[follows]] = False
            places = np.where(follows, len(hashes) + before, np.arange(len(hashes)))
            old = pa.concat_batches([old.cast(newest.schema), newest]).take(pa.array(places))
            existed = np.where(follows, True if gone is None else ~gone[before], existed)
        changed = ~self._unchanged(old, newest, existed)
        last = np.flatnonzero(is_last)
        gone_last = None if gone is None else gone[last]
        self._held.put(newest.take(pa.array(last)), hashes.take(last), gone_last)
        added = changed if gone is None else changed & ~gone
        changes = interleaved(old, existed & changed, newest, added, ticks)
        return Delta(changes.cast(self.schema))

    def hashes(self, rows: pa.RecordBatch) -> UInt64Array:
        """The hashes of the keys of rows."""
        return self._hash.of(rows).to_numpy()

    def save(self, saver: Saver) -> Any:
        """Hand the content over."""
        return self._held.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the content back."""
        self._held.load(manifest, loader)

    def snapshot(self) -> NewestSnapshot:
        """What the table holds now, for readers in other threads; cheap."""
        return self._held.snapshot()

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of the content."""
        return self._held.size()

    def _deletions(self, rows: pa.RecordBatch) -> BoolArray | None:
        """Which rows delete their key; None where none can."""
        if self._deleted_by is None:
            return None
        column = pc.fill_null(rows.column(self._deleted_by), False)
        found: BoolArray = column.to_numpy(zero_copy_only=False)
        return found

    def _current(self, rows: pa.Table) -> pa.Table:
        """The rows without those of which a newer version is known."""
        if self._newest_by is None or not rows.num_rows:
            return rows
        content = one_batch(rows.select(self._rows.names)).cast(self._rows)
        known = self._held.versions(content.select(self._keys), self.hashes(content))
        is_current = versions_of(content.column(self._newest_by)) >= known
        return rows if is_current.all() else rows.filter(pa.array(is_current))

    def _newest(
        self, table: pa.Table
    ) -> tuple[pa.RecordBatch, UInt64Array, Any, Int64Array | None]:
        """The newest row of each key, in the order of the log, with its hash and tick.

        Or, stepwise, each row that was the newest, with the place of that before it, or -1.
        """
        asked = table.select(self._keys)
        if self._newest_by is not None:
            column = one_batch(table.select([self._newest_by])).column(0)
            asked = asked.append_column(VERSION, pa.array(versions_of(column)))
        positions = pa.array(np.arange(table.num_rows))
        chosen = self._chosen.run(input=asked.append_column(POSITION, positions))
        order = np.argsort(chosen.column(POSITION).to_numpy(), kind="stable")
        chosen = chosen.take(pa.array(order))
        names = [*self._rows.names, *([TICK] if self._has_ticks else [])]
        newest = one_batch(table.select(names).take(chosen.column(POSITION)))
        ticks = newest.column(TICK) if self._has_ticks else None
        content = newest.select(self._rows.names).cast(self._rows)
        before = None
        if self._is_stepwise:
            before = _renumbered(chosen.column(BEFORE).to_numpy(), chosen.column(POSITION))
        return content, chosen.column(HASH).to_numpy(), ticks, before

    def _unchanged(self, old: pa.RecordBatch, new: pa.RecordBatch, existed: BoolArray) -> BoolArray:
        """Which rows say what was already known."""
        unchanged = np.zeros(new.num_rows, dtype=np.bool_)
        known = np.flatnonzero(existed)
        if len(known):
            unchanged[known] = rows_equal(old.columns, known, new.columns, known)
        return unchanged


def _renumbered(before: Int64Array, positions: pa.Array) -> Int64Array:
    """Positions among all rows as places among the chosen ones; -1 stays."""
    places = np.searchsorted(positions.to_numpy(), before)
    return np.where(before >= 0, places, np.int64(-1))


def _last_rows(
    schema: Schema, keys: tuple[str, ...], engine: Engine, *, has_version: bool
) -> Statement:
    """The statement that finds the newest position of each key, and the key's hash."""
    rows, inputs = _rows_of(schema, keys, has_version=has_version)
    position = render.column(POSITION)
    last: exp.Expr = exp.Max(this=position)
    if has_version:
        rank = exp.Anonymous(this="row", expressions=[render.column(VERSION), position.copy()])
        last = exp.ArgMax(this=position, expression=rank)
    query = render.select([render.key_hash(keys), render.named(last, POSITION)], rows, None)
    query = query.group_by(*map(render.column, keys), copy=False)
    return Statement(engine, query, inputs, is_ordered=False)


def _each_row(
    schema: Schema, keys: tuple[str, ...], engine: Engine, *, has_version: bool
) -> Statement:
    """The statement that finds each row's key hash, and the position of its key's row before it.

    Of rows that were the newest when they came.
    """
    rows, inputs = _rows_of(schema, keys, has_version=has_version)
    position = render.column(POSITION)
    if has_version:
        rows = _rising(rows, keys)
    lag = exp.Lag(
        this=position, offset=exp.Literal.number(1), default=exp.Neg(this=exp.Literal.number(1))
    )
    before = _by_key(lag, keys)
    columns = [render.key_hash(keys), position.copy(), render.named(before, BEFORE)]
    return Statement(engine, render.select(columns, rows, None), inputs, is_ordered=False)


def _rising(rows: exp.Select, keys: tuple[str, ...]) -> exp.Select:
    """The rows of which no row before has a higher version."""
    highest = _by_key(exp.Max(this=render.column(VERSION)), keys)
    columns = [*map(render.column, keys), render.column(VERSION), render.column(POSITION)]
    marked = render.select([*columns, render.named(highest, BEFORE)], rows, None)
    is_rising = exp.GTE(this=render.column(VERSION), expression=render.column(BEFORE))
    return render.select([column.copy() for column in columns], marked, is_rising)


def _by_key(function: exp.Expr, keys: tuple[str, ...]) -> exp.Window:
    """A function over the rows of a key, in order, up to each."""
    return exp.Window(
        this=function,
        partition_by=[render.column(key) for key in keys],
        order=exp.Order(expressions=[exp.Ordered(this=render.column(POSITION))]),
    )


def _rows_of(
    schema: Schema, keys: tuple[str, ...], *, has_version: bool
) -> tuple[exp.Select, dict[str, pa.Schema]]:
    """The keys and positions of the rows, and their versions if they have any."""
    key_schema = schema.select(keys)
    hidden = [*([VERSION] if has_version else []), POSITION]
    typed = [*render.typed(key_schema), *map(render.column, hidden)]
    fields = [*plain(key_schema), *(pa.field(name, pa.int64()) for name in hidden)]
    return render.select(typed, render.INPUT, None), {render.INPUT: pa.schema(fields)}

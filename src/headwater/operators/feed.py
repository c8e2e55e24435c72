"""The linear stretch from a stage of a dataflow to an operator, or to the view.

A stretch that computes something is one DuckDB statement, which also adds the key hash that the
operator wants; texts that it only passes on go around it (`around`), and so do all columns where a
condition over numbers is all that it computes (`sieve`). A stretch that only chooses and renames
columns takes them as they are, without a copy; then DuckDB sees no more than the key columns, for
their hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, Delta
from headwater.errors import RecordError
from headwater.operators import render
from headwater.operators.around import ROWS_MIN, around
from headwater.operators.isolate import isolating
from headwater.operators.operator import hidden_of
from headwater.operators.sieve import sieve
from headwater.operators.statement import Engine, Rows, Statement, empty_batch, one_batch, plain
from headwater.plan.nodes import Map, Node
from headwater.schema.schema import Schema
from headwater.state.afar import Unread, whole

Keys = Sequence[str] | None


class Feed:
    """Gives an operator the rows of a stage, as its plan node's input has them.

    Args:
        node: The top of the stretch.
        origin: The columns of the stage below it.
        keys: The columns whose hash the operator wants; None when it wants none.
        hidden: The hidden columns that pass through.

    """

    def __init__(
        self, node: Node, origin: pa.Schema, keys: Keys, hidden: Sequence[str], engine: Engine
    ) -> None:
        self._way: _Chosen | _Computed
        chosen = chosen_columns(node)
        if chosen is not None:
            chosen |= {name: name for name in hidden}
            self._way = _Chosen(node, chosen, origin, keys, engine)
        else:
            self._way = _Computed(node, origin, keys, hidden, engine)
        self.schema = self._way.schema
        self._nothing = Delta(empty_batch(self.schema))

    def changed(self, rows: Rows, failed: list[pa.RecordBatch]) -> Delta:
        """What the operator is given.

        Args:
            rows: What the stage put out.
            failed: Gets the rows that an expression refuses.

        """
        return Delta(one_batch(self._way.run(rows, failed))) if rows.num_rows else self._nothing

    def answer(self, rows: Rows, failed: list[pa.RecordBatch]) -> Delta:
        """The same, perhaps in several pieces: not copied into one."""
        return Delta(self._way.run(rows, failed)) if rows.num_rows else self._nothing


def chosen_columns(node: Node) -> dict[str, str] | None:
    """For each column of a stretch the input's column that it is; None when it computes any."""
    bottom = render.bottom(node)
    chosen = {name: name for name in bottom.schema.names}
    for step in _steps(node):
        if not isinstance(step, Map) or step.condition is not None:
            return None
        columns = [(name, value) for name, value in step.projections]
        if not all(isinstance(value, exp.Column) and not value.table for _, value in columns):
            return None
        chosen = {name: chosen[value.name] for name, value in columns if value.name in chosen}
        if len(chosen) != len(columns):
            return None
    return chosen


def source_of(node: Node, name: str) -> str | None:
    """The input's column of which a column of a stretch is a copy; None when it is none."""
    for step in reversed(_steps(node)):
        if not isinstance(step, Map):
            return None
        value = dict(step.projections).get(name)
        if not isinstance(value, exp.Column) or value.table:
            return None
        name = value.name
    return name


def _steps(node: Node) -> list[Node]:
    """The nodes of a stretch, the lowest first."""
    steps: list[Node] = []
    bottom = render.bottom(node)
    while node is not bottom:
        steps.append(node)
        (node,) = node.inputs
    return steps[::-1]


class _Computed:
    """A stretch that DuckDB computes."""

    def __init__(
        self, node: Node, origin: pa.Schema, keys: Keys, hidden: Sequence[str], engine: Engine
    ) -> None:
        query = render.stretch(node, hidden_of(origin))
        names = [*node.schema.names, *hidden]
        if keys is None:
            query = render.select([render.column(name) for name in names], query, None)
        else:
            query = render.hashed(query, keys, names)
        self._statement = Statement(engine, query, {render.INPUT: origin}, is_ordered=False)
        self.schema = self._statement.schema
        self._around = around(node, origin, keys, self.schema, engine)
        self._sieve = sieve(node, origin, hidden, self.schema)
        self._hash = None if keys is None else KeyHash([*keys], node.schema, engine)

    def run(self, rows: Rows, failed: list[pa.RecordBatch]) -> Rows:
        if self._sieve is not None and rows.num_rows >= ROWS_MIN:
            kept = self._sieve.run(rows)
            if kept is not None:
                return kept if self._hash is None else self._with_hash(kept, self._hash)
        if self._around is not None and rows.num_rows >= ROWS_MIN:
            # What an expression refuses is found by the statement that sees the whole row.
            with suppress(RecordError):
                return self._around.run(rows)
        return isolating(lambda some: self._statement.pieces(input=some), whole(rows), failed)[0]

    def _with_hash(self, rows: pa.Table, hashes: KeyHash) -> pa.Table:
        columns = {HASH: hashes.of(rows)} | dict(zip(rows.column_names, rows.columns, strict=True))
        return pa.Table.from_arrays([columns[n] for n in self.schema.names], schema=self.schema)


class _Chosen:
    """A stretch that only chooses columns."""

    def __init__(
        self, node: Node, chosen: dict[str, str], origin: pa.Schema, keys: Keys, engine: Engine
    ) -> None:
        self._sources = list(chosen.values())
        fields = [pa.field(name, origin.field(source).type) for name, source in chosen.items()]
        columns = render.bottom(node).schema
        self._hash = None if keys is None else KeyHash([chosen[k] for k in keys], columns, engine)
        if self._hash is not None:
            fields.append(pa.field(HASH, pa.uint64()))
        self.schema = pa.schema(fields)

    def run(self, rows: Rows, _failed: list[pa.RecordBatch]) -> Rows:
        """The columns; nothing can fail."""
        if isinstance(rows, Unread):
            near = {} if self._hash is None else {HASH: self._hash.of(rows)}
            return rows.chosen(
                dict(zip(self.schema.names, self._sources, strict=False)), self.schema, near
            )
        columns = [rows.column(source) for source in self._sources]
        if self._hash is not None:
            columns.append(self._hash.of(rows))
        return type(rows).from_arrays(columns, schema=self.schema)


class KeyHash:
    """The hash of some columns of a stage's rows, computed as a stretch computes it.

    Args:
        keys: The names of the columns.
        columns: The columns of the rows, those among them.

    """

    def __init__(self, keys: list[str], columns: Schema, engine: Engine) -> None:
        self._keys = list(dict.fromkeys(keys))
        schema = columns.select(tuple(self._keys))
        # Typed as a computed stretch has them: equal keys must hash alike on both ways.
        query = render.hashed(render.select(render.typed(schema), render.INPUT, None), keys, [])
        inputs = {render.INPUT: plain(schema)}
        self._statement = Statement(engine, query, inputs, is_ordered=False) if keys else None

    def of(self, rows: Rows) -> pa.Array:
        """The hash of each row. Without keys all rows are alike."""
        if self._statement is None:
            zeros = pa.py_buffer(bytes(8 * rows.num_rows))
            return pa.Array.from_buffers(pa.uint64(), rows.num_rows, [None, zeros])
        return self._statement.run(input=rows.select(self._keys)).column(0)

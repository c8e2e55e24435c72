"""Let columns that a stretch only passes on go around DuckDB.

A text costs DuckDB as much to read from Arrow and to write back as many an expression costs to
compute. So for large inputs DuckDB is given the columns that it computes with, and, where rows may
be dropped or repeated, the place of each row. It answers with what it computed and the places; the
other columns are taken from the input by place, or, where all rows stay, just as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.operators import render
from headwater.operators.operator import hidden_of
from headwater.operators.statement import Engine, Rows, Statement
from headwater.plan.nodes import Map, Node, Scan, Windows
from headwater.schema.schema import Schema
from headwater.state.afar import whole
from headwater.state.gather import taken_apart

PLACE = "__place"
# Below this one statement for all is quicker than two ways.
ROWS_MIN = 1 << 14


class Around:
    """A stretch of which DuckDB computes one part, and the rest goes around it.

    Args:
        node: The top of the stretch.
        origin: The columns of the stage below it.
        keys: The columns whose hash is wanted; None when it is not.
        passed: For each output column that goes around, the input's column that it is.
        schema: The columns that come out, hidden ones too.

    """

    def __init__(  # noqa: PLR0913, PLR0917 - a stretch, and how it is divided
        self,
        node: Node,
        origin: pa.Schema,
        keys: Sequence[str] | None,
        passed: dict[str, str],
        schema: pa.Schema,
        engine: Engine,
    ) -> None:
        self.schema = schema
        self._passed = passed
        self._keeps_rows = _keeps_rows(node)
        computed = [n for n in node.schema.names if n not in passed or n in (keys or ())]
        part = _narrowed(node, frozenset(computed))
        columns = render.bottom(part).schema.names
        hidden = [] if self._keeps_rows else [*hidden_of(origin), PLACE]
        names = [*(n for n in computed if n not in passed), *hidden]
        # Where only constants are computed the places say how many rows there are.
        self._has_places = not self._keeps_rows or not columns
        read = [*columns, *(hidden if not self._keeps_rows else [PLACE] if not columns else [])]
        below = render.stretch(part, [n for n in read if n not in columns])
        query = (
            render.select([render.column(name) for name in names], below, None)
            if keys is None
            else render.hashed(below, keys, names)
        )
        fields = [pa.field(PLACE, pa.int64()) if n == PLACE else origin.field(n) for n in read]
        self._read = [name for name in read if name != PLACE]
        self._statement = Statement(
            engine, query, {render.INPUT: pa.schema(fields)}, is_ordered=False
        )

    def run(self, rows: Rows) -> pa.Table:
        """The stretch's rows, in pieces as the input is.

        Raises:
            RecordError: An expression refuses a row.

        """
        given = whole(rows.select(self._read))
        if self._has_places:
            places = pa.array(np.arange(rows.num_rows, dtype=np.int64))
            # Without other columns a table that was gathered could not say how many rows it has.
            given = (
                given.append_column(pa.field(PLACE, pa.int64()), places)
                if self._read
                else pa.Table.from_arrays([places], [PLACE])
            )
        answer = self._statement.pieces(input=given)
        passed = rows.select(list(self._passed.values()))
        if self._keeps_rows:
            passed = whole(passed)
        else:
            passed = taken_apart(passed, answer.column(PLACE).to_numpy())
        columns = dict(zip(self._passed, passed.columns, strict=True))
        if self._keeps_rows:
            columns |= {n: rows.column(n) for n in hidden_of(rows.schema)}
        columns |= {name: answer.column(name) for name in answer.schema.names}
        arrays = [columns[name] for name in self.schema.names]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def around(
    node: Node,
    origin: pa.Schema,
    keys: Sequence[str] | None,
    schema: pa.Schema,
    engine: Engine,
) -> Around | None:
    """How to compute a stretch with a part of its columns, if others are worth going around."""
    passed = _passed(node)
    types = render.bottom(node).schema
    keeps_rows = _keeps_rows(node)
    passed = {
        name: source
        for name, source in passed.items()
        if origin.field(source).type == schema.field(name).type
        and not render.is_lost_in_arrow(types[source].type.sql)
        and (keeps_rows or _is_wide(origin.field(source).type))
    }
    if not keeps_rows:
        # What DuckDB must read anyway it also hands on.
        computed = frozenset(n for n in node.schema.names if n not in passed)
        read = render.bottom(_narrowed(node, computed | frozenset(keys or ()))).schema.names
        passed = {name: source for name, source in passed.items() if source not in read}
    # Numbers cost DuckDB little; that it need not write them pays where they come out as they are.
    is_worth = any(_is_wide(schema.field(name).type) for name in passed)
    if not is_worth and not (keeps_rows and len(passed) > 1):
        return None
    return Around(node, origin, keys, passed, schema, engine)


def _passed(node: Node) -> dict[str, str]:
    """For each column of a stretch that is one of its input's, which."""
    if not render.is_linear(node):
        return {name: name for name in node.schema.names}
    if isinstance(node, Map):
        below = _passed(node.input)
        return {
            name: below[value.name]
            for name, value in node.projections
            if isinstance(value, exp.Column) and not value.table and value.name in below
        }
    assert isinstance(node, Windows)
    return _passed(node.input)


def _keeps_rows(node: Node) -> bool:
    """Whether each row of the input comes out once, in its place."""
    if not render.is_linear(node):
        return True
    if not isinstance(node, Map) or node.condition is not None:
        return False
    return not any(_repeats(value) for _, value in node.projections) and _keeps_rows(node.input)


def _repeats(value: exp.Expr) -> bool:
    return value.find(exp.Unnest, exp.Explode, exp.Posexplode) is not None


def _is_wide(kind: pa.DataType) -> bool:
    is_text = pa.types.is_string(kind) or pa.types.is_binary(kind)
    return bool(is_text or pa.types.is_nested(kind) or pa.types.is_decimal(kind))


def _narrowed(node: Node, names: frozenset[str]) -> Node:
    """The stretch with just what some of its columns, and its rows, are computed from."""
    if not render.is_linear(node):
        kept = tuple(name for name in node.schema.names if name in names)
        return Scan("", node.schema.select(kept), append_only=True)
    if isinstance(node, Map):
        projections = tuple((n, v) for n, v in node.projections if n in names or _repeats(v))
        values = [value for _, value in projections]
        values += [] if node.condition is None else [node.condition]
        schema = node.schema.select(tuple(name for name, _ in projections))
        below = _narrowed(node.input, _reads(values))
        return replace(node, input=below, projections=projections, schema=schema)
    assert isinstance(node, Windows)
    below = _narrowed(node.input, (names - {node.start, node.end}) | {node.spec.time})
    added = node.schema.select((node.start, node.end))
    return replace(node, input=below, schema=Schema((*below.schema, *added)))


def _reads(values: Sequence[exp.Expr]) -> frozenset[str]:
    return frozenset(c.name for value in values for c in value.find_all(exp.Column))

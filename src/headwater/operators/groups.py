"""The groups that an epoch touches, and their rows before and after it.

What is computed again per group (top-N, recomputed queries) asks three things: which groups the
changes belong to, which rows these groups had, and which rows they have now. Equality is
DuckDB's: a null is a group, and so is NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array, ones
from headwater.operators import render
from headwater.operators.runs import joined
from headwater.operators.statement import Engine, Statement
from headwater.state.multiset import Multiset
from headwater.state.piled import Piled

BEFORE = "__before"
AFTER = "__after"


def touched(engine: Engine, schema: pa.Schema, keys: Sequence[str]) -> Statement:
    """The distinct keys of rows, each with its hash, in a fixed order.

    Args:
        schema: Columns named as `keys`, and the hash.

    """
    columns: list[exp.Expression] = [render.column(key) for key in keys]
    hashed = render.call("any_value", render.column(HASH))
    query = render.select([*columns, render.named(hashed, HASH)], render.INPUT, None)
    if keys:
        query = query.group_by(*map(render.column, keys), copy=False)
    query = query.order_by(render.column(HASH), copy=False)
    return Statement(engine, query, {render.INPUT: schema}, is_ordered=True)


def weights_of(change: Delta) -> Int64Array:
    """The weights of a change's rows, 1 where none are given."""
    weights = change.weights
    return ones(len(change)) if weights is None else weights


def before_and_after(
    known: Multiset | Piled, keys: pa.RecordBatch, change: Delta, schema: pa.Schema
) -> pa.RecordBatch:
    """The rows of the touched groups with their weights before and after the change.

    A row may stand in several places; its weights are the sums over them.

    Args:
        known: The rows before the change.
        keys: The touched keys and their hashes.
        change: The change of the same rows.
        schema: The rows' columns; `__before` and `__after` follow in what is returned.

    """
    matches = known.probe(
        keys.select([n for n in keys.schema.names if n != HASH]), keys.column(HASH).to_numpy()
    )
    weights = np.asarray(matches.weights, dtype=np.int64)
    nothing = np.zeros(len(change), dtype=np.int64)
    names = schema.names
    parts = [
        _weighed(matches.rows.select(names), weights, weights),
        _weighed(change.rows.select(names), nothing, weights_of(change)),
    ]
    return joined(parts, weighed_schema(schema))


def weighed_schema(schema: pa.Schema) -> pa.Schema:
    """Columns with the weights before and after."""
    return pa.schema([*schema, pa.field(BEFORE, pa.int64()), pa.field(AFTER, pa.int64())])


def summed(names: Sequence[str], source: str | exp.Select = render.INPUT) -> exp.Select:
    """Each distinct row once, with its weights before and after."""
    columns: list[exp.Expression] = [render.column(name) for name in names]
    sums = [render.named(total(name), name) for name in (BEFORE, AFTER)]
    query = render.select([*columns, *sums], source, None)
    return query.group_by(*map(render.column, names), copy=False) if names else query


def total(name: str) -> exp.Expression:
    """The sum of an int64 column, as an int64."""
    return render.cast(exp.Sum(this=render.column(name)), "BIGINT")


def difference(engine: Engine, schema: pa.Schema, *, has_ticks: bool = False) -> Statement:
    """Rows with weights as a change: equal rows as one, nothing that cancels, in a fixed order.

    Args:
        schema: The rows' columns.
        has_ticks: Whether they have places in the log: of equal rows the first counts.

    """
    names = schema.names
    columns: list[exp.Expression] = [render.column(name) for name in names]
    columns.append(render.named(total(WEIGHT), WEIGHT))
    if has_ticks:
        columns.append(render.named(exp.Min(this=render.column(TICK)), TICK))
    query = render.select(columns, render.INPUT, None)
    query = query.group_by(*map(render.column, names), copy=False)
    nonzero = exp.NEQ(this=total(WEIGHT), expression=exp.Literal.number(0))
    query = query.having(nonzero, copy=False)
    query = query.order_by(*map(ascending, names), copy=False)
    given = schema.append(pa.field(WEIGHT, pa.int64()))
    if has_ticks:
        given = given.append(pa.field(TICK, pa.int64()))
    return Statement(engine, query, {render.INPUT: given}, is_ordered=True)


def ascending(name: str) -> exp.Ordered:
    """ORDER BY name ASC NULLS LAST."""
    return exp.Ordered(this=render.column(name), desc=False, nulls_first=False)


def _weighed(rows: pa.RecordBatch, before: Int64Array, after: Int64Array) -> pa.RecordBatch:
    columns = [*rows.columns, pa.array(before), pa.array(after)]
    schema = weighed_schema(pa.schema([pa.field(f.name, f.type) for f in rows.schema]))
    return pa.RecordBatch.from_arrays(columns, schema=schema)

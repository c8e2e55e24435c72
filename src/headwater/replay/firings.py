"""Firings in batch: the results of a view that accumulates or discards, over whole inputs.

Which rows a firing takes in is told by the places of rows in the log, and tables have one: their
own order. So the topic is taken for one partition whose rows came in this order, and its watermark
runs along them; what only a log knows (partitions, idle senders, explicit advances) is not there.
At the end the input has ended. The rows and their places come from the plan, as those of a process
do (`replay.python`). What is computed of each firing is DuckDB's own aggregates, over the rows of a
group and firing, or, as window functions, over those of a group up to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import TICK, Int64Array
from headwater.delta.watermark import WatermarkCurve
from headwater.log.chunk import Chunk
from headwater.operators import render
from headwater.operators.statement import one_batch
from headwater.plan.nodes import Hold, Map, Node, Panes, SessionPanes, Windows, walk
from headwater.plan.pipeline import Pipeline, TopicDefinition, ViewPlan
from headwater.replay import session_firings
from headwater.replay.python import PythonSteps
from headwater.runtime.senders import SenderWatermark
from headwater.runtime.watermarks import TopicWatermark
from headwater.schema.schema import Schema
from headwater.schema.types import Column
from headwater.sql import by_value

# Names that no author can write.
_END, _FIRING = "\x01end", "\x01firing"
_ON_TIME = -1


def query_of(
    connection: duckdb.DuckDBPyConnection, steps: PythonSteps, pipeline: Pipeline, plan: ViewPlan
) -> exp.Query | None:
    """A query that gives the rows of a view's query; None where the view has no firings."""
    panes = next((n for n in walk(plan.root) if isinstance(n, Panes | SessionPanes)), None)
    if panes is None:
        return None
    rows, said = f"\x01rows_{plan.name}", f"\x01said_{plan.name}"
    sources = _sources(panes)
    topic = next(topic for topic in pipeline.topics if topic.name == sources[0])
    curve = _curve(connection, topic)
    if isinstance(panes, SessionPanes):
        _create(connection, rows, steps.stretch(panes.input))
        _create(connection, said, session_firings.said(connection, panes, rows, curve))
    else:
        placed, end = _rows(panes.input)
        _create(connection, rows, steps.stretch(placed))
        firings = _firings(connection, rows, panes.input, end, curve)
        connection.from_arrow(firings).create(f'"{rows}_firings"')
        _create(connection, said, _said(panes, rows))
    root = plan.root if plan.definition.python is None else plan.root.inputs[0]
    return render.stretch(root, [], said)


def _rows(node: Node) -> tuple[Node, str | None]:
    """The rows without what holds them, and their column with the end of the final window."""
    if isinstance(node, Hold):
        return _rows(node.input)
    if isinstance(node, Map):
        below, end = _rows(node.input)
        if end is None:
            return replace(node, input=below), None
        column = Column(_END, below.schema[end].type)
        projections = (*node.projections, (_END, render.column(end)))
        schema = Schema((*node.schema, column))
        return replace(node, input=below, projections=projections, schema=schema), _END
    if isinstance(node, Windows):
        below, end = _rows(node.input)
        columns = tuple(c for c in below.schema if c.name not in node.input.schema)
        schema = Schema((*node.input.schema, *columns, *node.schema.columns[-2:]))
        linear = replace(node, input=below, schema=schema, final=False, lateness_us=None)
        return linear, node.end if node.final else end
    return node, None


def _sources(panes: Panes | SessionPanes) -> tuple[str, ...]:
    """The topic by whose watermark it fires."""
    if isinstance(panes, SessionPanes):
        return panes.window.sources
    deciding = [n for n in walk(panes.input) if isinstance(n, Hold | Windows) and n.sources]
    return deciding[-1].sources


def _curve(connection: duckdb.DuckDBPyConnection, topic: TopicDefinition) -> WatermarkCurve:
    """How the watermark by which windows close runs along the rows of a topic's table."""
    assert topic.event_time is not None
    names = dict.fromkeys(n for n in (topic.event_time, topic.watermark_by) if n is not None)
    query = render.select([render.column(name) for name in names], topic.name, None)
    query = query.order_by(exp.column("rowid"), copy=False)
    rows = one_batch(connection.sql(query.sql("duckdb")).to_arrow_table())
    single = replace(topic, partitions=1)
    watermark = (TopicWatermark if topic.watermark_by is None else SenderWatermark)(single)
    _, ready = watermark.curves([Chunk(0, 0, 0, 0, rows)] if rows.num_rows else [], [])
    return ready


def _firings(
    connection: duckdb.DuckDBPyConnection,
    rows: str,
    node: Node,
    end: str | None,
    curve: WatermarkCurve,
) -> pa.Table:
    """The firing of each row, as a number; firings of a group come in the order of these."""
    ends = exp.null() if end is None else render.call("epoch_us", render.column(end))
    columns = [render.column(TICK), render.named(ends, _END)]
    query = render.select(columns, rows, None).order_by(exp.column("rowid"), copy=False)
    found = connection.sql(query.sql("duckdb")).to_arrow_table()
    ticks: Int64Array = found.column(TICK).to_numpy()
    if isinstance(node, Hold):
        firings = curve.before(ticks) // node.every_us
    else:
        is_on_time = curve.before(ticks) < found.column(_END).to_numpy()
        firings = np.where(is_on_time, _ON_TIME, ticks)
    return pa.table({_FIRING: pa.array(firings, pa.int64())})


def _said(panes: Panes, rows: str) -> exp.Select:
    """What each firing says."""
    numbered = exp.Table(this=exp.to_identifier(rows, quoted=True))
    firings = exp.Table(this=exp.to_identifier(f"{rows}_firings", quoted=True))
    query = exp.select("*").from_(numbered)
    query.set("joins", [exp.Join(this=firings, method="POSITIONAL")])
    keys: list[Any] = [render.column(key) for key in panes.keys]
    calls: list[Any] = [by_value.call(partial) for partial in panes.partials]
    firing = render.column(_FIRING)
    if panes.is_accumulating:
        calls = [_so_far(call, keys, firing) for call in calls]
    typed = [
        render.named(render.cast(call, panes.schema[partial.name].type.sql), partial.name)
        for call, partial in zip(calls, panes.partials, strict=True)
    ]
    said = render.select([*keys, *typed], query, None)
    if not panes.is_accumulating:
        return said.group_by(*(key.copy() for key in keys), firing, copy=False)
    number = exp.Window(this=exp.RowNumber(), partition_by=[*keys, firing.copy()])
    said.set("qualify", exp.Qualify(this=exp.EQ(this=number, expression=exp.Literal.number(1))))
    return said


def _so_far(call: exp.Expr, keys: Sequence[exp.Expr], firing: exp.Expr) -> exp.Expr:
    """An aggregate over the rows of its group up to a firing, that one's included."""
    order = exp.Order(expressions=[exp.Ordered(this=firing.copy())])
    spec = exp.WindowSpec(
        kind="RANGE", start="UNBOUNDED", start_side="PRECEDING", end="CURRENT ROW"
    )
    by = [key.copy() for key in keys]
    return exp.Window(this=call, partition_by=by, order=order, spec=spec)


def _create(connection: duckdb.DuckDBPyConnection, name: str, query: exp.Query) -> None:
    create = exp.Create(this=render.table(name), kind="TABLE", expression=query)
    connection.execute(create.sql("duckdb"))

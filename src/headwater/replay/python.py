"""Steps in Python, in batch: the author's own code over whole inputs.

A transform is called once with all rows. A process is given the rows of its query in the order of
the topic's rows, in one epoch, and time runs along all rows of the topic: its watermark is their
highest event time so far, less the delay, and at the end the input has ended. What only a log knows
(partitions, idle senders, explicit advances) is not there.

The rows and their places come from the same rendering of the plan as in the engine: only the plan
knows which row of the topic a row of the query is.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import TICK, Delta, Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.errors import DefinitionError, RecordError
from headwater.operators import render
from headwater.operators.operator import Epoch
from headwater.operators.process import ProcessOperator
from headwater.operators.statement import Engine, one_batch, plain
from headwater.operators.transform import TransformOperator, transformed
from headwater.plan.nodes import Node, Process, Scan, Transform
from headwater.plan.pipeline import Pipeline, TopicDefinition, ViewPlan
from headwater.plan.python import PythonStep, StepKind
from headwater.runtime.curves import rising
from headwater.schema.schema import Schema


class PythonSteps:
    """Computes the steps of a pipeline, in order, over tables of one DuckDB.

    Args:
        connection: Holds a table for each topic, its rows in order, and each view so far.
        plans: The planned views.

    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        pipeline: Pipeline,
        plans: Sequence[ViewPlan],
    ) -> None:
        self._connection = connection
        self._engine = Engine(steps=pipeline.steps)
        self._topics = {topic.name: topic for topic in pipeline.topics}
        self._plans = {plan.name: plan for plan in plans}
        self._placed: set[str] = set()

    def rows(self, name: str, step: PythonStep, query: exp.Query) -> exp.Query:
        """A query that gives the rows of a step.

        Args:
            name: The view.
            query: What the step reads.

        Raises:
            DefinitionError: The code raised, or returned what was not declared.

        """
        if step.kind is StepKind.TRANSFORM:
            batch = one_batch(self._connection.sql(query.sql("duckdb")).to_arrow_table())
            try:
                made, _ = transformed(step, name, batch)
            except RecordError as error:
                raise DefinitionError(f"{name} cannot be computed: {error.message}") from None
            return self._kept(f"\x01made_{name}", pa.Table.from_batches([made]), step.schema)
        root = self._plans[name].root
        assert isinstance(root, Process), f"{name} is no process"
        made = self._processed(root)
        placed = _placed_name(name)
        self._placed.add(name)
        return self._kept(placed, pa.Table.from_batches([made]), step.schema)

    def _kept(self, table: str, rows: pa.Table, schema: Schema) -> exp.Select:
        """Keep rows as a table; a query for its visible columns."""
        self._connection.from_arrow(rows).create(f'"{table}"')
        return render.select(render.typed(schema), table, None)

    def _processed(self, node: Process) -> pa.RecordBatch:
        query = self.stretch(node.input)
        names = [*node.input.schema.names, TICK]
        hashed = render.hashed(query, node.keys, names)
        ordered = hashed.order_by(render.column(TICK), copy=False)
        rows = one_batch(self._connection.sql(ordered.sql("duckdb")).to_arrow_table())
        fields = [*plain(node.input.schema), *list(rows.schema)[len(node.input.schema) :]]
        rows = rows.cast(pa.schema([pa.field(f.name, f.type) for f in fields]))
        operator = ProcessOperator(node, rows.schema, self._engine)
        curve = self._curve(node)
        last = int(rows.column(TICK).to_numpy().max(initial=0))
        epoch = Epoch(0, 0, last, {node.sources: curve})
        made = operator.step([Delta(rows)], epoch).rows
        if epoch.failed:
            reason = epoch.failed[0].column(0)[0].as_py()
            raise DefinitionError(f"{node.name} cannot be computed: {reason}")
        return made

    def _with_places(self, relation: str) -> str:
        """The name of a table or view with the rows of a relation and their places."""
        placed = _placed_name(relation)
        if relation in self._placed:
            return placed
        self._placed.add(relation)
        if relation in self._topics:
            columns = [render.column(n) for n in self._topics[relation].schema.names]
            # Rows of a table that nothing was deleted from are numbered in their order.
            place = render.named(exp.column("rowid"), TICK)
            query = render.select([*columns, place], relation, None)
        else:
            root = self._plans[relation].root
            if isinstance(root, Transform):
                return self._transformed(root, placed)
            query = self.stretch(root)
        create = exp.Create(this=render.table(placed), kind="VIEW", expression=query)
        self._connection.execute(create.sql("duckdb"))
        return placed

    def stretch(self, root: Node) -> exp.Select:
        """The rows of a linear stretch over a relation, with their places."""
        scan = render.bottom(root)
        assert isinstance(scan, Scan), "only what is computed row by row has places"
        return render.stretch(root, [TICK], self._with_places(scan.relation))

    def _transformed(self, node: Transform, placed: str) -> str:
        """Keep the rows of a transform with the places of those that they were made of."""
        query = self.stretch(node.input).order_by(render.column(TICK), copy=False)
        rows = one_batch(self._connection.sql(query.sql("duckdb")).to_arrow_table())
        operator = TransformOperator(node, rows.schema, self._engine)
        made = operator.step([Delta(rows)], Epoch(0, 0, 0, {})).rows
        self._connection.from_arrow(pa.Table.from_batches([made])).create(f'"{placed}"')
        return placed

    def _curve(self, node: Process) -> WatermarkCurve:
        """How the watermark of the topic below runs along its rows, and then ends."""
        if not node.sources:
            return WatermarkCurve(BEFORE_ALL, np.empty(0, np.int64), np.empty(0, np.int64))
        topic = self._topics[node.sources[0]]
        times = _times_us(self._connection, topic)
        watermarks = np.where(times == BEFORE_ALL, BEFORE_ALL, times - topic.delay_us)
        ticks = np.arange(len(times) + 1, dtype=np.int64)
        return rising(BEFORE_ALL, ticks, np.append(watermarks, AFTER_ALL))


def _times_us(connection: duckdb.DuckDBPyConnection, topic: TopicDefinition) -> Int64Array:
    """The event times of a topic's rows, in order; BEFORE_ALL for none."""
    assert topic.event_time is not None
    time = render.named(render.call("epoch_us", render.column(topic.event_time)), "us")
    query = render.select([time], topic.name, None).order_by(exp.column("rowid"), copy=False)
    column = connection.sql(query.sql("duckdb")).to_arrow_table().column(0)
    return np.asarray(column.fill_null(BEFORE_ALL).to_numpy(), dtype=np.int64)


def _placed_name(relation: str) -> str:
    return f"\x01placed_{relation}"

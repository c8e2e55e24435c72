"""Run a plan over rows that are cut into epochs, and add up what comes out."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import sqlglot
from sqlglot import exp

from headwater.delta.delta import HIDDEN, WEIGHT, Delta
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine, plain
from headwater.plan.nodes import Node
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.state.afar import Afar, Stretch, Unread

SECOND_US = 1_000_000
SOURCES = ("t",)


def schema(**types: str) -> Schema:
    return Schema(tuple(Column(name, parse_type(text)) for name, text in types.items()))


def expression(text: str) -> exp.Expression:
    """A bound expression: unqualified, quoted columns."""
    return sqlglot.parse_one(text, dialect="duckdb").transform(
        lambda node: (
            exp.column(exp.to_identifier(node.name, quoted=True))
            if isinstance(node, exp.Column)
            else node
        )
    )


def query(text: str) -> exp.Query:
    return sqlglot.parse_one(text, dialect="duckdb")


def table(columns: Schema, rows: Sequence[Sequence[Any]], **hidden: Sequence[int]) -> pa.Table:
    """Rows as a table; hidden columns by keyword."""
    arrays = [
        pa.array([row[i] for row in rows], column.type.arrow) for i, column in enumerate(columns)
    ]
    made = pa.Table.from_arrays(arrays, schema=plain(columns))
    for name, values in hidden.items():
        made = made.append_column(pa.field(name, pa.int64()), pa.array(values, pa.int64()))
    return made


def unread(rows: pa.Table) -> Unread:
    """The same rows, lying elsewhere in another order."""
    stretches = []
    for batch in rows.to_batches():
        places = np.arange(batch.num_rows)[::-1].copy()
        lies = Afar([batch.take(pa.array(places))], places)
        columns = {name: (lies, name) for name in rows.schema.names}
        stretches.append(Stretch(batch.num_rows, columns, {}))
    return Unread(rows.schema, stretches)


def frozen(value: Any) -> Any:
    """A value that is equal to itself and can be counted."""
    if isinstance(value, dict):
        return tuple((k, frozen(v)) for k, v in value.items())
    if isinstance(value, list | tuple):
        return tuple(frozen(v) for v in value)
    return "NaN" if isinstance(value, float) and value != value else value  # noqa: PLR0124


def zset(rows: pa.RecordBatch | pa.Table) -> Counter[Any]:
    """The rows, each with the sum of its weights; without those that cancel."""
    names = [name for name in rows.schema.names if name not in HIDDEN]
    weights = rows.column(WEIGHT).to_pylist() if WEIGHT in rows.schema.names else None
    columns = [rows.column(name).to_pylist() for name in names]
    total: Counter[Any] = Counter()
    for position in range(rows.num_rows):
        row = tuple(frozen(column[position]) for column in columns)
        total[row] += weights[position] if weights else 1
    return Counter({row: weight for row, weight in total.items() if weight})


def added(parts: Iterable[Counter[Any]]) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for part in parts:
        for row, weight in part.items():
            total[row] += weight
    return Counter({row: weight for row, weight in total.items() if weight})


def answer(sql: str, **tables: pa.Table) -> Counter[Any]:
    """What DuckDB says in batch."""
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, rows in tables.items():
            connection.register(name, rows)
        return zset(connection.sql(sql).to_arrow_table())


def changelog(
    steps: Sequence[tuple[tuple[Any, ...], bool]],
) -> tuple[list[Any], list[int], list[Any]]:
    """Additions and withdrawals: the rows in order, their weights, and the rows that are left.

    Args:
        steps: A row to add, or, where the second is true, a wish to withdraw the oldest one.
    """
    log, weights, live = [], [], []
    for row, is_withdrawal in steps:
        if is_withdrawal and live:
            log.append(live.pop(0))
            weights.append(-1)
        else:
            live.append(row)
            log.append(row)
            weights.append(1)
    return log, weights, live


class Memory:
    """A checkpoint store that keeps batches by name."""

    def __init__(self) -> None:
        self.batches: dict[str, pa.RecordBatch] = {}

    def put(self, batch: pa.RecordBatch) -> str:
        name = f"batch-{len(self.batches)}"
        self.batches[name] = batch
        return name

    def keep(self, name: str) -> None:
        assert name in self.batches

    def stored(self, name: str) -> pa.RecordBatch:
        return self.batches[name]

    def get(self, name: str) -> pa.RecordBatch:
        return self.batches[name]


@dataclass
class Outcome:
    """What a run put out."""

    changes: list[Delta] = field(default_factory=list)
    late: list[pa.RecordBatch] = field(default_factory=list)
    failed: list[pa.RecordBatch] = field(default_factory=list)
    flow: Dataflow | None = None

    @property
    def total(self) -> Counter[Any]:
        return added(zset(change.rows) for change in self.changes)

    @property
    def late_rows(self) -> Counter[Any]:
        return added(zset(batch) for batch in self.late)


def run(
    engine: Engine,
    plan: Node,
    rows: pa.Table,
    *,
    cuts: Sequence[int] = (),
    times_us: Sequence[int | None] | None = None,
    is_ended: bool = True,
    saved_after: int | None = None,
    has_ticks: bool = False,
) -> Outcome:
    """Step a plan over relation `t`, cut into epochs before the rows at `cuts`.

    Args:
        times_us: The event times that move the watermark; None: no watermark.
        is_ended: Whether a last epoch lets the watermark pass everything.
        saved_after: The epoch after which the state goes through a checkpoint into a new dataflow.
        has_ticks: Whether changes come with their places in the log.
    """
    flow, outcome = Dataflow(plan, engine, has_ticks=has_ticks), Outcome()
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < rows.num_rows}), rows.num_rows]
    steps = list(itertools.pairwise(bounds))
    for number, (first, stop) in enumerate(steps):
        curve = curve_of(times_us, first, stop)
        epoch = Epoch(number, 0, stop - 1, {SOURCES: curve})
        outcome.changes.append(flow.step({"t": rows.slice(first, stop - first)}, epoch))
        outcome.late += epoch.late
        outcome.failed += epoch.failed
        if saved_after == number:
            memory = Memory()
            manifest = flow.save(memory)
            flow = Dataflow(plan, engine, has_ticks=has_ticks)
            flow.load(manifest, memory)
    if is_ended:
        last = curve_of(times_us, 0, rows.num_rows).end_us
        end = WatermarkCurve(last, np.array([rows.num_rows]), np.array([AFTER_ALL]))
        epoch = Epoch(len(steps), 0, rows.num_rows, {SOURCES: end})
        outcome.changes.append(flow.step({}, epoch))
        outcome.late += epoch.late
        outcome.failed += epoch.failed
    outcome.flow = flow
    return outcome


def curve_of(times_us: Sequence[int | None] | None, first: int, stop: int) -> WatermarkCurve:
    """The watermark along rows `first` to `stop`: the highest event time so far."""
    known = [BEFORE_ALL if t is None else t for t in times_us or ()]
    start = max(known[:first], default=BEFORE_ALL)
    ticks, values, highest = [], [], start
    for tick in range(first, min(stop, len(known))):
        if known[tick] > highest:
            highest = known[tick]
            ticks.append(tick)
            values.append(highest)
    return WatermarkCurve(start, np.array(ticks, np.int64), np.array(values, np.int64))

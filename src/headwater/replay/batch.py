"""The batch answer: every view computed at once by DuckDB, from the author's own queries.

No plan is involved. A query is run as it was written, with rewrites that only make it say what
the dialect means: window table functions become plain SQL, MATCH_RECOGNIZE a table of its matches
(`replay.match`), and where a query picks among rows that
its ORDER BY does not tell apart, or an ASOF JOIN among equal matches, the choice is made. A table
holds the newest row of each key, in the order of its rows. Views are computed in order, each over
the answers of those before it.

This is what a stream is compared with, so it shares no code with the plan but these rewrites.
It runs on one thread: then functions that depend on the order of rows follow the order of the
input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.operators.functions import Functions
from headwater.plan.pipeline import (
    Accumulation,
    Pipeline,
    TopicDefinition,
    ViewDefinition,
    ViewPlan,
)
from headwater.plan.versions import Versioned, versions_of
from headwater.replay import firings
from headwater.replay.match import with_matches
from headwater.replay.python import PythonSteps
from headwater.schema.types import parse_type
from headwater.sql import completeness, temporal
from headwater.sql.asof import last_of_equal_matches, refuse_outer
from headwater.sql.functions import refuse_volatile
from headwater.sql.places import hint_for
from headwater.sql.sketches import exactly
from headwater.sql.ties import break_ties
from headwater.sql.versions import read_versions
from headwater.sql.windows import plain

Input: TypeAlias = pa.Table | pa.RecordBatch | str | Path

_READERS = {
    ".parquet": "read_parquet",
    ".csv": "read_csv",
    ".tsv": "read_csv",
    ".json": "read_json",
    ".ndjson": "read_ndjson",
    ".jsonl": "read_ndjson",
}
# A quoted name that no author can write: it holds a row's place in the input.
_PLACE = "\x01place"


def batch(
    pipeline: Pipeline,
    inputs: Mapping[str, Input],
    plans: Sequence[ViewPlan] = (),
    *,
    now_us: int | None = None,
) -> dict[str, pa.Table]:
    """Compute every view of a pipeline over whole inputs.

    Args:
        pipeline: What was declared.
        inputs: For each topic and table its rows in order, or a Parquet, CSV or NDJSON file of
            them. Columns are cast to what is declared; a missing one takes its default. A topic
            that is not named has no rows.
        plans: The planned views; only those of steps in Python, and of views that accumulate or
            discard, and what these read, are used.
        now_us: What `now()` is, in microseconds since 1970. None: no view may ask.

    Returns:
        The content of each view, by name.

    Raises:
        DefinitionError: A name is not a topic, a file has an unknown form, DuckDB refuses a query,
            or a value is not of its declared type.

    """
    known = {topic.name.lower(): topic for topic in pipeline.topics}
    given: dict[str, Input] = {}
    for name, rows in inputs.items():
        if name.lower() not in known:
            names = [topic.name for topic in pipeline.topics]
            raise DefinitionError(
                f"there is no topic or table {name}", hint=hint_for(name, names, "there are")
            )
        given[name.lower()] = rows
    with _connection(pipeline) as connection:
        read = _versions_read(pipeline)
        for topic in pipeline.topics:
            rows = given.get(topic.name.lower())
            _load(connection, topic, rows)
            if topic.name in read:
                versions = replace(topic, name=versions_of(topic.name), key=())
                _load(connection, versions, rows, not_null=topic.key)
        steps = PythonSteps(connection, pipeline, plans)
        asked = _Asked(connection, pipeline, {p.name: p for p in plans}, steps, now_us)
        views = [replace(v, query=_with_versions(v.query, pipeline)) for v in pipeline.views]
        return {view.name: _answer(asked, view) for view in views}


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the views of one batch share."""

    connection: duckdb.DuckDBPyConnection
    pipeline: Pipeline
    plans: Mapping[str, ViewPlan]
    steps: PythonSteps
    now_us: int | None


def _with_versions(query: exp.Query, pipeline: Pipeline) -> exp.Query:
    """The query with the versions of a table where it means these."""
    tables = [
        Versioned(topic.name, topic.schema.names, topic.key, topic.event_time)
        for topic in pipeline.topics
        if topic.is_table and topic.event_time is not None
    ]
    return read_versions(query, tables)


def _versions_read(pipeline: Pipeline) -> set[str]:
    """The tables whose versions some view reads."""
    queries = [_with_versions(view.query, pipeline) for view in pipeline.views]
    names = {table.name for query in queries for table in query.find_all(exp.Table)}
    return {topic.name for topic in pipeline.topics if versions_of(topic.name) in names}


def _connection(pipeline: Pipeline) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "python_enable_replacements": False,
            # sqlglot writes a lambda as `x -> x + 1`, which DuckDB 2 takes only when asked to.
            "lambda_syntax": "ENABLE_SINGLE_ARROW",
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    Functions(pipeline.functions).register(connection)
    return connection


def _load(
    connection: duckdb.DuckDBPyConnection,
    topic: TopicDefinition,
    rows: Input | None,
    *,
    not_null: tuple[str, ...] = (),
) -> None:
    """Create a table with the content of a topic: its rows, or the newest of each key."""
    empty = topic.schema.arrow.empty_table()
    relation = _relation(connection, topic, empty if rows is None else rows)
    found = {name.lower() for name in relation.columns}
    relation.create_view("\x01raw", replace=True)
    columns = [_column(topic, name, found) for name in topic.schema.names]
    place = exp.alias_(exp.Window(this=exp.RowNumber()), _PLACE, quoted=True)
    typed = exp.select(*columns, place).from_(_table("\x01raw"))
    names = [exp.column(exp.to_identifier(name, quoted=True)) for name in topic.schema.names]
    query = exp.select(*names).from_(exp.Subquery(this=typed, alias=exp.to_identifier("_typed")))
    for column in topic.schema:
        if not column.nullable or column.name in (*topic.key, *not_null):
            value = exp.column(exp.to_identifier(column.name, quoted=True))
            query = query.where(exp.Not(this=exp.Is(this=value, expression=exp.null())))
    order = exp.Ordered(this=exp.column(exp.to_identifier(_PLACE, quoted=True)))
    if topic.is_table:
        query.set("qualify", exp.Qualify(this=_is_content(topic, order)))
    create = exp.Create(
        this=_table(topic.name), kind="TABLE", expression=query.order_by(order.copy())
    )
    _run(connection, create.sql("duckdb"), topic.name)


def _is_content(topic: TopicDefinition, order: exp.Ordered) -> exp.Expr:
    """Whether a row is the newest of its key, and does not delete it."""
    is_newest = _is_newest(topic, order)
    if topic.deleted_by is None:
        return is_newest
    deleted = exp.column(exp.to_identifier(topic.deleted_by, quoted=True))
    is_there = exp.Not(this=exp.Is(this=deleted, expression=exp.true()))
    return exp.And(this=is_newest, expression=exp.Paren(this=is_there))


def _is_newest(topic: TopicDefinition, order: exp.Ordered) -> exp.Expr:
    """Whether a row is the last of its key, or of those with the highest version."""
    newest = [exp.Ordered(this=order.this.copy(), desc=True)]
    if topic.newest_by is not None:
        version = exp.column(exp.to_identifier(topic.newest_by, quoted=True))
        newest.insert(0, exp.Ordered(this=version, desc=True, nulls_first=False))
    number = exp.Window(
        this=exp.RowNumber(),
        partition_by=[exp.column(exp.to_identifier(key, quoted=True)) for key in topic.key],
        order=exp.Order(expressions=newest),
    )
    return exp.EQ(this=number, expression=exp.Literal.number(1))


def _relation(connection: duckdb.DuckDBPyConnection, topic: TopicDefinition, rows: Input) -> Any:
    """The input as DuckDB reads it."""
    if isinstance(rows, pa.RecordBatch):
        rows = pa.Table.from_batches([rows])
    if isinstance(rows, pa.Table):
        return connection.from_arrow(rows)
    path = Path(rows)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise DefinitionError(
            f"{path.name} for {topic.name} is of a form that is not known",
            hint=f"use one of {', '.join(_READERS)}",
        )
    call = exp.Anonymous(this=reader, expressions=[exp.Literal.string(str(path))])
    try:
        return connection.sql(exp.select("*").from_(exp.Table(this=call)).sql("duckdb"))
    except duckdb.Error as error:
        raise DefinitionError(f"{path} cannot be read for {topic.name}: {_line(error)}") from None


def _column(topic: TopicDefinition, name: str, found: set[str]) -> exp.Expr:
    """A declared column, cast; its default where the input has none."""
    column = topic.schema[name]
    value: exp.Expr
    if name.lower() in found:
        value = exp.column(exp.to_identifier(name, quoted=True))
    elif column.nullable or column.default is not None:
        value = exp.convert(column.default)
    else:
        raise DefinitionError(
            f"the rows for {topic.name} have no column {name}",
            hint=f"it is declared {name} {column.type} NOT NULL",
        )
    to = exp.DataType.build(column.type.sql, dialect="duckdb")
    return exp.alias_(exp.Cast(this=value, to=to), name, quoted=True)


def _answer(asked: _Asked, view: ViewDefinition) -> pa.Table:
    """Compute one view, keep it for the later ones, and return its rows."""
    connection = asked.connection
    query = _fired(asked, view) or _query(asked, view)
    if view.python is not None:
        query = asked.steps.rows(view.name, view.python, query)
    whole = exp.select("*").from_(
        exp.Subquery(this=query, alias=exp.TableAlias(this=exp.to_identifier("_view")))
    )
    create = exp.Create(this=_table(view.name), kind="TABLE", expression=whole)
    _run(connection, create.sql("duckdb"), view.name)
    result = connection.sql(exp.select("*").from_(_table(view.name)).sql("duckdb"))
    arrow = pa.schema(
        [
            pa.field(name, parse_type(str(sql_type)).arrow)
            for name, sql_type in zip(result.columns, result.types, strict=True)
        ]
    )
    return result.to_arrow_table().cast(arrow)


def _fired(asked: _Asked, view: ViewDefinition) -> exp.Query | None:
    """The rows of a view's query that come firing by firing; None where nothing does."""
    if view.accumulation is Accumulation.RETRACTING:
        return None
    return firings.query_of(asked.connection, asked.steps, asked.pipeline, asked.plans[view.name])


def _query(asked: _Asked, view: ViewDefinition) -> exp.Query:
    """A view's query as DuckDB answers it."""
    connection, now_us = asked.connection, asked.now_us
    exact = completeness.at_the_end(exactly(view.query, view.origin))
    allowed = frozenset[int]() if now_us is None else temporal.placed(exact)
    refuse_outer(exact, view.origin)
    refuse_volatile(exact, view.origin, allowed)
    timed = exact if now_us is None else temporal.at(exact, now_us)

    def columns_of(query: exp.Query) -> tuple[str, ...]:
        try:
            return tuple(connection.sql(query.sql("duckdb")).columns)
        except duckdb.Error as error:
            raise DefinitionError(_line(error)) from None

    def written_out(query: exp.Query) -> exp.Query:
        total = break_ties(plain(query, view.origin), columns_of)
        return last_of_equal_matches(
            total, columns_of, has_order=lambda right: _has_order(asked, right)
        )

    return written_out(with_matches(connection, timed, view.origin, written_out))


def _has_order(asked: _Asked, source: exp.Expr) -> bool:
    """Whether the rows of a source stand as they came: those of a log, and what is read of logs."""
    if isinstance(source, exp.Subquery):
        return _has_order(asked, source.this)
    if isinstance(source, exp.Select):
        is_other = any(source.args.get(part) for part in ("group", "limit", "offset", "qualify"))
        reads = [part.this for part in (source.args.get("from_"), *source.args.get("joins", ()))]
        return not is_other and all(_has_order(asked, part) for part in reads if part is not None)
    if isinstance(source, exp.Table):
        name = source.name.lower()
        tables = {topic.name.lower() for topic in asked.pipeline.topics if topic.is_table}
        plans = [plan for plan in asked.plans.values() if plan.name.lower() == name]
        return name not in tables and all(plan.root.append_only for plan in plans)
    return isinstance(source, exp.Values)


def _run(connection: duckdb.DuckDBPyConnection, sql: str, name: str) -> None:
    try:
        connection.execute(sql)
    except duckdb.Error as error:
        raise DefinitionError(f"{name} cannot be computed: {_line(error)}") from None


def _line(error: duckdb.Error) -> str:
    return str(error).strip().split("\n")[0]


def _table(name: str) -> exp.Table:
    return exp.Table(this=exp.to_identifier(name, quoted=True))

"""Render plan nodes as DuckDB queries: the one place where a plan becomes SQL for the engine.

A linear stretch of a plan (maps and window assignments, down to the first node that is not
linear) becomes one SELECT over `input`, which DuckDB flattens into one pass. The hidden columns
of the input pass through untouched, and the hash of the key columns that the next operator wants
is added at the top.

Window starts are integer arithmetic on microseconds since 1970, floored and not truncated, so
that times before 1970 fall into the right window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlglot
from sqlglot import exp

from headwater.delta.delta import HASH
from headwater.plan.nodes import Map, Node, WindowKind, Windows, WindowSpec
from headwater.schema.schema import Schema

INPUT = "input"
TIME = "__time_us"
# A SELECT needs a column, also where a plan reads none (as below `count(*)`).
NOTHING = "__nothing"

# Arrow says less of these: they come back from a batch as text or as DECIMAL(38,0), and must be
# made themselves again before an expression or a hash sees them.
_LOST_IN_ARROW = ("HUGEINT", "UUID", "JSON")


def column(name: str) -> exp.Column:
    """A quoted column."""
    return exp.column(exp.to_identifier(name, quoted=True))


def named(expression: exp.Expr, name: str) -> exp.Alias:
    """An expression with a quoted name."""
    return exp.Alias(this=expression, alias=exp.to_identifier(name, quoted=True))


def call(function: str, *arguments: exp.Expression | int) -> exp.Expression:
    """A call of a DuckDB function by its own name."""
    converted = [exp.Literal.number(a) if isinstance(a, int) else a for a in arguments]
    return exp.Anonymous(this=function, expressions=converted)


def cast(expression: exp.Expression, sql_type: str) -> exp.Cast:
    """CAST to a type in DuckDB's spelling."""
    return exp.Cast(this=expression, to=exp.DataType.build(sql_type, dialect="duckdb"))


def table(name: str) -> exp.Table:
    """A quoted table."""
    return exp.Table(this=exp.to_identifier(name, quoted=True))


def select(
    columns: Sequence[exp.Expression], source: exp.Query | str, condition: exp.Expression | None
) -> exp.Select:
    """SELECT columns FROM source [WHERE condition]."""
    chosen = list(columns) or [named(exp.null(), NOTHING)]
    origin = table(source) if isinstance(source, str) else source.subquery("_", copy=False)
    query = exp.Select(expressions=chosen).from_(origin, copy=False)
    return query.where(condition, copy=False) if condition is not None else query


def is_linear(node: Node) -> bool:
    """True for a node that DuckDB computes row by row."""
    if not isinstance(node, Windows):
        return isinstance(node, Map)
    return node.spec.kind is not WindowKind.SESSION and not _decides_lateness(node)


def bottom(node: Node) -> Node:
    """The first node at or below `node` that is not linear."""
    while isinstance(node, Map | Windows) and is_linear(node):
        node = node.input
    return node


def stretch(node: Node, hidden: Sequence[str], source: str = INPUT) -> exp.Select:
    """The rows of `node`, computed from the rows of `bottom(node)`.

    Args:
        node: The top of the stretch; may be its own bottom.
        hidden: The hidden columns that the input has.
        source: What the input is called.

    """
    if isinstance(node, Map) and is_linear(node):
        below = stretch(node.input, hidden, source)
        columns = [named(expression.copy(), name) for name, expression in node.projections]
        condition = node.condition.copy() if node.condition is not None else None
        return select([*columns, *map(column, hidden)], below, condition)
    if isinstance(node, Windows) and is_linear(node):
        below = stretch(node.input, hidden, source)
        return windowed(below, node, hidden)
    return select([*typed(node.schema), *map(column, hidden)], source, None)


def typed(schema: Schema) -> list[exp.Expression]:
    """The columns of a batch, those that Arrow carries as another type made themselves again."""
    return [
        named(cast(column(c.name), c.type.sql), c.name)
        if is_lost_in_arrow(c.type.sql)
        else column(c.name)
        for c in schema
    ]


def is_lost_in_arrow(sql_type: str) -> bool:
    """Whether values of a type do not come back from a batch as what they were."""
    return any(word in sql_type.upper() for word in _LOST_IN_ARROW)


def hashed(query: exp.Select, keys: Sequence[str], names: Iterable[str]) -> exp.Select:
    """The columns `names` of a query and the hash of its columns `keys`."""
    columns: list[exp.Expression] = [column(name) for name in names]
    return select([*columns, key_hash(keys)], query, None)


def key_hash(keys: Sequence[str]) -> exp.Expression:
    """The hidden column that finds rows with equal keys. Without keys all rows are alike."""
    if not keys:
        return named(cast(exp.Literal.number(0), "UBIGINT"), HASH)
    return named(call("hash", *map(column, keys)), HASH)


def windowed(query: exp.Select, node: Windows, hidden: Sequence[str]) -> exp.Select:
    """Each row of `query` once for each of the windows it is in."""
    names = [*(c.name for c in node.input.schema), *hidden]
    timed = with_time(query, node.spec.time, names)
    spec = node.spec
    last = window_start(column(TIME), spec)
    starts: exp.Expression = last
    first: exp.Expression = column(TIME)
    if spec.kind is WindowKind.CUMULATE:
        # As in `slices`: windows of full size, told apart by their end.
        last = aligned(column(TIME), spec.size_us, spec.offset_us)
        shift = exp.Literal.number(spec.size_us - spec.slide_us)
        shifted = exp.paren(exp.Add(this=column(TIME), expression=shift), copy=False)
        first = aligned(shifted, spec.size_us, spec.offset_us)
    if spec.slide_us != spec.size_us:
        stop = exp.Sub(this=column(TIME), expression=exp.Literal.number(spec.size_us))
        step = exp.Neg(this=exp.Literal.number(spec.slide_us))
        starts = call("unnest", call("range", last, stop, step))
    started = select([*map(column, names), named(starts, TIME)], timed, None)
    ends = exp.Add(this=column(TIME), expression=exp.Literal.number(spec.size_us))
    visible = names[: len(names) - len(hidden)]
    return select(
        [
            *map(column, visible),
            named(timestamp(first, node.schema[node.start].type.sql), node.start),
            named(timestamp(ends, node.schema[node.end].type.sql), node.end),
            *map(column, hidden),
        ],
        started,
        None,
    )


def with_time(query: exp.Select, time: str, names: Sequence[str]) -> exp.Select:
    """The rows whose time is not null, with the time in microseconds as a further column."""
    time_us = named(call("epoch_us", column(time)), TIME)
    # An infinite time has no microseconds, and is in no window either.
    is_finite = call("isfinite", column(time))
    return select([*map(column, names), time_us], query, is_finite)


def window_start(time_us: exp.Expression, spec: WindowSpec) -> exp.Expression:
    """The start of the last window that holds a time."""
    return aligned(time_us, spec.slide_us, spec.offset_us)


def aligned(time_us: exp.Expression, step_us: int, offset_us: int) -> exp.Expression:
    """The last `k * step + offset` that is not after a time.

    `%` truncates toward zero, so times are first shifted, by a multiple of the step, to where none
    is negative; a second `%` would do it too and cost as much again. The shift leaves room for
    146,000 years before and after 1970.
    """
    shift_us = (1 << 62) // step_us * step_us - offset_us % step_us
    text = f"t - (t + {shift_us:d}) % {step_us:d}"
    tree = sqlglot.parse_one(text, dialect="duckdb")
    return exp.paren(
        tree.transform(lambda n: time_us.copy() if isinstance(n, exp.Column) else n), copy=False
    )


def timestamp(time_us: exp.Expression, sql_type: str) -> exp.Expression:
    """Microseconds as a TIMESTAMP or a TIMESTAMPTZ."""
    is_zoned = "TZ" in sql_type.upper() or "ZONE" in sql_type.upper()
    return call("make_timestamptz" if is_zoned else "make_timestamp", time_us)


def _decides_lateness(node: Windows) -> bool:
    return node.final or node.lateness_us is not None

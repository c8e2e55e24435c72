"""Window functions over pieces of partitions, as one query.

The rows are those of a few spans: the rows whose results are wanted, and around them the rows that
these look at. A span is a partition of its own, as rows are missing between spans. What a function
computes within its frame is right as soon as the frame is there.

A function that runs from the start of the partition goes on from what was said of the rows before
the span, which stand in it with their results:

    ROW_NUMBER, RANK, DENSE_RANK, COUNT    counted in the span, and shifted by how much more was
                                           said of a row before than is counted for it in the span
    SUM                                    summed over the wanted rows, and added to the last sum
    MIN, MAX, BOOL_AND, BOOL_OR,           computed over the results of the rows before, and the
    FIRST_VALUE, LAST_VALUE IGNORE NULLS   arguments of the wanted ones
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH
from headwater.operators import render
from headwater.operators.groups import ascending
from headwater.operators.statement import plain
from headwater.plan.nodes import Over, OverCall
from headwater.schema.schema import Schema

PLACE = "__place"
SPAN = "__span"
# Whether a row stands there only to be looked at; then it has its results.
IS_CONTEXT = "__is_context"
_NUMBER = "__number"
_COUNTED = (exp.RowNumber, exp.Rank, exp.DenseRank, exp.Count)


def input_schema(node: Over) -> pa.Schema:
    """The columns of the rows: the node's own, results of context rows among them, and hidden."""
    hidden = [
        pa.field(HASH, pa.uint64()),
        pa.field(PLACE, pa.int64()),
        pa.field(SPAN, pa.int64()),
        pa.field(IS_CONTEXT, pa.bool_()),
    ]
    return pa.schema([*plain(node.schema), *hidden])


def wanted_rows(node: Over) -> exp.Select:
    """The wanted rows with their results, the hash and the place."""
    hidden = [render.column(name) for name in (HASH, PLACE, SPAN, IS_CONTEXT)]
    typed = render.select([*render.typed(node.schema), *hidden], render.INPUT, None)
    names = [*node.input.schema.names, HASH, PLACE, SPAN, IS_CONTEXT]
    inner: list[exp.Expression] = [render.column(name) for name in names]
    outer: list[exp.Expression] = [render.column(name) for name in node.input.schema.names]
    for position, call in enumerate(node.calls):
        inner += [render.named(e, n) for n, e in _computed(node, call, position)]
        result = render.cast(_finished(node, call, position), node.schema[call.name].type.sql)
        outer.append(render.named(result, call.name))
    if any(_is_sum(call) for call in node.calls):
        number = _over(node, exp.RowNumber(), is_total=True)
        inner.append(render.named(number, _NUMBER))
    outer += [render.column(HASH), render.column(PLACE), render.column(IS_CONTEXT)]
    finished = render.select(outer, render.select(inner, typed, None), None)
    columns = [render.column(name) for name in (*node.schema.names, HASH, PLACE)]
    return render.select(columns, finished, exp.Not(this=render.column(IS_CONTEXT)))


def _computed(node: Over, call: OverCall, position: int) -> list[tuple[str, exp.Expression]]:
    """The columns that a function needs of the span's rows."""
    value, said = f"__value{position}", f"__said{position}"
    if call.reach is not None:
        return [(value, _framed(node, call, call.function.copy()))]
    result = render.column(call.name)
    if isinstance(call.function, _COUNTED):
        return [(value, _framed(node, call, call.function.copy())), (said, result)]
    function = call.function.copy()
    argument = next(iter(function.find_all(exp.Column)))
    wanted = exp.Not(this=render.column(IS_CONTEXT))
    if _is_sum(call):
        argument.replace(exp.Case(ifs=[exp.If(this=wanted, true=argument.copy())]))
        return [(value, _framed(node, call, function)), (said, result)]
    chosen = exp.If(this=wanted, true=argument.copy())
    argument.replace(exp.Case(ifs=[chosen], default=result))
    return [(value, _framed(node, call, function))]


def _finished(node: Over, call: OverCall, position: int) -> exp.Expression:
    """A function's result, from the columns that were computed for it."""
    value, said = render.column(f"__value{position}"), render.column(f"__said{position}")
    if call.reach is not None:
        return value
    if isinstance(call.function, _COUNTED):
        shift = exp.Max(this=exp.Sub(this=said, expression=value.copy()))
        return exp.Add(this=value, expression=_or_zero(_of_context(node, shift)))
    if _is_sum(call):
        last = _of_context(node, render.call("arg_max", said, render.column(_NUMBER)))
        both = exp.Add(this=last, expression=value.copy())
        return exp.Coalesce(this=both, expressions=[last.copy(), value])
    return value


def _is_sum(call: OverCall) -> bool:
    return call.reach is None and isinstance(call.function, exp.Sum)


def _of_context(node: Over, function: exp.Expression) -> exp.Expression:
    """An aggregate over the rows of a span that stand before the wanted ones."""
    only = exp.Where(this=render.column(IS_CONTEXT))
    filtered = exp.Filter(this=function, expression=only)
    return exp.Window(this=filtered, partition_by=_partition(node))


def _or_zero(value: exp.Expression) -> exp.Expression:
    return exp.Coalesce(this=value, expressions=[exp.Literal.number(0)])


def _framed(node: Over, call: OverCall, function: exp.Expression) -> exp.Window:
    return _over(node, function, is_total=call.is_total, spec=call.spec)


def _over(
    node: Over,
    function: exp.Expression,
    *,
    is_total: bool,
    spec: exp.WindowSpec | None = None,
) -> exp.Window:
    return exp.Window(
        this=function,
        partition_by=_partition(node),
        order=exp.Order(expressions=_order(node, is_total=is_total)),
        spec=None if spec is None else spec.copy(),
    )


def _partition(node: Over) -> list[exp.Expression]:
    # The keys as well, as partitions of one hash share a span.
    return [render.column(name) for name in (SPAN, *node.partition)]


def _order(node: Over, *, is_total: bool) -> list[exp.Expression]:
    asked: list[exp.Expression] = [
        exp.Ordered(
            this=render.column(order.column),
            desc=order.is_descending,
            nulls_first=order.nulls_first,
        )
        for order in node.order
    ]
    if not is_total:
        return asked
    named = {order.column for order in node.order}
    rest = [name for name in (*node.ties, *_others(node.input.schema, node)) if name not in named]
    return [*asked, *map(ascending, rest)]


def _others(schema: Schema, node: Over) -> Sequence[str]:
    return [name for name in schema.names if name not in (*node.ties, *node.partition)]

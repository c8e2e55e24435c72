"""How the rows of the first ranks differ after a change, as one query.

With RANK and DENSE_RANK rows that the order does not tell apart share a rank, so all of them are
in, or none, and nothing has to be chosen. The rows are ranked as they were and as they are, each
side by itself; what is in on one side only is the difference.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import exp

from headwater.delta.delta import WEIGHT
from headwater.operators import render
from headwater.operators.groups import AFTER, BEFORE, ascending, summed
from headwater.plan.nodes import Place, TopN

_TIMES = "__times"
_RANK = "__rank"
_ROWS = "__rows"


def changes(node: TopN, number: str | None) -> exp.Select:
    """The rows of the first `limit` ranks, weighed by how they differ, and hashed by partition.

    Reads `input`: the node's input columns with the weights before and after.

    Args:
        number: The name of a column with the rank; None where nobody wants it.

    """
    names = node.input.schema.names
    typed = [*render.typed(node.input.schema), render.column(BEFORE), render.column(AFTER)]
    rows = summed(names, render.select(typed, render.INPUT, None))
    sides = [_side(node, number, weight, sign) for weight, sign in ((BEFORE, -1), (AFTER, 1))]
    both = exp.union(sides[0], sides[1], distinct=False).with_(_ROWS, as_=rows)
    shown = [*names, *([number] if number else [])]
    total = render.cast(exp.Sum(this=render.column(WEIGHT)), "BIGINT")
    found = render.select([*map(render.column, shown), render.named(total, WEIGHT)], both, None)
    found = found.group_by(*map(render.column, shown), copy=False)
    changed = exp.NEQ(this=render.column(WEIGHT), expression=exp.Literal.number(0))
    columns = [
        *map(render.column, shown), render.column(WEIGHT), render.key_hash(node.partition)
    ]  # fmt: skip
    query = render.select(columns, found, changed)
    return query.order_by(*map(ascending, [*shown, WEIGHT]), copy=False)


def _side(node: TopN, number: str | None, weight: str, sign: int) -> exp.Select:
    """The rows that are in on one side, by their weights there, and their rank."""
    names = node.input.schema.names
    is_there = exp.GT(this=render.column(weight), expression=exp.Literal.number(0))
    ranked = render.select(
        [
            *map(render.column, names),
            render.named(render.column(weight), _TIMES),
            render.named(_rank(node, weight), _RANK),
        ],
        _ROWS,
        is_there,
    )
    is_in = exp.LTE(this=render.column(_RANK), expression=exp.Literal.number(node.limit))
    times = exp.Mul(this=render.column(_TIMES), expression=exp.Literal.number(sign))
    columns: list[exp.Expression] = [*map(render.column, names)]
    if number is not None:
        columns.append(render.named(render.column(_RANK), number))
    return render.select([*columns, render.named(times, WEIGHT)], ranked, is_in)


def _rank(node: TopN, weight: str) -> exp.Expression:
    """The rank of a row among those that are there, counted from 1.

    A row that is there several times counts so often before the next ones, but for DENSE_RANK.
    """
    partition = [render.column(name) for name in node.partition]
    order = exp.Order(expressions=_ordered(node))
    if node.place is Place.DENSE_RANK:
        return exp.Window(this=exp.DenseRank(), partition_by=partition, order=order)
    before = exp.Window(
        this=exp.Sum(this=render.column(weight)),
        partition_by=partition,
        order=order,
        spec=exp.WindowSpec(
            kind="RANGE",
            start="UNBOUNDED",
            start_side="PRECEDING",
            end="CURRENT ROW",
            exclude=exp.var("GROUP"),
        ),
    )
    counted = render.call("coalesce", before, 0)
    return render.cast(exp.Add(this=counted, expression=exp.Literal.number(1)), "BIGINT")


def _ordered(node: TopN) -> Sequence[exp.Expression]:
    return [
        exp.Ordered(
            this=render.column(order.column),
            desc=order.is_descending,
            nulls_first=order.nulls_first,
        )
        for order in node.order
    ]

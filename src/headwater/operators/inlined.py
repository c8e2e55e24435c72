"""What a linear stretch computes, said over the columns of the stage below it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlglot import exp

from headwater.operators import render
from headwater.plan.nodes import Map, Node


@dataclass(frozen=True, slots=True)
class Inlined:
    """A stretch of maps in one step.

    Args:
        columns: What each column of the stretch is, over those of the stage below.
        conditions: What a row of that stage must meet to be in.

    """

    columns: dict[str, exp.Expr]
    conditions: tuple[exp.Expr, ...]


def inlined(node: Node) -> Inlined | None:
    """The stretch that ends in a node; None where it has more than maps, or a map repeats rows."""
    bottom = render.bottom(node)
    if node is bottom:
        return Inlined({name: render.column(name) for name in node.schema.names}, ())
    if not isinstance(node, Map):
        return None
    below = inlined(node.input)
    values = [value for _, value in node.projections]
    if below is None or any(v.find(exp.Unnest, exp.Explode, exp.Posexplode) for v in values):
        return None
    conditions = below.conditions
    if node.condition is not None:
        conditions = (*conditions, _over(node.condition, below.columns))
    columns = {name: _over(value, below.columns) for name, value in node.projections}
    return Inlined(columns, conditions)


def _over(value: exp.Expr, columns: dict[str, exp.Expr]) -> exp.Expr:
    """The expression with other ones in place of its columns."""
    return value.transform(lambda n: columns[n.name].copy() if isinstance(n, exp.Column) else n)

"""UNION, EXCEPT and INTERSECT, and queries in brackets.

UNION ALL is a `Union` of branches with the same columns; UNION keeps each row once. BY NAME brings
the branches' columns into one order first, null where a branch has none of that name. EXCEPT and
INTERSECT count equal rows on both sides: a `SetOperation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Node, Order, SetRule
from headwater.schema.schema import Schema
from headwater.sql.decline import Decline
from headwater.sql.select import limits

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner


def plan_subquery(planner: Planner, query: exp.Subquery, names: Names) -> Node:
    """A query in brackets, with an ORDER BY and LIMIT of its own perhaps."""
    if not isinstance(query.this, exp.Query):
        raise Decline("of brackets around something else than a query")
    for clause in ("pivots", "sample", "joins"):
        if query.args.get(clause):
            raise Decline(f"of {clause}")
    return _limited(planner, query, planner.query(query.this, names))


def plan_setop(planner: Planner, query: exp.SetOperation, names: Names) -> Node:
    """A set operation.

    Raises:
        Decline: It has a clause that is not understood.

    """
    if query.args.get("side") or query.args.get("kind") or query.args.get("on"):
        raise Decline("of a set operation by some of its columns")
    bare = query.copy()
    for clause in ("order", "limit", "offset"):
        bare.set(clause, None)
    target = planner.schema_of(bare, names)
    sides = [planner.query(side, names) for side in (query.this, query.expression)]
    if query.args.get("by_name"):
        sides = [planner.build.widened(side, target) for side in sides]
    if any(len(side.schema) != len(target) for side in sides):
        raise Decline("of a set operation on different numbers of columns")
    sides = [planner.build.cast(side, target) for side in sides]
    if isinstance(query, exp.Union):
        node = planner.build.union(sides)
        if query.args.get("distinct"):
            node = planner.build.distinct(node)
    else:
        node = planner.build.set_operation(_rule(query), *sides)
    return _limited(planner, query, node)


def _rule(query: exp.SetOperation) -> SetRule:
    is_distinct = bool(query.args.get("distinct"))
    if isinstance(query, exp.Except):
        return SetRule.EXCEPT if is_distinct else SetRule.EXCEPT_ALL
    return SetRule.INTERSECT if is_distinct else SetRule.INTERSECT_ALL


def _limited(planner: Planner, query: exp.Query, node: Node) -> Node:
    limit, offset = limits(query)
    if limit is None:
        return node
    order = query.args.get("order")
    orders = []
    for ordered in order.expressions if order is not None else ():
        name = _ordered_column(ordered.this, node.schema)
        orders.append(
            Order(name, bool(ordered.args.get("desc")), bool(ordered.args.get("nulls_first")))
        )
    return planner.build.top(node, (), orders, limit=limit, offset=offset)


def _ordered_column(item: exp.Expr, schema: Schema) -> str:
    if isinstance(item, exp.Literal) and not item.is_string and item.name.isdigit():
        return schema.names[int(item.name) - 1]
    if isinstance(item, exp.Column) and not item.table and item.name in schema:
        return schema[item.name].name
    raise Decline("of an order that is computed")

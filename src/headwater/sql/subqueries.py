"""Rewrite: IN and EXISTS in WHERE, as semi and anti joins.

`x IN (SELECT y ...)` and `EXISTS (SELECT ... WHERE inner = outer)` keep a row when a match exists;
only "true" counts in WHERE, so the nulls of IN do not matter. `NOT EXISTS` keeps it when none
does. `NOT IN` is not an anti join (one null on the right empties it) and is declined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import JoinKind, Node
from headwater.sql.aliases import conjuncts
from headwater.sql.build import column, fresh, identifier
from headwater.sql.decline import Decline
from headwater.sql.keys import KeyPair, common_keys
from headwater.sql.scope import Scope

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner


def plan(planner: Planner, node: Node, condition: exp.Expr, scope: Scope, names: Names) -> Node:
    """The rows of `node` for which a condition with a subquery holds.

    Raises:
        Decline: It is not one of these shapes.

    """
    kind, inner = JoinKind.SEMI, condition
    while isinstance(inner, exp.Paren | exp.Not):
        if isinstance(inner, exp.Not):
            kind = JoinKind.ANTI if kind is JoinKind.SEMI else JoinKind.SEMI
        inner = inner.this
    if isinstance(inner, exp.Exists) and isinstance(inner.this, exp.Select):
        outer, query = _correlations(planner, inner.this, scope, names)
    elif isinstance(inner, exp.In) and kind is JoinKind.SEMI:
        outer, query = _membership(planner, inner, scope, names)
    else:
        raise Decline("of NOT IN" if isinstance(inner, exp.In) else "of a subquery in WHERE")
    return _joined(planner, node, kind, outer, planner.query(query, names))


def _membership(
    planner: Planner, condition: exp.In, scope: Scope, names: Names
) -> tuple[list[exp.Expr], exp.Query]:
    subquery = condition.args.get("query")
    query = subquery.this if isinstance(subquery, exp.Subquery) else subquery
    if not isinstance(query, exp.Query):
        raise Decline("of IN over something else than a query")
    if isinstance(condition.this, exp.Tuple):
        values = [scope.bind(value) for value in condition.this.expressions]
        if len(planner.schema_of(query, names)) != len(values):
            raise Decline("of IN with another number of columns")
        return values, query
    value = scope.bind(condition.this)
    try:
        planner.schema_of(query, names)
    except Decline:
        if isinstance(query, exp.Select) and len(query.expressions) == 1:
            return _correlations(planner, query, scope, names, (value, query.expressions[0]))
        raise
    return [value], query


def _correlations(
    planner: Planner,
    query: exp.Select,
    scope: Scope,
    names: Names,
    first: tuple[exp.Expr, exp.Expr] | None = None,
) -> tuple[list[exp.Expr], exp.Query]:
    """Take the equalities with the query around it out of a subquery's WHERE.

    Returns:
        The outer sides, that of `first` before all others, and the subquery as a SELECT of the
        inner sides.

    """
    for clause in ("group", "having", "qualify", "distinct", "limit", "offset", "with_", "windows"):
        if query.args.get(clause):
            raise Decline("of a correlated subquery with further clauses")
    from headwater.sql.sources import read_items

    own = read_items(planner, query, names).scope
    where = query.args.get("where")
    keep: list[exp.Expr] = []
    outer = [first[0]] if first is not None else []
    inner = [first[1]] if first is not None else []
    for condition in conjuncts(where.this) if where is not None else []:
        if _is_own(condition, own):
            keep.append(condition)
            continue
        pair = _correlation(condition, own, scope)
        outer.append(pair[0])
        inner.append(pair[1])
    if not outer:
        raise Decline("of EXISTS without an equality with the rows around it")
    copy = query.copy()
    copy.set("distinct", None)
    copy.set("order", None)
    copy.set(
        "expressions",
        [
            exp.alias_(e.this.copy() if isinstance(e, exp.Alias) else e.copy(), f"key_{i}")
            for i, e in enumerate(inner)
        ],
    )
    copy.set("where", exp.Where(this=exp.and_(*keep, copy=True)) if keep else None)
    return outer, copy


def _is_own(condition: exp.Expr, own: Scope) -> bool:
    try:
        own.bind(condition)
    except Decline:
        return False
    return True


def _correlation(condition: exp.Expr, own: Scope, scope: Scope) -> tuple[exp.Expr, exp.Expr]:
    """The outer side, bound, and the inner side as written."""
    if isinstance(condition, exp.EQ):
        for inner, outer in (
            (condition.this, condition.expression),
            (condition.expression, condition.this),
        ):
            if _is_own(inner, own) and not _is_own(outer, own):
                return scope.bind(outer), inner
    raise Decline("of a correlated subquery without an equality")


def _joined(
    planner: Planner, node: Node, kind: JoinKind, outer: list[exp.Expr], right: Node
) -> Node:
    taken = [*node.schema.names]
    renamed = []
    for name in right.schema.names:
        unique = fresh(f"match_{name}", taken)
        taken.append(unique)
        renamed.append((unique, column(name)))
    right = planner.build.map(right, renamed)
    keys = []
    for value, (name, _) in zip(outer, renamed, strict=True):
        condition = exp.EQ(this=value, expression=column(name))
        keys.append(KeyPair(value, exp.Column(this=identifier(name)), condition))
    left, right, pairs = common_keys(planner, node, right, keys)
    joined = planner.build.join(kind, left, right, pairs)
    return planner.build.map(joined, [(n, column(n)) for n in node.schema.names])

"""Rewrite: IN and EXISTS in WHERE, as semi and anti joins.

`x IN (SELECT y ...)` and `EXISTS (SELECT ... WHERE ...)` keep a row when a match exists; only
"true" counts in WHERE, so the nulls of IN do not matter. `NOT EXISTS` keeps it when none does. What
the subquery's WHERE says of the rows around it is the join's condition: equalities are its keys.

`x NOT IN (SELECT y ...)` is an anti join, and another one against whether there is a null, or, for
a row whose x is null, any row at all: then it is not known that x is not among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import JoinKind, Node
from headwater.sql import outer
from headwater.sql.aliases import conjuncts
from headwater.sql.build import column, fresh, identifier
from headwater.sql.decline import Decline
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
    if isinstance(inner, exp.Exists) and isinstance(inner.this, exp.Query):
        on, right = _existence(planner, node, inner.this, scope, names)
    elif isinstance(inner, exp.In):
        on, right = _membership(planner, node, inner, scope, names)
    else:
        raise Decline("of a subquery in WHERE")
    joined = _joined(planner, node, kind, on, right)
    if isinstance(inner, exp.In) and kind is JoinKind.ANTI:
        return _without_unknown(planner, joined, on, right)
    return joined


def _existence(
    planner: Planner, node: Node, query: exp.Query, scope: Scope, names: Names
) -> tuple[list[exp.Expr], Node]:
    """What must hold of a row around a subquery and one of the subquery, and its rows."""
    try:
        planner.schema_of(query, names)
    except Decline:
        if not isinstance(query, exp.Select):
            raise
    else:
        return [], planner.query(query, names)
    select = query.copy()
    if _is_some(select.args.get("limit")) and not select.args.get("offset"):
        select.set("limit", None)
    select.set("distinct", None)
    return _correlated(planner, node, select, scope, names, [])


def _is_some(limit: exp.Expr | None) -> bool:
    """Whether a limit lets a row through, if there is one."""
    value = limit.expression if isinstance(limit, exp.Limit) else None
    return isinstance(value, exp.Literal) and value.name.isdigit() and int(value.name) > 0


def _membership(
    planner: Planner, node: Node, condition: exp.In, scope: Scope, names: Names
) -> tuple[list[exp.Expr], Node]:
    """The same of IN: the values are equal."""
    subquery = condition.args.get("query")
    query = subquery.this if isinstance(subquery, exp.Subquery) else subquery
    if not isinstance(query, exp.Query):
        raise Decline("of IN over something else than a query")
    value = condition.this
    values = value.expressions if isinstance(value, exp.Tuple) else [value]
    bound = [scope.bind(value) for value in values]
    try:
        schema = planner.schema_of(query, names)
    except Decline:
        if isinstance(query, exp.Select) and len(query.expressions) == len(bound) == 1:
            pairs = [(bound[0], query.expressions[0])]
            return _correlated(planner, node, query, scope, names, pairs)
        raise
    if len(schema) != len(bound):
        raise Decline("of IN with another number of columns")
    right = planner.query(query, names)
    renamed, taken = [], [*node.schema.names]
    for name in right.schema.names:
        renamed.append((fresh(f"match_{name}", taken), column(name)))
        taken.append(renamed[-1][0])
    on = [_equal(v, column(name)) for v, (name, _) in zip(bound, renamed, strict=True)]
    return on, planner.build.map(right, renamed)


def _correlated(  # noqa: PLR0913, PLR0917 - a subquery, and what stands around it
    planner: Planner,
    node: Node,
    query: exp.Select,
    scope: Scope,
    names: Names,
    pairs: list[tuple[exp.Expr, exp.Expr]],
) -> tuple[list[exp.Expr], Node]:
    """Take what a subquery's WHERE says of the rows around it out of it.

    Args:
        pairs: Values of the rows around it, and expressions of the subquery that are equal to them.

    Returns:
        The conditions, over the columns of `node` and of the second: the subquery's rows with what
        the conditions read.

    """
    for clause in ("group", "having", "qualify", "distinct", "limit", "offset", "with_", "windows"):
        if query.args.get(clause):
            raise Decline("of a correlated subquery with further clauses")
    from headwater.sql.sources import read_items

    own = read_items(planner, query, names).scope
    inside = _Inside(own, scope, list(node.schema.names))
    keep: list[exp.Expr] = []
    on = [_equal(value, inside.named(_value(inner))) for value, inner in pairs]
    where = query.args.get("where")
    for condition in conjuncts(where.this) if where is not None else []:
        if is_bindable(condition, own):
            keep.append(condition)
        else:
            on.append(inside.condition(condition))
    copy = query.copy()
    copy.set("order", None)
    copy.set("expressions", inside.columns())
    copy.set("where", exp.Where(this=exp.and_(*keep, copy=True)) if keep else None)
    return on, planner.query(copy, names)


class _Inside:
    """What conditions read of a subquery, as columns of it.

    Args:
        own: Names inside the subquery.
        scope: Names around it.
        taken: Names that its columns may not have.

    """

    def __init__(self, own: Scope, scope: Scope, taken: list[str]) -> None:
        self._own, self._scope, self._taken = own, scope, taken
        self._columns: dict[str, tuple[str, exp.Expr]] = {}

    def columns(self) -> list[exp.Expr]:
        """The select list of the subquery."""
        found = list(self._columns.values()) or [("matched", exp.true())]
        return [exp.alias_(value.copy(), identifier(name)) for name, value in found]

    def named(self, value: exp.Expr) -> exp.Expr:
        """An expression of the subquery, as a column of it."""
        text = value.sql("duckdb")
        if text not in self._columns:
            name = fresh(f"match_key_{len(self._columns)}", self._taken)
            self._taken.append(name)
            self._columns[text] = name, value
        return column(self._columns[text][0])

    def condition(self, condition: exp.Expr) -> exp.Expr:
        """A condition over the columns of both; a key where two sides of it are equal."""
        plain = condition.unnest()
        if isinstance(plain, exp.EQ):
            for inner, outer in ((plain.this, plain.expression), (plain.expression, plain.this)):
                if is_bindable(inner, self._own) and not is_bindable(outer, self._own):
                    return _equal(self._around(outer), self.named(inner))
        return self._around(condition)

    def _around(self, condition: exp.Expr) -> exp.Expr:
        if condition.find(exp.Query) is not None:
            raise Decline("of a subquery inside a correlated one")
        return condition.copy().transform(
            lambda part: self._resolved(part) if isinstance(part, exp.Column) else part, copy=False
        )

    def _resolved(self, reference: exp.Column) -> exp.Expr:
        """Names inside the subquery hide those around it."""
        if is_bindable(reference, self._own):
            return self.named(reference)
        return self._scope.resolve(reference)


def is_bindable(expression: exp.Expr, scope: Scope) -> bool:
    """Whether all names of an expression are known in a scope."""
    try:
        scope.bind(expression)
    except Decline:
        return False
    return True


def _joined(planner: Planner, node: Node, kind: JoinKind, on: list[exp.Expr], right: Node) -> Node:
    joined = outer.plan(planner, kind, node, right, on)
    return planner.build.map(joined, [(n, column(n)) for n in node.schema.names])


def _without_unknown(planner: Planner, node: Node, on: list[exp.Expr], right: Node) -> Node:
    """The rows of which it is known that they are not among those of a subquery."""
    if len(on) != 1 or len(right.schema) != 1:
        raise Decline("of NOT IN")
    value, other = on[0].this, right.schema.names[0]
    is_null = fresh("match_is_null", node.schema.names)
    kinds = planner.build.map(right, [(is_null, _is_null(column(other)))])
    unknown = exp.or_(column(is_null), _is_null(value.copy()))
    return _joined(planner, node, JoinKind.ANTI, [unknown], planner.build.distinct(kinds))


def _is_null(value: exp.Expr) -> exp.Expr:
    return exp.Is(this=value, expression=exp.null())


def _equal(value: exp.Expr, other: exp.Expr) -> exp.Expr:
    return exp.EQ(this=value, expression=other)


def _value(expression: exp.Expr) -> exp.Expr:
    return expression.this if isinstance(expression, exp.Alias) else expression

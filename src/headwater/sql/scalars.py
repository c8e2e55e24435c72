"""Rewrite: a subquery that stands for one value, as one more item of FROM.

An aggregate over all rows of a subquery is one row, which every row around it is joined with; a
comparison with it is that join's condition, or its key. Where the subquery's WHERE sets something
equal to the rows around it, it is grouped by that, and joined from the left: a row without a group
has what the aggregate says of no rows.

Understood are the select list and WHERE of a block, the select list only where it is not grouped.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.sql.aliases import conjuncts
from headwater.sql.build import column, fresh
from headwater.sql.decline import Decline
from headwater.sql.functions import aggregates
from headwater.sql.scope import Field, Scope
from headwater.sql.sources import Item, Source, read_items
from headwater.sql.subqueries import is_bindable

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner

# What they say of no rows is null.
_NULL_OF_NOTHING = (exp.Sum, exp.Avg, exp.Min, exp.Max, exp.AnyValue, exp.ArgMax, exp.ArgMin)
_CLAUSES = (
    "group", "having", "qualify", "distinct", "limit", "offset", "with_", "windows",
)  # fmt: skip


def lift(
    planner: Planner, select: exp.Select, source: Source, names: Names
) -> tuple[exp.Select, Source]:
    """The block with such subqueries as items of its FROM clause.

    Raises:
        Decline: A subquery is not of this shape.

    """
    found = [part for clause in _read(select) for part in _scalars(clause)]
    if not found:
        return select, source
    select = select.copy()
    lifted = _Lifted(planner, source, names)
    for clause in _read(select):
        for subquery in list(_scalars(clause)):
            subquery.replace(lifted.value(subquery.this))
    return select, lifted.source


def _read(select: exp.Select) -> list[exp.Expr]:
    """The clauses in which a subquery is lifted."""
    where = [select.args["where"]] if select.args.get("where") is not None else []
    is_grouped = select.args.get("group") is not None or any(
        True for item in select.expressions for _ in aggregates(item)
    )
    return where if is_grouped else [*select.expressions, *where]


def _scalars(clause: exp.Expr) -> Iterator[exp.Subquery]:
    """The subqueries of a clause that stand for a value; none inside of another query."""
    for node in clause.walk(prune=lambda n: isinstance(n, exp.Query)):
        if not isinstance(node, exp.Subquery) or not isinstance(node.this, exp.Select):
            continue
        is_set = isinstance(node.parent, exp.In) and node.arg_key != "this"
        if not is_set and not isinstance(node.parent, exp.Exists | exp.Any | exp.All):
            yield node


class _Lifted:
    """A block's FROM clause, and the items that are added to it."""

    def __init__(self, planner: Planner, source: Source, names: Names) -> None:
        self._planner, self._names = planner, names
        self.source = Source(list(source.items), source.scope)
        self._around, self._first = source.scope, len(source.items)
        self._taken = [name for item in source.items for name in item.columns]

    def value(self, query: exp.Select) -> exp.Expr:
        """What stands for the value of a subquery."""
        _check(query)
        try:
            self._planner.schema_of(query, self._names)
        except Decline:
            return self._grouped(query)
        item = self._add(query, ["scalar"], "inner")
        return column(item.names[0])

    def _grouped(self, query: exp.Select) -> exp.Expr:
        own = read_items(self._planner, query, self._names).scope
        (value,) = query.expressions
        value = value.this if isinstance(value, exp.Alias) else value
        if not is_bindable(value, own):
            raise Decline("of a subquery that computes with the rows around it")
        keys, outer, keep = _keys(query, own, self._around)
        grouped = query.copy()
        named = [exp.alias_(e.copy(), f"key_{i}") for i, e in enumerate(keys)]
        grouped.set("expressions", [*named, exp.alias_(value.copy(), "scalar")])
        grouped.set("group", exp.Group(expressions=[e.copy() for e in keys]))
        grouped.set("where", exp.Where(this=exp.and_(*keep, copy=True)) if keep else None)
        bases = [*(f"scalar_key_{i}" for i in range(len(keys))), "scalar"]
        item = self._add(grouped, bases, "left")
        item.on = [
            exp.EQ(this=o, expression=column(n)) for o, n in zip(outer, item.names, strict=False)
        ]
        is_missing = exp.Is(this=column(item.names[0]), expression=exp.null())
        nothing = exp.If(this=is_missing, true=_of_nothing(value))
        return exp.Case(ifs=[nothing], default=column(item.names[-1]))

    def _add(self, query: exp.Select, bases: list[str], kind: str) -> Item:
        """Add a subquery as an item whose columns `*` does not show."""
        node = self._planner.query(query, self._names)
        unique = []
        for base in bases:
            unique.append(fresh(base, self._taken))
            self._taken.append(unique[-1])
        pairs = zip(unique, node.schema.names, strict=True)
        node = self._planner.build.map(node, [(u, column(n)) for u, n in pairs])
        item = Item(unique[-1], node, tuple(unique), kind)
        # One row filters before others are looked up.
        at = len(self.source.items) if kind == "left" else self._first
        self.source.items.insert(at, item)
        hidden = tuple(Field(item.alias, name, name, is_merged=True) for name in unique)
        scope = self.source.scope
        self.source.scope = Scope((*scope.fields, *hidden), scope.merged)
        return item


def _check(query: exp.Select) -> None:
    """Refuse what may have another number of rows than one, or of columns."""
    if any(query.args.get(clause) for clause in _CLAUSES) or query.args.get("from_") is None:
        raise Decline("of a subquery that may be more than one value")
    if len(query.expressions) != 1 or not any(True for _ in aggregates(query.expressions[0])):
        raise Decline("of a subquery that may be more than one value")
    if any(isinstance(n, exp.Explode | exp.Window) for n in query.expressions[0].walk()):
        raise Decline("of a subquery that may be more than one value")


def _keys(
    query: exp.Select, own: Scope, around: Scope
) -> tuple[list[exp.Expr], list[exp.Expr], list[exp.Expr]]:
    """What a subquery sets equal to the rows around it, what of these, and what else it asks."""
    keys, outer, keep = [], [], []
    where = query.args.get("where")
    for condition in conjuncts(where.this) if where is not None else []:
        if is_bindable(condition, own):
            keep.append(condition)
            continue
        plain = condition.unnest()
        if not isinstance(plain, exp.EQ):
            raise Decline("of a subquery that compares with the rows around it")
        inner, other = plain.this, plain.expression
        if not is_bindable(inner, own):
            inner, other = other, inner
        if not is_bindable(inner, own):
            raise Decline("of a subquery that compares with the rows around it")
        keys.append(inner)
        outer.append(around.bind(other))
    if not keys:
        raise Decline("it depends on the query around it")
    return keys, outer, keep


def _of_nothing(value: exp.Expr) -> exp.Expr:
    """What an expression over aggregates is when there are no rows."""

    def rule(node: exp.Expr) -> exp.Expr:
        if node not in found:
            return node
        if isinstance(node, exp.Count):
            return exp.Literal.number(0)
        if isinstance(node, _NULL_OF_NOTHING):
            return exp.null()
        raise Decline("of what an aggregate in a subquery says of no rows")

    found = list(aggregates(value))
    nothing = value.copy().transform(rule)
    if nothing.find(exp.Column) is not None:
        raise Decline("of a subquery that may be more than one value")
    return nothing

"""Rewrite: the names of a select list, wherever DuckDB lets them be used.

Stars are written out, aliases are replaced by what they stand for, positions and ALL in GROUP BY
and ORDER BY by the outputs they mean, named windows by their definitions; then everything is bound
to the plan's columns. In WHERE, GROUP BY and the select list a column goes before an alias of the
same name; in ORDER BY the alias goes first. Where DuckDB's choice would matter and is not plain,
the block is declined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlglot import exp

from headwater.sql import grouping
from headwater.sql.build import column_names
from headwater.sql.decline import Decline
from headwater.sql.functions import aggregates, is_aggregate
from headwater.sql.scope import Scope


@dataclass(frozen=True, slots=True)
class Outputs:
    """A block's clauses, bound to the columns of its FROM clause.

    Args:
        values: The select list.
        where: The conjuncts of WHERE, not bound: they may hold subqueries.
        group: The grouping expressions; None without GROUP BY.
        sets: The grouping sets, as places in `group`; None where there is only one, of all.
        order: An output's index or an expression, with its direction.

    """

    values: list[exp.Expr]
    where: list[exp.Expr]
    group: list[exp.Expr] | None
    sets: list[frozenset[int]] | None
    having: list[exp.Expr]
    qualify: list[exp.Expr]
    order: list[tuple[int | exp.Expr, exp.Ordered]]
    is_distinct: bool
    distinct_on: list[exp.Expr]


def read_outputs(select: exp.Select, scope: Scope) -> Outputs:
    """All clauses of the block after FROM.

    Raises:
        Decline: A name in them cannot be settled.

    """
    return _Reader(select, scope).read()


class _Reader:
    def __init__(self, select: exp.Select, scope: Scope) -> None:
        self._select = select
        self._scope = scope
        self._windows = {w.name.lower(): w for w in select.args.get("windows") or ()}
        self._aliases: dict[str, exp.Expr] = {}
        self._values: list[exp.Expr] = []
        self._names: list[str] = []

    def read(self) -> Outputs:
        for item in self._select.expressions:
            self._read_item(item)
        distinct = self._select.args.get("distinct")
        on = distinct.args.get("on") if isinstance(distinct, exp.Distinct) else None
        group, sets = self._group()
        return Outputs(
            [self._scope.bind(value) for value in self._values],
            self._where(),
            group,
            sets,
            self._conjuncts("having"),
            self._conjuncts("qualify"),
            self._order(),
            distinct is not None,
            [self._bound(e) for e in on.expressions] if on is not None else [],
        )

    def _read_item(self, item: exp.Expr) -> None:
        is_star = isinstance(item, exp.Star) or (
            isinstance(item, exp.Column) and isinstance(item.this, exp.Star)
        )
        if item.find(exp.Columns):
            raise Decline("of COLUMNS(...)")
        if is_star:
            for name, value in self._scope.star(item):
                self._add(name, self._expanded(value, prefer_alias=False))
            return
        if isinstance(item, exp.Aliases):
            raise Decline("of several names for one expression")
        value = item.this if isinstance(item, exp.Alias) else item
        self._add(item.alias_or_name, self._expanded(value, prefer_alias=False))
        if isinstance(item, exp.Alias):
            self._aliases[item.alias.lower()] = self._values[-1]

    def _add(self, name: str, value: exp.Expr) -> None:
        self._names.append(name.lower())
        self._values.append(value)

    def _expanded(self, expression: exp.Expr, *, prefer_alias: bool | None) -> exp.Expr:
        """A copy with aliases and named windows written out.

        Args:
            prefer_alias: Which one counts where a name is both; None declines that case.

        """
        if expression.find(exp.Query) is not None:
            # The names of a subquery are its own; an alias beside it is not bound, and declined.
            return expression.copy()

        def rule(node: exp.Expr) -> exp.Expr:
            if isinstance(node, exp.Window) and node.args.get("alias") is not None:
                return self._named_window(node)
            if not isinstance(node, exp.Column) or node.table or isinstance(node.this, exp.Star):
                return node
            alias = self._aliases.get(node.name.lower())
            if alias is None or (_is_aggregated(node) and next(aggregates(alias), None)):
                # No aggregate stands inside another, so there the name is the column's.
                return node
            if self._scope.knows(node.name) and not _is_column(alias, node.name):
                if prefer_alias is None:
                    raise Decline(f"{node.name} is both a column and an alias")
                if not prefer_alias:
                    return node
            elif self._scope.knows(node.name):
                return node
            return alias.copy() if isinstance(alias, exp.Column) else exp.paren(alias.copy())

        return expression.copy().transform(rule, copy=False)

    def _named_window(self, window: exp.Window) -> exp.Expr:
        name = window.args["alias"].name.lower()
        named = self._windows.get(name)
        own = any(window.args.get(part) for part in ("partition_by", "order", "spec"))
        if named is None or own or named.args.get("alias") is not None:
            raise Decline("of a window that builds on a named one")
        copy = window.copy()
        copy.set("alias", None)
        for part in ("partition_by", "order", "spec"):
            value = named.args.get(part)
            if value is not None:
                copy.set(
                    part, [v.copy() for v in value] if isinstance(value, list) else value.copy()
                )
        return copy

    def _bound(self, expression: exp.Expr) -> exp.Expr:
        return self._scope.bind(self._expanded(expression, prefer_alias=None))

    def _where(self) -> list[exp.Expr]:
        where = self._select.args.get("where")
        if where is None:
            return []
        return [self._expanded(c, prefer_alias=False) for c in conjuncts(where.this)]

    def _conjuncts(self, clause: str) -> list[exp.Expr]:
        found = self._select.args.get(clause)
        return [] if found is None else [self._bound(c) for c in conjuncts(found.this)]

    def _group(self) -> tuple[list[exp.Expr] | None, list[frozenset[int]] | None]:
        group = self._select.args.get("group")
        if group is None:
            return None, None
        if any(group.args.get(part) for part in ("rollup", "cube", "grouping_sets", "totals")):
            raise Decline("of grouping sets that are written otherwise than in GROUP BY")
        bound = [self._scope.bind(value) for value in self._values]
        if group.find(exp.Rollup, exp.Cube, exp.GroupingSets):
            return self._grouping_sets(group, bound)
        if group.args.get("all"):
            keys = [e for e in bound if not any(True for _ in aggregates(e))]
        else:
            keys = [self._group_item(item, bound) for item in group.expressions]
        if any(isinstance(key, exp.Tuple) for key in keys):
            raise Decline("of grouping by a tuple")
        varying = [_bare(key) for key in keys if column_names(key)]
        if keys and not varying:
            # Over no rows such a query has no group, and an aggregate without keys has one.
            raise Decline("of grouping by a constant")
        return list({key.sql("duckdb"): key for key in varying}.values()), None

    def _grouping_sets(
        self, group: exp.Group, bound: Sequence[exp.Expr]
    ) -> tuple[list[exp.Expr], list[frozenset[int]]]:
        """All grouping expressions, each once, and the sets of them."""
        places: dict[str, int] = {}
        keys: list[exp.Expr] = []

        def place(item: exp.Expr) -> int:
            key = _bare(self._group_item(item, bound))
            if not column_names(key) or isinstance(key, exp.Tuple):
                raise Decline("of grouping sets with a constant")
            if key.sql("duckdb") not in places:
                keys.append(key)
            return places.setdefault(key.sql("duckdb"), len(places))

        sets = grouping.sets_of(group.expressions, place)
        return keys, sets

    def _group_item(self, item: exp.Expr, bound: Sequence[exp.Expr]) -> exp.Expr:
        if isinstance(item, exp.Literal):
            return bound[_position(item, len(bound))]
        return self._scope.bind(self._expanded(item, prefer_alias=False))

    def _order(self) -> list[tuple[int | exp.Expr, exp.Ordered]]:
        order = self._select.args.get("order")
        found: list[tuple[int | exp.Expr, exp.Ordered]] = []
        for ordered in order.expressions if order is not None else ():
            item = ordered.this
            if isinstance(item, exp.Var) and item.name.upper() == "ALL":
                found += [(index, ordered) for index in range(len(self._values))]
            elif not isinstance(item, exp.Literal):
                found.append((self._order_item(item), ordered))
            elif not item.is_string:
                found.append((_position(item, len(self._values)), ordered))
        return found

    def _order_item(self, item: exp.Expr) -> int | exp.Expr:
        if isinstance(item, exp.Column) and not item.table and item.name.lower() in self._names:
            if self._names.count(item.name.lower()) > 1:
                raise Decline(f"of the order by {item.name}, which is selected twice")
            return self._names.index(item.name.lower())
        bound = self._bound(item)
        for index, value in enumerate(self._values):
            if self._scope.bind(value) == bound:
                return index
        return bound


def conjuncts(condition: exp.Expr) -> list[exp.Expr]:
    """The parts of a condition that must all hold."""
    if isinstance(condition, exp.Paren):
        return conjuncts(condition.this)
    if isinstance(condition, exp.And):
        return [*conjuncts(condition.this), *conjuncts(condition.expression)]
    return [condition]


def _is_aggregated(node: exp.Expr) -> bool:
    """Whether the node stands inside an aggregate call."""
    parent = node.parent
    while parent is not None:
        if is_aggregate(parent):
            return True
        parent = parent.parent
    return False


def _bare(expression: exp.Expr) -> exp.Expr:
    while isinstance(expression, exp.Paren):
        expression = expression.this
    return expression


def _is_column(expression: exp.Expr, name: str) -> bool:
    """Whether an alias is the column of the same name."""
    return isinstance(expression, exp.Column) and expression.name.lower() == name.lower()


def _position(literal: exp.Literal, count: int) -> int:
    if literal.is_string or not literal.name.isdigit() or not 1 <= int(literal.name) <= count:
        raise Decline("of a position that is not in the select list")
    return int(literal.name) - 1

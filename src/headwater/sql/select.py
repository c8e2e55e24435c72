"""One SELECT block, as nodes.

A block is taken in the order in which SQL means it: FROM and WHERE give rows (`joins`), GROUP BY
makes groups of them (`aggregates`), window functions number them (`ranks`), then come DISTINCT,
and ORDER BY with LIMIT. After each step the expressions that are still to be computed are
rewritten over the columns that the step gives, so each step sees only plain columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Node, Order
from headwater.schema.schema import Schema
from headwater.sql import aggregates, joins, ranks, scalars, sources
from headwater.sql.aliases import Outputs, read_outputs
from headwater.sql.build import column, fresh
from headwater.sql.decline import Decline
from headwater.sql.functions import aggregates as aggregates_in
from headwater.sql.tops import push_bound

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner

_UNDERSTOOD = {
    "expressions", "from_", "joins", "where", "group", "having", "qualify", "distinct", "order",
    "limit", "offset", "windows", "with_", "kind", "hint", "operation_modifiers",
}  # fmt: skip


@dataclass(slots=True)
class Block:
    """A block between two steps.

    Args:
        node: The rows so far.
        outputs: The select list: expressions over the rows' columns, in order.
        having: Conditions that are still to be applied to the rows.
        qualify: Conditions that may hold window functions.
        order: What to order by: an output's index, or an expression over the rows' columns.

    """

    node: Node
    outputs: list[exp.Expr]
    having: list[exp.Expr] = field(default_factory=list)
    qualify: list[exp.Expr] = field(default_factory=list)
    order: list[tuple[int | exp.Expr, exp.Ordered]] = field(default_factory=list)
    distinct_on: list[exp.Expr] = field(default_factory=list)

    def rewrite(self, rule: object) -> None:
        """Rewrite every expression that is still to be computed."""
        assert callable(rule)
        self.outputs = [rule(e) for e in self.outputs]
        self.having = [rule(e) for e in self.having]
        self.qualify = [rule(e) for e in self.qualify]
        self.distinct_on = [rule(e) for e in self.distinct_on]
        self.order = [(e if isinstance(e, int) else rule(e), o) for e, o in self.order]

    @property
    def expressions(self) -> list[exp.Expr]:
        """All expressions that are still to be computed."""
        order = [e for e, _ in self.order if not isinstance(e, int)]
        return [*self.outputs, *self.having, *self.qualify, *self.distinct_on, *order]


def plan_select(planner: Planner, select: exp.Select, names: Names) -> Node:
    """The plan of a SELECT.

    Raises:
        Decline: Part of it is not understood.

    """
    _check_clauses(select)
    select = push_bound(select, names)
    source = sources.read_items(planner, select, names)
    target = planner.schema_of(select, names)
    select, source = scalars.lift(planner, select, source, names)
    outputs = read_outputs(select, source.scope)
    if len(outputs.values) != len(target):
        raise Decline("of a select list that unfolds into more columns")
    node, leftover = joins.plan_from(planner, select, source, outputs.where, names)
    block = Block(
        planner.build.filter(node, leftover),
        outputs.values,
        outputs.having,
        outputs.qualify,
        outputs.order,
        outputs.distinct_on,
    )
    if outputs.group is not None or any(True for e in block.expressions for _ in aggregates_in(e)):
        aggregates.plan(planner, block, outputs.group or [], outputs.sets)
    return _finish(planner, block, select, target, outputs)


def _check_clauses(select: exp.Select) -> None:
    for clause, value in select.args.items():
        if value and clause not in _UNDERSTOOD:
            raise Decline(f"of {clause.strip('_').upper()}")
    if select.args.get("kind"):
        raise Decline(f"of SELECT AS {select.args['kind']}")
    if select.args.get("from_") is None:
        raise Decline("it reads nothing")


def _finish(
    planner: Planner, block: Block, select: exp.Select, target: Schema, outputs: Outputs
) -> Node:
    """Window functions, then DISTINCT, then ORDER BY with LIMIT."""
    if any(e.find(exp.Window) for e in block.expressions):
        ranks.plan(planner, block, target)
    if block.qualify:
        raise Decline("of QUALIFY")
    block.node = planner.build.filter(block.node, block.having)
    limit, offset = limits(select)
    if outputs.is_distinct and (limit is not None or block.distinct_on):
        hidden = [e for e, _ in block.order if not isinstance(e, int)]
        if hidden and not block.distinct_on:
            raise Decline("of DISTINCT with an order that is not selected")
    if block.distinct_on:
        return _distinct_on(planner, block, target, limit, offset)
    if limit is None:
        node = project(planner, block, target, [])
        return planner.build.distinct(node) if outputs.is_distinct else node
    hidden_order = _hidden_order(block, target)
    node = project(planner, block, target, hidden_order)
    if outputs.is_distinct:
        node = planner.build.distinct(node)
    order = orders(block, target, [name for name, _ in hidden_order])
    node = planner.build.top(node, (), order, limit=limit, offset=offset)
    return planner.build.map(node, [(name, column(name)) for name in target.names])


def _distinct_on(
    planner: Planner, block: Block, target: Schema, limit: int | None, offset: int
) -> Node:
    """DISTINCT ON: the first row of each partition, and then the first of these."""
    hidden = _hidden_order(block, target)
    taken = [*target.names, *(name for name, _ in hidden)]
    selected = {e.sql("duckdb"): n for e, n in zip(block.outputs, target.names, strict=True)}
    partition: list[str] = []
    added: list[tuple[str, exp.Expr]] = []
    for expression in block.distinct_on:
        name = selected.get(expression.sql("duckdb"))
        if name is None:
            name = fresh("distinct_on", [*taken, *(n for n, _ in added)])
            added.append((name, expression))
        partition.append(name)
    node = project(planner, block, target, [*hidden, *added])
    order = orders(block, target, [name for name, _ in hidden])
    node = planner.build.top(node, list(dict.fromkeys(partition)), order, limit=1)
    if limit is not None:
        node = planner.build.top(node, (), order, limit=limit, offset=offset)
    return planner.build.map(node, [(name, column(name)) for name in target.names])


def _hidden_order(block: Block, target: Schema) -> list[tuple[str, exp.Expr]]:
    """Columns for what is ordered by and not selected."""
    hidden: list[tuple[str, exp.Expr]] = []
    for expression, _ in block.order:
        if not isinstance(expression, int):
            taken = [*target.names, *(name for name, _ in hidden)]
            hidden.append((fresh("order_by", taken), expression))
    return hidden


def orders(block: Block, target: Schema, hidden: list[str]) -> list[Order]:
    """The block's ORDER BY over the projected columns."""
    rest = iter(hidden)
    return [
        Order(
            target.names[e] if isinstance(e, int) else next(rest),
            bool(ordered.args.get("desc")),
            bool(ordered.args.get("nulls_first")),
        )
        for e, ordered in block.order
    ]


def project(
    planner: Planner, block: Block, target: Schema, hidden: list[tuple[str, exp.Expr]]
) -> Node:
    """The select list, cast to the types that DuckDB gives it, and hidden columns behind it."""
    build = planner.build
    pairs = list(zip(target.names, block.outputs, strict=True))
    types = build.types(block.node.schema, pairs)
    typed = [
        (name, build.to_type(e, now, wanted))
        for (name, e), now, wanted in zip(pairs, types, target, strict=True)
    ]
    return build.map(block.node, [*typed, *hidden])


def limits(query: exp.Query) -> tuple[int | None, int]:
    """LIMIT and OFFSET as numbers; no limit is None.

    Raises:
        Decline: They are not plain numbers, or an OFFSET stands alone.

    """
    limit, offset = query.args.get("limit"), query.args.get("offset")
    if limit is None:
        if offset is not None:
            raise Decline("of OFFSET without LIMIT")
        return None, 0
    if not isinstance(limit, exp.Limit) or limit.args.get("limit_options"):
        raise Decline("of a LIMIT that is not a number of rows")
    return _number(limit.expression), _number(offset.expression) if offset is not None else 0


def _number(value: exp.Expr) -> int:
    if isinstance(value, exp.Literal) and not value.is_string and value.name.isdigit():
        return int(value.name)
    raise Decline("of a LIMIT that is computed")

"""Rewrite: GROUP BY and aggregate functions, as a map, an `Aggregate` and a map.

The map below computes keys and arguments (a FILTER becomes a CASE), the aggregate keeps counts,
sums and extremes that merge, and the block's remaining expressions are rewritten over its columns:
an average is a sum over a count. Where one of the functions does not merge, or would not over rows
that can be withdrawn, the touched groups are recomputed by key instead. Extremes of rows that can
be withdrawn are found among all values of a group, which an aggregate of their own keeps in order.

Each value of a DISTINCT counts once, so it is read by an aggregate of its own (`arguments`). The
results of several aggregates are brought together by the keys, in one that keeps nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import (
    Aggregate,
    Map,
    Node,
    WindowKind,
    Windows,
    walk,
)
from headwater.sql import grouping
from headwater.sql.arguments import Arguments
from headwater.sql.build import (
    INPUT,
    column,
    column_names,
    fresh,
    identifier,
)
from headwater.sql.decline import Decline
from headwater.sql.functions import aggregates as aggregates_in
from headwater.sql.merging import Merging, NotMergeable
from headwater.sql.pull import pull_windows

if TYPE_CHECKING:
    from headwater.sql.planner import Planner
    from headwater.sql.select import Block


def plan(
    planner: Planner,
    block: Block,
    group: list[exp.Expr],
    sets: list[frozenset[int]] | None = None,
) -> None:
    """Group the block's rows; afterwards its expressions are over the groups' columns.

    Args:
        sets: The grouping sets, as places in `group`; None where there is only one, of all.

    Raises:
        Decline: An expression reads a column that is not grouped by.

    """
    calls = _calls(block)
    grouped = _grouped(planner, calls)
    if sets is None:
        keys, results, node = grouped(block.node, group)
        number = None
    else:
        keys, results, node, number = grouping.plan(planner, block.node, group, sets, grouped)
    found = {**_by_text(group, keys), **_by_text(calls, results)}
    found |= grouping.numbers(block.expressions, group, sets, number)
    block.node = node
    block.rewrite(lambda e: _replaced(e, found))
    for expression in block.expressions:
        if not set(column_names(expression)) <= set(node.schema.names) or next(
            aggregates_in(expression), None
        ):
            raise Decline("of a column that is not grouped by")


_Grouped = tuple[list[exp.Expr], list[exp.Expr], Node]


def _grouped(planner: Planner, calls: list[exp.Expr]) -> Callable[[Node, list[exp.Expr]], _Grouped]:
    """What groups rows by expressions: keys, results of the calls, and the node."""

    def grouped(rows: Node, group: list[exp.Expr]) -> _Grouped:
        try:
            return _by_session(planner, rows, group, calls) or _merging(
                planner, rows, group, calls, append_only=rows.append_only
            )
        except NotMergeable as reason:
            return _recomputed(planner, rows, group, calls, str(reason))

    return grouped


def _merging(
    planner: Planner,
    rows: Node,
    group: list[exp.Expr],
    calls: list[exp.Expr],
    *,
    append_only: bool,
) -> _Grouped:
    """Keys, results and the node, where all functions merge."""
    step = Merging(planner, rows, group, append_only=append_only)
    results = [step.result(call) for call in calls]
    return list(step.keys), results, step.node()


def _by_session(
    planner: Planner, rows: Node, group: list[exp.Expr], calls: list[exp.Expr]
) -> _Grouped | None:
    """The same for groups that are sessions, which take in rows that are never withdrawn.

    The rows of a session that grows are withdrawn and said again, but an aggregate over the session
    itself does not see that: it may keep what merges over rows that only come.
    """
    if not any(isinstance(n, Windows) and n.spec.kind is WindowKind.SESSION for n in walk(rows)):
        return None
    try:
        keys, results, node = _merging(planner, rows, group, calls, append_only=True)
    except NotMergeable:
        return None
    pulled = pull_windows(node)
    aggregate = pulled.input if isinstance(pulled, Map) else pulled
    window = aggregate.window if isinstance(aggregate, Aggregate) else None
    is_fused = window is not None and window.spec.kind is WindowKind.SESSION
    return (keys, results, pulled) if is_fused else None


def _calls(block: Block) -> list[exp.Expr]:
    found = [call for expression in block.expressions for call in aggregates_in(expression)]
    return list({call.sql("duckdb"): call for call in found}.values())


def _by_text(old: list[exp.Expr], new: list[exp.Expr]) -> dict[str, exp.Expr]:
    return {o.sql("duckdb"): n for o, n in zip(old, new, strict=True)}


def _replaced(expression: exp.Expr, found: dict[str, exp.Expr]) -> exp.Expr:
    """The expression with every group key and aggregate replaced, from the outside in."""
    replacement = found.get(expression.sql("duckdb"))
    if replacement is not None:
        return replacement.copy()
    copy = expression.copy()
    if isinstance(copy, exp.Column):
        # Anything that is not grouped by must not be mistaken for a column of the groups.
        return exp.column(exp.to_identifier(f"{copy.name}\x00", quoted=True))
    for key, value in list(copy.args.items()):
        if isinstance(value, list):
            copy.set(key, [_replaced(v, found) if isinstance(v, exp.Expr) else v for v in value])
        elif isinstance(value, exp.Expr):
            copy.set(key, _replaced(value, found))
    return copy


def _recomputed(
    planner: Planner, rows: Node, group: list[exp.Expr], calls: list[exp.Expr], reason: str
) -> tuple[list[exp.Expr], list[exp.Expr], Node]:
    """The groups that changed, computed again from the rows that are in them."""
    arguments = Arguments(planner, rows, group)
    renamed = {}
    for call in calls:
        for name in column_names(call):
            renamed[name] = arguments.name(column(name), name)
    node = arguments.node()
    keys = [key.name for key in arguments.keys]
    names: list[str] = []
    outputs = [exp.alias_(column(key), identifier(key)) for key in keys]
    for call in calls:
        name = fresh("result", [*keys, *names])
        names.append(name)
        over = call.copy().transform(
            lambda n: column(renamed[n.name]) if isinstance(n, exp.Column) else n
        )
        outputs.append(exp.alias_(over, identifier(name)))
    query = exp.select(*outputs).from_(exp.Table(this=identifier(INPUT)))
    if keys:
        query = query.group_by(*(column(key) for key in keys))
    recompute = planner.build.recompute([(INPUT, node, tuple(keys))], query, reason)
    return list(arguments.keys), [column(name) for name in names], recompute

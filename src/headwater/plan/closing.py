"""Columns of whose values those that time has passed never come again.

What windows, and joins in time, put out is bound to the watermark: a window that has closed, and
whose lateness has passed, is not heard of any more. So a column that holds the window's start or
its end is closed by a frontier: from the next epoch on no row comes, and none is withdrawn, whose
value there is before it. Rows pass such columns on, and whoever keeps state by one of them (the key
of a join or a group, the partition of a rank) may forget what is before the frontier. No answer
depends on that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sqlglot import exp

from headwater.plan.frontier import Frontier, lowest
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Distinct,
    GroupWindow,
    Join,
    JoinKind,
    Map,
    Node,
    Over,
    Pace,
    Recompute,
    Scan,
    SetOperation,
    TopN,
    Union,
    WindowKind,
    Windows,
    WindowSpec,
    Within,
)

Closed = dict[str, Frontier]


@dataclass(frozen=True, slots=True)
class Bounded:
    """By which column an operator may forget.

    Args:
        columns: What each of its inputs calls the column.
        frontier: Rows before it may go.

    """

    columns: tuple[str, ...]
    frontier: Frontier


def closed_columns(node: Node) -> Closed:
    """The columns of a node's output that are closed, each with what closes it.

    A null is before nothing, so it is never said to be closed.
    """
    rule = _RULES.get(type(node))
    return {} if rule is None else rule(node)


def bounded(node: Node) -> Bounded | None:
    """By which column a node that keeps state by key, and is no join, may forget."""
    match node:
        case Aggregate() if node.window is None:
            return _first(node.inputs, [node.keys])
        case Distinct() | SetOperation():
            return _first(node.inputs, [node.schema.names] * len(node.inputs))
        case TopN() | Over():
            return _first(node.inputs, [node.partition])
        case Recompute():
            return _first(node.sources, node.keys)
        case _:
            return None


def bounded_sides(node: Join) -> tuple[Bounded | None, Bounded | None]:
    """By which column a join may forget its left rows, and its right rows.

    The left rows of a key go when no right row can come for it, and the other way round. Where both
    can be it is by the same key. Rows of an inner join also go by a column that the condition wants
    at or after a closed one of the other side: the bids of a window whose result has come, say. A
    join in time goes by its times; one that decides by its own frontiers, and by nothing else.
    """
    if node.within is not None:
        decides = node.within.decision is not None
        return (None, None) if decides else _bounded_times(node, node.within)
    left, right = closed_columns(node.left), closed_columns(node.right)
    pairs = sorted(
        zip(node.left_keys, node.right_keys, strict=True),
        key=lambda pair: -((pair[0] in left) + (pair[1] in right)),
    )
    of_left = next((Bounded((lk,), right[rk]) for lk, rk in pairs if rk in right), None)
    of_right = next((Bounded((rk,), left[lk]) for lk, rk in pairs if lk in left), None)
    if node.kind is JoinKind.INNER:
        of_left = of_left or _after(node, node.left, right)
        of_right = of_right or _after(node, node.right, left)
    return of_left, of_right


def _bounded_times(node: Join, within: Within) -> tuple[Bounded | None, Bounded | None]:
    """A row goes when no row of the other side can come that is near enough in time."""
    lower_us, upper_us = within.lower_us, within.upper_us
    left = closed_columns(node.left).get(within.left_time)
    right = closed_columns(node.right).get(within.right_time)
    of_left, of_right = _behind(right, lower_us, -1), _behind(left, upper_us, 1)
    # What says whether it has a match may be withdrawn, and must know then what it said.
    if node.kind is not JoinKind.INNER and not node.left.append_only:
        of_left = _of_both(of_left, left)
    if node.kind is JoinKind.FULL and not node.right.append_only:
        of_right = _of_both(of_right, right)
    return (
        None if of_left is None else Bounded((within.left_time,), of_left),
        None if of_right is None else Bounded((within.right_time,), of_right),
    )


def _behind(frontier: Frontier | None, bound_us: int | None, sign: int) -> Frontier | None:
    if frontier is None or bound_us is None:
        return None
    return frontier.later(max(sign * bound_us, 0))


def _of_both(one: Frontier | None, other: Frontier | None) -> Frontier | None:
    return None if one is None or other is None else lowest([one, other])


def _after(node: Join, side: Node, closed: Closed) -> Bounded | None:
    """By which column of a side its rows cannot match once the other side has closed another."""
    other = node.right if side is node.left else node.left
    for late, early in _ordered(node.condition):
        is_timed = late in side.schema and early in closed and early in other.schema
        if is_timed and side.schema[late].type.sql == other.schema[early].type.sql:
            return Bounded((late,), closed[early])
    return None


def _ordered(condition: exp.Expr | None) -> Iterator[tuple[str, str]]:
    """Pairs of columns of which the first must not be before the second."""
    condition = None if condition is None else condition.unnest()
    if isinstance(condition, exp.And):
        yield from _ordered(condition.this)
        yield from _ordered(condition.expression)
    elif isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
        low, high = condition.args["low"], condition.args["high"]
        yield from _named_pair(condition.this, low)
        yield from _named_pair(high, condition.this)
    elif isinstance(condition, exp.GT | exp.GTE | exp.EQ):
        yield from _named_pair(condition.this, condition.expression)
    if isinstance(condition, exp.LT | exp.LTE | exp.EQ):
        yield from _named_pair(condition.expression, condition.this)


def _named_pair(late: exp.Expr, early: exp.Expr) -> Iterator[tuple[str, str]]:
    if isinstance(late, exp.Column) and isinstance(early, exp.Column):
        yield late.name, early.name


def _first(inputs: Sequence[Node], keys: Sequence[Sequence[str]]) -> Bounded | None:
    """The first key that all inputs close."""
    closed = [closed_columns(node) for node in inputs]
    for names in zip(*keys, strict=True):
        if all(name in columns for name, columns in zip(names, closed, strict=True)):
            found = [columns[name] for name, columns in zip(names, closed, strict=True)]
            return Bounded(tuple(names), lowest(found))
    return None


def _passed_on(node: Node, names: Iterable[str]) -> Closed:
    below = closed_columns(node)
    return {name: below[name] for name in names if name in below}


def _of_scan(node: Scan) -> Closed:
    return dict(node.closed)


def _of_map(node: Map) -> Closed:
    below = closed_columns(node.input)
    return {
        name: below[value.name]
        for name, value in node.projections
        if isinstance(value, exp.Column) and value.name in below
    }


def _of_groups(node: Aggregate) -> Closed:
    below, window = _passed_on(node.input, node.keys), node.window
    if window is None:
        return below
    # What is held until its window closes comes later than it did.
    return (
        _of_window(window, window.spec) if window.final else below | _of_window(window, window.spec)
    )


def _of_distinct(node: Distinct) -> Closed:
    return closed_columns(node.input)


def _of_partitions(node: TopN | Over) -> Closed:
    """A row of a partition that changes may come or go, or be numbered anew, whatever it holds."""
    return _passed_on(node.input, node.partition)


def _of_pace(node: Pace) -> Closed:
    below, held = closed_columns(node.input), Frontier(node.sources)
    return {name: lowest([f, held]).later(node.every_us) for name, f in below.items()}


def _of_recompute(node: Recompute) -> Closed:
    """The key of the groups, where the query gives it as it is."""
    by, query = bounded(node), node.query
    if by is None or len(node.sources) > 1 or not isinstance(query, exp.Select):
        return {}
    if len(list(query.find_all(exp.Query))) > 1:
        return {}
    items = [(item.alias_or_name, item.unalias()) for item in query.expressions]
    keys = [name for name, value in items if isinstance(value, exp.Column)]
    values = dict(items)
    return {name: by.frontier for name in keys if values[name].name == by.columns[0]}


def _of_asof(node: AsofJoin) -> Closed:
    # A right row changes no left row before it.
    return _of_times(node, node, lower_us=0, upper_us=None)


def _of_windows(node: Windows) -> Closed:
    # What is held until its window closes comes later than it did.
    is_linear = not node.final and node.spec.kind is not WindowKind.SESSION
    below = closed_columns(node.input) if is_linear else {}
    closed = _of_window(node, node.spec)
    if closed and node.start in closed:
        closed[node.spec.time] = closed[node.start]
    return below | closed


def _of_window(window: Windows | GroupWindow, spec: WindowSpec) -> Closed:
    """The bounds of windows that decide what is late."""
    if window.lateness_us is None or not window.sources:
        return {}
    after_end = window.frontier.later(window.lateness_us)
    if spec.kind is WindowKind.SESSION:
        # A row may reach a session less than a gap after its end; how long it is nobody knows.
        return {window.end: after_end.later(spec.size_us)}
    return {window.end: after_end, window.start: after_end.later(spec.size_us)}


def _of_join(node: Join) -> Closed:
    if node.within is not None:
        lower_us, upper_us = node.within.lower_us, node.within.upper_us
        return _of_times(node, node.within, lower_us=lower_us, upper_us=upper_us)
    left, right = closed_columns(node.left), closed_columns(node.right)
    closed: Closed = {}
    for lk, rk in zip(node.left_keys, node.right_keys, strict=True):
        if lk in left and rk in right:
            closed[lk] = closed[rk] = lowest([left[lk], right[rk]])
    return {name: frontier for name, frontier in closed.items() if name in node.schema}


def _of_times(
    node: Join | AsofJoin, timed: Within | AsofJoin, *, lower_us: int | None, upper_us: int | None
) -> Closed:
    """The times of a join that decides: a row comes with the later of its pair."""
    decision = timed.decision
    if decision is None:
        return {}
    left, right, late_us = decision.left, decision.right, decision.lateness_us
    sources = lowest([left, right]).sources
    closed: Closed = {}
    if lower_us is not None:
        behind_us = max(left.slack_us, right.slack_us - lower_us)
        closed[timed.left_time] = Frontier(sources, behind_us + late_us)
    if upper_us is not None:
        behind_us = max(right.slack_us, left.slack_us + upper_us)
        closed[timed.right_time] = Frontier(sources, behind_us + late_us)
    return {name: frontier for name, frontier in closed.items() if name in node.schema}


def _of_all(node: Union | SetOperation) -> Closed:
    branches = [closed_columns(branch) for branch in node.inputs]
    names = [name for name in node.schema.names if all(name in found for found in branches)]
    return {name: lowest([found[name] for found in branches]) for name in names}


_RULES: dict[type, Callable[..., Closed]] = {
    Scan: _of_scan,
    Map: _of_map,
    Windows: _of_windows,
    Aggregate: _of_groups,
    Join: _of_join,
    AsofJoin: _of_asof,
    Distinct: _of_distinct,
    Union: _of_all,
    SetOperation: _of_all,
    TopN: _of_partitions,
    Over: _of_partitions,
    Recompute: _of_recompute,
    Pace: _of_pace,
}

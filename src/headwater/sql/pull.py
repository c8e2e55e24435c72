"""Rewrite: pull windows up into the aggregate that groups by them.

An aggregate whose keys hold the start or the end of a window need not see each row once for every
window: the engine can aggregate by slice and combine slices. That holds while nothing between the
window and the aggregate looks at the window: maps that only pass the two columns on, and joins
that do not use them as keys and keep the windowed side's rows. Then the `Windows` node goes, its
time column is passed on in its place, and the aggregate gets the windows.

Which rows there are decides how far a session goes. So sessions are pulled up only through maps
that keep every row and the keys, over rows that are never withdrawn, and into aggregates
by the very keys of the sessions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sqlglot import exp

from headwater.plan.nodes import (
    Aggregate,
    GroupWindow,
    Join,
    JoinKind,
    Map,
    Node,
    WindowKind,
    Windows,
    WindowSpec,
)
from headwater.schema.schema import Schema
from headwater.schema.types import Column
from headwater.sql.build import column, column_names, fresh, nullable
from headwater.sql.shared import each_part
from headwater.sql.tree import bottom_up


def pull_windows(root: Node) -> Node:
    """The plan with every window pulled up that can be."""
    return each_part(root, lambda part: bottom_up(part, _rule))


@dataclass(frozen=True, slots=True)
class _Pulled:
    """A subtree without its windows.

    Args:
        node: Rows that are not windowed yet; `spec.time` is one of its columns.
        starts: The columns that held the window's start, in the tree as it was.
        ends: The same for its end.

    """

    node: Node
    spec: WindowSpec
    starts: frozenset[str]
    ends: frozenset[str]
    has_map: bool = False


def _rule(node: Node) -> Node:
    if not isinstance(node, Aggregate) or node.window is not None:
        return node
    pulled = _pull(node.input)
    # The rows of sessions are withdrawn when these grow, those that they are made of may not be.
    if pulled is None or (node.is_in_order and not pulled.node.append_only):
        return node
    gone = pulled.starts | pulled.ends
    keys = [key for key in node.keys if key in gone]
    if not keys or any(p.argument in gone for p in node.partials):
        return node
    if pulled.spec.kind is WindowKind.CUMULATE and pulled.ends.isdisjoint(keys):
        # Windows that cumulate share their start: it does not tell them apart.
        return node
    if pulled.spec.kind is WindowKind.SESSION:
        by_key = set(node.keys) - gone == set(pulled.spec.keys)
        if not (by_key and pulled.node.append_only):
            return node
    return _grouped(node, pulled)


def _grouped(node: Aggregate, pulled: _Pulled) -> Node:
    """The aggregate with windows, and above it a map that gives the old columns in their order."""
    taken = [*node.schema.names, *pulled.node.schema.names]
    start = next((key for key in node.keys if key in pulled.starts), None)
    end = next((key for key in node.keys if key in pulled.ends), None)
    start = start or fresh("window_start", taken)
    end = end or fresh("window_end", [*taken, start])
    keys = tuple(key for key in node.keys if key not in pulled.starts | pulled.ends)
    time_type = pulled.node.schema[pulled.spec.time].type
    columns = (
        *(node.schema[key] for key in keys),
        Column(start, time_type),
        Column(end, time_type),
        *(node.schema[partial.name] for partial in node.partials),
    )
    window = GroupWindow(pulled.spec, start, end)
    grouped = Aggregate(pulled.node, keys, node.partials, nullable(columns), window)
    if grouped.schema.names == node.schema.names:
        return grouped
    same = {**dict.fromkeys(pulled.starts, start), **dict.fromkeys(pulled.ends, end)}
    projections = tuple((name, column(same.get(name, name))) for name in node.schema.names)
    return Map(grouped, projections, None, node.schema)


def _pull(node: Node) -> _Pulled | None:
    """The subtree with its windows taken out, or None where something looks at them."""
    if isinstance(node, Windows):
        starts, ends = frozenset([node.start]), frozenset([node.end])
        return _Pulled(node.input, node.spec, starts, ends)
    if isinstance(node, Map):
        below = _pull(node.input)
        return None if below is None else _pull_map(node, below)
    if isinstance(node, Join):
        return _pull_join(node)
    return None


def _pull_map(node: Map, below: _Pulled) -> _Pulled | None:
    gone = below.starts | below.ends
    if node.condition is not None and gone.intersection(column_names(node.condition)):
        return None
    starts, ends, time = set(), set(), None
    projections: list[tuple[str, exp.Expr]] = []
    columns: list[Column] = []
    for name, expression in node.projections:
        source = expression.name if isinstance(expression, exp.Column) else None
        if source in below.starts:
            starts.add(name)
        elif source in below.ends:
            ends.add(name)
        elif gone.intersection(column_names(expression)) or expression.find(exp.Explode):
            return None
        else:
            time = name if source == below.spec.time else time
            projections.append((name, expression))
            columns.append(node.schema[name])
    if time is None:
        time = fresh(below.spec.time, node.schema.names)
        projections.append((time, column(below.spec.time)))
        columns.append(Column(time, below.node.schema[below.spec.time].type))
    keys = _passed_on(node, below.spec)
    if keys is None:
        return None
    mapped = Map(below.node, tuple(projections), node.condition, Schema(tuple(columns)))  # type: ignore[arg-type]
    spec = replace(below.spec, time=time, keys=keys)
    return _Pulled(mapped, spec, frozenset(starts), frozenset(ends))


def _passed_on(node: Map, spec: WindowSpec) -> tuple[str, ...] | None:
    """What a map calls the keys of sessions; None where it drops one of them, or rows."""
    if spec.kind is not WindowKind.SESSION:
        return spec.keys
    names = {e.name: name for name, e in node.projections if isinstance(e, exp.Column)}
    if node.condition is not None or any(key not in names for key in spec.keys):
        return None
    return tuple(names[key] for key in spec.keys)


def _pull_join(node: Join) -> _Pulled | None:
    """Windows on the left of a join that adds no rows to it, or on the right of an inner one."""
    if node.kind is JoinKind.FULL:
        return None
    read = set() if node.condition is None else set(column_names(node.condition))
    left = _pull_side(node.left)
    if left is not None:
        time = [] if node.within is None else [node.within.left_time]
        if (left.starts | left.ends).intersection((*node.left_keys, *time, *read)):
            return None
        return _rejoin(node, left, left.node, node.right)
    if node.kind is not JoinKind.INNER:
        return None
    right = _pull_side(node.right)
    time = [] if node.within is None else [node.within.right_time]
    if right is None or (right.starts | right.ends).intersection((*node.right_keys, *time, *read)):
        return None
    return _rejoin(node, right, node.left, right.node)


def _pull_side(node: Node) -> _Pulled | None:
    """As `_pull`; a join decides which rows there are, so it must see sessions as they are."""
    pulled = _pull(node)
    return None if pulled is None or pulled.spec.kind is WindowKind.SESSION else pulled


def _rejoin(node: Join, pulled: _Pulled, left: Node, right: Node) -> _Pulled | None:
    columns = (*left.schema, *(right.schema if node.kind.has_both else ()))
    folded = [c.name.lower() for c in columns]
    if len(set(folded)) != len(folded):
        return None
    joined = replace(node, left=left, right=right, schema=nullable(columns))
    return replace(pulled, node=joined)

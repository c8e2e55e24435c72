"""Rewrite: columns that nobody reads are not carried.

Top down: each node is told which of its columns are needed, and tells its inputs. What a node's
answer depends on as a whole (the rows of a DISTINCT, the tie-break of a top-N) is always needed.
Adjacent maps are merged where the upper one only picks and renames.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sqlglot import exp

from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Completeness,
    Distinct,
    Hold,
    Join,
    Map,
    MatchRecognize,
    Node,
    Over,
    Pace,
    Panes,
    Process,
    Recompute,
    Scan,
    SessionPanes,
    SetOperation,
    TemporalFilter,
    TopN,
    Transform,
    Union,
    Windows,
)
from headwater.schema.schema import Schema
from headwater.sql.build import column, column_names, is_identity, nullable
from headwater.sql.shared import Parts, apart, read_of, together


def prune(root: Node) -> Node:
    """The plan without unread columns; the root keeps all of its own.

    A part that several nodes read keeps what any of them needs.
    """
    parts = apart(root)
    whole = _prune(parts.whole, frozenset(root.schema.names))
    needed = read_of(whole, parts.shared)
    shared: dict[str, Node] = {}
    for name, part in parts.shared.items():
        shared[name] = _prune(part, needed.get(name, frozenset()))
        for other, names in read_of(shared[name], parts.shared).items():
            needed[other] = needed.get(other, frozenset()) | names
    return together(Parts(whole, shared))


def _prune(node: Node, needed: frozenset[str]) -> Node:  # noqa: PLR0911 - one for each node
    """The node with at least the needed columns, in the order they had."""
    match node:
        case Scan():
            # A batch must have a column to have a number of rows.
            schema = _kept(node.schema, needed or node.schema.names[:1])
            closed = tuple(by for by in node.closed if by[0] in schema)
            return replace(node, schema=schema, closed=closed)
        case Map():
            return _prune_map(node, needed)
        case Windows():
            read = {node.spec.time, *node.spec.keys}
            below = _prune(node.input, (needed - {node.start, node.end}) | read)
            added = {node.start, node.end}
            columns = (*below.schema, *(c for c in node.schema if c.name in added))
            return replace(node, input=below, schema=nullable(columns))
        case Aggregate():
            return _prune_aggregate(node, needed)
        case Join() | AsofJoin():
            return _prune_join(node, needed)
        case Union():
            return _prune_union(node, needed)
        case TemporalFilter():
            bounds = {name for name in (node.valid_from, node.valid_until) if name is not None}
            # As of a scan, a column must be there for the rows to be counted.
            wanted = needed or frozenset(node.schema.names[:1])
            below = _prune(node.input, wanted | bounds)
            return replace(node, input=below, schema=_kept(node.schema, wanted))
        case SetOperation():
            left, right = (_exactly(side, node.schema.names) for side in node.inputs)
            return replace(node, left=left, right=right)
        case (
            Distinct()
            | TopN()
            | MatchRecognize()
            | Pace()
            | Hold()
            | Panes()
            | SessionPanes()
            | Completeness()
        ):
            return replace(node, input=_exactly(node.input, node.input.schema.names))
        case Over():
            return _prune_over(node, needed)
        case Recompute():
            return _prune_recompute(node, needed)
        case Transform() | Process():
            return replace(node, input=_exactly(node.input, node.input.schema.names))


def _prune_map(node: Map, needed: frozenset[str]) -> Node:
    projections = [p for p in node.projections if p[0] in needed or p[1].find(exp.Explode)]
    projections = projections or list(node.projections[:1])
    read = set() if node.condition is None else set(column_names(node.condition))
    for _, expression in projections:
        read.update(column_names(expression))
    below = _prune(node.input, frozenset(read))
    if node.condition is None and is_identity(below, projections):
        return below
    schema = _kept(node.schema, frozenset(name for name, _ in projections))
    merged = _merged(projections, node.condition, below)
    if merged is not None:
        return replace(
            node, input=merged[2], projections=merged[0], condition=merged[1], schema=schema
        )
    return replace(node, input=below, projections=tuple(projections), schema=schema)


def _merged(
    projections: list[tuple[str, exp.Expression]], condition: exp.Expression | None, below: Node
) -> tuple[tuple[tuple[str, exp.Expression], ...], exp.Expression | None, Node] | None:
    """This map and the one below it as one, where one of the two only picks columns."""
    if not isinstance(below, Map) or any(e.find(exp.Explode) for _, e in below.projections):
        return None
    computed = dict(below.projections)
    picks = all(isinstance(e, exp.Column) for _, e in projections) and condition is None
    simple = all(isinstance(e, exp.Column) for _, e in below.projections)
    if not (picks or simple):
        return None
    substituted = tuple((name, _substituted(e, computed)) for name, e in projections)
    conditions = [below.condition] if below.condition is not None else []
    if condition is not None:
        conditions.append(_substituted(condition, computed))
    both = exp.and_(*conditions, copy=True) if conditions else None
    return substituted, both, below.input  # type: ignore[return-value]


def _substituted(expression: exp.Expression, computed: dict[str, exp.Expression]) -> exp.Expression:
    return expression.copy().transform(
        lambda n: computed[n.name].copy() if isinstance(n, exp.Column) else n, copy=False
    )


def _prune_aggregate(node: Aggregate, needed: frozenset[str]) -> Node:
    partials = tuple(p for p in node.partials if p.name in needed)
    read = {*node.keys, *(p.argument for p in partials if p.argument is not None)}
    names = {*node.keys, *(p.name for p in partials)}
    if node.window is not None:
        read.add(node.window.spec.time)
        names |= {node.window.start, node.window.end}
    below = _prune(node.input, frozenset(read))
    return replace(node, input=below, partials=partials, schema=_kept(node.schema, names))


def _prune_join(node: Join | AsofJoin, needed: frozenset[str]) -> Node:
    left_read = {*node.left_keys}
    right_read = {*node.right_keys}
    timed = node if isinstance(node, AsofJoin) else node.within
    if timed is not None:
        left_read.add(timed.left_time)
        right_read.add(timed.right_time)
    both = isinstance(node, AsofJoin) or node.kind.has_both
    wanted = needed if both else needed & set(node.left.schema.names)
    if isinstance(node, Join) and node.condition is not None:
        wanted |= set(column_names(node.condition))
    left = _prune(node.left, frozenset(left_read | (wanted & set(node.left.schema.names))))
    right = _prune(node.right, frozenset(right_read | (wanted & set(node.right.schema.names))))
    columns = (*left.schema, *(right.schema if both else ()))
    if isinstance(node, Join) and node.within is None:
        columns = tuple(c for c in columns if c.name in needed) or columns[:1]
    return replace(node, left=left, right=right, schema=nullable(columns))


def _prune_union(node: Union, needed: frozenset[str]) -> Node:
    """All branches must keep exactly the same columns, in the same order."""
    names = tuple(name for name in node.schema.names if name in needed)
    branches = tuple(_exactly(branch, names) for branch in node.inputs)
    return replace(node, inputs=branches, schema=_kept(node.schema, frozenset(names)))


def _prune_over(node: Over, needed: frozenset[str]) -> Node:
    """Without functions that nobody reads. All columns of the input may break ties."""
    calls = tuple(call for call in node.calls if call.name in needed)
    if not calls:
        return _prune(node.input, needed)
    names = node.input.schema.names
    kept = frozenset((*names, *(call.name for call in calls)))
    below = _exactly(node.input, names)
    return replace(node, input=below, calls=calls, schema=_kept(node.schema, kept))


def _prune_recompute(node: Recompute, needed: frozenset[str]) -> Node:
    """Of a plain list of named outputs those that are read, and of the inputs what these read."""
    query = node.query
    selects = query.expressions if isinstance(query, exp.Select) else []
    names = tuple(item.alias for item in selects)
    is_plain = names == node.schema.names and not query.args.get("distinct")
    if not is_plain or any(
        item.find(exp.Star, exp.Query) for item in selects if not item.find(exp.Count)
    ):
        sources = tuple(_exactly(s, s.schema.names) for s in node.sources)
        return replace(node, sources=sources)
    kept = [item for item in selects if item.alias in needed] or selects[:1]
    query = query.copy()
    query.set("expressions", [item.copy() for item in kept])
    read = {c.name for c in query.find_all(exp.Column)}
    sources = tuple(
        _exactly(
            s, tuple(n for n in s.schema.names if n in read or n in keys) or s.schema.names[:1]
        )
        for s, keys in zip(node.sources, node.keys, strict=True)
    )
    schema = _kept(node.schema, frozenset(item.alias for item in kept))
    return replace(node, sources=sources, query=query, schema=schema)


def _exactly(node: Node, names: tuple[str, ...]) -> Node:
    """The pruned node with these columns and no others, in this order."""
    pruned = _prune(node, frozenset(names))
    if pruned.schema.names == names:
        return pruned
    projections = tuple((name, column(name)) for name in names)
    return _prune_map(
        Map(pruned, projections, None, nullable(pruned.schema[n] for n in names)),
        frozenset(names),
    )


def _kept(schema: Schema, needed: Iterable[str]) -> Schema:
    wanted = set(needed)
    return Schema(tuple(c for c in schema if c.name in wanted))

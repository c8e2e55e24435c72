"""Joins with a bound in time, and the watermarks by which they forget.

In a view with `lateness` or EMIT FINAL a join whose times are event times, row by row, decides
which of its rows are late, and so knows which rows can match no more. A join over other times, or
over rows that another such join has held back, forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headwater.plan.nodes import Join, Node, Scan, Within, walk
from headwater.plan.pipeline import Emit, ViewDefinition
from headwater.plan.ticks import with_ticks
from headwater.sql.relations import Relation
from headwater.sql.times import event_times
from headwater.sql.tree import bottom_up


def bound_joins(root: Node, definition: ViewDefinition, relations: Mapping[str, Relation]) -> Node:
    """The plan with `final`, `lateness_us` and the sources of its joins in time filled in."""

    def rule(node: Node) -> Node:
        if not isinstance(node, Join) or node.within is None:
            return node
        within = node.within
        left = _sources(node.left, within.left_time, relations)
        right = _sources(node.right, within.right_time, relations)
        if not left or not right:
            return node
        decided = replace(
            within,
            final=definition.emit is Emit.FINAL,
            lateness_us=definition.lateness_us or 0,
            left_sources=left,
            right_sources=right,
        )
        return replace(
            node, left=with_ticks(node.left), right=with_ticks(node.right), within=decided
        )

    return bottom_up(root, rule)


def is_bounded(node: Node) -> bool:
    """Whether a node is a join that forgets by watermark."""
    return isinstance(node, Join) and node.within is not None and _decides(node.within)


def _decides(within: Within) -> bool:
    return within.lateness_us is not None


def _sources(node: Node, time: str, relations: Mapping[str, Relation]) -> tuple[str, ...]:
    """The topics whose watermark is that of a column; none where there is no such watermark."""
    if any(is_bounded(below) for below in walk(node)):
        return ()
    for name, column in event_times(node, time) or [("", "")]:
        relation = relations.get(name.lower())
        event_time = None if relation is None else relation.event_time
        if event_time is None or event_time.lower() != column.lower():
            return ()
    scans = [n for n in walk(node) if isinstance(n, Scan)]
    names = [topic for scan in scans for topic in relations[scan.relation.lower()].sources]
    return tuple(dict.fromkeys(names))

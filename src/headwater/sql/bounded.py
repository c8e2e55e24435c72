"""Joins in time, and the watermarks by which they forget.

In a view with `lateness` or EMIT FINAL a join whose times are event times, row by row, decides
which of its rows are late, and so knows which rows can match no more: a join with a bound in time
as well as an ASOF JOIN. A join over other times forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from headwater.plan.frontier import Decision
from headwater.plan.nodes import AsofJoin, Join, Node
from headwater.plan.pipeline import Emit, ViewDefinition
from headwater.plan.steps import stepped
from headwater.plan.ticks import with_ticks
from headwater.sql.relations import Relation, rough
from headwater.sql.times import frontier_of


def decided(
    node: Join | AsofJoin, definition: ViewDefinition, relations: Mapping[str, Relation]
) -> Node:
    """The join with its decision filled in, where its times are event times.

    Args:
        node: Its inputs decide already.

    """
    timed = node if isinstance(node, AsofJoin) else node.within
    if timed is None:
        return node
    left = frontier_of(node.left, timed.left_time, relations)
    right = frontier_of(node.right, timed.right_time, relations)
    if left is None or right is None:
        return node
    is_final, lateness_us = definition.emit is Emit.FINAL, definition.lateness_us or 0
    views = rough(relations)
    left = stepped(node.left, timed.left_time, left, lateness_us, views)
    right = stepped(node.right, timed.right_time, right, lateness_us, views)
    decision = Decision(is_final, lateness_us, left, right)
    over = replace(node, left=with_ticks(node.left), right=with_ticks(node.right))
    if isinstance(over, AsofJoin):
        return replace(over, decision=decision)
    assert over.within is not None
    return replace(over, within=replace(over.within, decision=decision))


def is_bounded(node: Node) -> bool:
    """Whether a node is a join that forgets by watermark."""
    if isinstance(node, AsofJoin):
        return node.decision is not None
    return isinstance(node, Join) and node.within is not None and node.within.decision is not None

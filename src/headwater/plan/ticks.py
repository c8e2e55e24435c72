"""Ask every row of a plan to carry its place in the log's order.

A view that decides lateness over another view needs to know where in the log that view's rows came
to be. Then the other view's scans carry ticks too, and its operators pass them on.
"""

from __future__ import annotations

from dataclasses import replace

from headwater.plan.nodes import AsofJoin, Join, Node, Recompute, Scan, SetOperation, Union


def with_ticks(node: Node) -> Node:
    """The same plan, with `ticks` set on every scan."""
    if isinstance(node, Scan):
        return replace(node, ticks=True)
    if isinstance(node, Join | AsofJoin | SetOperation):
        return replace(node, left=with_ticks(node.left), right=with_ticks(node.right))
    if isinstance(node, Union):
        return replace(node, inputs=tuple(with_ticks(child) for child in node.inputs))
    if isinstance(node, Recompute):
        return replace(node, sources=tuple(with_ticks(child) for child in node.sources))
    return replace(node, input=with_ticks(node.input))

"""Ask every row of a plan to carry its place in the log's order.

A view that decides lateness over another view needs to know where in the log that view's rows came
to be. Then the other view's scans carry ticks too, and its operators pass them on.
"""

from __future__ import annotations

from dataclasses import replace

from headwater.plan.nodes import AsofJoin, Join, Node, Recompute, Scan, SetOperation, Union


def with_ticks(root: Node) -> Node:
    """The same plan, with `ticks` set on every scan; a node that several read stays one."""
    done: dict[int, Node] = {}

    def ticked(node: Node) -> Node:
        if id(node) not in done:
            done[id(node)] = _over(node, [ticked(child) for child in node.inputs])
        return done[id(node)]

    return ticked(root)


def _over(node: Node, inputs: list[Node]) -> Node:
    """The node over other inputs; a scan with ticks."""
    if isinstance(node, Scan):
        return replace(node, ticks=True)
    if isinstance(node, Join | AsofJoin | SetOperation):
        return replace(node, left=inputs[0], right=inputs[1])
    if isinstance(node, Union):
        return replace(node, inputs=tuple(inputs))
    if isinstance(node, Recompute):
        return replace(node, sources=tuple(inputs))
    return replace(node, input=inputs[0])

"""Walking and rebuilding plans: nodes are frozen, so a rewrite makes a new tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from headwater.plan.nodes import AsofJoin, Join, Node, Recompute, Scan, SetOperation, Union


def with_inputs(node: Node, inputs: Sequence[Node]) -> Node:
    """The node over other inputs; itself where they are the same."""
    if tuple(inputs) == node.inputs:
        return node
    if isinstance(node, Scan):
        return node
    if isinstance(node, Join | AsofJoin | SetOperation):
        return replace(node, left=inputs[0], right=inputs[1])
    if isinstance(node, Union):
        return replace(node, inputs=tuple(inputs))
    if isinstance(node, Recompute):
        return replace(node, sources=tuple(inputs))
    return replace(node, input=inputs[0])


def bottom_up(node: Node, rule: Callable[[Node], Node]) -> Node:
    """Apply a rule to every node, inputs first; to one that several others read once."""
    done: dict[int, Node] = {}

    def rewritten(node: Node) -> Node:
        if id(node) not in done:
            done[id(node)] = rule(with_inputs(node, [rewritten(n) for n in node.inputs]))
        return done[id(node)]

    return rewritten(node)

"""By whose watermarks the nodes of a plan decide."""

from __future__ import annotations

from headwater.plan.closing import bounded, bounded_sides
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Hold,
    Join,
    MatchRecognize,
    Node,
    Pace,
    Panes,
    Process,
    SessionPanes,
    Windows,
)


def sources_of(node: Node) -> set[tuple[str, ...]]:
    """The sets of topics by whose lowest watermarks the node itself decides, or forgets."""
    found = bounded_sides(node) if isinstance(node, Join) else (bounded(node),)
    return _decides(node) | {by.frontier.sources for by in found if by is not None}


def _decides(node: Node) -> set[tuple[str, ...]]:
    match node:
        case Windows() | Process() | MatchRecognize() | Pace() | Hold() | Panes():
            return {node.sources}
        case Aggregate() | SessionPanes() if node.window is not None:
            return {node.window.sources}
        case Join() | AsofJoin():
            timed = node if isinstance(node, AsofJoin) else node.within
            decision = None if timed is None else timed.decision
            return set() if decision is None else {decision.left.sources, decision.right.sources}
        case _:
            return set()

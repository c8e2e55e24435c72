"""What to compute, as plain data: the nodes of a view's plan.

A plan is a tree. Leaves are scans of topics, tables and other views; the root's columns are the
view's. Nothing here runs: DuckDB (in batch), the incremental engine and Flink each read the same
nodes.

Conventions that every reader relies on:

- Column names are unique within a node, without regard to case.
- An expression is a bound sqlglot tree (DuckDB's dialect) whose `Column`s are unqualified, quoted
  and name columns of the node's input. It holds no subquery, window function or aggregate, unless
  the node says so.
- `append_only` is a claim about the node's output: no row is ever withdrawn.
- `schema` is what DuckDB says of the output's types.
- Hidden columns (`headwater.delta`) are not in plans: the engine adds what its operators need.
"""

from __future__ import annotations

from collections.abc import Iterator

from headwater.plan.completeness import Completeness
from headwater.plan.firings import Hold, Panes, SessionPanes
from headwater.plan.frontier import Decision, Frontier
from headwater.plan.groups import Aggregate, GroupWindow, Merge, Partial
from headwater.plan.joins import AsofJoin, Join, JoinKind, Within
from headwater.plan.opaque import Process, Recompute, Transform
from headwater.plan.ordered import MatchRecognize, Order, Over, OverCall, Place, Reach, TopN
from headwater.plan.rows import (
    Distinct,
    Map,
    Scan,
    SetOperation,
    SetRule,
    TemporalFilter,
    Union,
)
from headwater.plan.windows import Pace, WindowKind, Windows, WindowSpec

__all__ = [
    "Aggregate",
    "AsofJoin",
    "Completeness",
    "Decision",
    "Distinct",
    "Frontier",
    "GroupWindow",
    "Hold",
    "Join",
    "JoinKind",
    "Map",
    "MatchRecognize",
    "Merge",
    "Node",
    "Order",
    "Over",
    "OverCall",
    "Pace",
    "Panes",
    "Partial",
    "Place",
    "Process",
    "Reach",
    "Recompute",
    "Scan",
    "SessionPanes",
    "SetOperation",
    "SetRule",
    "TemporalFilter",
    "TopN",
    "Transform",
    "Union",
    "WindowKind",
    "WindowSpec",
    "Windows",
    "Within",
    "walk",
]

Node = (
    Scan
    | Map
    | Windows
    | Aggregate
    | Join
    | AsofJoin
    | Distinct
    | Union
    | SetOperation
    | TopN
    | Over
    | Recompute
    | Transform
    | Process
    | MatchRecognize
    | TemporalFilter
    | Pace
    | Hold
    | Panes
    | SessionPanes
    | Completeness
)


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, inputs before the nodes that read them."""
    for child in node.inputs:
        yield from walk(child)
    yield node

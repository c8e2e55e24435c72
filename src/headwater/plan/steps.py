"""Where lateness is decided in steps: which plans step an epoch in parts, and at which places.

Whether a change is late is told by its place in the log. Operators that answer for a whole epoch (a
group, a join that waits, a rank) say what became of a row in it, and not what came and went: a row
that was added in time, and withdrawn when it was late, is never heard of, and what comes out would
depend on where the epoch was cut. So where a node decides over rows that others withdraw, the
frontier it decides by goes in steps, and each epoch is stepped in parts that end where a step ends.
Within a part all is decided alike, and what cancels in it would have been late together or in time
together. What such a node takes is thus, for each of its rows, what its input holds at the place
where time passes it.

For windows a step is from one end of a window to the next, so none is decided otherwise. For joins
in time and sessions, where each row has an end of its own, it is a second.

What changes row by row, each change at the place of the row that made it (`is_by_row`), cancels
nothing and needs no steps. Neither does what is never late: rows of a column that is closed
(`closing`) before the node takes no more of them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from headwater.plan.closing import closed_columns
from headwater.plan.frontier import Frontier
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Distinct,
    Hold,
    Join,
    JoinKind,
    Map,
    Node,
    Pace,
    Panes,
    Process,
    Scan,
    Transform,
    Union,
    WindowKind,
    Windows,
    WindowSpec,
    walk,
)

ROW_STEP_US = 1_000_000


def is_by_row(node: Node, rough: Collection[str]) -> bool:
    """Whether each change that comes out stands at the place of the row that made it.

    Then all that came and went is told, whatever the cut into epochs.

    Args:
        rough: The views, in lower case, of which that does not hold.

    """
    match node:
        case Scan():
            return node.relation.lower() not in rough
        case Aggregate() if node.window is not None and node.window.is_once:
            # Its rows come out once, at the places where their windows close.
            return True
        case Windows():
            is_told = node.spec.kind is not WindowKind.SESSION
        case Join() if node.within is not None:
            # Matches are counted for all rows of an epoch; what has waited comes out but once.
            is_told = node.kind is JoinKind.INNER
            is_told |= node.append_only and node.kind is not JoinKind.SEMI
        case AsofJoin() | Distinct():
            is_told = node.append_only
        case Transform():
            is_told = node.placed
        case _:
            is_told = isinstance(node, Map | Union | Join | Process | Hold | Panes)
    return is_told and all(is_by_row(child, rough) for child in node.inputs)


def needs_steps(
    node: Node, time: str, frontier: Frontier, lateness_us: int, rough: Collection[str]
) -> bool:
    """Whether who decides over a plan's rows can meet one that was withdrawn when it was late.

    Args:
        time: The column of their time.
        frontier: By what is decided.
        lateness_us: How long after that rows are taken.
        rough: The views, in lower case, that do not change row by row.

    """
    if is_by_row(node, rough):
        return False
    closed = closed_columns(node).get(time)
    if closed is None or not set(closed.sources) <= set(frontier.sources):
        return True
    return closed.slack_us > frontier.behind_us + lateness_us


def stepped(
    node: Node, time: str, frontier: Frontier, lateness_us: int, rough: Collection[str]
) -> Frontier:
    """The frontier by which a join in time decides over a plan's rows: in steps if need be."""
    if not needs_steps(node, time, frontier, lateness_us, rough):
        return frontier
    return replace(frontier, step_us=ROW_STEP_US)


def step_of(spec: WindowSpec) -> int:
    """The length of the steps in which windows decide."""
    return ROW_STEP_US if spec.kind is WindowKind.SESSION else spec.slide_us


def steps_of(root: Node) -> frozenset[Frontier]:
    """The frontiers that nodes of a plan decide by in steps."""
    found = (frontier for node in walk(root) for frontier in _decides_by(node))
    return frozenset(frontier for frontier in found if frontier.step_us)


def steps_of_readers(
    plans: Iterable[tuple[str, Node]], rough: Collection[str]
) -> Mapping[str, frozenset[Frontier]]:
    """For each view the steps of the views that read it, directly or through others.

    What changes row by row is not asked for parts.

    Args:
        plans: The views' names and plans, each after those that it reads.
        rough: The views, in lower case, that do not change row by row.

    """
    wanted: dict[str, frozenset[Frontier]] = {}
    for name, root in reversed(list(plans)):
        mine = wanted.get(name, frozenset())
        if mine:
            wanted[name] = mine = mine | _paces(root)
        mine |= steps_of(root)
        for scan in (node for node in walk(root) if isinstance(node, Scan)):
            if mine and scan.relation.lower() in rough:
                wanted[scan.relation] = wanted.get(scan.relation, frozenset()) | mine
    return wanted


def _decides_by(node: Node) -> tuple[Frontier, ...]:
    if isinstance(node, Windows):
        return (node.frontier,)
    if isinstance(node, Aggregate):
        return () if node.window is None else (node.window.frontier,)
    if isinstance(node, Join | AsofJoin):
        timed = node if isinstance(node, AsofJoin) else node.within
        decision = None if timed is None else timed.decision
        return () if decision is None else (decision.left, decision.right)
    return ()


def _paces(root: Node) -> frozenset[Frontier]:
    """Changes that are held come out at the end of a part: it must end where their stretch does."""
    paces = (node for node in walk(root) if isinstance(node, Pace))
    return frozenset(Frontier(node.sources, 0, node.every_us) for node in paces)

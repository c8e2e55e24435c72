"""Which columns of a plan carry, row by row, the event time of the topics below, and how late.

A row comes with its place in the log. Where that is the place of the event, the watermark of its
topic says how late it is. Above a join in time, or a window that holds rows back, a row in time may
stand in the log after the watermark has passed it: so far it is behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.frontier import Frontier
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    GroupWindow,
    Join,
    Map,
    Node,
    Scan,
    Union,
    WindowKind,
    Windows,
    Within,
    walk,
)

if TYPE_CHECKING:
    from headwater.sql.relations import Relation


def event_times(node: Node, name: str) -> list[tuple[str, str]] | None:
    """The relations' columns that a column passes on unchanged; None where that cannot be told.

    Only through nodes that pass on, with each row, its place in the log.
    """
    return _origins(node, name, of_windows=False)


def times_below(node: Node, name: str) -> list[tuple[str, str]] | None:
    """As `event_times`, also of a column that holds the bounds of windows over such times."""
    return _origins(node, name, of_windows=True)


def _origins(  # noqa: PLR0911 - one for each node
    node: Node, name: str, *, of_windows: bool
) -> list[tuple[str, str]] | None:
    below = partial(_origins, of_windows=of_windows)
    match node:
        case Scan():
            return [(node.relation, name)] if name in node.schema else None
        case Map():
            expression = dict(node.projections).get(name)
            if not isinstance(expression, exp.Column):
                return None
            return below(node.input, expression.name)
        case Windows():
            if name not in (node.start, node.end):
                return below(node.input, name)
            return below(node.input, node.spec.time) if of_windows and _is_fixed(node) else None
        case Aggregate() if node.window is not None:
            is_bound = name in (node.window.start, node.window.end) and _is_fixed(node.window)
            return below(node.input, node.window.spec.time) if of_windows and is_bound else None
        case Join() | AsofJoin():
            return below(node.left if name in node.left.schema else node.right, name)
        case Union():
            found = [below(branch, name) for branch in node.inputs]
            if any(times is None for times in found):
                return None
            return [time for times in found for time in times or ()]
        case _:
            return None


def _is_fixed(window: Windows | GroupWindow) -> bool:
    """Whether the windows stay what they are: a session may grow."""
    return window.spec.kind is not WindowKind.SESSION


def behind_us(  # noqa: PLR0911 - one for each node
    node: Node, name: str, relations: Mapping[str, Relation]
) -> int | None:
    """How far a column of event times may be behind the watermarks of all topics below.

    A join without a bound in time adds nothing: what it puts out that is behind is late.

    Args:
        name: A column for which `times_below` has an answer.
        relations: What the plan reads, by name in lower case.

    Returns:
        None where there is no bound.

    """
    match node:
        case Scan():
            return dict(relations[node.relation.lower()].times).get(name.lower(), 0)
        case Map():
            source = dict(node.projections)[name]
            return behind_us(node.input, source.name, relations)
        case Windows():
            if name in (node.start, node.end):
                return _behind_of_bound(node, node, name, relations)
            below = behind_us(node.input, name, relations)
            if not node.final:
                return below
            return None if below is None or not _is_fixed(node) else below + node.spec.size_us
        case Aggregate() if node.window is not None:
            return _behind_of_bound(node, node.window, name, relations)
        case Join() if node.within is not None:
            return _behind_in_time(node, node.within, name, relations)
        case Join():
            side = node.left if name in node.left.schema else node.right
            return behind_us(side, name, relations)
        case AsofJoin():
            # A right row in time changes no left row before it.
            is_time = name == node.left_time
            return _farthest(_of_sides(node, node, relations)) if is_time else None
        case Union():
            return _farthest(behind_us(branch, name, relations) for branch in node.inputs)
        case _:
            return None


def _behind_of_bound(
    node: Windows | Aggregate,
    window: Windows | GroupWindow,
    name: str,
    relations: Mapping[str, Relation],
) -> int | None:
    """A window's rows come before its end has passed, or when it does."""
    below = behind_us(node.input, window.spec.time, relations)
    return below if below is None or name == window.end else below + window.spec.size_us


def _behind_in_time(
    node: Join, within: Within, name: str, relations: Mapping[str, Relation]
) -> int | None:
    """A row of a join in time comes with the later of its pair, or when none can come any more."""
    left, right = _of_sides(node, within, relations)
    if left is None or right is None:
        return None
    if name == within.left_time:
        return None if within.lower_us is None else max(left, right - within.lower_us)
    if name == within.right_time:
        return None if within.upper_us is None else max(right, left + within.upper_us)
    return None


def _of_sides(
    node: Join | AsofJoin, timed: Within | AsofJoin, relations: Mapping[str, Relation]
) -> tuple[int | None, int | None]:
    """How far the times of both sides are behind; a time that is no event time adds nothing.

    Where the join decides in steps a row in time may be behind by a step more.
    """
    left, right = (
        behind_us(side, time, relations) if times_below(side, time) else 0
        for side, time in ((node.left, timed.left_time), (node.right, timed.right_time))
    )
    if timed.decision is not None and left is not None and right is not None:
        left, right = left + timed.decision.left.step_us, right + timed.decision.right.step_us
    return left, right


def _farthest(found: Iterable[int | None]) -> int | None:
    lengths = list(found)
    return None if None in lengths else max(length for length in lengths if length is not None)


def sources_below(node: Node, relations: Mapping[str, Relation]) -> tuple[str, ...]:
    """The topics with event time below the node, in order of appearance."""
    scans = [n for n in walk(node) if isinstance(n, Scan)]
    names = [topic for scan in scans for topic in relations[scan.relation.lower()].sources]
    return tuple(dict.fromkeys(names))


def frontier_of(node: Node, time: str, relations: Mapping[str, Relation]) -> Frontier | None:
    """The frontier of a column that carries the event time of all it comes from.

    Returns:
        None where it does not, or where rows in time may be behind without a bound.

    """
    for name, column in times_below(node, time) or [("", "")]:
        relation = relations.get(name.lower())
        if relation is None or column.lower() not in dict(relation.times):
            return None
    sources, behind = sources_below(node, relations), behind_us(node, time, relations)
    return Frontier(sources, behind) if sources and behind is not None else None

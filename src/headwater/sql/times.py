"""Which columns of a plan carry, row by row, the event time of the topics below, and how late.

A row comes with its place in the log. Where that is the place of the event, the watermark of its
topic says how late it is. Above a join in time, or a window that holds rows back, a row in time may
stand in the log after the watermark has passed it: so far it is behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.frontier import Frontier
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Distinct,
    GroupWindow,
    Join,
    Map,
    Node,
    Over,
    Scan,
    TopN,
    Union,
    WindowKind,
    Windows,
    Within,
    walk,
)
from headwater.sql.intervals import interval_us
from headwater.sql.lag import Lag, farthest

if TYPE_CHECKING:
    from headwater.sql.relations import Relation


def event_times(node: Node, name: str) -> list[tuple[str, str]] | None:
    """The relations' columns that a column passes on unchanged; None where that cannot be told.

    Only through nodes that pass on, with each row, its place in the log.
    """
    return _origins(node, name, of_windows=False)


def times_below(node: Node, name: str) -> list[tuple[str, str]] | None:
    """As `event_times`, also of a column that holds the bounds of windows over such times.

    And of one that is such a column and a fixed length of time.
    """
    return _origins(node, name, of_windows=True)


def _origins(  # noqa: PLR0911 - one for each node
    node: Node, name: str, *, of_windows: bool
) -> list[tuple[str, str]] | None:
    below = partial(_origins, of_windows=of_windows)
    match node:
        case Scan():
            return [(node.relation, name)] if name in node.schema else None
        case Map():
            source = moved(node, name)
            if source is None or (source[1] and not of_windows):
                return None
            return below(node.input, source[0])
        case Windows():
            if name not in (node.start, node.end):
                return below(node.input, name)
            is_told = of_windows and _is_fixed(node, name)
            return below(node.input, node.spec.time) if is_told else None
        case Aggregate() if node.window is not None:
            is_bound = name in (node.window.start, node.window.end)
            is_told = of_windows and is_bound and _is_fixed(node.window, name)
            return below(node.input, node.window.spec.time) if is_told else None
        case Aggregate() | Distinct() | TopN() | Over():
            is_told = of_windows and name in _passed_on(node)
            return below(node.input, name) if is_told else None
        case Join() | AsofJoin():
            return below(node.left if name in node.left.schema else node.right, name)
        case Union():
            found = [below(branch, name) for branch in node.inputs]
            if any(times is None for times in found):
                return None
            return [time for times in found for time in times or ()]
        case _:
            return None


def moved(node: Map, name: str) -> tuple[str, int] | None:
    """The input's column that a column is, and how many microseconds have been added to it."""
    projection = dict(node.projections).get(name)
    value = None if projection is None else projection.unnest()
    if isinstance(value, exp.Column):
        return value.name, 0
    if not isinstance(value, exp.Add | exp.Sub) or not isinstance(value.this, exp.Column):
        return None
    length_us = interval_us(value.expression.unnest())
    if length_us is None:
        return None
    return value.this.name, -length_us if isinstance(value, exp.Sub) else length_us


def session_of(  # noqa: PLR0911 - one for each node
    node: Node, name: str
) -> Windows | GroupWindow | None:
    """The sessions that a column is of, unless it is their end."""
    match node:
        case Map():
            source = moved(node, name)
            return None if source is None else session_of(node.input, source[0])
        case Join() | AsofJoin():
            return session_of(node.left if name in node.left.schema else node.right, name)
        case Union():
            found = [session_of(branch, name) for branch in node.inputs]
            return next((session for session in found if session is not None), None)
        case Windows():
            return _session_at(node, node, name)
        case Aggregate() if node.window is not None:
            return _session_at(node, node.window, name)
        case Aggregate() | Distinct() | TopN() | Over():
            return session_of(node.input, name) if name in _passed_on(node) else None
        case _:
            return None


def _session_at(
    node: Windows | Aggregate, window: Windows | GroupWindow, name: str
) -> Windows | GroupWindow | None:
    if window.spec.kind is WindowKind.SESSION and name != window.end:
        return window
    is_bound = name in (window.start, window.end)
    return session_of(node.input, window.spec.time if is_bound else name)


def _passed_on(node: Aggregate | Distinct | TopN | Over) -> tuple[str, ...]:
    """The columns that rows have from rows of the input."""
    return node.keys if isinstance(node, Aggregate) else node.input.schema.names


def _is_fixed(window: Windows | GroupWindow, name: str) -> bool:
    """Whether a bound is told by the watermark.

    The end of a session is, where it is bounded which rows may still reach it. A session may begin
    any time before its end.
    """
    if window.spec.kind is not WindowKind.SESSION:
        return True
    return name == window.end and window.lateness_us is not None


def lag_of(  # noqa: PLR0911 - one for each node
    node: Node, name: str, relations: Mapping[str, Relation]
) -> Lag | None:
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
            return dict(relations[node.relation.lower()].times).get(name.lower(), Lag())
        case Map():
            source = moved(node, name)
            below = None if source is None else lag_of(node.input, source[0], relations)
            return None if below is None or source is None else below.shifted(source[1])
        case Windows():
            if name in (node.start, node.end):
                return _lag_of_bound(node, node, name, relations)
            below = lag_of(node.input, name, relations)
            if node.spec.kind is WindowKind.SESSION:
                return None
            return below if below is None or not node.final else below.later(node.spec.size_us)
        case Aggregate() if node.window is not None:
            return _lag_of_bound(node, node.window, name, relations)
        case Aggregate() | Distinct() | TopN() | Over():
            return lag_of(node.input, name, relations)
        case Join() if node.within is not None:
            return _lag_in_time(node, node.within, name, relations)
        case Join():
            side = node.left if name in node.left.schema else node.right
            return lag_of(side, name, relations)
        case AsofJoin():
            # A right row in time changes no left row before it.
            is_time = name == node.left_time
            return farthest(_of_sides(node, node, relations)) if is_time else None
        case Union():
            return farthest(lag_of(branch, name, relations) for branch in node.inputs)
        case _:
            return None


def _lag_of_bound(
    node: Windows | Aggregate,
    window: Windows | GroupWindow,
    name: str,
    relations: Mapping[str, Relation],
) -> Lag | None:
    """A window's rows come before its end has passed, or when it does."""
    below = lag_of(node.input, window.spec.time, relations)
    if below is None or not _is_fixed(window, name):
        return None
    if name != window.end:
        return below.of_start(window.spec)
    # The steps of fixed windows lead from end to end, and delay nothing.
    is_session = window.spec.kind is WindowKind.SESSION
    return below.of_end(window.spec).later(window.step_us if is_session else 0)


def _lag_in_time(
    node: Join, within: Within, name: str, relations: Mapping[str, Relation]
) -> Lag | None:
    """A row of a join in time comes with the later of its pair, or when none can come any more."""
    left, right = _of_sides(node, within, relations)
    if left is None or right is None:
        return None
    if name == within.left_time and within.lower_us is not None:
        return Lag(max(left.us, right.us - within.lower_us))
    if name == within.right_time and within.upper_us is not None:
        return Lag(max(right.us, left.us + within.upper_us))
    return None


def _of_sides(
    node: Join | AsofJoin, timed: Within | AsofJoin, relations: Mapping[str, Relation]
) -> tuple[Lag | None, Lag | None]:
    """The lags of the times of both sides; a time that is no event time adds nothing.

    Where the join decides in steps a row in time may be behind by a step more.
    """
    left, right = (
        lag_of(side, time, relations) if times_below(side, time) else Lag()
        for side, time in ((node.left, timed.left_time), (node.right, timed.right_time))
    )
    if timed.decision is not None and left is not None and right is not None:
        decision = timed.decision
        left, right = left.later(decision.left.step_us), right.later(decision.right.step_us)
    return left, right


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
    sources, lag = sources_below(node, relations), lag_of(node, time, relations)
    return Frontier(sources, lag.behind_us) if sources and lag is not None else None

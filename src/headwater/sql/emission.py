"""When a view publishes: EMIT FINAL and lateness, put on the nodes that decide.

A window decides what is late and when it is final. The decision is made by the watermarks of the
topics below it, at each row's place in the log; so the window's time must be the event time of
these topics, passed on unchanged, and the scans below must carry the places of their rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.plan.frontier import Frontier
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    GroupWindow,
    Join,
    MatchRecognize,
    Node,
    Pace,
    Scan,
    TemporalFilter,
    Union,
    Windows,
    walk,
)
from headwater.plan.pipeline import Emit, ViewDefinition
from headwater.plan.steps import needs_steps, step_of, steps_of
from headwater.plan.ticks import with_ticks
from headwater.sql.bounded import decided, is_bounded
from headwater.sql.declare import is_timestamp
from headwater.sql.firings import publishes_firings
from headwater.sql.places import hint_for, place_of
from headwater.sql.relations import Relation, rough
from headwater.sql.times import lag_of, session_of, sources_below, times_below
from headwater.sql.tree import bottom_up, with_inputs
from headwater.sql.windows import END, NAMES, START, WindowCall


def check_time(call: WindowCall, node: Node, definition: ViewDefinition) -> None:
    """Refuse a window over a column that is not there or holds no time, or by one that is not.

    And one over rows that have windows already: its bounds would have the names of theirs.

    Raises:
        DefinitionError: With the column underlined.

    """
    place = place_of(call.time, definition.origin)
    name = call.spec.time
    if name not in node.schema:
        raise DefinitionError(
            f"{call.name} has no column {name}",
            place=place,
            hint=hint_for(name, node.schema.names, "its columns are"),
        )
    for key in call.keys:
        if key.name not in node.schema:
            raise DefinitionError(
                f"{call.name} has no column {key.name}",
                place=place_of(key, definition.origin),
                hint=hint_for(key.name, node.schema.names, "its columns are"),
            )
    for added in (START, END):
        if added in node.schema:
            raise DefinitionError(
                f"{call.name} has a column {added} already",
                place=place_of(call.time, definition.origin),
                hint=f"give it another name: SELECT {added} AS start, ... in a query around it",
            )
    found = node.schema[name].type.sql
    if not is_timestamp(found):
        raise DefinitionError(
            f"a window needs a TIMESTAMP, and {name} is {found}",
            place=place,
            hint=f"select CAST({name} AS TIMESTAMP) AS {name} in a query around {call.name}",
        )


def apply(root: Node, definition: ViewDefinition, relations: Mapping[str, Relation]) -> Node:
    """The plan with `final`, `lateness_us`, `sources` and `ticks` filled in.

    Raises:
        DefinitionError: There is nothing that could be final, or its time is not an event time.

    """
    is_final = definition.emit is Emit.FINAL
    if not is_final and definition.lateness_us is None:
        return root
    matches = any(isinstance(node, MatchRecognize) for node in walk(root))
    if matches:
        _check_matches(root, definition)

    def rule(node: Node) -> Node:
        if isinstance(node, Join | AsofJoin):
            return decided(node, definition, relations)
        if _window_of(node) is None:
            return node
        check(node, definition, relations, "EMIT FINAL" if is_final else "lateness")
        return _decided_window(node, definition, relations)

    root = bottom_up(bottom_up(root, rule), _told_once)
    decides = any(_window_of(node) is not None or is_bounded(node) for node in walk(root))
    if not decides and not matches:
        raise _nothing_decides(root, definition)
    # To be stepped in parts, all that is read must come with its place in the log.
    return with_ticks(root) if steps_of(root) else root


def _told_once(node: Node) -> Node:
    """Of inputs that are computed of the same rows only the first tells of those that are late."""
    if not isinstance(node, Union) or not node.of_same_rows:
        return node
    first, *others = node.inputs
    telling = {id(n) for n in walk(first)}

    def silent(other: Node) -> Node:
        if id(other) in telling:
            return other
        if isinstance(other, Windows):
            return replace(other, tells=False)
        if isinstance(other, Aggregate) and other.window is not None:
            return replace(other, window=replace(other.window, tells=False))
        return other

    return with_inputs(node, [first, *(bottom_up(other, silent) for other in others)])


def _decided_window(
    node: Node, definition: ViewDefinition, relations: Mapping[str, Relation]
) -> Node:
    window = _window_of(node)
    assert window is not None
    is_final = definition.emit is Emit.FINAL
    lag = lag_of(node.inputs[0], window.spec.time, relations)
    filled_in = replace(
        window,
        final=is_final,
        lateness_us=definition.lateness_us,
        sources=sources_below(node, relations),
        ready=is_final and _is_ready(node, relations),
        behind_us=0 if lag is None else lag.of_windows(window.spec),
    )
    rows, time, late_us = node.inputs[0], window.spec.time, definition.lateness_us or 0
    # A row that comes so late is one of the last windows; it is in time all the same.
    latest = Frontier(filled_in.sources, 0 if lag is None else lag.behind_us)
    if needs_steps(rows, time, latest, late_us, rough(relations)):
        filled_in = replace(filled_in, step_us=step_of(window.spec))
    inputs = [with_ticks(child) for child in node.inputs]
    if isinstance(node, Aggregate) and isinstance(filled_in, GroupWindow):
        return with_inputs(replace(node, window=filled_in), inputs)
    return with_inputs(filled_in, inputs)  # type: ignore[arg-type]


def _check_matches(root: Node, definition: ViewDefinition) -> None:
    """Matches are final as they come: EMIT FINAL says no more, and there is nothing to correct."""
    has_windows = any(_window_of(node) is not None for node in walk(root))
    if has_windows or definition.lateness_us:
        what = "EMIT FINAL" if definition.emit is Emit.FINAL and has_windows else "lateness"
        raise DefinitionError(
            f"{what} cannot decide over a query with MATCH_RECOGNIZE, whose matches are final",
            place=definition.origin,
            hint="leave it out, or make the matches a view of their own",
        )


def paced(root: Node, definition: ViewDefinition, relations: Mapping[str, Relation]) -> Node:
    """The plan, its changes held back as EMIT CHANGES EVERY says.

    Raises:
        DefinitionError: There is no event time that could tell how much of it has passed.

    """
    if definition.every_us is None or publishes_firings(root):
        return root
    sources = sources_below(root, relations)
    if not sources:
        raise DefinitionError(
            "EMIT CHANGES EVERY goes by event time, and nothing that the view reads has one",
            place=definition.origin,
            hint="declare one: WATERMARK FOR ts AS ts - INTERVAL '10 seconds', or use EMIT CHANGES",
        )
    return Pace(root, definition.every_us, sources, root.schema)


def _window_of(node: Node) -> Windows | GroupWindow | None:
    if isinstance(node, Windows):
        return node
    return node.window if isinstance(node, Aggregate) else None


def _is_ready(node: Node, relations: Mapping[str, Relation]) -> bool:
    """Whether a window over the node closes before its sources are complete."""
    scans = [n for n in walk(node) if isinstance(n, Scan)]
    return any(relations[scan.relation.lower()].ready for scan in scans)


def check(
    node: Node, definition: ViewDefinition, relations: Mapping[str, Relation], what: str
) -> None:
    """Refuse a window whose time is not the event time of the topics below.

    Args:
        node: A node with a window.
        what: What needs it to be, for the message.

    Raises:
        DefinitionError: It is not.

    """
    window = _window_of(node)
    assert window is not None
    place = _place_of_window(definition)
    session = session_of(node.inputs[0], window.spec.time)
    if session is not None:
        raise DefinitionError(
            f"{what} cannot decide by {window.spec.time}: it is no end of a session, and how long "
            "a session is nobody knows before its end",
            place=place,
            hint=f"window over the {session.end} of the sessions, or make them a view of their own "
            "that publishes changes",
        )
    if any(isinstance(n, TemporalFilter) for child in node.inputs for n in walk(child)):
        raise DefinitionError(
            f"{what} decides by the rows that were sent, and here rows come and go with now()",
            place=place,
            hint="compare with now() in a view over the windows",
        )
    times = times_below(node.inputs[0], window.spec.time)
    if times is None:
        raise DefinitionError(
            f"{what} needs the event time of a topic, and {window.spec.time} is computed",
            place=place,
            hint="window over the topic's own time column, or use EMIT CHANGES without lateness",
        )
    for name, column in times:
        relation = relations[name.lower()]
        if not relation.times:
            raise DefinitionError(
                f"{what} needs a watermark, and {name} has no event time",
                place=place,
                hint=f"declare it: WATERMARK FOR {column} AS {column} - INTERVAL '10 seconds', "
                f"or event_time={column!r}",
            )
        if not relation.sources:
            raise DefinitionError(
                f"{what} decides by the rows that were sent, and rows of table {name} are replaced",
                place=place,
                hint="send the rows to a topic too, or use EMIT CHANGES without lateness",
            )
        if column.lower() not in dict(relation.times):
            known = relation.event_time or relation.times[0][0]
            raise DefinitionError(
                f"{what} needs the event time of {name}, which is {known}, not {column}",
                place=place,
                hint=f"use {known} in the window, or EMIT CHANGES",
            )


def _place_of_window(definition: ViewDefinition) -> Place | None:
    """Where the window function stands, or the whole query."""
    for call in definition.query.find_all(exp.Anonymous):
        if call.name.upper() in NAMES:
            return place_of(call, definition.origin)
    return definition.origin


def _nothing_decides(root: Node, definition: ViewDefinition) -> DefinitionError:
    if any(isinstance(node, AsofJoin) for node in walk(root)):
        what = "EMIT FINAL" if definition.emit is Emit.FINAL else "lateness"
        return DefinitionError(
            f"{what} needs event times on both sides of an ASOF JOIN",
            place=definition.origin,
            hint="declare them, WATERMARK FOR ts AS ts - INTERVAL '10 seconds', and compare them "
            "unchanged",
        )
    if definition.emit is Emit.FINAL:
        return DefinitionError(
            "EMIT FINAL needs a window: without one nothing is ever final",
            place=definition.origin,
            hint="use EMIT CHANGES, or read FROM TUMBLE(topic, time, INTERVAL '1 minute')",
        )
    return DefinitionError(
        "lateness needs a window: without one nothing is ever late",
        place=definition.origin,
        hint="leave lateness out, or read FROM TUMBLE(topic, time, INTERVAL '1 minute')",
    )

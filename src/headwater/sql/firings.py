"""Accumulation: what a view says of a group that it has said something of before.

A view that retracts withdraws the row before. One that accumulates or discards never withdraws: it
publishes firing by firing, the whole result or what came since the last. For this the firings must
be told by the log alone: the ends of stretches of event time (EMIT CHANGES EVERY), or the close of
a window and each row that corrects it (EMIT FINAL). And a row must belong to one firing, and what
is computed must merge: a GROUP BY, with windows or without, over the rows of one topic.

Where nothing is ever withdrawn anyway the three say the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.firings import Hold, Panes, SessionPanes
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Distinct,
    GroupWindow,
    Join,
    Map,
    MatchRecognize,
    Node,
    Over,
    Recompute,
    Scan,
    TemporalFilter,
    TopN,
    Union,
    WindowKind,
    Windows,
    walk,
)
from headwater.plan.pipeline import Accumulation, Emit, ViewDefinition
from headwater.plan.ticks import with_ticks
from headwater.sql.build import nullable
from headwater.sql.relations import Relation
from headwater.sql.tree import with_inputs

_OVER_IT = "make the GROUP BY a view of its own, and this a view over it"


def fired(root: Node, definition: ViewDefinition, relations: Mapping[str, Relation]) -> Node:
    """The plan as its accumulation says: itself, or with the firings of its aggregate.

    Args:
        root: What is final and late has been decided (`emission.apply`).
        relations: By name in lower case.

    Raises:
        DefinitionError: The query has no firings, or a row does not belong to one of them.

    """
    if definition.accumulation is Accumulation.RETRACTING or _is_told_once(root, definition):
        return root
    if definition.emit is Emit.CHANGES and definition.every_us is None:
        raise _refused(
            definition,
            "needs to know when a group says its result, and EMIT CHANGES has no time for it: "
            "where an epoch ends is nothing that the rows tell",
            "add EMIT CHANGES EVERY INTERVAL '10 seconds', or EMIT FINAL over windows",
        )
    return _over_maps(root, definition, relations)


def publishes_firings(root: Node) -> bool:
    """Whether a plan has firings, which come at their own pace."""
    return any(isinstance(node, Panes | SessionPanes) for node in walk(root))


def _is_told_once(root: Node, definition: ViewDefinition) -> bool:
    """Whether the rows of the view are the same in all three modes.

    A row of a DISTINCT comes once for all firings, but belongs to each that has it.
    """
    if definition.accumulation is Accumulation.ACCUMULATING:
        return root.append_only
    return root.append_only and not any(isinstance(node, Distinct) for node in walk(root))


def _over_maps(node: Node, definition: ViewDefinition, relations: Mapping[str, Relation]) -> Node:
    """The maps on top as they are, and below them the firings of the aggregate."""
    if isinstance(node, Map):
        return with_inputs(node, [_over_maps(node.input, definition, relations)])
    if not isinstance(node, Aggregate):
        raise _no_aggregate(node, definition)
    if node.window is not None and node.window.spec.kind is WindowKind.SESSION:
        return _of_sessions(node, node.window, definition, relations)
    rows, keys = _windowed(node)
    _check_rows(rows, definition, relations)
    if definition.emit is Emit.FINAL and not any(_told_by(rows, key) for key in keys):
        raise _refused(
            definition,
            "under EMIT FINAL needs groups that are windows, or their parts",
            "put window_start and window_end into the GROUP BY",
        )
    names = {*keys, *(partial.name for partial in node.partials)}
    schema = nullable(column for column in node.schema if column.name in names)
    is_accumulating = definition.accumulation is Accumulation.ACCUMULATING
    panes = Panes(rows, keys, node.partials, schema, is_accumulating)
    if is_accumulating:
        panes = _forgetting(panes, definition)
    if definition.emit is Emit.FINAL:
        return panes
    sources = _topic_of(rows, relations)
    assert definition.every_us is not None
    return replace(
        panes, input=Hold(with_ticks(rows), definition.every_us, sources, nullable(rows.schema))
    )


def _of_sessions(
    node: Aggregate,
    window: GroupWindow,
    definition: ViewDefinition,
    relations: Mapping[str, Relation],
) -> Node:
    """The firings of sessions."""
    _check_rows(node.input, definition, relations)
    return SessionPanes(
        with_ticks(node.input),
        node.keys,
        node.partials,
        replace(window, sources=_topic_of(node.input, relations)),
        nullable(node.schema),
        definition.accumulation is Accumulation.ACCUMULATING,
        definition.every_us,
    )


def _topic_of(rows: Node, relations: Mapping[str, Relation]) -> tuple[str, ...]:
    scan = next(n for n in walk(rows) if isinstance(n, Scan))
    return relations[scan.relation.lower()].sources


def _windowed(node: Aggregate) -> tuple[Node, tuple[str, ...]]:
    """The rows of an aggregate with their windows, and all its keys."""
    window = node.window
    if window is None:
        return node.input, node.keys
    columns = (*node.input.schema, node.schema[window.start], node.schema[window.end])
    rows = Windows(
        node.input,
        window.spec,
        window.start,
        window.end,
        nullable(columns),
        final=window.final,
        lateness_us=window.lateness_us,
        sources=window.sources,
        ready=window.ready,
        behind_us=window.behind_us,
    )
    return rows, (*node.keys, window.start, window.end)


def _forgetting(panes: Panes, definition: ViewDefinition) -> Panes:
    """The same, and when what it keeps of a window can go."""
    for key in sorted(panes.keys, key=lambda key: _is_start(panes.input, key)):
        windows = _told_by(panes.input, key)
        if windows is not None and windows.lateness_us is not None:
            # A row that was in time may still be held for as long as a stretch.
            lateness_us = windows.lateness_us + (definition.every_us or 0)
            if _is_start(panes.input, key):
                lateness_us += windows.spec.size_us
            return replace(panes, bound=key, lateness_us=lateness_us, sources=windows.sources)
    return panes


def _told_by(node: Node, name: str) -> Windows | None:
    """The windows that a column tells apart: it is their end, or their start."""
    node, name = _origin(node, name)
    if not isinstance(node, Windows):
        return None
    is_start = name == node.start and node.spec.kind is not WindowKind.CUMULATE
    return node if name == node.end or is_start else _told_by(node.input, name)


def _is_start(node: Node, name: str) -> bool:
    """Whether a column is the start of a window."""
    node, name = _origin(node, name)
    return isinstance(node, Windows) and (name == node.start or _is_start(node.input, name))


def _origin(node: Node, name: str) -> tuple[Node, str]:
    """The first node below maps, and what it calls a column; no name where that is computed."""
    while isinstance(node, Map):
        expression = dict(node.projections).get(name)
        node, name = node.input, expression.name if isinstance(expression, exp.Column) else ""
    return node, name


def _check_rows(node: Node, definition: ViewDefinition, relations: Mapping[str, Relation]) -> None:
    """Refuse rows that are not those of one topic, each by itself."""
    while isinstance(node, Map | Windows):
        if isinstance(node, Windows) and node.spec.kind is WindowKind.SESSION:
            raise _refused(
                definition,
                "over sessions needs groups that are these, as a row may make two of them one",
                "GROUP BY what the sessions are partitioned by, window_start and window_end",
            )
        node = node.input
    if not isinstance(node, Scan):
        raise _refused(
            definition,
            f"needs the rows of one topic, and here it would be over {_what(node)}",
            "aggregate the topic's rows in this view, and do the rest in a view over it",
        )
    relation = relations[node.relation.lower()]
    if not relation.placed:
        raise _refused(
            definition,
            f"needs rows in the order of one topic's log, and {relation.name} has none"
            + (": its rows can be withdrawn" if not relation.append_only else ""),
            "read a topic, or a view that filters and computes over one",
        )
    if definition.emit is Emit.CHANGES and not relation.sources:
        raise _refused(
            definition,
            f"goes by event time, and {relation.name} has none",
            "declare one: WATERMARK FOR ts AS ts - INTERVAL '10 seconds'",
        )


def _no_aggregate(node: Node, definition: ViewDefinition) -> DefinitionError:
    if isinstance(node, Recompute):
        return _refused(
            definition,
            f"needs what merges, and here {node.reason}",
            "use count, sum, avg, min, max or the sketches, or leave it out",
        )
    if isinstance(node, Distinct):
        return _refused(
            definition, "needs a GROUP BY, and here is a DISTINCT", "GROUP BY the columns instead"
        )
    return _refused(
        definition, f"is for the results of a GROUP BY, and here is {_what(node)} on top", _OVER_IT
    )


def _what(node: Node) -> str:
    """A node in a word that its author used."""
    words = {
        AsofJoin: "an ASOF join",
        Join: "a join",
        MatchRecognize: "a MATCH_RECOGNIZE",
        Over: "a window function",
        TopN: "a LIMIT, or a choice of the first rows",
        Aggregate: "a GROUP BY",
        Union: "a UNION",
        Recompute: "a part that is computed again",
        TemporalFilter: "a condition with now()",
    }
    return words.get(type(node), "what is no GROUP BY")


def _refused(definition: ViewDefinition, reason: str, hint: str) -> DefinitionError:
    return DefinitionError(
        f"accumulation = '{definition.accumulation}' {reason}", place=definition.origin, hint=hint
    )

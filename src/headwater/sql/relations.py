"""What a query may read: topics, tables and earlier views, as the planner sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from sqlglot import exp

from headwater.plan.closing import closed_columns
from headwater.plan.frontier import Frontier
from headwater.plan.nodes import (
    Aggregate,
    GroupWindow,
    Map,
    Node,
    Process,
    Scan,
    Transform,
    WindowKind,
    Windows,
    walk,
)
from headwater.plan.pipeline import Emit, TopicDefinition, ViewPlan
from headwater.plan.steps import is_by_row
from headwater.plan.versions import Versioned, versions_of
from headwater.schema.schema import Schema
from headwater.sql.lag import Lag
from headwater.sql.times import event_times, lag_of, sources_below, times_below


@dataclass(frozen=True, slots=True)
class Relation:
    """A topic, a table or an earlier view.

    Args:
        name: As declared.
        append_only: No row of it is ever withdrawn.
        is_table: It has a primary key.
        event_time: The column whose watermark it has; None where time cannot be told. For a view:
            the column that carries, row by row, the event time of the topic below.
        sources: The topics whose watermarks (the lowest of them) hold for it; tables are not among
        them.
        ready: Whether some of the sources are ready before they are complete.
        final: A view whose rows are published when their window has closed.
        fingerprint: Changes when what it contains could; empty for topics and tables.
        placed: Each of its rows has a place of its own in the log of one topic.
        times: The columns whose watermark it has, in lower case, each with how far it may be behind
            for a row in time: the event time, and the bounds of windows.
        key: The primary key of a table.
        closed: The columns of a view that are closed, each with what closes it.
        by_row: Whether each of its changes stands at the place of the row that made it.

    """

    name: str
    schema: Schema
    append_only: bool
    is_table: bool = False
    event_time: str | None = None
    sources: tuple[str, ...] = ()
    ready: bool = False
    final: bool = False
    fingerprint: str = ""
    placed: bool = False
    times: tuple[tuple[str, Lag], ...] = ()
    key: tuple[str, ...] = ()
    closed: tuple[tuple[str, Frontier], ...] = ()
    by_row: bool = True


class Describe(Protocol):
    """DuckDB's typing, handed in: `sql` itself runs nothing."""

    def __call__(self, query: exp.Query, relations: Mapping[str, Schema], /) -> Schema:
        """The columns of `query` over relations of these schemas.

        Raises:
            DefinitionError: DuckDB refuses the query; the message is DuckDB's.

        """
        ...


def relation_of_topic(topic: TopicDefinition) -> Relation:
    """The relation that a topic or table is.

    A table's watermark decides nothing: its rows are facts that hold until they are replaced, so a
    table that is silent must not hold windows open.
    """
    has_time = topic.event_time is not None and not topic.is_table
    return Relation(
        topic.name,
        topic.schema,
        append_only=not topic.is_table,
        is_table=topic.is_table,
        event_time=topic.event_time,
        sources=(topic.name,) if has_time else (),
        times=((topic.event_time.lower(), Lag()),) if topic.event_time else (),
        ready=has_time and topic.ready < 1.0,
        placed=not topic.is_table,
        key=topic.key,
    )


def with_versions(relations: Mapping[str, Relation]) -> dict[str, Relation]:
    """The relations by name in lower case, and the versions of the tables among them."""
    known = {name.lower(): relation for name, relation in relations.items()}
    for relation in relations.values():
        if relation.is_table and relation.event_time is not None:
            name = versions_of(relation.name)
            versions = replace(relation, name=name, append_only=True, is_table=False)
            known[name.lower()] = replace(versions, sources=(relation.name,), placed=True)
    return known


def versioned(relations: Iterable[Relation]) -> list[Versioned]:
    """The tables that have versions."""
    return [
        Versioned(table.name, table.schema.names, table.key, table.event_time)
        for table in relations
        if table.is_table and table.event_time is not None
    ]


def relation_of_view(plan: ViewPlan, relations: Mapping[str, Relation]) -> Relation:
    """The relation that a planned view is for the views after it.

    Args:
        plan: The view.
        relations: What it reads, by name.

    """
    known = with_versions(relations)
    scans = [node for node in walk(plan.root) if isinstance(node, Scan)]
    event_time = _event_time(plan, known)
    return Relation(
        plan.name,
        plan.schema,
        append_only=plan.root.append_only,
        event_time=event_time,
        sources=sources_below(plan.root, known),
        ready=any(known[scan.relation.lower()].ready for scan in scans),
        final=plan.definition.emit is Emit.FINAL,
        fingerprint=plan.fingerprint,
        placed=is_placed(plan.root, known),
        times=_times(plan, event_time, known),
        closed=tuple(closed_columns(plan.root).items()),
        by_row=is_by_row(plan.root, rough(known)),
    )


def rough(relations: Mapping[str, Relation]) -> frozenset[str]:
    """The names, in lower case, of those that do not change row by row."""
    return frozenset(name.lower() for name, relation in relations.items() if not relation.by_row)


def is_placed(node: Node, relations: Mapping[str, Relation]) -> bool:
    """Whether each row has a place of its own in the log of one topic, and stands in that order.

    Args:
        relations: What the plan reads, by name in lower case.

    """
    while isinstance(node, Map | Windows | Transform):
        if isinstance(node, Transform) and not node.placed:
            return False
        if isinstance(node, Windows) and (
            node.final or node.lateness_us is not None or node.spec.kind is WindowKind.SESSION
        ):
            return False
        node = node.input
    if isinstance(node, Scan):
        return relations[node.relation.lower()].placed
    return isinstance(node, Process)


def _event_time(plan: ViewPlan, relations: Mapping[str, Relation]) -> str | None:
    """The first column of the view that passes on the event times of all it comes from."""
    if plan.definition.python is not None:
        return plan.definition.python.event_time
    for name in plan.schema.names:
        times = event_times(plan.root, name)
        if times and all(_is_event_time(relations[r.lower()], c) for r, c in times):
            return name
    return None


def _times(
    plan: ViewPlan, event_time: str | None, relations: Mapping[str, Relation]
) -> tuple[tuple[str, Lag], ...]:
    """The view's columns that carry a time, and how far each may be behind the watermark."""
    if plan.definition.python is not None:
        scans = [node for node in walk(plan.root) if isinstance(node, Scan)]
        below = [lag for scan in scans for _, lag in relations[scan.relation.lower()].times]
        behind_us = max((lag.behind_us for lag in below), default=0)
        return () if event_time is None else ((event_time.lower(), Lag(behind_us)),)
    found = []
    for name in plan.schema.names:
        times = times_below(plan.root, name)
        if times and all(c.lower() in dict(relations[r.lower()].times) for r, c in times):
            lag = lag_of(plan.root, name, relations) or Lag()
            found.append((name.lower(), lag.later(_grows_for(plan.root))))
    return tuple(found)


def _grows_for(root: Node) -> int:
    """For how long after they could first be out sessions may be withdrawn, and others come.

    What reads a view decides by its own lateness, so it waits for the view's.
    """
    windows = [node.window if isinstance(node, Aggregate) else node for node in walk(root)]
    sessions = [
        window.lateness_us or 0
        for window in windows
        if isinstance(window, Windows | GroupWindow) and window.spec.kind is WindowKind.SESSION
    ]
    return max(sessions, default=0)


def _is_event_time(relation: Relation, column: str) -> bool:
    return relation.event_time is not None and relation.event_time.lower() == column.lower()

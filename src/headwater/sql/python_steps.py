"""Put a step of the author's, in Python, on top of the plan of the rows that it reads."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.errors import DefinitionError
from headwater.plan.nodes import Node, Process, Scan, Transform, walk
from headwater.plan.pipeline import ViewDefinition
from headwater.plan.python import PythonStep, RowOrder, StepKind
from headwater.plan.ticks import with_ticks
from headwater.sql.places import hint_for
from headwater.sql.relations import Relation, is_placed
from headwater.sql.times import event_times


def over(
    rows: Node, definition: ViewDefinition, step: PythonStep, relations: Mapping[str, Relation]
) -> Node:
    """The step over its rows.

    Args:
        rows: The plan of the view's query.
        relations: By name in lower case.

    Raises:
        DefinitionError: A process reads rows that have no order, or knows no time.

    """
    name = definition.name
    if step.event_time is not None and not _event_times(rows, relations):
        raise DefinitionError(
            f"{name} cannot have an event time, because what it reads has none",
            place=definition.origin,
            hint="declare the topic with event_time='...', and let the step read that column",
        )
    if step.kind is StepKind.TRANSFORM:
        return Transform(rows, name, step.code, step.schema, placed=step.tells_rows)
    keys = tuple(_column(rows, key, f"process {name}", "the key") for key in step.keys)
    if not is_placed(rows, relations):
        raise DefinitionError(
            f"process {name} needs rows in the order of one topic's log",
            place=definition.origin,
            hint="let it read a topic, or a view that filters and computes over one",
        )
    times = _event_times(rows, relations)
    if (step.has_timers or step.order is RowOrder.TIME) and not times:
        what = "timers need" if step.has_timers else "order='time' needs"
        raise DefinitionError(
            f"{what} the event time of a topic, and process {name} reads none",
            place=definition.origin,
            hint="declare the topic with event_time='...', and let the process read that column",
        )
    scans = [node for node in walk(rows) if isinstance(node, Scan)]
    sources = relations[scans[0].relation.lower()].sources
    is_timed = step.has_timers or step.order is RowOrder.TIME
    return Process(
        with_ticks(rows),
        name,
        step.code,
        keys,
        times[0] if step.order is RowOrder.TIME else None,
        sources if is_timed else (),
        step.schema,
    )


def _event_times(rows: Node, relations: Mapping[str, Relation]) -> list[str]:
    """The columns that carry the event time of the topic."""
    found = []
    for name in rows.schema.names:
        for relation, column in event_times(rows, name) or ():
            event_time = relations[relation.lower()].event_time
            if event_time is not None and event_time.lower() == column.lower():
                found.append(name)
    return found


def _column(rows: Node, name: str, who: str, role: str) -> str:
    if name not in rows.schema:
        raise DefinitionError(
            f"{who} reads no column {name} for {role}",
            hint=hint_for(name, rows.schema.names, "it reads"),
        )
    return rows.schema[name].name

"""What other columns of a topic would do to the views over it.

Each view is planned again over the new columns. One that cannot be planned would break; one whose
fingerprint differs would be another view: at the next start its state could not be kept. Views
that read such a one are not asked: the fault is not theirs.
"""

from __future__ import annotations

from collections.abc import Mapping

from headwater.errors import DefinitionError, Place
from headwater.operators.describe import Describer
from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import Pipeline, ViewDefinition, ViewPlan
from headwater.run.compile import function_fingerprints, with_code
from headwater.runtime.evolution import Break
from headwater.schema.schema import Schema
from headwater.sql.places import place_of_column, place_of_star
from headwater.sql.planner import plan_view
from headwater.sql.relations import Relation, relation_of_topic, relation_of_view


def broken_by(pipeline: Pipeline, topic: str, plans: tuple[ViewPlan, ...]) -> tuple[Break, ...]:
    """The views and sinks that do not go on as they are.

    Args:
        pipeline: With the new columns.
        topic: The topic that has them.
        plans: The views as they run.

    """
    found: dict[str, Break] = {}
    relations: dict[str, Relation] = {t.name: relation_of_topic(t) for t in pipeline.topics}
    known = {plan.name: plan for plan in plans}
    functions = function_fingerprints(pipeline)
    with Describer(pipeline.functions) as describe:
        for definition in pipeline.views:
            plan = before = known[definition.name]
            try:
                after = plan_view(with_code(definition), relations, describe, functions)
            except DefinitionError as error:
                found[definition.name] = _refused(definition, error)
            else:
                if after.fingerprint == before.fingerprint:
                    plan = after
                else:
                    found[definition.name] = _other(before, after, topic)
            relations[before.name] = relation_of_view(plan, relations)
    return (*found.values(), *_sinks(pipeline, topic, found))


def _refused(definition: ViewDefinition, error: DefinitionError) -> Break:
    reason = error.message.partition("\n")[0]
    return Break("view", definition.name, reason, _shown(error.place))


def _other(before: ViewPlan, after: ViewPlan, topic: str) -> Break:
    """Why a view would be computed otherwise."""
    was, now = _read(before, topic), _read(after, topic)
    for name, kind in was.items():
        if name not in now:
            return _break(before, name, f"it reads {name}, which would not be there")
        if now[name] != kind:
            return _break(before, name, f"it reads {name} as {kind}, which would be {now[name]}")
    more = [name for name in now if name not in was]
    if more:
        place = place_of_star(before.definition.query, before.definition.origin)
        reason = f"it takes all columns, and would have {', '.join(more)} too"
        return Break("view", before.name, reason, _shown(place))
    return Break("view", before.name, "it would be computed otherwise")


def _break(plan: ViewPlan, column: str, reason: str) -> Break:
    place = place_of_column(column, plan.definition.query, plan.definition.origin)
    return Break("view", plan.name, reason, _shown(place))


def _read(plan: ViewPlan, topic: str) -> dict[str, str]:
    """The columns of a topic that a view reads, with their types."""
    schemas: list[Schema] = [
        node.schema
        for node in walk(plan.root)
        if isinstance(node, Scan) and node.relation.lower() == topic.lower()
    ]
    return {column.name: column.type.sql for schema in schemas for column in schema}


def _sinks(pipeline: Pipeline, topic: str, broken: Mapping[str, Break]) -> list[Break]:
    """The sinks whose columns would be others."""
    views = {name.lower() for name in broken}
    found = []
    for sink in pipeline.sinks:
        if sink.source.lower() in views:
            found.append(Break("sink", sink.name, f"it follows {sink.source}"))
        elif sink.source.lower() == topic.lower():
            found.append(Break("sink", sink.name, f"its store has the columns of {topic} as now"))
    return found


def _shown(place: Place | None) -> str | None:
    return None if place is None else f"{place}:\n{place.underlined()}"

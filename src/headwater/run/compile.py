"""Plan all views of a pipeline, each against what stands before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headwater.operators.describe import Describer
from headwater.pipeline.code import code_fingerprint, function_fingerprint
from headwater.plan.compacted import check_compaction
from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import Pipeline, ViewDefinition, ViewPlan
from headwater.plan.steps import is_by_row, steps_of_readers
from headwater.plan.ticks import with_ticks
from headwater.sql.planner import plan_view
from headwater.sql.relations import Describe, Relation, relation_of_topic, relation_of_view


@dataclass(frozen=True, slots=True)
class Compiled:
    """A pipeline with its views planned, in order."""

    pipeline: Pipeline
    plans: tuple[ViewPlan, ...]


def compile_pipeline(pipeline: Pipeline) -> Compiled:
    """Plan every view.

    Raises:
        DefinitionError: A view is wrong; the place in its text is underlined.
    """
    with Describer(pipeline.functions) as describe:
        plans = as_read(_plans(pipeline, describe))
    check_compaction(pipeline, plans)
    return Compiled(pipeline, plans)


def _plans(pipeline: Pipeline, describe: Describe) -> list[ViewPlan]:
    relations: dict[str, Relation] = {t.name: relation_of_topic(t) for t in pipeline.topics}
    functions = function_fingerprints(pipeline)
    plans: list[ViewPlan] = []
    for definition in pipeline.views:
        plan = plan_view(with_code(definition), relations, describe, functions)
        relations[plan.name] = relation_of_view(plan, relations)
        plans.append(plan)
    return plans


def function_fingerprints(pipeline: Pipeline) -> dict[str, str]:
    """Those of the author's functions, by their names in lower case."""
    return {f.name.lower(): function_fingerprint(f) for f in pipeline.functions}


def with_code(definition: ViewDefinition) -> ViewDefinition:
    """A step in Python gets the fingerprint of its code: all that it names is defined by now."""
    step = definition.python
    if step is None:
        return definition
    return replace(definition, python=replace(step, code=code_fingerprint(step.call)))


def as_read(plans: Sequence[ViewPlan]) -> tuple[ViewPlan, ...]:
    """Views with what those that read them ask of their rows: places in the log, and steps."""
    rough: set[str] = set()
    for plan in plans:
        if not is_by_row(plan.root, rough):
            rough.add(plan.name.lower())
    steps = steps_of_readers([(plan.name, plan.root) for plan in plans], rough)
    wanted: set[str] = set()
    done: list[ViewPlan] = []
    for plan in reversed(plans):
        root = with_ticks(plan.root) if plan.name in wanted else plan.root
        wanted |= {node.relation for node in walk(root) if isinstance(node, Scan) and node.ticks}
        done.append(replace(plan, root=root, steps=steps.get(plan.name, frozenset())))
    return tuple(reversed(done))

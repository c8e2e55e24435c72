"""Random pipelines: views of the grammar, each over the topics and the views before it.

A view that is refused must be refused for a reason, and is left out; the others stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from headwater.errors import DefinitionError
from headwater.operators.describe import Describer
from headwater.plan.pipeline import Accumulation, Emit, ViewDefinition, ViewPlan
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import Relation, relation_of_topic, relation_of_view
from replay.grammar import Grammar
from replay.logs import END_US
from replay.rows import TOPICS, answered, rows_of
from replay.timed import view

DESCRIBE = Describer()
# What a query is refused for that DuckDB takes: keys of a join that it casts as far as that goes,
# and windows over rows that have windows, whose bounds it would name anew.
_REASONS = ("join keys differ", "already")


@dataclass
class RandomPipeline:
    """Views that were taken, with their plans, and the refusals that nobody expects."""

    views: list[ViewDefinition] = field(default_factory=list)
    plans: list[ViewPlan] = field(default_factory=list)
    refused: int = 0
    surprises: list[tuple[ViewDefinition, str]] = field(default_factory=list)


def pipeline_of(seed: int, count: int) -> RandomPipeline:
    """So many random views, less those that are refused."""
    grammar = Grammar(Random(seed))
    relations: dict[str, Relation] = {t.name: relation_of_topic(t) for t in TOPICS}
    made = RandomPipeline()
    for number in range(count):
        name = f"v{number}"
        text, columns, options = view(grammar)
        definition = declare.view(name, text, **options)
        try:
            plan = plan_view(definition, relations, DESCRIBE)
        except DefinitionError as refusal:
            made.refused += 1
            made.surprises += _surprise(definition, refusal, made)
            continue
        except Exception as error:
            made.surprises.append((definition, f"planning fails: {error!r}"))
            continue
        relations[name] = relation_of_view(plan, relations)
        made.views.append(definition)
        made.plans.append(plan)
        grammar.know(name, columns)
    return made


def _surprise(
    definition: ViewDefinition, refusal: DefinitionError, made: RandomPipeline
) -> Iterator[tuple[ViewDefinition, str]]:
    """The refusal, unless it names its reason or DuckDB refuses the query too."""
    if any(reason in str(refusal) for reason in _REASONS):
        return
    if decides(definition) and refusal.hint:
        return
    try:
        views = (*made.views, definition)
        answered(views, rows_of(0, 4), plans=made.plans, now_us=END_US)
    except DefinitionError:
        return
    yield definition, f"refused: {refusal}"


def decides(definition: ViewDefinition) -> bool:
    """Whether a view hangs on time, and so asks more of what it reads than DuckDB does."""
    text = definition.text.lower()
    return (
        definition.emit is Emit.FINAL
        or definition.lateness_us is not None
        or definition.every_us is not None
        or definition.accumulation is not Accumulation.RETRACTING
        or "completeness(" in text
        or "match_recognize" in text
        or "now()" in text
    )

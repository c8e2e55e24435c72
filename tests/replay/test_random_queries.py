"""One answer, for queries that nobody thought of."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from headwater.errors import DefinitionError
from headwater.plan.pipeline import ViewDefinition, ViewPlan
from headwater.sql import declare
from replay.engine import stepped
from replay.grammar import Grammar
from replay.plan_reader import PlanReader
from replay.rows import answered, content_of, plans_of, tuples

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)


def view(random: Random) -> ViewDefinition:
    query, _ = Grammar(random).query()
    return declare.view("v", query)


@settings(SLOW, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_a_random_plan_means_what_its_query_says(random: Random, seed: int) -> None:
    definition = view(random)

    with PlanReader(content_of(seed)) as reader:
        (plan,) = _plans(definition)
        assert Counter(tuples(reader.add("v", plan.root))) == answered((definition,), seed)["v"]


@settings(SLOW, max_examples=15)
@given(st.randoms(use_true_random=False), st.integers(0, 1000))
def test_a_random_view_over_random_cuts_is_the_batch_answer(random: Random, seed: int) -> None:
    definition = view(random)
    _plans(definition)

    assert stepped((definition,), seed) == answered((definition,), seed)


def _plans(definition: ViewDefinition) -> tuple[ViewPlan, ...]:
    """The view's plan; a join of a text with a number is refused, and is no example."""
    try:
        return plans_of((definition,))
    except DefinitionError as error:
        assume("join keys differ" not in str(error))
        raise

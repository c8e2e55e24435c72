"""One answer, for queries that nobody thought of.

Thousands of cases here, with the same seeds each time; as many more as there is time for by
`make oracle` (see `sweep`). What fails there is kept as a query of its own in `queries`: a seed
means another pipeline when the grammar grows.
"""

from __future__ import annotations

from collections import Counter

import pytest

from replay.logs import END_US
from replay.pipelines import pipeline_of
from replay.plan_reader import PlanReader, is_readable
from replay.rows import content_of, in_batch, rows_of, tuples
from replay.sweep import VIEWS, Tally, check

PIPELINES, BLOCK = 60, 4


@pytest.mark.parametrize("first", range(0, PIPELINES, BLOCK))
def test_random_views_over_random_cuts_are_the_batch_answer(first: int) -> None:
    tally = Tally()
    for seed in range(first, first + BLOCK):
        check(seed, tally)

    assert not tally.found, "\n\n".join(map(str, tally.found))
    assert tally.refused < tally.views / 4


@pytest.mark.parametrize("seed", range(1000, 1008))
def test_random_plans_mean_what_their_queries_say(seed: int) -> None:
    drawn = pipeline_of(seed, VIEWS)
    expected = in_batch(tuple(drawn.views), rows_of(seed), plans=drawn.plans, now_us=END_US)
    with PlanReader(content_of(seed)) as reader:
        for plan in drawn.plans:
            answer = expected[plan.name]
            if not is_readable(plan.root):
                reader.give(plan.name, answer)
                continue
            rows = Counter(tuples(reader.add(plan.name, plan.root)))
            assert rows == Counter(tuples(answer)), f"{plan.name}: {plan.definition.text}"

"""One answer, for queries that nobody thought of.

Some hundred cases here, with the same seeds each time; as many more as there is time for by
`make oracle` (see `sweep`).
"""

from __future__ import annotations

from collections import Counter

import pytest

from headwater.errors import DefinitionError
from replay.plan_reader import PlanReader
from replay.rows import answered, content_of, plans_of, tuples
from replay.sweep import differences, is_expected, views_of

PIPELINES, LOGS, BLOCK = 60, 2, 6


@pytest.mark.parametrize("first", range(0, PIPELINES, BLOCK))
def test_random_views_over_random_cuts_are_the_batch_answer(first: int) -> None:
    found = [d for seed in range(first, first + BLOCK) for d in differences(seed, LOGS)]
    assert not found, "\n\n".join(map(str, found))


@pytest.mark.parametrize("first", range(1000, 1020, 4))
def test_random_plans_mean_what_their_queries_say(first: int) -> None:
    for seed in range(first, first + 4):
        views = views_of(seed)
        try:
            plans = plans_of(views)
        except DefinitionError as refusal:
            assert is_expected(refusal, views), f"seed {seed}: {refusal}"
            continue
        expected = answered(views, seed % 8)
        with PlanReader(content_of(seed % 8)) as reader:
            for plan in plans:
                rows = Counter(tuples(reader.add(plan.name, plan.root)))
                assert rows == expected[plan.name], f"seed {seed}, {plan.name}: {plan.definition}"

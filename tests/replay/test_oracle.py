"""One answer: what is kept up to date epoch by epoch is what DuckDB answers over everything."""

from __future__ import annotations

from collections import Counter

import pytest

from headwater.plan.pipeline import ViewDefinition
from headwater.sql import declare
from replay.engine import stepped
from replay.plan_reader import PlanReader
from replay.queries import QUERIES
from replay.rows import Content, answered, content_of, plans_of, tuples


def read(views: tuple[ViewDefinition, ...], seed: int) -> dict[str, Content]:
    """The answer of each view's plan, read by DuckDB."""
    with PlanReader(content_of(seed)) as reader:
        return {p.name: Counter(tuples(reader.add(p.name, p.root))) for p in plans_of(views)}


@pytest.mark.parametrize("query", QUERIES)
def test_a_plan_means_what_the_query_says(query: str) -> None:
    views = (declare.view("v", query),)

    for seed in (1, 2, 3):
        assert read(views, seed) == answered(views, seed)


@pytest.mark.parametrize("query", QUERIES)
def test_a_view_over_random_cuts_is_the_batch_answer(query: str) -> None:
    views = (declare.view("v", query),)

    for seed in (1, 2):
        assert stepped(views, seed) == answered(views, seed)

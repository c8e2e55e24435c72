"""One answer: what is kept up to date epoch by epoch is what DuckDB answers over everything."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from headwater.operators.statement import Engine
from headwater.plan.pipeline import ViewDefinition
from headwater.sql import declare
from replay.engine import Flows, stepped
from replay.logs import bounds_of, log_of
from replay.more_queries import MORE_QUERIES
from replay.plan_reader import PlanReader
from replay.queries import QUERIES as FIRST_QUERIES
from replay.rows import Content, answered, answers, content_of, plans_of, rows_of, tuples

QUERIES = (*FIRST_QUERIES, *MORE_QUERIES)


def read(views: tuple[ViewDefinition, ...], seed: int) -> dict[str, Content]:
    """The answer of each view's plan, read by DuckDB."""
    with PlanReader(content_of(seed)) as reader:
        return {p.name: Counter(tuples(reader.add(p.name, p.root))) for p in plans_of(views)}


@pytest.mark.parametrize("query", QUERIES)
def test_a_plan_means_what_the_query_says(query: str) -> None:
    content = read((declare.view("v", query),), seed=1)

    assert content["v"] == answers(QUERIES, 1)[query]


@pytest.mark.parametrize("query", QUERIES)
def test_a_view_over_random_cuts_is_the_batch_answer(query: str) -> None:
    content = stepped((declare.view("v", query),), seed=2)

    assert content["v"] == answers(QUERIES, 2)[query]


def test_views_over_views_see_one_moment() -> None:
    views = (
        declare.view("good", "SELECT ad, cost, ts FROM clicks WHERE ok"),
        declare.view(
            "per_ad", "SELECT ad, sum(cost) AS total, count(*) AS n FROM good GROUP BY ad"
        ),
        declare.view(
            "share", "SELECT good.ad, cost / total AS part FROM good JOIN per_ad USING (ad)"
        ),
        declare.view(
            "minutes",
            "SELECT window_start, ad, count(*) AS n FROM TUMBLE(good, ts, INTERVAL '1 minute') "
            "GROUP BY ALL",
            emit="final",
        ),
        declare.view("busy", "SELECT ad, max(n) AS most FROM minutes GROUP BY ad"),
    )

    for seed in (3, 4):
        assert stepped(views, seed) == answered(views, rows_of(seed))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("join", "lateness"),
    [
        ("JOIN campaigns USING (ad)", None),
        ("JOIN campaigns USING (ad)", "30 seconds"),
        ("LEFT JOIN campaigns USING (ad)", None),
        ("SEMI JOIN shows s ON c.ad = s.ad", None),
        ("ANTI JOIN shows s ON c.ad = s.ad AND c.cost > s.n", None),
        ("LEFT JOIN shows s ON c.cost > s.n", "30 seconds"),
    ],
)
def test_final_windows_over_a_join_do_not_depend_on_the_cut(
    seed: int, join: str, lateness: str | None
) -> None:
    query = (
        "SELECT c.visitor, window_start, count(*) AS n, sum(cost) AS spend FROM "
        f"TUMBLE(clicks, ts, INTERVAL '1 minute') c {join} GROUP BY ALL"
    )
    views = (declare.view("v", query, emit="final", lateness=lateness),)
    random = Random(seed)
    log = log_of(rows_of(seed, 24, in_time=seed % 2 == 0), random)
    with Engine() as engine:
        flows = Flows(plans_of(views), engine)
        whole, cut, by_row = (
            flows.run(log, bounds)["v"]
            for bounds in ([], bounds_of(random, log.count), range(log.count))
        )

    assert whole.late or seed % 2 == 0
    assert cut == whole
    assert by_row == whole


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_are_alike_have_the_same_results_in_every_cut(seed: int) -> None:
    query = (
        "SELECT ad, sum(ad) OVER (PARTITION BY ad ORDER BY ad ROWS BETWEEN CURRENT ROW AND "
        "UNBOUNDED FOLLOWING), count(*) OVER (ORDER BY ad ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)"
        " FROM shows"
    )
    random = Random(seed)
    log = log_of(rows_of(seed, 12), random)
    with Engine() as engine:
        flows = Flows(plans_of([declare.view("v", query)]), engine)
        whole, by_row = (flows.run(log, bounds)["v"] for bounds in ([], range(log.count)))

    assert by_row.content == whole.content

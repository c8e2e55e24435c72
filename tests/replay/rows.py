"""Topics and random rows for checks of whole queries: small, and full of ties, nulls and
repeats."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pyarrow as pa

from headwater.operators.describe import Describer
from headwater.plan.pipeline import Pipeline, TopicDefinition, ViewDefinition, ViewPlan
from headwater.plan.versions import versions_of
from headwater.replay.batch import batch
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import Relation, relation_of_topic, relation_of_view

Content = Counter[tuple[Any, ...]]

TOPICS = (
    declare.topic(
        "clicks",
        "ad BIGINT, visitor VARCHAR, cost DECIMAL(12, 6), price DOUBLE, tags VARCHAR[], "
        "ok BOOLEAN, ts TIMESTAMP",
        event_time="ts",
        delay="1 minute",
    ),
    declare.topic("shows", "ad INTEGER, visitor VARCHAR, n INTEGER, at TIMESTAMP", event_time="at"),
    declare.topic("campaigns", "ad BIGINT, campaign VARCHAR, budget BIGINT", key="ad"),
    declare.topic("bids", "ad BIGINT, bid BIGINT, since TIMESTAMP", key="ad", event_time="since"),
)

_DESCRIBE = Describer()
_START = datetime(2024, 2, 28, 23, 55)


def plans_of(views: Iterable[ViewDefinition]) -> tuple[ViewPlan, ...]:
    """The views' plans, each over the topics and the views before it."""
    relations: dict[str, Relation] = {t.name: relation_of_topic(t) for t in TOPICS}
    plans = []
    for view in views:
        plan = plan_view(view, relations, _DESCRIBE)
        relations[plan.name] = relation_of_view(plan, relations)
        plans.append(plan)
    return tuple(plans)


def rows_of(seed: int, count: int = 40) -> dict[str, pa.Table]:
    """Rows for every topic."""
    rng = random.Random(seed)

    def maybe(value: Any, often: float = 0.9) -> Any:
        return value if rng.random() < often else None

    def when() -> datetime:
        return _START + timedelta(seconds=rng.randrange(0, 900, 5))

    clicks = [
        {
            "ad": maybe(rng.randrange(5)),
            "visitor": maybe(rng.choice("abcd")),
            "cost": maybe(Decimal(rng.randrange(5)) / 2),
            "price": maybe(rng.choice([0.1, 0.25, 1.5, 2.0, -3.0])),
            "tags": maybe([rng.choice("xyz") for _ in range(rng.randrange(3))]),
            "ok": maybe(rng.random() < 0.5),
            "ts": when(),
        }
        for _ in range(count)
    ]
    shows = [
        {
            "ad": maybe(rng.randrange(5)),
            "visitor": maybe(rng.choice("abcd")),
            "n": maybe(rng.randrange(4)),
            "at": when(),
        }
        for _ in range(count)
    ]
    campaigns = [
        {
            "ad": rng.randrange(5),
            "campaign": maybe(rng.choice(["red", "blue"])),
            "budget": maybe(rng.randrange(3)),
        }
        for _ in range(count // 4)
    ]
    bids = [
        {"ad": rng.randrange(4), "bid": maybe(rng.randrange(9)), "since": when()}
        for _ in range(count // 2)
    ]
    rows = {"clicks": clicks, "shows": shows, "campaigns": campaigns, "bids": bids}
    return {t.name: pa.Table.from_pylist(rows[t.name], _arrow(t)) for t in TOPICS}


def _arrow(topic: TopicDefinition) -> pa.Schema:
    return pa.schema([pa.field(c.name, c.type.arrow) for c in topic.schema])


def cuts_of(seed: int, rows: Mapping[str, pa.Table]) -> list[dict[str, pa.Table]]:
    """The rows cut into epochs of random length, some of them empty."""
    rng = random.Random(seed)
    epochs = rng.choice([1, 2, 5, 12])
    cuts: list[dict[str, pa.Table]] = [{} for _ in range(epochs)]
    for name, table in rows.items():
        at = sorted(rng.randrange(table.num_rows + 1) for _ in range(epochs - 1))
        for cut, start, stop in zip(cuts, [0, *at], [*at, table.num_rows], strict=True):
            cut[name] = table.slice(start, stop - start)
    return cuts


def tuples(rows: Any) -> list[tuple[Any, ...]]:
    """The rows of a table or batch as values that can be compared and counted."""
    columns = [column.to_pylist() for column in rows.columns]
    return [tuple(_plain(v) for v in row) for row in zip(*columns, strict=True)]


def _plain(value: Any) -> Any:
    """A value that can be counted; floats to nine digits, as far as sums of them agree."""
    if isinstance(value, float):
        return float(f"{value:.9g}") + 0.0
    if isinstance(value, list):
        return tuple(_plain(v) for v in value)
    if isinstance(value, dict):
        return tuple((k, _plain(v)) for k, v in value.items())
    return value


def answered(views: tuple[ViewDefinition, ...], seed: int, count: int = 40) -> dict[str, Content]:
    """The batch answer of each view."""
    tables = batch(Pipeline("oracle", TOPICS, views), rows_of(seed, count))
    return {name: Counter(tuples(table)) for name, table in tables.items()}


@cache
def answers(queries: tuple[str, ...], seed: int) -> dict[str, Content]:
    """The batch answer of each query, by its text; all in one run, which is quicker."""
    views = tuple(declare.view(f"v{i}", query) for i, query in enumerate(queries))
    found = answered(views, seed)
    return {query: found[f"v{i}"] for i, query in enumerate(queries)}


@cache
def content_of(seed: int) -> dict[str, pa.Table]:
    """The rows of topics and the content and versions of tables, as a view reads them."""
    views = tuple(declare.view(f"all_{topic.name}", f"FROM {topic.name}") for topic in TOPICS)
    rows = rows_of(seed)
    tables = batch(Pipeline("content", TOPICS, views), rows)
    content = {topic.name: tables[f"all_{topic.name}"] for topic in TOPICS}
    return content | {versions_of(t.name): rows[t.name] for t in TOPICS if t.is_table}

"""Topics and random rows for checks of whole queries: small, and full of ties, nulls and
repeats."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    declare.topic(
        "things",
        "id BIGINT, big HUGEINT, amount DECIMAL(24, 2), info STRUCT(a INTEGER, b VARCHAR), "
        "attrs MAP(VARCHAR, INTEGER), doc JSON, day DATE, moment TIMESTAMPTZ, at TIMESTAMP",
        event_time="at",
        delay="30 seconds",
    ),
)

_DESCRIBE = Describer()
_START = datetime(2024, 2, 28, 23, 55)
START_US = int(_START.replace(tzinfo=UTC).timestamp()) * 1_000_000


def plans_of(views: Iterable[ViewDefinition]) -> tuple[ViewPlan, ...]:
    """The views' plans, each over the topics and the views before it."""
    relations: dict[str, Relation] = {t.name: relation_of_topic(t) for t in TOPICS}
    plans = []
    for view in views:
        plan = plan_view(view, relations, _DESCRIBE)
        relations[plan.name] = relation_of_view(plan, relations)
        plans.append(plan)
    return tuple(plans)


def rows_of(seed: int, count: int = 40, *, in_time: bool = True) -> dict[str, pa.Table]:
    """Rows for every topic, in the order in which they arrive.

    Args:
        in_time: Whether rows of a topic are out of order by no more than its delay.

    """
    rng = random.Random(seed)
    rows = {t.name: [_MAKERS[t.name](_Values(rng)) for _ in range(count)] for t in TOPICS}
    for table in ("campaigns", "bids"):
        rows[table] = rows[table][: count // 3]
    for topic in TOPICS:
        made = rows[topic.name]
        # Rows that say what another says.
        made[: count // 8] = rng.choices(made, k=count // 8) if made else []
        if topic.event_time is not None:
            made.sort(key=_arrival(topic, rng) if in_time else lambda _: rng.random())
    return {t.name: pa.Table.from_pylist(rows[t.name], _arrow(t)) for t in TOPICS}


@dataclass(frozen=True, slots=True)
class _Values:
    """Random values, of which some are missing."""

    rng: random.Random

    def maybe(self, value: Any, often: float = 0.9) -> Any:
        """The value, or nothing."""
        return value if self.rng.random() < often else None

    def below(self, count: int) -> Any:
        """A small number, or nothing."""
        return self.maybe(self.rng.randrange(count))

    def one(self, *choices: Any) -> Any:
        """One of the choices, or nothing."""
        return self.maybe(self.rng.choice(choices))

    def when(self) -> datetime | None:
        """A time of a quarter of an hour, seldom nothing."""
        moment = _START + timedelta(seconds=self.rng.randrange(0, 900, 5))
        return self.maybe(moment, 0.97)


def _click(some: _Values) -> dict[str, Any]:
    return {
        "ad": some.below(5),
        "visitor": some.one(*"abcd"),
        "cost": some.maybe(Decimal(some.rng.randrange(5)) / 2),
        "price": some.one(0.1, 0.25, 1.5, 2.0, -3.0),
        "tags": some.maybe([some.rng.choice("xyz") for _ in range(some.rng.randrange(3))]),
        "ok": some.one(True, False),
        "ts": some.when(),
    }


def _show(some: _Values) -> dict[str, Any]:
    return {
        "ad": some.below(5),
        "visitor": some.one(*"abcd"),
        "n": some.below(4),
        "at": some.when(),
    }


def _campaign(some: _Values) -> dict[str, Any]:
    return {
        "ad": some.rng.randrange(5),
        "campaign": some.one("red", "blue"),
        "budget": some.below(3),
    }


def _bid(some: _Values) -> dict[str, Any]:
    return {"ad": some.rng.randrange(4), "bid": some.below(9), "since": some.when()}


def _thing(some: _Values) -> dict[str, Any]:
    rng = some.rng
    return {
        "id": some.below(5),
        "big": some.one(-(2**100), -1, 0, 2**64, 2**100),
        "amount": some.maybe(Decimal(rng.choice(["-0.01", "0", "1.50", "99999999999999.99"]))),
        "info": some.maybe({"a": some.below(3), "b": some.one("p", "q", "")}),
        "attrs": some.maybe([(k, some.below(3)) for k in "kl" if rng.random() < 0.6]),
        "doc": some.one('{"a": 1}', '{"a": {"b": [1, 2]}}', "[]", "null"),
        "day": some.maybe((_START + timedelta(days=rng.randrange(3))).date()),
        "moment": some.maybe((_START + timedelta(hours=rng.randrange(4))).replace(tzinfo=UTC)),
        "at": some.when(),
    }


_MAKERS = {
    "clicks": _click,
    "shows": _show,
    "campaigns": _campaign,
    "bids": _bid,
    "things": _thing,
}


def _arrival(topic: TopicDefinition, rng: random.Random) -> Callable[[dict[str, Any]], datetime]:
    """When a row arrives: no later than its time and the topic's delay. Rows of one time keep their
    order."""
    assert topic.event_time is not None
    seconds, salt = topic.delay_us // 1_000_000, rng.randrange(1 << 30)

    def arrival(row: dict[str, Any]) -> datetime:
        time = row[topic.event_time or ""]
        if time is None:
            return _START + timedelta(seconds=rng.randrange(900))
        late = random.Random(f"{salt} {time}").randrange(seconds + 1)
        return time + timedelta(seconds=late)

    return arrival


def _arrow(topic: TopicDefinition) -> pa.Schema:
    return pa.schema([pa.field(c.name, c.type.arrow) for c in topic.schema])


def tuples(rows: Any) -> list[tuple[Any, ...]]:
    """The rows of a table or batch as values that can be compared and counted."""
    columns = [column.to_pylist() for column in rows.columns]
    return [tuple(plain_value(v) for v in row) for row in zip(*columns, strict=True)]


def plain_value(value: Any) -> Any:
    """A value that can be counted; floats to nine digits, as far as sums of them agree."""
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 - no NaN equals another
            return "NaN"
        return float(f"{value:.9g}") + 0.0
    if isinstance(value, list):
        return tuple(plain_value(v) for v in value)
    if isinstance(value, dict):
        return tuple((k, plain_value(v)) for k, v in value.items())
    return value


def in_batch(
    views: tuple[ViewDefinition, ...],
    rows: Mapping[str, pa.Table],
    *,
    plans: Sequence[ViewPlan] = (),
    now_us: int | None = None,
) -> dict[str, pa.Table]:
    """The batch answer of each view, and the content of each topic and table."""
    contents = tuple(declare.view(f"all_{topic.name}", f"FROM {topic.name}") for topic in TOPICS)
    tables = batch(Pipeline("oracle", TOPICS, (*contents, *views)), rows, plans, now_us=now_us)
    return {name.removeprefix("all_"): table for name, table in tables.items()}


def answered(
    views: tuple[ViewDefinition, ...],
    rows: Mapping[str, pa.Table],
    *,
    plans: Sequence[ViewPlan] = (),
    now_us: int | None = None,
) -> dict[str, Content]:
    """The batch answer of each view. Those that accumulate, or discard, are given planned."""
    tables = batch(Pipeline("oracle", TOPICS, views), rows, plans, now_us=now_us)
    return {name: Counter(tuples(table)) for name, table in tables.items()}


@cache
def answers(queries: tuple[str, ...], seed: int) -> dict[str, Content]:
    """The batch answer of each query, by its text; all in one run, which is quicker."""
    views = tuple(declare.view(f"v{i}", query) for i, query in enumerate(queries))
    found = answered(views, rows_of(seed))
    return {query: found[f"v{i}"] for i, query in enumerate(queries)}


@cache
def content_of(seed: int) -> dict[str, pa.Table]:
    """The rows of topics and the content and versions of tables, as a view reads them."""
    rows = rows_of(seed)
    return in_batch((), rows) | {versions_of(t.name): rows[t.name] for t in TOPICS if t.is_table}

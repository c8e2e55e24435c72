"""Plans of single queries over four relations, as text."""

from __future__ import annotations

from headwater.errors import DefinitionError
from headwater.operators.describe import Describer
from headwater.plan.pipeline import ViewPlan
from headwater.sql import declare
from headwater.sql.explain import explain
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic

_TOPICS = (
    declare.topic(
        "clicks",
        "ad BIGINT, visitor VARCHAR, cost DECIMAL(12, 6), price DOUBLE, day DATE, ts TIMESTAMP",
        event_time="ts",
        delay="30 seconds",
    ),
    declare.topic("shows", "ad BIGINT, n INTEGER, at TIMESTAMP, seen TIMESTAMP", event_time="at"),
    declare.topic("notes", "ad VARCHAR, note VARCHAR, at TIMESTAMP"),
    declare.topic("campaigns", "ad BIGINT, campaign VARCHAR", key="ad"),
    declare.topic(
        "bids",
        "ad BIGINT, bid BIGINT, since TIMESTAMP, until TIMESTAMP",
        key="ad",
        event_time="since",
    ),
)
RELATIONS = {topic.name: relation_of_topic(topic) for topic in _TOPICS}
DESCRIBE = Describer()


def planned(query: str, *, emit: str | None = None, lateness: str | None = None) -> ViewPlan:
    """The plan of a view called v."""
    return plan_view(declare.view("v", query, emit=emit, lateness=lateness), RELATIONS, DESCRIBE)


def tree(query: str, *, emit: str | None = None, lateness: str | None = None) -> str:
    """The plan's nodes as text, without the lines about the view."""
    lines = explain(planned(query, emit=emit, lateness=lateness)).split("\n")
    nodes = [line[2:] for line in lines[2:] if not line.startswith("  read in the order")]
    return "\n".join(nodes)


def refusal(query: str, *, emit: str | None = None, lateness: str | None = None) -> str:
    """What the author is told."""
    try:
        planned(query, emit=emit, lateness=lateness)
    except DefinitionError as error:
        return str(error)
    raise AssertionError(f"not refused: {query}")

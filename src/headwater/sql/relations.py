"""What a query may read: topics, tables and earlier views, as the planner sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlglot import exp

from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema


@dataclass(frozen=True, slots=True)
class Relation:
    """A topic, a table or an earlier view.

    Args:
        name: As declared.
        append_only: No row of it is ever withdrawn.
        is_table: It has a primary key.
        event_time: The column whose watermark it has; None where time cannot be told. For a view: the
            column that carries, row by row, the event time of the topic below.
        sources: The topics whose watermarks (the lowest of them) hold for it; tables are not among them.
        final: A view whose rows are published when their window has closed.
        fingerprint: Changes when what it contains could; empty for topics and tables.

    """

    name: str
    schema: Schema
    append_only: bool
    is_table: bool = False
    event_time: str | None = None
    sources: tuple[str, ...] = ()
    final: bool = False
    fingerprint: str = ""


class Describe(Protocol):
    """DuckDB's typing, handed in: `sql` itself runs nothing."""

    def __call__(self, query: exp.Query, relations: Mapping[str, Schema], /) -> Schema:
        """The columns of `query` over relations of these schemas.

        Raises:
            DefinitionError: DuckDB refuses the query; the message is DuckDB's.

        """
        ...


def of_topic(topic: TopicDefinition) -> Relation:
    """The relation that a topic or table is.

    A table's watermark decides nothing: its rows are facts that hold until they are replaced, so a
    table that is silent must not hold windows open.
    """
    has_time = topic.event_time is not None and not topic.is_table
    return Relation(
        topic.name,
        topic.schema,
        append_only=not topic.is_table,
        is_table=topic.is_table,
        event_time=topic.event_time,
        sources=(topic.name,) if has_time else (),
    )

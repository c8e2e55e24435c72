"""What an author declared: topics, tables, views and sinks, as plain data.

SQL text and Python declarations build the same objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from sqlglot import exp

from headwater.errors import Place
from headwater.plan.frontier import Frontier
from headwater.plan.life import Life
from headwater.plan.nodes import Node
from headwater.plan.python import FunctionDefinition, PythonStep
from headwater.schema.schema import Schema
from headwater.schema.versions import Versions

HOUR_US = 3_600_000_000


class Emit(StrEnum):
    """When a view publishes."""

    CHANGES = "changes"
    FINAL = "final"


class Accumulation(StrEnum):
    """What a view publishes when a result changes.

    RETRACTING withdraws the result before and adds the new one. ACCUMULATING adds the new one, and
    DISCARDING the result over the rows that came since the last time; neither withdraws anything.
    """

    RETRACTING = "retracting"
    ACCUMULATING = "accumulating"
    DISCARDING = "discarding"


@dataclass(frozen=True, slots=True)
class TopicDefinition:
    """A topic, or, with a primary key, a table.

    Args:
        name: Unique in the pipeline, without regard to case.
        key: Primary key columns; empty for a topic.
        newest_by: Of a table the column by which the newest row of a key is known, whatever the
            order in which rows come, and the last of those with equal ones; None: it is the last.
        deleted_by: Of a table the BOOLEAN column that is true of a row that deletes its key; None:
            no row does.
        event_time: The TIMESTAMP column that says when an event happened, or None.
        delay_us: How far the watermark stays behind the highest event time.
        idle_us: A partition silent for so long no longer holds the watermark back; None: it does.
        future_max_us: A row whose event time is further than this ahead of its arrival is rejected.
        partitions: How many partitions; at least 1.
        watermark_by: The column whose values each have a watermark of their own, or None: then each
            partition has. A row where it is null is rejected.
        ready: Windows close when so large a share of these senders has passed their end, and are
            corrected until all have; 1.0: when all have.
        versions: The versions of its columns, the newest of which `schema` is; None before they
            are known. They are no part of what was declared.
        life: How long its rows are kept. It may change from one start to the next.

    """

    name: str
    schema: Schema
    key: tuple[str, ...] = ()
    event_time: str | None = None
    delay_us: int = 0
    idle_us: int | None = None
    future_max_us: int = HOUR_US
    partitions: int = 1
    watermark_by: str | None = None
    ready: float = 1.0
    newest_by: str | None = None
    deleted_by: str | None = None
    versions: Versions | None = field(default=None, compare=False, repr=False)
    life: Life = Life()  # noqa: RUF009 - frozen

    @property
    def is_table(self) -> bool:
        """True when the newest row of each key is the content."""
        return bool(self.key)

    @property
    def bearing(self) -> tuple[str, ...]:
        """The columns by which rows are told apart and put in order; they must stay."""
        named = (
            *self.key,
            self.newest_by,
            self.deleted_by,
            self.event_time,
            self.watermark_by,
        )
        return tuple(name for name in named if name is not None)

    @property
    def version(self) -> int:
        """The number of the newest version of its columns."""
        return 1 if self.versions is None else self.versions.newest.number


@dataclass(frozen=True, slots=True)
class ViewDefinition:
    """A query that is kept up to date.

    Args:
        name: Unique in the pipeline, without regard to case.
        query: The parsed query, window table functions and all, as the author wrote it.
        text: The query's source text, for messages and for `explain`.
        every_us: With EMIT CHANGES EVERY: publish at most so often; None: each epoch.
        lateness_us: How long after a window's end it is still corrected. None with EMIT CHANGES:
            for ever. With EMIT FINAL the default is 0.
        accumulation: What is published when a result changes.
        origin: Where the query stands in what the author wrote: the whole source text (a file, say)
            and the query's span in it. The positions of the parsed query's tokens are positions in
            `origin.text`. It is no part of what the view is: definitions that differ only here are
            equal.
        python: Set when the view is what Python makes of the query's rows.

    """

    name: str
    query: exp.Query
    text: str
    emit: Emit = Emit.CHANGES
    every_us: int | None = None
    lateness_us: int | None = None
    accumulation: Accumulation = Accumulation.RETRACTING
    origin: Place | None = field(default=None, compare=False, repr=False)
    python: PythonStep | None = None


@dataclass(frozen=True, slots=True)
class SinkDefinition:
    """A consumer that takes a view's changes out.

    Args:
        name: Unique among the sinks.
        source: The view or topic it follows.
        connector: The kind of store, for example `parquet`.
        options: The connector's settings, by name, as text.

    """

    name: str
    source: str
    connector: str
    # Not shown: a setting may hold a password.
    options: dict[str, str] = field(default_factory=dict, repr=False)


Definition = TopicDefinition | ViewDefinition | SinkDefinition | FunctionDefinition


@dataclass(frozen=True, slots=True)
class Pipeline:
    """All that was declared. Views stand in an order in which each reads only earlier ones."""

    name: str
    topics: tuple[TopicDefinition, ...] = ()
    views: tuple[ViewDefinition, ...] = ()
    sinks: tuple[SinkDefinition, ...] = ()
    functions: tuple[FunctionDefinition, ...] = ()

    @property
    def steps(self) -> dict[str, PythonStep]:
        """The steps in Python, by the names of their views."""
        return {view.name: view.python for view in self.views if view.python is not None}


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """A view, planned.

    Args:
        root: The node whose output is the view.
        fingerprint: Changes when, and only when, what the view computes could differ.
        order: Output columns of the query's final ORDER BY (a view has no order; reading it may use
            this), as (column, is_descending).
        python: The author's functions and steps that it runs, by name.
        steps: By which frontiers the views that read it decide in steps.

    """

    definition: ViewDefinition
    root: Node
    fingerprint: str
    order: tuple[tuple[str, bool], ...] = ()
    python: tuple[str, ...] = ()
    steps: frozenset[Frontier] = frozenset()

    @property
    def name(self) -> str:
        """The view's name."""
        return self.definition.name

    @property
    def schema(self) -> Schema:
        """The view's columns."""
        return self.root.schema

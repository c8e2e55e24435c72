"""Nodes whose inside the planner does not look into: whole queries, and the author's code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.inputs import OneInput
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


@dataclass(frozen=True, slots=True)
class Recompute:
    """Any query, computed again for the groups that an epoch touched, and differenced.

    Args:
        sources: The inputs.
        names: What the query calls them, in the same order.
        keys: For each input the columns that tell its groups apart, in the same order: a group of
            the output depends only on the input rows with that key. Empty tuples: one group, all is
            computed again.
        query: A sqlglot query in DuckDB's dialect over `names`. Its column names are the schema's.
        reason: Why this part is not incremental, for `explain`.

    """

    sources: tuple[Node, ...]
    names: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    query: exp.Query
    schema: Schema
    reason: str

    @property
    def inputs(self) -> tuple[Node, ...]:
        """The inputs, in order."""
        return self.sources

    @property
    def append_only(self) -> bool:
        """Never: nothing is known of the query."""
        return False


@dataclass(frozen=True, slots=True)
class Transform(OneInput):
    """What a function of the author's makes of each row: none, one or several rows.

    Args:
        name: The view whose step it is; who runs the plan finds the function by it.
        code: The fingerprint of the function.
        placed: True when the function says which row it made each of its rows of: these then have
            the places of those.

    """

    input: Node
    name: str
    code: str
    schema: Schema
    placed: bool = False

    @property
    def append_only(self) -> bool:
        """Made of a row alone, what comes out is withdrawn only with it."""
        return self.input.append_only


@dataclass(frozen=True, slots=True)
class Process(OneInput):
    """What code of the author's says, key by key, of the rows so far and of the time.

    The rows of a key come one after the other, in the order of the log or of event time; between
    them fire the key's timers, each where the watermark of `sources` passes its time. The input is
    append-only, and its rows carry their places in the log.

    Args:
        name: The view whose step it is; who runs the plan finds the code by it.
        code: The fingerprint of the code.
        keys: Columns of the input.
        time: The event time by which the rows of a key are ordered; None for the log's order.
        sources: Topics whose watermarks (the lowest of them) decide; empty for no time.

    """

    input: Node
    name: str
    code: str
    keys: tuple[str, ...]
    time: str | None
    sources: tuple[str, ...]
    schema: Schema

    @property
    def append_only(self) -> bool:
        """What it has said stands."""
        return True

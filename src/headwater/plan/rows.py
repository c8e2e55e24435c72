"""Nodes that read rows, or handle each by itself: no row's result depends on another row.

But for `Distinct` and `SetOperation`, which ask how often equal rows are there.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.frontier import Frontier
from headwater.plan.inputs import OneInput, TwoInputs
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


@dataclass(frozen=True, slots=True)
class Scan:
    """The rows of a topic, the changelog of a table, or the changes of a view.

    Args:
        relation: Its name, as declared.
        schema: The columns that the plan reads, a subset of the relation's.
        append_only: True for topics and for append-only views.
        ticks: True when rows must carry their place in the log's order (see `Windows`).
        closed: The columns of a view that are closed, each with what closes it (see `closing`).

    """

    relation: str
    schema: Schema
    append_only: bool
    ticks: bool = False
    closed: tuple[tuple[str, Frontier], ...] = ()

    @property
    def inputs(self) -> tuple[Node, ...]:
        """No inputs: a leaf."""
        return ()


@dataclass(frozen=True, slots=True)
class Map(OneInput):
    """Filter, then project: one linear step. Row by row, so it is its own incremental form.

    Args:
        projections: Output name and expression, in order. An `exp.Unnest`/`exp.Explode` may be used
            as DuckDB allows it in a select list.
        condition: Rows for which it is not true are dropped; None keeps all.

    """

    input: Node
    projections: tuple[tuple[str, exp.Expression], ...]
    condition: exp.Expression | None
    schema: Schema

    @property
    def append_only(self) -> bool:
        """A map withdraws a row only when its input does."""
        return self.input.append_only


@dataclass(frozen=True, slots=True)
class Distinct(OneInput):
    """Each row once, as long as it is there at least once."""

    input: Node
    schema: Schema

    @property
    def append_only(self) -> bool:
        """A distinct row leaves only when its input's rows do."""
        return self.input.append_only


@dataclass(frozen=True, slots=True)
class Union:
    """The rows of all inputs (UNION ALL). The inputs have the same column names and types.

    Args:
        of_same_rows: Whether all inputs are computed of the same rows, and the first of all of
            them; what is late for one input is then told of by the first alone.

    """

    inputs: tuple[Node, ...]
    schema: Schema
    of_same_rows: bool = False

    @property
    def append_only(self) -> bool:
        """A union withdraws what one of its inputs does."""
        return all(node.append_only for node in self.inputs)


class SetRule(StrEnum):
    """How often a row comes out that is there so often on the left and on the right."""

    EXCEPT = "except"
    EXCEPT_ALL = "except all"
    INTERSECT = "intersect"
    INTERSECT_ALL = "intersect all"


@dataclass(frozen=True, slots=True)
class SetOperation(TwoInputs):
    """Equal rows of two inputs, counted against each other. A null is equal to a null.

    EXCEPT: once when there is none on the right; EXCEPT_ALL: as many as are more on the left.
    INTERSECT: once when both sides have one; INTERSECT_ALL: as many as both have. The inputs have
    the same column names and types.
    """

    rule: SetRule
    left: Node
    right: Node
    schema: Schema

    @property
    def append_only(self) -> bool:
        """What both sides have grows with them; a row on the right takes one away."""
        grows = self.rule in (SetRule.INTERSECT, SetRule.INTERSECT_ALL)
        return grows and self.left.append_only and self.right.append_only


@dataclass(frozen=True, slots=True)
class TemporalFilter(OneInput):
    """Rows that are in from one moment on, and out again from another.

    Now is the recorded time of an epoch; it never goes back. A row is in when `valid_from <= now <
    valid_until`. The two columns are not in the output.

    Args:
        valid_from: A BIGINT column of the input without nulls, in microseconds since 1970; None: in
            from the beginning.
        valid_until: The same; None: for ever.

    """

    input: Node
    valid_from: str | None
    valid_until: str | None
    schema: Schema

    @property
    def append_only(self) -> bool:
        """Rows that only come are never withdrawn."""
        return self.valid_until is None and self.input.append_only

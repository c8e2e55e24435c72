"""Rows of two inputs, brought together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.frontier import Decision
from headwater.plan.inputs import TwoInputs
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


class JoinKind(StrEnum):
    """Which rows come out of a join.

    The pairs of rows that match (INNER); also, with nulls on the right, the left rows without a
    match (LEFT); also, with nulls on the left, the right rows without one (FULL). Or just the left
    rows that have a match (SEMI), or that have none (ANTI).
    """

    INNER = "inner"
    LEFT = "left"
    FULL = "full"
    SEMI = "semi"
    ANTI = "anti"

    @property
    def has_both(self) -> bool:
        """Whether the columns of both sides come out."""
        return self not in (JoinKind.SEMI, JoinKind.ANTI)


@dataclass(frozen=True, slots=True)
class Within:
    """How far apart in time rows of a join may be: `lower_us <= left - right <= upper_us`.

    A null time matches nothing. With a decision each side has a frontier: rows that it has passed
    by the lateness are late, and rows that can match no more are forgotten. When it is final, a
    left row without a match comes out only once the right frontier has passed all that could match
    it.

    Args:
        left_time: A TIMESTAMP or TIMESTAMPTZ column of the left input.
        right_time: A column of the same type of the right input.
        lower_us: None for no bound.
        upper_us: None for no bound.
        decision: None when nothing is ever late; then what is forgotten is what a side that closes
            its times (`closing`) reached.

    """

    left_time: str
    right_time: str
    lower_us: int | None
    upper_us: int | None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Join(TwoInputs):
    """Rows of two inputs that match. A null key matches nothing.

    Args:
        left_keys: Columns of the left input. May be empty: then all keys are equal.
        right_keys: As many columns of the right input, of the same types.
        schema: Left columns, then, unless the kind is SEMI or ANTI, right ones: all, or, without a
            bound in time, those that are read.
        within: How far apart in time rows that match may be.
        condition: What must be true of a pair as well, over the columns of both inputs.

    """

    kind: JoinKind
    left: Node
    right: Node
    left_keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    schema: Schema
    within: Within | None = None
    condition: exp.Expression | None = None

    @property
    def append_only(self) -> bool:
        """A left or anti join withdraws what it said when a match arrives, unless it waited."""
        grows = self.kind in (JoinKind.INNER, JoinKind.SEMI)
        decision = None if self.within is None else self.within.decision
        waits = decision is not None and decision.is_once
        return (grows or waits) and self.left.append_only and self.right.append_only


@dataclass(frozen=True, slots=True)
class AsofJoin(TwoInputs):
    """Each left row with the newest right row, of equal keys, that is not after it.

    DuckDB's `ASOF JOIN ... AND left.time >= right.time`. A later right row that fits better
    replaces the match of earlier left rows. Among right rows of equal key and time the one that
    came last counts.

    With a decision rows of both sides may be late, and are then left out. Of the right rows that
    the frontiers have passed only the newest of each key is remembered. When it is final, a left
    row comes out once the right frontier has passed its time.

    Args:
        left_keys: May be empty, then all rows share one key.
        left_time: A TIMESTAMP, TIMESTAMPTZ, DATE or integer column.
        is_left: True for ASOF LEFT JOIN: a left row without match comes out with nulls.
        is_strict: True for `>`: an equal time does not match.
        decision: None when nothing is ever late, or forgotten.

    """

    left: Node
    right: Node
    left_keys: tuple[str, ...]
    right_keys: tuple[str, ...]
    left_time: str
    right_time: str
    is_left: bool
    is_strict: bool
    schema: Schema
    decision: Decision | None = None

    @property
    def append_only(self) -> bool:
        """Only when it waits: else a right row that comes later may fit better."""
        waits = self.decision is not None and self.decision.is_once
        return waits and self.left.append_only and self.right.append_only

"""A join that is not inner: its keys, its bound in time, and what else decides whether rows match.

A condition on one side alone costs nothing per pair. On the side that comes out only with a match
it is a filter below the join. Where the row must come out all the same, its key becomes null when
the condition does not hold: a null key matches nothing. What reads both sides is tested pair by
pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import JoinKind, Node, Within
from headwater.plan.pipeline import Emit
from headwater.sql.intervals import read_within
from headwater.sql.keys import KeyPair, common_keys, keys_of, reads, without

if TYPE_CHECKING:
    from headwater.sql.planner import Planner


def plan(planner: Planner, kind: JoinKind, left: Node, right: Node, on: list[exp.Expr]) -> Node:
    """Join two inputs whose column names differ.

    Args:
        kind: Not INNER.
        on: Conditions over the columns of both; none means that all rows match.

    Returns:
        A node with the columns of the left input, then, unless the kind is SEMI or ANTI, of the
        right one; keys that had to be computed are further columns of each.

    """
    build = planner.build
    keys = keys_of(on, left, right)
    rest = without(on, [key.condition for key in keys])
    of_right = [c for c in rest if reads(c) and reads(c) <= set(right.schema.names)]
    of_left = [c for c in rest if reads(c) <= set(left.schema.names)]
    rest = without(rest, [*of_left, *of_right])
    if kind is JoinKind.FULL:
        keys = _guarded(keys, of_right, is_left=False)
    else:
        right = build.filter(right, of_right)
    if kind is JoinKind.SEMI:
        left = build.filter(left, of_left)
    else:
        keys = _guarded(keys, of_left, is_left=True)
    within, rest = bound_of(planner, rest, left, right, is_by_key=False)
    left, right, pairs = common_keys(planner, left, right, keys)
    return build.join(kind, left, right, pairs, within, rest)


def bound_of(
    planner: Planner, conditions: list[exp.Expr], left: Node, right: Node, *, is_by_key: bool
) -> tuple[Within | None, list[exp.Expr]]:
    """The bound in time among the conditions, where a join gains by it, and the others.

    Args:
        is_by_key: Whether the rows are found by key too, and none waits for a match.

    """
    within, rest = read_within(conditions, left.schema, right.schema)
    definition = planner.definition
    is_kept = definition.emit is not Emit.FINAL and definition.lateness_us is None
    is_open = within is None or within.lower_us is None or within.upper_us is None
    if is_by_key and is_kept and is_open:
        # Nothing would be forgotten, and rows by key alone are found more quickly.
        return None, conditions
    return within, rest


def _guarded(
    keys: list[KeyPair], conditions: Sequence[exp.Expr], *, is_left: bool
) -> list[KeyPair]:
    """The keys, one of them null on one side where its conditions do not all hold."""
    if not conditions:
        return keys
    first, *others = keys or [KeyPair(exp.true(), exp.true(), conditions[0])]
    side = first.left if is_left else first.right
    guarded = exp.Case(
        ifs=[exp.If(this=exp.and_(*conditions, copy=True), true=side.copy())],
    )
    left, right = (guarded, first.right) if is_left else (first.left, guarded)
    return [KeyPair(left, right, first.condition), *others]

"""Rewrite: conditions of a join that bound how far apart in time its rows are.

`a.ts BETWEEN b.ts - INTERVAL '1 minute' AND b.ts + INTERVAL '5 minutes'`, and the same with
comparisons and differences. Each comparison is read as a sum of columns and lengths; where a time
of the left side less one of the right is left over, it is a bound, in whole microseconds. What is
something else stays a condition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.nodes import Within
from headwater.schema.duration import parse_duration
from headwater.schema.schema import Schema
from headwater.sql.declare import is_timestamp

_UNITS = ("microsecond", "millisecond", "second", "minute", "hour", "day", "week")
_SIGNS: dict[type[exp.Expr], tuple[int, int]] = {
    # The sign of `this - expression`, and what a strict comparison takes off.
    exp.GTE: (1, 0),
    exp.GT: (1, 1),
    exp.LTE: (-1, 0),
    exp.LT: (-1, 1),
}


@dataclass(frozen=True, slots=True)
class _Sum:
    """Columns, each with a factor, and a length in microseconds."""

    columns: tuple[tuple[str, int], ...]
    length_us: int

    def less(self, other: _Sum) -> _Sum:
        total = Counter(dict(self.columns))
        total.subtract(dict(other.columns))
        rest = tuple(sorted((name, n) for name, n in total.items() if n))
        return _Sum(rest, self.length_us - other.length_us)

    def negated(self) -> _Sum:
        return _NOTHING.less(self)


_NOTHING = _Sum((), 0)


def read_within(
    conditions: Sequence[exp.Expr], left: Schema, right: Schema
) -> tuple[Within | None, list[exp.Expr]]:
    """The bound in time that conditions set, and the conditions that are something else.

    Args:
        conditions: Bound to the columns of both sides.

    """
    bounds = [(condition, _bound(condition, left, right)) for condition in conditions]
    first = next((b for _, b in bounds if b is not None), None)
    if first is None:
        return None, list(conditions)
    times = (first.left_time, first.right_time)
    within, rest = Within(*times, None, None), []
    for condition, bound in bounds:
        if bound is None or (bound.left_time, bound.right_time) != times:
            rest.append(condition)
        else:
            within = _narrowed(within, bound)
    return within, rest


def _narrowed(one: Within, other: Within) -> Within:
    lowers = [b for b in (one.lower_us, other.lower_us) if b is not None]
    uppers = [b for b in (one.upper_us, other.upper_us) if b is not None]
    return replace(one, lower_us=max(lowers, default=None), upper_us=min(uppers, default=None))


def _bound(condition: exp.Expr, left: Schema, right: Schema) -> Within | None:
    condition = condition.unnest()
    if isinstance(condition, exp.Between):
        if condition.args.get("symmetric"):
            return None
        low = _compared(exp.GTE, condition.this, condition.args["low"], left, right)
        high = _compared(exp.LTE, condition.this, condition.args["high"], left, right)
        if low is None or high is None or low.left_time != high.left_time:
            return None
        return _narrowed(low, high) if low.right_time == high.right_time else None
    if type(condition) in _SIGNS:
        kind, this, other = type(condition), condition.this, condition.expression
        return _compared(kind, this, other, left, right)
    return None


def _compared(
    kind: type[exp.Expr], this: exp.Expr, other: exp.Expr, left: Schema, right: Schema
) -> Within | None:
    one, two = _sum(this), _sum(other)
    if one is None or two is None:
        return None
    sign, off = _SIGNS[kind]
    # From here on: total >= off.
    total = one.less(two) if sign > 0 else two.less(one)
    factors = dict(total.columns)
    mine = [name for name in factors if name in left]
    theirs = [name for name in factors if name in right]
    if len(factors) != 2 or len(mine) != 1 or len(theirs) != 1:
        return None
    kinds = {left[mine[0]].type.sql, right[theirs[0]].type.sql}
    if len(kinds) != 1 or not is_timestamp(kinds.pop()):
        return None
    match factors[mine[0]], factors[theirs[0]]:
        case 1, -1:
            return Within(mine[0], theirs[0], off - total.length_us, None)
        case -1, 1:
            return Within(mine[0], theirs[0], None, total.length_us - off)
    return None


def _sum(value: exp.Expr) -> _Sum | None:
    """The value as a sum; None where it holds something else."""
    value = value.unnest()
    if isinstance(value, exp.Column):
        return _Sum(((value.name, 1),), 0)
    if isinstance(value, exp.Add | exp.Sub):
        one, other = _sum(value.this), _sum(value.expression)
        if one is None or other is None:
            return None
        return one.less(other if isinstance(value, exp.Sub) else other.negated())
    if isinstance(value, exp.Neg):
        inner = _sum(value.this)
        return None if inner is None else inner.negated()
    length = interval_us(value)
    return None if length is None else _Sum((), length)


def interval_us(value: exp.Expr) -> int | None:
    """A constant length of time that does not depend on the calendar; None for anything else."""
    if isinstance(value, exp.Interval):
        amount, unit = value.this.unnest(), value.args.get("unit")
        if unit is None:
            return _length(amount.name) if isinstance(amount, exp.Literal) else None
        return _of_unit(amount, unit.name)
    if isinstance(value, exp.Cast) and value.to.is_type("INTERVAL"):
        is_text = isinstance(value.this, exp.Literal) and value.this.is_string
        return _length(value.this.name) if is_text else None
    if isinstance(value, exp.Anonymous) and value.name.lower().startswith("to_"):
        arguments = value.expressions
        return _of_unit(arguments[0], value.name[3:]) if len(arguments) == 1 else None
    return None


def _of_unit(amount: exp.Expr, unit: str) -> int | None:
    name = unit.lower().removesuffix("s")
    if isinstance(amount, exp.Neg):
        inner = _of_unit(amount.this, unit)
        return None if inner is None else -inner
    if name not in _UNITS or not isinstance(amount, exp.Literal):
        return None
    text = amount.name.strip()
    if text.startswith("-"):
        inner = _length(f"{text[1:]} {name}")
        return None if inner is None else -inner
    return _length(f"{text} {name}")


def _length(text: str) -> int | None:
    try:
        return parse_duration(text)
    except DefinitionError:
        return None

"""Conditions over whole numbers, and numbers that are made of such, computed in numpy.

`x >= 10 AND x < y` is two comparisons of arrays: a few steps, where DuckDB would need the rows to
come and go. Only what is the same in both is taken: comparisons of columns of at most 64 bits with
a sign, or fewer without, and what is left of them divided by a number above 0, with each other and
with whole numbers. No value may be null; who asks makes sure of that for `columns`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

COMPARED: dict[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.EQ: np.equal,
    exp.NEQ: np.not_equal,
    exp.LT: np.less,
    exp.LTE: np.less_equal,
    exp.GT: np.greater,
    exp.GTE: np.greater_equal,
}
_INT64_BITS = 63

# Computes an array, or one value for all rows, from the columns of a batch.
Compute = Callable[[pa.RecordBatch], Any]
Kinds = Mapping[str, pa.DataType]


@dataclass(frozen=True, slots=True)
class Mask:
    """A condition.

    Args:
        text: It, as SQL: conditions of one text are the same.
        columns: The columns that it reads.
        of: Which rows of a batch meet it.

    """

    text: str
    columns: frozenset[str]
    of: Compute


def mask(condition: exp.Expr, kinds: Kinds) -> Mask | None:
    """How to test a condition; None where that is left to DuckDB."""
    test = _tested(condition, kinds)
    if test is None:
        return None
    columns = frozenset(column.name for column in condition.find_all(exp.Column))
    return Mask(condition.sql("duckdb"), columns, test)


def is_whole(kind: pa.DataType) -> bool:
    """Whether values are whole numbers that fit into 64 bits with a sign."""
    return bool(pa.types.is_integer(kind) and not pa.types.is_uint64(kind))


def flags(value: exp.Expr, kinds: Kinds) -> tuple[list[tuple[int, Mask]], int] | None:
    """A sum of `CASE WHEN condition THEN number ELSE 0 END` and whole numbers.

    Returns:
        The numbers with their conditions, and what is added in any case.

    """
    value = value.unnest()
    if isinstance(value, exp.Cast):
        value = value.this.unnest()
    if isinstance(value, exp.Add):
        parts = [flags(side, kinds) for side in (value.this, value.expression)]
        if parts[0] is None or parts[1] is None:
            return None
        return parts[0][0] + parts[1][0], parts[0][1] + parts[1][1]
    number = _literal(value)
    if number is not None:
        return [], number
    case = conditional(value)
    if case is None or _literal(value.args.get("default")) != 0:
        return None
    test, then = mask(case[0], kinds), _literal(case[1])
    return None if test is None or then is None else ([(then, test)], 0)


def conditional(value: exp.Expr) -> tuple[exp.Expr, exp.Expr] | None:
    """The condition and the result of a CASE that has just one of them."""
    if not isinstance(value, exp.Case) or value.this is not None or len(value.args["ifs"]) != 1:
        return None
    (only,) = value.args["ifs"]
    return only.this, only.args["true"]


def _tested(condition: exp.Expr, kinds: Kinds) -> Compute | None:  # noqa: PLR0911 - one a kind
    condition = condition.unnest()
    if isinstance(condition, exp.Not):
        return _negated(condition.this.unnest(), kinds)
    if isinstance(condition, exp.And | exp.Or):
        one, other = (_tested(side, kinds) for side in (condition.this, condition.expression))
        if one is None or other is None:
            return None
        combine = np.logical_and if isinstance(condition, exp.And) else np.logical_or
        return _of_two(combine, one, other)
    if isinstance(condition, exp.Between) and not condition.args.get("symmetric"):
        low, high = condition.args["low"], condition.args["high"]
        bounds = exp.and_(
            exp.GTE(this=condition.this.copy(), expression=low.copy()),
            exp.LTE(this=condition.this.copy(), expression=high.copy()),
        )
        return _tested(bounds, kinds)
    if type(condition) not in COMPARED:
        return None
    assert isinstance(condition, exp.Binary)
    if condition.find(exp.Column) is None:
        return None
    if isinstance(condition, exp.EQ) and _literal(condition.expression) == 0:
        multiples = _multiples(condition.this.unnest(), kinds)
        if multiples is not None:
            return multiples
    one, other = (_number(side, kinds) for side in (condition.this, condition.expression))
    return None if one is None or other is None else _of_two(COMPARED[type(condition)], one, other)


def _negated(condition: exp.Expr, kinds: Kinds) -> Compute | None:
    if isinstance(condition, exp.Is) and isinstance(condition.expression, exp.Null):
        # No value is null.
        known = isinstance(condition.this, exp.Column) and condition.this.name in kinds
        return (lambda _: True) if known else None
    test = _tested(condition, kinds)
    return None if test is None else (lambda rows: np.logical_not(test(rows)))


def _number(value: exp.Expr, kinds: Kinds) -> Compute | None:
    value = value.unnest()
    if isinstance(value, exp.Mod):
        parts = _divided(value, kinds)
        return None if parts is None else (lambda rows: _remainder(parts[0](rows), parts[1]))
    if isinstance(value, exp.Column):
        name = value.name
        if name not in kinds or not is_whole(kinds[name]):
            return None
        return lambda rows: rows.column(name).to_numpy()
    number = _literal(value)
    return None if number is None else (lambda _: number)


def _literal(value: exp.Expr | None) -> int | None:
    """The whole number that a literal is, if it fits."""
    if isinstance(value, exp.Neg):
        number = _literal(value.this)
        return None if number is None else -number
    if not isinstance(value, exp.Literal) or value.is_string or not value.name.isdigit():
        return None
    number = int(value.name)
    return number if number.bit_length() <= _INT64_BITS else None


def _of_two(combine: Callable[[Any, Any], Any], one: Compute, other: Compute) -> Compute:
    return lambda rows: combine(one(rows), other(rows))


def _divided(value: exp.Mod, kinds: Kinds) -> tuple[Compute, int] | None:
    """The column whose remainder is asked for, and the divisor."""
    column, divisor = value.this.unnest(), _literal(value.expression.unnest())
    number = _number(column, kinds) if isinstance(column, exp.Column) else None
    # Divided by 0 all is null, and by -1 the least number is refused.
    return None if number is None or divisor is None or divisor <= 0 else (number, divisor)


def _multiples(value: exp.Expr, kinds: Kinds) -> Compute | None:
    """Which numbers have no remainder: whatever their sign is, that is cheaper to say."""
    parts = _divided(value, kinds) if isinstance(value, exp.Mod) else None
    if parts is None:
        return None
    number, divisor = parts
    return lambda rows: _whole_part(numbers := _as_int64(number(rows)), divisor) == numbers


def _remainder(values: Any, divisor: int) -> Any:
    """What is left of whole numbers when they are divided, with their sign, as in DuckDB."""
    numbers = _as_int64(values)
    # Where the whole part has wrapped around, the difference does it back.
    rest = numbers - _whole_part(numbers, divisor)
    is_negative = numbers < 0
    if is_negative.any():
        rest[is_negative & (rest > 0)] -= divisor
    return rest


def _whole_part(numbers: Any, divisor: int) -> Any:
    """The greatest multiple that is no more than each number; it wraps around below the least.

    A division by one number is a multiplication; numpy knows that for whole quotients alone.
    """
    found = numbers // divisor
    found *= divisor
    return found


def _as_int64(values: Any) -> Any:
    return np.asarray(values, dtype=np.int64)

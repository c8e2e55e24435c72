"""Temporal filters: conditions that compare a time of a row with `now()`.

`ts > now() - INTERVAL '1 hour'` holds for a row from the beginning until an hour after `ts`. So
such a condition is a moment until which, or from which on, a row is in the view, and the rows come
and go by themselves (`plan.nodes.TemporalFilter`). It must be a condition of its own in WHERE or
HAVING: a comparison, or BETWEEN, with `now()` on one side, alone or shifted by a fixed interval,
and a time of the row on the other. Anywhere else `now()` is refused: it would answer differently
each time it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.schema.duration import parse_duration
from headwater.sql.decline import Decline
from headwater.sql.functions import name_of
from headwater.sql.places import place_of

NOW = frozenset({"now", "current_timestamp", "get_current_timestamp", "transaction_timestamp"})
_MOST = (1 << 63) - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")
_CAST_TO_TIME = ("DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS")
# For `time <op> now`: whether it bounds from above, and what is added to the bound to be excluded.
_OPERATORS: dict[type[exp.Expr], tuple[bool, int]] = {
    exp.GT: (True, 0),
    exp.GTE: (True, 1),
    exp.LT: (False, 1),
    exp.LTE: (False, 0),
}
_FLIPPED: dict[type[exp.Expr], type[exp.Expr]] = {
    exp.GT: exp.LT,
    exp.GTE: exp.LTE,
    exp.LT: exp.GT,
    exp.LTE: exp.GTE,
}


@dataclass(frozen=True, slots=True)
class Bound:
    """A moment that bounds how long a row is in.

    Args:
        is_until: True: the row is in before the moment; False: from the moment on.
        time: An expression over the row.
        shift_us: The moment is so much after `time`.

    """

    is_until: bool
    time: exp.Expr
    shift_us: int


def is_now(node: exp.Expr) -> bool:
    """Whether the node is a call of `now()` by one of its names."""
    return isinstance(node, exp.Func) and name_of(node) in NOW


def has_now(expression: exp.Expr) -> bool:
    """Whether `now()` is called anywhere in the expression."""
    return any(is_now(node) for node in expression.walk())


def bounds(condition: exp.Expr) -> tuple[list[Bound], list[exp.Expr]]:
    """What a condition with `now()` says of a row, and the parts of it that are plain conditions.

    Raises:
        Decline: It is not a comparison of a time with `now()`.

    """
    condition = condition.unnest()
    if isinstance(condition, exp.And):
        found = [bounds(part) if has_now(part) else ([], [part]) for part in condition.flatten()]
    elif isinstance(condition, exp.Between):
        low, high = condition.args["low"], condition.args["high"]
        first = exp.GTE(this=condition.this.copy(), expression=low.copy())
        last = exp.LTE(this=condition.this.copy(), expression=high.copy())
        found = [bounds(part) if has_now(part) else ([], [part]) for part in (first, last)]
    else:
        found = [([_bound(condition)], [])]
    return [b for some, _ in found for b in some], [p for _, plain in found for p in plain]


def micros(time: exp.Expr, sql_type: str, shift_us: int) -> exp.Expr:
    """The moment `shift_us` after a time, in microseconds since 1970; of an infinite time the end.

    Raises:
        Decline: It is no time.

    """
    if sql_type.upper() in _CAST_TO_TIME:
        time = exp.Cast(this=time, to=exp.DataType.build("TIMESTAMP", dialect="duckdb"))
    elif sql_type.upper() not in _TIMES:
        raise Decline(f"now() is compared with {sql_type}")
    moment = exp.Anonymous(this="epoch_us", expressions=[time.copy()])
    shifted = exp.Add(this=moment, expression=_number(shift_us))
    long_ago = exp.Cast(
        this=exp.Literal.string("1970-01-01"), to=exp.DataType.build("TIMESTAMP", dialect="duckdb")
    )
    is_finite = exp.Anonymous(this="isfinite", expressions=[time.copy()])
    is_after = exp.GT(this=time.copy(), expression=long_ago)
    ends = exp.Case(
        ifs=[exp.If(this=is_after, true=exp.Literal.number(_MOST))], default=_number(-_MOST)
    )
    return exp.Case(ifs=[exp.If(this=is_finite, true=shifted)], default=ends)


def placed(query: exp.Query) -> frozenset[int]:
    """The ids of the nodes for `now()` that stand where they may."""
    found: set[int] = set()
    for select in query.find_all(exp.Select):
        for condition in _conditions(select):
            nows = [node for node in condition.walk() if is_now(node)]
            if nows and condition.find(exp.Query) is None:
                try:
                    bounds(condition)
                except Decline:
                    continue
                found |= {id(node) for node in nows}
    return frozenset(found)


def set_aside(select: exp.Select) -> None:
    """Move the temporal conditions of a SELECT over one relation into a query of their own below.

    The rest of the block can then be computed again from the rows that are in.
    """
    source, where = select.args.get("from_"), select.args.get("where")
    if source is None or where is None or select.args.get("joins"):
        return
    table = source.this
    if not isinstance(table, exp.Table) or any(table.args.get(k) for k in ("sample", "pivots")):
        return
    parts = list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]
    temporal = [part for part in parts if has_now(part) and part.find(exp.Query) is None]
    if not temporal:
        return
    rest = [part for part in parts if not any(part is taken for taken in temporal)]
    inner = exp.select("*").from_(table.copy()).where(*(part.copy() for part in temporal))
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier(table.name))
    source.set("this", exp.Subquery(this=inner, alias=alias.copy()))
    select.set("where", exp.Where(this=exp.and_(*rest, copy=True)) if rest else None)


def refuse_left(query: exp.Query, origin: Place | None) -> None:
    """Refuse a block that would be computed again, and still calls `now()`.

    Raises:
        DefinitionError: It does.

    """
    for node in query.walk():
        if is_now(node):
            raise DefinitionError(
                f"{name_of(node)} is asked in a part of the query that is computed as a whole",
                place=place_of(node, origin),
                hint="make the rows that are in a view of their own: "
                "SELECT * FROM topic WHERE ts > now() - INTERVAL '1 hour'",
            )


def at(query: exp.Query, now_us: int) -> exp.Query:
    """The query as it is at one moment: `now()` is a constant."""
    moment = (_EPOCH + timedelta(microseconds=now_us)).isoformat(sep=" ")
    zoned = exp.DataType.build("TIMESTAMPTZ", dialect="duckdb")

    def rule(node: exp.Expr) -> exp.Expr:
        return exp.Cast(this=exp.Literal.string(moment), to=zoned) if is_now(node) else node

    result = query.transform(rule)
    assert isinstance(result, exp.Query)
    return result


def _conditions(select: exp.Select) -> Iterator[exp.Expr]:
    for clause in ("where", "having"):
        node = select.args.get(clause)
        if node is not None:
            condition = node.this.unnest()
            yield from condition.flatten() if isinstance(condition, exp.And) else [condition]


def _bound(condition: exp.Expr) -> Bound:
    """What one comparison says."""
    kind = type(condition)
    if kind not in _OPERATORS:
        raise Decline("of now() outside a comparison")
    time, now = condition.this, condition.expression
    if has_now(time):
        time, now, kind = now, time, _FLIPPED[kind]
    if has_now(time) or time.find(exp.Column) is None:
        raise Decline("of now() compared with itself")
    is_until, excluded_us = _OPERATORS[kind]
    return Bound(is_until, time.copy(), excluded_us - _shift(now))


def _shift(expression: exp.Expr) -> int:
    """By how much an expression is after `now()`."""
    expression = expression.unnest()
    if is_now(expression):
        return 0
    if isinstance(expression, exp.Cast) and expression.to.sql("duckdb").upper() in _TIMES:
        return _shift(expression.this)
    if isinstance(expression, exp.Add | exp.Sub):
        first, second = expression.this, expression.expression
        if isinstance(expression, exp.Add) and has_now(second):
            first, second = second, first
        sign = 1 if isinstance(expression, exp.Add) else -1
        return _shift(first) + sign * _interval(second)
    raise Decline("of what is computed from now()")


def _interval(expression: exp.Expr) -> int:
    """A fixed length of time, in microseconds."""
    expression = expression.unnest()
    if isinstance(expression, exp.Neg):
        return -_interval(expression.this)
    if not isinstance(expression, exp.Interval) or not isinstance(expression.this, exp.Literal):
        raise Decline("of now() shifted by something else than an interval")
    unit = expression.args.get("unit")
    text = f"{expression.this.name} {unit.name.lower() if unit is not None else ''}"
    try:
        return parse_duration(text.strip())
    except DefinitionError:
        raise Decline("of now() shifted by no fixed length of time") from None


def _number(value: int) -> exp.Expr:
    number = exp.Literal.number(abs(value))
    return exp.paren(exp.Neg(this=number)) if value < 0 else number


def combined(moments: Sequence[exp.Expr], *, is_until: bool) -> exp.Expr:
    """The first of several ends, or the last of several beginnings."""
    if len(moments) == 1:
        return moments[0]
    return exp.Anonymous(this="least" if is_until else "greatest", expressions=list(moments))

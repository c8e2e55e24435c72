"""The part of a DEFINE condition that looks back at the rows matched before, as a function.

Such a condition is asked row by row while rows are matched, so it is made of plain functions over
Python values, with DuckDB's meaning of null, NaN and mixed numbers. The planner lets only a few
operators through (`plan.patterns.COMBINING`) and checks that their sides are of one kind
(`sql.match_types`); everything else was computed by DuckDB for each row before.

What the rows so far say is kept in *slots*, one tuple for all readings: the places of the last or
first rows of some symbols, a count, a sum. A slot is never changed but replaced, so a way that
turns out wrong leaves nothing behind.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from decimal import Context, Decimal
from typing import Any

from sqlglot import exp

from headwater.plan.patterns import Pick, Reading

Slots = tuple[Any, ...]
Columns = dict[str, list[Any]]
Value = Callable[[Slots, int], Any]
Step = Callable[[Any, int], Any]

_EXACT = Context(prec=100)


class Readings:
    """The slots of a clause.

    Args:
        readings: What the conditions read.
        columns: Gets the values of each epoch's rows, by name.

    """

    def __init__(self, readings: Sequence[Reading], columns: Columns) -> None:
        self._columns = columns
        self._kept = [reading for reading in readings if reading.pick is not Pick.CURRENT]
        self.start: Slots = tuple(
            () if reading.pick in (Pick.FIRST, Pick.LAST) else 0 if _is_count(reading) else None
            for reading in self._kept
        )
        self.values: dict[str, Value] = {reading.name: self._value(reading) for reading in readings}

    def taking(self, symbol: str) -> Callable[[Slots, int], Slots] | None:
        """The slots after a row was taken by a symbol; None where they stay as they are."""
        steps = [
            (slot, self._step(reading))
            for slot, reading in enumerate(self._kept)
            if not reading.symbols or symbol in reading.symbols
        ]
        if not steps:
            return None

        def take(slots: Slots, row: int) -> Slots:
            changed = list(slots)
            for slot, step in steps:
                changed[slot] = step(changed[slot], row)
            return tuple(changed)

        return take

    def _value(self, reading: Reading) -> Value:
        columns, name, nth = self._columns, reading.column or "", reading.offset
        if reading.pick is Pick.CURRENT:
            return lambda _, row: columns[name][row]
        slot = self._kept.index(reading)
        if reading.pick in (Pick.FIRST, Pick.LAST):

            def placed(slots: Slots, _: int) -> Any:
                places = slots[slot]
                return columns[name][places[nth]] if len(places) > nth else None

            return placed
        return lambda slots, _: slots[slot]

    def _step(self, reading: Reading) -> Step:
        columns, name, length = self._columns, reading.column, reading.offset + 1
        if reading.pick is Pick.LAST:
            return lambda places, row: (row, *places[: length - 1])
        if reading.pick is Pick.FIRST:
            return lambda places, row: places if len(places) == length else (*places, row)
        if name is None:
            return lambda count, _: count + 1
        if reading.pick is Pick.COUNT:
            return lambda count, row: count + (columns[name][row] is not None)
        fold = {Pick.SUM: _added, Pick.MIN: _least, Pick.MAX: _greatest}[reading.pick]

        def folded(total: Any, row: int) -> Any:
            value = columns[name][row]
            return total if value is None else value if total is None else fold(total, value)

        return folded


def compiled(  # noqa: PLR0911 - one for each kind of part
    node: exp.Expr, values: Mapping[str, Value]
) -> Value:
    """A condition as a function of the slots and the row that is tried."""
    if isinstance(node, exp.Column):
        return values[node.name]
    if isinstance(node, exp.Paren):
        return compiled(node.this, values)
    if isinstance(node, exp.Literal | exp.Boolean | exp.Null | exp.Interval):
        constant = _constant(node)
        return lambda *_: constant
    if isinstance(node, exp.And | exp.Or):
        return _logical(node, values)
    if isinstance(node, exp.Between):
        low = exp.GTE(this=node.this.copy(), expression=node.args["low"].copy())
        high = exp.LTE(this=node.this.copy(), expression=node.args["high"].copy())
        return compiled(exp.And(this=low, expression=high), values)
    if isinstance(node, exp.In):
        equals = [exp.EQ(this=node.this.copy(), expression=e.copy()) for e in node.expressions]
        return compiled(exp.or_(*equals, wrap=False), values)
    if isinstance(node, exp.Is):
        return _is(node, values)
    parts = [compiled(part, values) for part in _arguments(node)]
    if type(node) in _LENIENT:
        return _lenient(_LENIENT[type(node)], parts)
    return _strict(_STRICT[type(node)], parts)


def _arguments(node: exp.Expr) -> list[exp.Expr]:
    first = [part for part in (node.args.get("this"), node.args.get("expression")) if part]
    return [*first, *node.args.get("expressions", ())]


def _constant(node: exp.Expr) -> Any:
    if isinstance(node, exp.Null):
        return None
    if isinstance(node, exp.Boolean):
        return node.this
    if isinstance(node, exp.Interval):
        return timedelta(microseconds=int(node.this.name))
    text = node.name
    if node.is_string:
        return text
    if "e" in text.lower():
        return float(text)
    return Decimal(text) if "." in text else int(text)


def _logical(node: exp.Expr, values: Mapping[str, Value]) -> Value:
    left, right = compiled(node.this, values), compiled(node.expression, values)
    decisive = isinstance(node, exp.Or)

    def logical(slots: Slots, row: int) -> Any:
        one = left(slots, row)
        if one is decisive:
            return decisive
        other = right(slots, row)
        if other is decisive:
            return decisive
        return None if one is None or other is None else not decisive

    return logical


def _is(node: exp.Is, values: Mapping[str, Value]) -> Value:
    value, wanted = compiled(node.this, values), _constant(node.expression)
    return lambda slots, row: value(slots, row) is wanted


def _strict(function: Callable[..., Any], parts: Sequence[Value]) -> Value:
    """Null where an argument is."""
    if len(parts) == 1:
        (only,) = parts

        def one(slots: Slots, row: int) -> Any:
            value = only(slots, row)
            return None if value is None else function(value)

        return one
    first, second = parts

    def two(slots: Slots, row: int) -> Any:
        left = first(slots, row)
        if left is None:
            return None
        right = second(slots, row)
        return None if right is None else function(left, right)

    return two


def _lenient(function: Callable[[list[Any]], Any], parts: Sequence[Value]) -> Value:
    """Of the arguments that are not null; null where none is."""

    def value(slots: Slots, row: int) -> Any:
        given = [v for part in parts if (v := part(slots, row)) is not None]
        return function(given) if given else None

    return value


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Two numbers as DuckDB compares and adds them: a float makes the other one a float."""
    if isinstance(left, float) and not isinstance(right, float):
        return left, float(right)
    if isinstance(right, float) and not isinstance(left, float):
        return float(left), right
    return left, right


def _compared(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A comparison in which NaN equals itself and is larger than all else."""

    def compare(left: Any, right: Any) -> bool:
        if type(left) is not type(right):
            left, right = _alike(left, right)
        if left != left or right != right:  # noqa: PLR0124 - only NaN is
            return test(left != left, right != right)  # noqa: PLR0124
        return test(left, right)

    return compare


def _arithmetic(name: str) -> Callable[[Any, Any], Any]:
    plain = {"add": operator.add, "subtract": operator.sub, "multiply": operator.mul}[name]
    exact = getattr(_EXACT, name)

    def compute(left: Any, right: Any) -> Any:
        left, right = _alike(left, right) if type(left) is not type(right) else (left, right)
        is_exact = isinstance(left, Decimal) or isinstance(right, Decimal)
        return exact(left, right) if is_exact else plain(left, right)

    return compute


def _divided(left: Any, right: Any) -> Any:
    """DuckDB's `/`, which is over DOUBLE."""
    left, right = float(left), float(right)
    if right == 0:
        return math.nan if left == 0 or math.isnan(left) else math.copysign(math.inf, left)
    return left / right


def _is_count(reading: Reading) -> bool:
    return reading.pick is Pick.COUNT


_added = _arithmetic("add")
_less = _compared(operator.lt)


def _least(left: Any, right: Any) -> Any:
    return right if _less(right, left) else left


def _greatest(left: Any, right: Any) -> Any:
    return right if _less(left, right) else left


def _fold(step: Callable[[Any, Any], Any]) -> Callable[[list[Any]], Any]:
    def fold(values: list[Any]) -> Any:
        result = values[0]
        for value in values[1:]:
            result = step(result, value)
        return result

    return fold


_STRICT: dict[type[exp.Expr], Callable[..., Any]] = {
    exp.EQ: _compared(operator.eq),
    exp.NEQ: _compared(operator.ne),
    exp.GT: _compared(operator.gt),
    exp.GTE: _compared(operator.ge),
    exp.LT: _less,
    exp.LTE: _compared(operator.le),
    exp.Add: _added,
    exp.Sub: _arithmetic("subtract"),
    exp.Mul: _arithmetic("multiply"),
    exp.Div: _divided,
    exp.Neg: operator.neg,
    exp.Abs: abs,
    exp.Not: operator.not_,
}
_LENIENT: dict[type[exp.Expr], Callable[[list[Any]], Any]] = {
    exp.Coalesce: operator.itemgetter(0),
    exp.Greatest: _fold(_greatest),
    exp.Least: _fold(_least),
}

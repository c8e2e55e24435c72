"""Aggregate functions that merge, in terms of counts, sums, extremes and values that do.

An average is a sum over a count, a FILTER is a CASE in the argument, `bool_and` is a least value. A
function that keeps no partial result is a `NotMergeable`, and whoever asked chooses another node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import (
    Merge,
    Node,
    Partial,
)
from headwater.schema.schema import Schema
from headwater.sql import by_value, moments
from headwater.sql.arguments import Arguments, DistinctValues, aggregate, case, is_known
from headwater.sql.build import (
    column,
    fresh,
)
from headwater.sql.functions import name_of

if TYPE_CHECKING:
    from headwater.sql.planner import Planner

_FLOATING = ("FLOAT", "DOUBLE", "REAL")
_SUMMED = ("INT", "DECIMAL", *_FLOATING)
_COMPARED = (
    "INT", "DECIMAL", *_FLOATING, "VARCHAR", "DATE", "TIME", "BOOLEAN", "UUID", "BLOB",
)  # fmt: skip

# Those for which DISTINCT makes a difference that can be kept, and those for which it makes none.
_DISTINCT = ("count", "sum", "avg", "mean", "min", "max")
_BOOLEAN, _INTEGER, _DOUBLE = (
    exp.DataType.build(name, dialect="duckdb") for name in ("BOOLEAN", "INTEGER", "DOUBLE")
)


class NotMergeable(Exception):  # noqa: N818 - it steers the choice of the node, and goes no further
    """A function that keeps no partial result; the reason is for `explain`."""


class Merging:
    """Builds an `Aggregate` and the expressions over it."""

    def __init__(
        self, planner: Planner, node: Node, group: list[exp.Expr], *, append_only: bool
    ) -> None:
        self._planner = planner
        self._input = node
        self._group = group
        self._append_only = append_only
        self._arguments = Arguments(planner, node, group)
        self._distinct: dict[str, list[DistinctValues]] = {}
        self._names: dict[str, str] = {}
        self._plain: list[Partial] = []
        self._of_values: dict[DistinctValues, list[Partial]] = {}
        self._in_order: dict[str, tuple[Arguments, list[Partial]]] = {}
        self._is_distinct = False
        self._is_windowed = any(
            isinstance(key, exp.Column) and by_value.is_of_window(node, key.name) for key in group
        )
        self._rules: dict[str, Callable[[exp.Expr, exp.Expr | None], exp.Expr]] = {
            "count": self._count,
            "count_star": self._count,
            "sum": self._sum,
            "min": self._extreme,
            "max": self._extreme,
            "avg": self._average,
            "mean": self._average,
            "count_if": self._count_if,
            "countif": self._count_if,
            "bool_and": self._every,
            "bool_or": self._every,
            "logical_and": self._every,
            "logical_or": self._every,
            "bit_or": self._bits,
            "bit_and": self._bits,
            "quantile_disc": self._quantile,
            "histogram": self._histogram,
            **dict.fromkeys(moments.NAMES, self._spread),
        }

    @property
    def keys(self) -> list[exp.Expr]:
        """The key columns."""
        return self._arguments.keys

    def result(self, call: exp.Expr) -> exp.Expr:
        """An aggregate call as an expression over the aggregate's columns.

        Raises:
            NotMergeable: It keeps no partial result.

        """
        condition = None
        function = call
        if isinstance(function, exp.Filter):
            condition = function.expression.this
            function = function.this
        name = name_of(function)
        rule = self._rules.get(name)
        if rule is None:
            name = name_of(_unwrapped(function))
            raise NotMergeable(f"{name or 'this aggregate'} keeps no partial result")
        argument = function.args.get("this")
        if isinstance(argument, exp.Distinct):
            function = _without_distinct(function, name)
            # The least of the distinct values is the least of all values.
            self._is_distinct = name not in ("min", "max")
        elif isinstance(argument, exp.Order) or (_has_more(function) and name != "quantile_disc"):
            raise NotMergeable(f"{name} with an order or more arguments keeps no partial result")
        try:
            return rule(function, condition)
        finally:
            self._is_distinct = False

    def node(self) -> Node:
        """The aggregate over its map."""
        branches = []
        if self._plain or not (self._of_values or self._in_order):
            branches.append(self._aggregate(self._arguments.node(), self._plain))
        for values, partials in self._of_values.items():
            only_counts = all(partial.merge is Merge.COUNT for partial in partials)
            rows = values.node(keeps_groups=not self._plain, only_counts=only_counts)
            branches.append(self._aggregate(rows, partials))
        for arguments, partials in self._in_order.values():
            rows = arguments.node()
            if self._plain:
                rows = self._planner.build.filter(
                    rows, [is_known(column(partials[0].argument or ""))]
                )
            branches.append(self._aggregate(rows, partials))
        return branches[0] if len(branches) == 1 else self._together(branches)

    def _aggregate(self, rows: Node, partials: list[Partial]) -> Node:
        keys = tuple(key.name for key in self.keys)
        return aggregate(self._planner, rows, keys, tuple(partials))

    def _together(self, branches: list[Node]) -> Node:
        """The results of all branches in one row for each group."""
        keys = [key.name for key in self.keys]
        results = {c.name: c for b in branches for c in b.schema if c.name not in keys}
        target = Schema((*(branches[0].schema[key] for key in keys), *results.values()))
        build = self._planner.build
        united = build.union([build.widened(b, target) for b in branches], of_same_rows=True)
        return self._aggregate(united, [Partial(name, Merge.ONLY, name) for name in results])

    def _partial(
        self,
        merge: Merge,
        argument: exp.Expr | None,
        condition: exp.Expr | None = None,
        *,
        fraction: str | None = None,
    ) -> exp.Expr:
        """The column of a partial result; one for each function and argument."""
        if self._is_distinct:
            assert argument is not None
            values = self._values(argument, condition)
            name, partials = values.name(condition), self._of_values.setdefault(values, [])
            return self._result(partials, merge, name, fraction)
        if argument is None and condition is not None:
            argument = exp.Literal.number(1)
        name_of_argument = None
        if argument is not None:
            name_of_argument = self._arguments.name(case(condition, argument), "argument")
        return self._result(self._plain, merge, name_of_argument, fraction)

    def _result(
        self, partials: list[Partial], merge: Merge, argument: str | None, fraction: str | None
    ) -> exp.Expr:
        for known in partials:
            if (known.merge, known.argument, known.fraction) == (merge, argument, fraction):
                break
        else:
            base = merge.value if argument is None else f"{merge.value}_{argument}"
            in_order = (some for _, some in self._in_order.values())
            all_ = (self._plain, *self._of_values.values(), *in_order)
            taken = [p.name for some in all_ for p in some]
            name = fresh(base, [*(key.name for key in self.keys), *taken])
            known = Partial(name, merge, argument, fraction)
            partials.append(known)
        if not self._is_distinct or merge is not Merge.COUNT:
            return column(known.name)
        # A group without any value may have no row among the values.
        return exp.Coalesce(this=column(known.name), expressions=[exp.Literal.number(0)])

    def _values(self, value: exp.Expr, condition: exp.Expr | None) -> DistinctValues:
        """Where the distinct values of an expression are found, under that condition too."""
        text = value.sql("duckdb")
        if condition is not None and _is(self._arguments.type_of(value), _FLOATING):
            # What is not one of several conditions is never withdrawn, and can be summed up.
            text = case(condition, value).sql("duckdb")
        found = self._distinct.setdefault(text, [])
        known = next((values for values in found if values.has(condition)), None)
        if known is not None:
            return known
        if not found or found[-1].is_full:
            found.append(DistinctValues(self._planner, self._input, self._group, value))
        return found[-1]

    def _count(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        argument = _argument(call)
        if argument is None:
            return self._partial(Merge.COUNT, None, condition)
        is_bounded = self._is_distinct and self._is_windowed
        if is_bounded and by_value.is_small(self._arguments.type_of(argument)):
            # Few enough values to keep with the slices of the windows, and to go with them.
            self._is_distinct = False
            return self._partial(Merge.DISTINCT, argument, condition)
        return self._partial(Merge.COUNT, argument, condition)

    def _quantile(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        """Quantiles of whole numbers are read off the counts by value."""
        argument = _bare(call)
        fractions = by_value.fractions(call.args.get("expression"))
        if fractions is None or not by_value.is_whole(self._arguments.type_of(argument)):
            raise NotMergeable("quantile_disc of this keeps no partial result")
        found = [self._partial(Merge.QUANTILE, argument, condition, fraction=f) for f in fractions]
        if not isinstance(call.args["expression"], exp.Array):
            return found[0]
        is_empty = exp.Is(this=found[0].copy(), expression=exp.null())
        listed = exp.Array(expressions=found)
        return exp.Case(ifs=[exp.If(this=is_empty, true=exp.null())], default=listed)

    def _histogram(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        argument = _bare(call)
        if not by_value.is_counted(self._arguments.type_of(argument)):
            raise NotMergeable("a histogram of this type keeps no partial result")
        return self._partial(Merge.HISTOGRAM, argument, condition)

    def _count_if(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        """DuckDB's count_if is a sum: over nothing but nulls it is null, and not 0."""
        is_true = exp.Cast(this=_bare(call), to=_BOOLEAN.copy())
        return self._partial(Merge.SUM, exp.Cast(this=is_true, to=_INTEGER.copy()), condition)

    def _sum(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        argument = _bare(call)
        found = self._arguments.type_of(argument)
        if found == "BOOLEAN":
            argument = exp.Cast(this=argument, to=_INTEGER.copy())
            found = "INTEGER"
        if not _is(found, _SUMMED):
            raise NotMergeable(f"a sum of {found} keeps no partial result")
        if _is(found, _FLOATING) and not self._append_only:
            raise NotMergeable("a sum of floating numbers cannot take back a row that is withdrawn")
        return self._partial(Merge.SUM, argument, condition)

    def _average(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        if not _is(self._arguments.type_of(_bare(call)), _SUMMED):
            raise NotMergeable("an average of this type keeps no partial result")
        total = self._sum(call, condition)
        count = self._partial(Merge.COUNT, _bare(call), condition)
        total = exp.Cast(this=total, to=_DOUBLE.copy())
        return exp.paren(exp.Div(this=total, expression=count))

    def _spread(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        argument, name = _bare(call), name_of(call)
        if not moments.is_exact(self._arguments.type_of(argument)):
            raise NotMergeable(f"{name} of this type keeps no partial result")
        count = self._partial(Merge.COUNT, argument, condition)
        total = self._partial(Merge.SUM, argument, condition)
        squares = self._partial(Merge.SUM, moments.square(argument), condition)
        return moments.spread(name, count, total, squares)

    def _extreme(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        argument = _bare(call)
        found = self._arguments.type_of(argument)
        name = name_of(call)
        if not _is(found, _COMPARED):
            raise NotMergeable(f"{name} of {found} keeps no partial result")
        if self._append_only:
            return self._partial(Merge(name), argument, condition)
        value = case(condition, argument)
        fresh_ones = Arguments(self._planner, self._input, self._group), list[Partial]()
        arguments, partials = self._in_order.setdefault(value.sql("duckdb"), fresh_ones)
        return self._result(partials, Merge(name), arguments.name(value, "argument"), None)

    def _bits(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        """The bits that all have are those that none has not."""
        argument = _bare(call)
        name = name_of(call)
        if not (self._append_only and by_value.is_whole(self._arguments.type_of(argument))):
            raise NotMergeable(f"{name} of this cannot take back a row that is withdrawn")
        if name == "bit_or":
            return self._partial(Merge.BIT_OR, argument, condition)
        turned = exp.BitwiseNot(this=exp.paren(argument.copy()))
        return exp.BitwiseNot(this=self._partial(Merge.BIT_OR, turned, condition))

    def _every(self, call: exp.Expr, condition: exp.Expr | None) -> exp.Expr:
        """bool_and is "none was false", bool_or is "one was true"; null over no value."""
        argument = _bare(call)
        is_and = name_of(call) in ("bool_and", "logical_and")
        told = exp.Not(this=exp.paren(argument.copy())) if is_and else argument
        known = self._partial(Merge.COUNT, argument, condition)
        hits = self._partial(Merge.COUNT, case(told, exp.Literal.number(1)), condition)
        comparison = exp.EQ if is_and else exp.GT
        decided = comparison(this=hits, expression=exp.Literal.number(0))
        return exp.paren(case(exp.GT(this=known, expression=exp.Literal.number(0)), decided))


def _unwrapped(call: exp.Expr) -> exp.Expr:
    while isinstance(call, exp.IgnoreNulls | exp.RespectNulls | exp.WithinGroup):
        call = call.this
    return call


def _without_distinct(call: exp.Expr, name: str) -> exp.Expr:
    """The call over its argument alone, when all its rows may be seen once each."""
    values = call.this.expressions
    if name not in _DISTINCT or len(values) != 1 or _has_more(call):
        raise NotMergeable(f"{name} with DISTINCT keeps no partial result")
    copy = call.copy()
    copy.set("this", values[0].copy())
    return copy


def _argument(call: exp.Expr) -> exp.Expr | None:
    """The argument of a count; None for `count(*)` and `count()`."""
    if isinstance(call, exp.Anonymous):
        return call.expressions[0] if call.expressions else None
    argument = call.args.get("this")
    return None if argument is None or isinstance(argument, exp.Star) else argument


def _bare(call: exp.Expr) -> exp.Expr:
    """The one argument."""
    return call.expressions[0] if isinstance(call, exp.Anonymous) else call.this


def _has_more(call: exp.Expr) -> bool:
    """Whether the call has more than one argument."""
    if isinstance(call, exp.Anonymous):
        return len(call.expressions) > 1
    values = [v for k, v in call.args.items() if k not in ("this", "big_int", "order") and v]
    return bool(values)


def _is(sql_type: str, words: tuple[str, ...]) -> bool:
    """Whether a type is one of these; of the INTs, not INTERVAL; no lists, structs or maps."""
    if any(sign in sql_type for sign in ("[", "STRUCT", "MAP", "INTERVAL", "UNION", "POINT")):
        return False
    return any(word in sql_type for word in words)

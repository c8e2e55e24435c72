"""Rewrite: window functions that look at their neighbours, as `Over` nodes.

A function is taken when it looks at a bounded number of rows or length of time around each row, or
runs from the start of its partition and can go on from the result of the row before. Functions of
equal PARTITION BY and ORDER BY share a node. A running average is a running sum over a running
count. What is left is recomputed by partition (`ranks`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Node, Order, Over, OverCall, Reach
from headwater.schema.types import Column, DataType
from headwater.sql.build import INPUT, Projection, column, column_names, fresh, identifier, nullable
from headwater.sql.decline import Decline
from headwater.sql.frames import frame_reach, is_range_of_values, is_rows, lag_reach
from headwater.sql.functions import name_of
from headwater.sql.ties import ORDER_SENSITIVE

if TYPE_CHECKING:
    from headwater.sql.planner import Planner
    from headwater.sql.select import Block

_NUMBERING = (exp.RowNumber, exp.Rank, exp.DenseRank)
_VALUES = (exp.FirstValue, exp.LastValue, exp.NthValue, exp.First, exp.Last)
# Aggregates that can go on from the result of the row before.
_RUNNING = (exp.Count, exp.Sum, exp.Avg, exp.Min, exp.Max, exp.LogicalAnd, exp.LogicalOr)
_SUMMED = ("INT", "DECIMAL", "FLOAT", "DOUBLE", "BOOLEAN")
_EXTREMES = ("min", "max", "bool_and", "bool_or")
# Aggregates whose result does not depend on the order of the rows of their frame.
_FRAMED = frozenset(
    (*_EXTREMES, "count", "count_star", "sum", "avg", "mean", "count_if", "bit_and", "bit_or",
     "bit_xor", "stddev", "stddev_samp", "stddev_pop", "variance", "var_samp", "var_pop", "median",
     "logical_and", "logical_or")
)  # fmt: skip
_DOUBLE = exp.DataType.build("DOUBLE", dialect="duckdb")


def plan(
    planner: Planner, block: Block, windows: list[exp.Window], ties: list[exp.Expr]
) -> tuple[dict[str, exp.Expr], list[exp.Window]]:
    """Put `Over` nodes on the block's rows.

    Args:
        windows: The block's window functions.
        ties: What tells rows apart that an order does not.

    Returns:
        By the text of each function that was taken what stands for it now, and the functions that
        were not. The block's own columns are still there.

    """
    step = _Step(planner, block, ties)
    left = []
    for window in windows:
        try:
            step.take(window)
        except Decline:
            left.append(window)
    if step.results:
        block.node = step.node()
    return step.results, left


@dataclass(slots=True)
class _Group:
    """The functions of one node."""

    partition: tuple[str, ...]
    order: tuple[Order, ...]
    calls: dict[str, OverCall]


class _Step:
    """Collects columns and calls, then builds the nodes."""

    def __init__(self, planner: Planner, block: Block, ties: list[exp.Expr]) -> None:
        self._planner = planner
        self._input = block.node
        needed = dict.fromkeys(name for e in block.expressions for name in column_names(e))
        self._projections: list[Projection] = [(name, column(name)) for name in needed]
        self._names = {e.sql("duckdb"): name for name, e in self._projections}
        self._taken = [*block.node.schema.names]
        self._ties = ties
        self.groups: dict[tuple[object, ...], _Group] = {}
        self.results: dict[str, exp.Expr] = {}

    def take(self, window: exp.Window) -> None:
        """Take a function into a group.

        Raises:
            Decline: It is not one of those that look at their neighbours.

        """
        order = window.args.get("order")
        items = list(order.expressions) if order is not None else []
        if window.find(exp.Collate) or not (items or self._ties):
            raise Decline("of its order")
        only = self._type(items[0].this) if len(items) == 1 else None
        reach = _reach(window, only)
        _check(window, reach, has_order=bool(items))
        if reach is None and isinstance(_inner(window.this), exp.Sum | exp.Avg):
            self._check_sum(_inner(window.this).this)
        group = self._group(window, items)
        self.results[window.sql("duckdb")] = self._result(window, reach, group)

    def node(self) -> Node:
        """The rows, and a node for each group on top of them."""
        ties = tuple(dict.fromkeys(self._column(tie, "tie") for tie in self._ties))
        node = self._planner.build.map(self._input, self._projections)
        for group in self.groups.values():
            if group.calls:
                node = self._over(node, group, ties)
        return node

    def _over(self, node: Node, group: _Group, ties: tuple[str, ...]) -> Node:
        calls = tuple(group.calls.values())
        order = exp.Order(expressions=[exp.Ordered(this=column(o.column)) for o in group.order])
        asked = [
            exp.alias_(
                exp.Window(
                    this=c.function.copy(), order=order.copy() if group.order else None, spec=c.spec
                ),
                identifier(c.name),
            )
            for c in calls
        ]
        query = exp.select(*asked).from_(exp.Table(this=identifier(INPUT)))
        described = self._planner.build.ask(query, {INPUT: node.schema})
        added = [Column(c.name, found.type) for c, found in zip(calls, described, strict=True)]
        schema = nullable((*node.schema, *added))
        return Over(node, group.partition, group.order, ties, calls, schema)

    def _group(self, window: exp.Window, items: list[exp.Expr]) -> _Group:
        by = window.args.get("partition_by") or ()
        partition = tuple(dict.fromkeys(self._column(e, "partition") for e in by))
        order = tuple(
            Order(
                self._column(item.this, "order_by"),
                bool(item.args.get("desc")),
                bool(item.args.get("nulls_first")),
            )
            for item in items
        )
        return self.groups.setdefault((partition, order), _Group(partition, order, {}))

    def _result(self, window: exp.Window, reach: Reach | None, group: _Group) -> exp.Expr:
        """What stands for the function: a column, or a quotient of two."""
        function = window.this
        if reach is None and name_of(_inner(function)) in ("avg", "mean"):
            total = self._call(window, _renamed(function, exp.Sum), reach, group)
            count = self._call(window, _renamed(function, exp.Count), reach, group)
            total = exp.Cast(this=total, to=_DOUBLE.copy())
            return exp.paren(exp.Div(this=total, expression=count))
        return self._call(window, function, reach, group)

    def _call(
        self, window: exp.Window, function: exp.Expr, reach: Reach | None, group: _Group
    ) -> exp.Expr:
        """The column of a function."""
        if reach is None and isinstance(function, exp.Filter):
            function = self._unfiltered(function)
        bound = self._over_columns(function)
        is_total = isinstance(_inner(bound), ORDER_SENSITIVE) or is_rows(window)
        # A function of a row's place looks at no frame, and one of values would bar the ties.
        is_framed = not isinstance(_inner(bound), (exp.Lag, exp.Lead, *_NUMBERING))
        spec = window.args.get("spec") if is_framed else None
        text = f"{bound.sql('duckdb')} {spec.sql('duckdb') if spec is not None else ''}"
        if text not in group.calls:
            name = fresh("result", self._taken)
            self._taken.append(name)
            spec = None if spec is None else spec.copy()
            call = OverCall(name, bound, spec, is_total, reach)  # type: ignore[arg-type]
            group.calls[text] = call
        return column(group.calls[text].name)

    def _over_columns(self, function: exp.Expr) -> exp.Expr:
        """The call with every argument that is computed replaced by a column."""
        copy = function.copy()
        inner = _inner(copy)
        for key in ("this", "default"):
            argument = inner.args.get(key)
            if isinstance(argument, exp.Expr) and not isinstance(argument, exp.Star | exp.Distinct):
                inner.set(key, column(self._column(argument, "argument")))
        if isinstance(copy, exp.Filter):
            condition = copy.expression.this
            copy.expression.set("this", column(self._column(condition, "condition")))
        return copy

    def _unfiltered(self, function: exp.Filter) -> exp.Expr:
        """A FILTER as a CASE in the argument."""
        call, condition = function.this.copy(), function.expression.this
        argument = call.args.get("this")
        if argument is None or isinstance(argument, exp.Star):
            argument = exp.Literal.number(1)
        case = exp.Case(ifs=[exp.If(this=condition.copy(), true=argument.copy())])
        call.set("this", case)
        return call

    def _column(self, expression: exp.Expr, base: str) -> str:
        text = expression.sql("duckdb")
        if text not in self._names:
            name = fresh(base, self._taken)
            self._taken.append(name)
            self._names[text] = name
            self._projections.append((name, expression))
        return self._names[text]

    def _check_sum(self, argument: exp.Expr) -> None:
        """Decline a running sum of what is not a number."""
        name = self._type(argument).sql.upper()
        if "[" in name or "INTERVAL" in name or not any(word in name for word in _SUMMED):
            raise Decline(f"of a running sum of {name}")

    def _type(self, expression: exp.Expr) -> DataType:
        types = self._planner.build.types(self._input.schema, [("x", expression)])
        return types["x"].type


def _reach(window: exp.Window, order: DataType | None) -> Reach | None:
    function = _inner(window.this)
    if isinstance(function, exp.Lag | exp.Lead):
        if isinstance(window.this, exp.IgnoreNulls):
            raise Decline("it looks for the next value that is not null")
        return lag_reach(function)
    if isinstance(function, _NUMBERING):
        return None
    reach = frame_reach(window, order)
    is_last = isinstance(function, exp.LastValue | exp.Last)
    if reach is None and is_last and not isinstance(window.this, exp.IgnoreNulls):
        # The last row of a running frame is the row itself, or one of its peers.
        return Reach()
    return reach


def _check(window: exp.Window, reach: Reach | None, *, has_order: bool) -> None:
    """Decline what is not known to depend on its frame alone, or cannot run.

    Raises:
        Decline: It is such a function.

    """
    function = _inner(window.this)
    name = name_of(function)
    argument = function.args.get("this")
    if isinstance(function, _NUMBERING):
        if not has_order and not isinstance(function, exp.RowNumber):
            raise Decline(f"{name} has no order")
    elif isinstance(argument, exp.Order):
        raise Decline(f"{name} has an order of its own")
    elif isinstance(function, exp.Lag | exp.Lead):
        if not column_names(function):
            raise Decline(f"{name} reads no column")
    elif isinstance(function, _VALUES):
        if is_range_of_values(window) or (reach is None and isinstance(function, exp.NthValue)):
            raise Decline(f"{name} looks at its whole frame")
    elif name not in _FRAMED:
        raise Decline(f"{name} looks at other rows of its partition")
    elif reach is None and (
        not isinstance(function, _RUNNING) or isinstance(argument, exp.Distinct)
    ):
        raise Decline(f"{name} cannot go on from the row before")


def _inner(function: exp.Expr) -> exp.Expr:
    """The call itself."""
    while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        function = function.this
    return function


def _renamed(function: exp.Expr, kind: type[exp.Expr]) -> exp.Expr:
    """The same call of another function."""
    copy = function.copy()
    inner = _inner(copy)
    other = kind(this=inner.this.copy())
    if inner is copy:
        return other
    inner.replace(other)
    return copy

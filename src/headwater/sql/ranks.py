"""Rewrite: window functions of a block.

`QUALIFY row_number() OVER (PARTITION BY ... ORDER BY ...) <= n` keeps the first n rows of each
partition: a `TopN`; so does a bound on `rank()` or `dense_rank()`, with all rows that share a rank.
Functions that look at their neighbours, or run along their partition, are `Over` nodes (`overs`).
Every other one is recomputed, for the partitions that changed where all of these share their
PARTITION BY columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Order, Place
from headwater.schema.schema import Schema
from headwater.sql import overs
from headwater.sql.build import INPUT, Projection, column, column_names, fresh, identifier
from headwater.sql.ties import ORDER_SENSITIVE, complete_window

if TYPE_CHECKING:
    from headwater.sql.planner import Planner
    from headwater.sql.select import Block

_PLACES = {
    exp.RowNumber: Place.ROW_NUMBER,
    exp.Rank: Place.RANK,
    exp.DenseRank: Place.DENSE_RANK,
}


def plan(planner: Planner, block: Block, target: Schema) -> None:
    """Compute the block's window functions; afterwards its expressions are over plain columns."""
    windows = _windows(block)
    bound = _bound(block, windows)
    if bound is not None and _is_top(block, windows[0], bound[0]):
        _top(planner, block, target, windows[0], bound)
        return
    block.node = planner.build.filter(block.node, block.having)
    block.having = []
    ties = _ties(block)
    computed, left = overs.plan(planner, block, windows, ties)
    block.rewrite(lambda e: _rewritten(e, computed))
    if left:
        # Rows that are alike in all but what was said of them so far are told apart by that.
        _recomputed(planner, block, left, [*ties, *computed.values()])
    block.having, block.qualify = block.qualify, []


def _windows(block: Block) -> list[exp.Window]:
    found = {}
    for expression in block.expressions:
        for window in expression.find_all(exp.Window):
            found[window.sql("duckdb")] = window
    return list(found.values())


def _bound(block: Block, windows: list[exp.Window]) -> tuple[exp.Expr, int] | None:
    """The condition that bounds the row number, and the highest number it lets through."""
    if len(windows) != 1 or place_of(windows[0]) is None:
        return None
    for condition in block.qualify:
        limit = bound_of(condition, windows[0])
        if limit is not None and limit > 0:
            return condition, limit
    return None


def place_of(window: exp.Window) -> Place | None:
    """What the window function counts, if it is one by which rows are numbered."""
    return None if window.this.expressions else _PLACES.get(type(window.this))


def bound_of(condition: exp.Expr, number: exp.Expr) -> int | None:
    """N where the condition says that `number` is at most n; 1 for `= 1`; None for all else."""
    mirrored = {exp.GTE: exp.LTE, exp.GT: exp.LT, exp.EQ: exp.EQ}
    kind, left, right = (
        type(condition),
        condition.args.get("this"),
        condition.args.get("expression"),
    )
    if kind in mirrored and _bare(right) == number:
        kind, left, right = mirrored[kind], right, left
    if _bare(left) != number or not isinstance(right, exp.Literal) or right.is_string:
        return None
    if not right.name.isdigit():
        return None
    value = int(right.name)
    if kind is exp.LTE or (kind is exp.EQ and value == 1):
        return value
    return value - 1 if kind is exp.LT else None


def _is_top(block: Block, window: exp.Window, bound: exp.Expr) -> bool:
    """Whether the choice among equal rows, if there is one, can show only in what is selected.

    Rows are told apart by the selected columns. If something else looked at other columns of the
    chosen rows, the choice would have to know these too.
    """
    if window.args.get("spec") is not None or window.args.get("order") is None:
        return False
    if place_of(window) is not Place.ROW_NUMBER:
        return True
    plain = {e.sql("duckdb") for e in block.outputs if not e.find(exp.Window)}
    for expression in block.expressions:
        if expression is bound or expression.sql("duckdb") in plain or _bare(expression) == window:
            continue
        rest = _without(expression, window)
        if any(column(name).sql("duckdb") not in plain for name in column_names(rest)):
            return False
    return True


def _without(expression: exp.Expr, window: exp.Window) -> exp.Expr:
    text = window.sql("duckdb")
    return exp.paren(expression.copy()).transform(
        lambda n: exp.null() if isinstance(n, exp.Window) and n.sql("duckdb") == text else n
    )


def _top(
    planner: Planner,
    block: Block,
    target: Schema,
    window: exp.Window,
    bound: tuple[exp.Expr, int],
) -> None:
    """Selected columns first, which also break ties, then what is partitioned and ordered by."""
    condition, limit = bound
    projections: list[Projection] = []
    names: dict[str, str] = {}

    def name_of(expression: exp.Expr, base: str) -> str:
        text = expression.sql("duckdb")
        if text not in names:
            names[text] = fresh(base, [n for n, _ in projections])
            projections.append((names[text], expression))
        return names[text]

    for output, wanted in zip(block.outputs, target, strict=True):
        if not output.find(exp.Window):
            name_of(output, wanted.name)
    partition = [name_of(e, "partition") for e in window.args.get("partition_by") or ()]
    order = [
        Order(
            name_of(ordered.this, "order_by"),
            bool(ordered.args.get("desc")),
            bool(ordered.args.get("nulls_first")),
        )
        for ordered in window.args["order"].expressions
    ]
    block.qualify = [c for c in block.qualify if c is not condition]
    place = place_of(window)
    assert place is not None
    if place is not Place.ROW_NUMBER:
        # Nothing is chosen, so what is computed later may look at any column.
        for expression in block.expressions:
            for name in column_names(_without(expression, window)):
                name_of(column(name), name)
    is_read = any(window in set(e.find_all(exp.Window)) for e in block.expressions)
    number = fresh(place.value, names.values()) if is_read else None
    node = planner.build.map(planner.build.filter(block.node, block.having), projections)
    block.having = []
    block.node = planner.build.top(
        node, list(dict.fromkeys(partition)), order, limit=limit, number=number, place=place
    )
    if number is not None:
        names[window.sql("duckdb")] = number
    block.rewrite(lambda e: _rewritten(e, names))
    block.having, block.qualify = block.qualify, []


def _rewritten(expression: exp.Expr, names: Mapping[str, str | exp.Expr]) -> exp.Expr:
    """The expression with every computed part replaced by its column, from the outside in."""
    name = names.get(expression.sql("duckdb"))
    if name is not None:
        return column(name) if isinstance(name, str) else name.copy()
    copy = expression.copy()
    for key, value in list(copy.args.items()):
        if isinstance(value, list):
            copy.set(key, [_rewritten(v, names) if isinstance(v, exp.Expr) else v for v in value])
        elif isinstance(value, exp.Expr):
            copy.set(key, _rewritten(value, names))
    return copy


def _recomputed(
    planner: Planner,
    block: Block,
    windows: list[exp.Window],
    ties: list[exp.Expr],
) -> None:
    """All columns that the block still needs, and a column for each window function."""
    node = block.node
    needed = dict.fromkeys(name for e in block.expressions for name in column_names(e))
    projections: list[Projection] = [(name, column(name)) for name in needed]
    keys: list[str] = []
    for expression in _shared_partition(windows):
        if isinstance(expression, exp.Column):
            keys.append(expression.name)
        else:
            keys.append(fresh("partition", [n for n, _ in projections]))
            projections.append((keys[-1], expression))
    names = [name for name, _ in projections]
    outputs = [exp.alias_(column(name), identifier(name)) for name in names]
    computed: dict[str, str] = {}
    for window in windows:
        result = fresh("result", [*names, *computed.values()])
        computed[window.sql("duckdb")] = result
        outputs.append(exp.alias_(_total(window, ties), identifier(result)))
    query = exp.select(*outputs).from_(exp.Table(this=identifier(INPUT)))
    what = ", ".join(dict.fromkeys(_function(window) for window in windows))
    block.node = planner.build.recompute(
        [(INPUT, planner.build.map(node, projections), tuple(keys))],
        query,
        f"{what} looks at other rows of its partition",
    )
    block.rewrite(lambda e: _rewritten(e, computed))


def _shared_partition(windows: list[exp.Window]) -> list[exp.Expr]:
    """The expressions that every window partitions by."""
    lists = [list(w.args.get("partition_by") or ()) for w in windows]
    shared = [e for e in lists[0] if all(e in other for other in lists[1:])]
    return list({e.sql("duckdb"): e for e in shared if column_names(e)}.values())


def _ties(block: Block) -> list[exp.Expr]:
    """What tells the block's rows apart, as far as its answer can show it."""
    ties = [e for e in block.outputs if not e.find(exp.Window)]
    read = [e for e in block.expressions if e.find(exp.Window)]
    ties += [column(name) for e in [*read, *block.qualify] for name in column_names(e)]
    return list({e.sql("duckdb"): e for e in ties if column_names(e)}.values())


def _total(window: exp.Window, ties: list[exp.Expr]) -> exp.Window:
    """The window with an order that leaves no choice, where its function could show one."""
    copy = window.copy()
    function = copy.this
    while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        function = function.this
    spec = copy.args.get("spec")
    is_rows = spec is not None and str(spec.args.get("kind") or "").upper() == "ROWS"
    if isinstance(function, ORDER_SENSITIVE) or is_rows:
        complete_window(copy, ties)
    return copy


def _function(window: exp.Window) -> str:
    return window.this.sql("duckdb").partition("(")[0].lower()


def _bare(expression: exp.Expr | None) -> exp.Expr | None:
    while isinstance(expression, exp.Paren):
        expression = expression.this
    return expression

"""Rewrite: make every choice among equal rows total, so that an answer does not depend on arrival.

`LIMIT`, `DISTINCT ON` and functions such as `row_number` pick among rows that their ORDER BY does
not tell apart, and DuckDB may pick any. Here the order is completed: by the block's output columns
in order, ascending, nulls last; for a window function then also by the columns that the block's
window functions read. The planner's `TopN` breaks ties in the same way. Both the recomputed parts
of a plan and the batch answer are completed by this one rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.sql.decline import Decline
from headwater.sql.frames import is_range_of_values

# Functions whose answer for a row depends on the order among peers.
ORDER_SENSITIVE = (
    exp.RowNumber,
    exp.Ntile,
    exp.Lag,
    exp.Lead,
    exp.First,
    exp.Last,
    exp.FirstValue,
    exp.LastValue,
    exp.NthValue,
)

# Those of them that choose a row of their frame.
_IN_FRAME = (exp.First, exp.Last, exp.FirstValue, exp.LastValue, exp.NthValue)

ColumnsOf = Callable[[exp.Query], tuple[str, ...]]


def break_ties(query: exp.Query, columns_of: ColumnsOf) -> exp.Query:
    """A copy in which every block orders its rows totally where it picks among them.

    Args:
        query: Any query.
        columns_of: The output columns of a block that stands in it. A block that it declines (one
            that depends on the query around it) is left as it is.

    """
    copy = query.copy()
    # The innermost first, so that an outer block is described with its inner ones complete.
    for block in reversed(list(copy.find_all(exp.Select, exp.SetOperation))):
        if isinstance(block, exp.Select):
            for window in own_windows(block):
                _write_out(window, block)
        if not _picks(block):
            continue
        try:
            _complete(block, columns_of)
        except (Decline, DefinitionError):
            continue
    return copy


def _picks(block: exp.Query) -> bool:
    return _limits(block) or bool(list(_sensitive(block)))


def _limits(block: exp.Query) -> bool:
    distinct = block.args.get("distinct")
    is_distinct_on = isinstance(distinct, exp.Distinct) and distinct.args.get("on") is not None
    return is_distinct_on or any(block.args.get(clause) for clause in ("limit", "offset"))


def _complete(block: exp.Query, columns_of: ColumnsOf) -> None:
    if isinstance(block, exp.Select):
        windows = list(_sensitive(block))
        if windows:
            ties = _ties(block, columns_of)
            for window in windows:
                complete_window(window, ties)
    if _limits(block):
        alone = block.copy()
        for clause in ("order", "limit", "offset"):
            alone.set(clause, None)
        count = len(columns_of(in_context(alone, block)))
        _extend(block, [exp.Literal.number(i + 1) for i in range(count)])


def _write_out(window: exp.Window, block: exp.Select) -> None:
    """Replace a window's name by its definition, whose order may then be completed for it alone."""
    known = {named.name.lower(): named for named in block.args.get("windows") or ()}
    name = window.args.get("alias")
    while name is not None and name.name.lower() in known:
        named = known.pop(name.name.lower())
        for part in ("partition_by", "order", "spec"):
            value = named.args.get(part)
            if value and not window.args.get(part):
                copy = [v.copy() for v in value] if isinstance(value, list) else value.copy()
                window.set(part, copy)
        name = named.args.get("alias")
        window.set("alias", name.copy() if name is not None else None)


def complete_window(window: exp.Window, ties: list[exp.Expr]) -> None:
    """Let the ties decide among the peers of a window function, in place.

    A range of values may be ordered by one column only; there the function itself takes the order
    in which it looks through its frame.
    """
    function = window.this
    while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
        function = function.this
    argument = function.args.get("this")
    if not ties:
        return
    if not is_range_of_values(window):
        _extend(window, ties)
        return
    if not isinstance(function, _IN_FRAME):
        # It looks at no frame, so none need be written.
        window.set("spec", None)
        _extend(window, ties)
    elif not isinstance(argument, exp.Order):
        items = [item.copy() for item in window.args["order"].expressions]
        items += [exp.Ordered(this=tie.copy(), nulls_first=False) for tie in ties]
        last = "offset" if isinstance(function, exp.NthValue) else "this"
        function.set(last, exp.Order(this=function.args[last].copy(), expressions=items))


def _extend(node: exp.Expr, ties: list[exp.Expr]) -> None:
    """Append to the node's ORDER BY."""
    order = node.args.get("order")
    items = list(order.expressions) if order is not None else []
    if any(isinstance(item.this, exp.Var) and item.name.upper() == "ALL" for item in items):
        return
    items += [exp.Ordered(this=tie.copy(), nulls_first=False) for tie in ties]
    node.set("order", exp.Order(expressions=items))


def _sensitive(block: exp.Query) -> Iterator[exp.Window]:
    """The windows of the block itself whose answer depends on the order among peers."""
    for window in own_windows(block):
        function = window.this
        while isinstance(function, exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
            function = function.this
        spec = window.args.get("spec")
        is_rows = spec is not None and str(spec.args.get("kind") or "").upper() == "ROWS"
        if isinstance(function, ORDER_SENSITIVE) or is_rows:
            yield window


def own_windows(block: exp.Query) -> list[exp.Window]:
    """The window functions of a block itself."""
    parts = list(block.args.get("expressions") or ())
    parts += [block.args[name] for name in ("qualify", "order") if block.args.get(name)]
    found: list[exp.Window] = []
    for part in parts:
        for node in part.walk(prune=lambda n: isinstance(n, exp.Query)):
            if isinstance(node, exp.Window):
                found.append(node)
    return found


def _ties(select: exp.Select, columns_of: ColumnsOf) -> list[exp.Expr]:
    """What tells rows of the block apart, as far as its answer can show it."""
    ties: list[exp.Expr] = []
    read: list[exp.Expr] = []
    for item in select.expressions:
        value = item.this if isinstance(item, exp.Alias) else item
        if value.find(exp.Window):
            read += value.find_all(exp.Column, bfs=False)
        elif value.find(exp.Star) and not value.find(exp.Func):
            ties += _star_columns(select, item, columns_of)
        else:
            ties.append(value)
    qualify = select.args.get("qualify")
    if qualify is not None:
        read += qualify.find_all(exp.Column, bfs=False)
    aliases = {item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias)}
    ties += [c for c in read if c.args.get("table") or c.name.lower() not in aliases]
    unique = {tie.sql("duckdb"): tie for tie in ties if not isinstance(tie, exp.Literal)}
    return list(unique.values())


def _star_columns(select: exp.Select, item: exp.Expr, columns_of: ColumnsOf) -> list[exp.Expr]:
    alone = select.copy()
    alone.set("expressions", [item.copy()])
    for clause in ("qualify", "order", "limit", "offset", "distinct", "having"):
        alone.set(clause, None)
    table = item.args.get("table") if isinstance(item, exp.Column) else None
    return [
        exp.Column(this=exp.to_identifier(name, quoted=True), table=table)
        for name in columns_of(in_context(alone, select))
    ]


def in_context(copy: exp.Query, block: exp.Query) -> exp.Query:
    """A copy of a block with the CTEs written around the block, so that it can stand alone."""
    own = copy.args.get("with_")
    ctes: list[exp.CTE] = list(own.expressions) if own is not None else []
    recursive = bool(own is not None and own.args.get("recursive"))
    child: exp.Expr = block
    while child.parent is not None:
        parent = child.parent
        clause = parent.args.get("with_")
        if isinstance(clause, exp.With) and child is not clause:
            ctes = [cte.copy() for cte in clause.expressions] + ctes
            recursive = recursive or bool(clause.args.get("recursive"))
        elif isinstance(parent, exp.With):
            before = parent.expressions[: parent.expressions.index(child)]
            ctes = [cte.copy() for cte in before] + ctes
        child = parent
    if ctes:
        unique = {cte.alias.lower(): cte for cte in ctes}
        copy.set("with_", exp.With(expressions=list(unique.values()), recursive=recursive))
    return copy

"""MEASURES as one SELECT over the rows of matches.

The rows come with the number of their match, their place in it and the symbol that took them. A
reading is an aggregate over the rows of its symbols: grouped by match for one row per match, and as
a window that runs along the match for all rows. So a measure may use any function that DuckDB has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from headwater.plan.patterns import Pick, Reading
from headwater.sql.build import INPUT, column, identifier

MATCH = "__match"
PLACE = "__place"
SYMBOL = "__symbol"


def one_row(
    partition: Sequence[str],
    measures: Sequence[tuple[str, exp.Expr]],
    readings: Sequence[Reading],
) -> exp.Select:
    """One row for each match, in the order of the matches."""
    values = {reading.name: _value(reading, None) for reading in readings}
    keys = [exp.alias_(_call("any_value", column(n)), identifier(n)) for n in partition]
    query = exp.select(*keys, *_outputs(measures, values)).from_(_rows())
    return query.group_by(column(MATCH)).order_by(column(MATCH))


def all_rows(
    content: Sequence[str],
    measures: Sequence[tuple[str, exp.Expr]],
    readings: Sequence[Reading],
) -> exp.Select:
    """One row for each row of a match, in the order of the rows."""
    values = {r.name: _value(r, _along(r.is_final)) for r in readings}
    kept = [column(name) for name in content]
    query = exp.select(*kept, *_outputs(measures, values)).from_(_rows())
    return query.order_by(column(MATCH), column(PLACE))


def _rows() -> exp.Table:
    return exp.Table(this=identifier(INPUT))


def _outputs(
    measures: Sequence[tuple[str, exp.Expr]], values: Mapping[str, exp.Expr]
) -> list[exp.Expr]:
    def rule(node: exp.Expr) -> exp.Expr:
        return values[node.name].copy() if isinstance(node, exp.Column) else node

    return [
        exp.alias_(exp.paren(measure.copy()).transform(rule), identifier(name))
        for name, measure in measures
    ]


def _value(reading: Reading, over: exp.Window | None) -> exp.Expr:
    """What a reading says, as an aggregate; with `over` as a window."""
    if reading.pick is Pick.AGGREGATE:
        assert reading.aggregate is not None
        return _over(_filtered(reading.aggregate.copy(), reading), over)
    value = column(SYMBOL) if reading.pick is Pick.SYMBOL else column(reading.column or "")
    if reading.offset:
        return _nth(value, reading, over)
    # These, unlike `first` and `last`, take nulls for values and the order from a column.
    name = "arg_min_null" if reading.pick is Pick.FIRST else "arg_max_null"
    return _over(_filtered(_call(name, value, column(PLACE)), reading), over)


def _nth(value: exp.Expr, reading: Reading, over: exp.Window | None) -> exp.Expr:
    """The value some rows from the first or back from the last; null where there is none."""
    listed: exp.Expr = exp.ArrayAgg(this=value)
    if over is None:
        by = exp.Order(this=value, expressions=[exp.Ordered(this=column(PLACE))])
        listed = exp.ArrayAgg(this=by)
    at = reading.offset + 1
    index = exp.Literal.number(at)
    if reading.pick is not Pick.FIRST:
        return _call("list_extract", _over(_filtered(listed, reading), over), exp.Neg(this=index))
    return _call("list_extract", _over(_filtered(listed, reading), over), index)


def _filtered(call: exp.Expr, reading: Reading) -> exp.Expr:
    """The call over the rows of the reading's symbols."""
    if not reading.symbols:
        return call
    names = [exp.Literal.string(symbol) for symbol in reading.symbols]
    condition: exp.Expr = exp.In(this=column(SYMBOL), expressions=names)
    if isinstance(call, exp.Filter):
        condition = exp.and_(condition, call.expression.this)
        call = call.this
    return exp.Filter(this=call, expression=exp.Where(this=condition))


def _along(is_final: bool) -> exp.Window:
    return exp.Window(
        partition_by=[column(MATCH)],
        order=exp.Order(expressions=[exp.Ordered(this=column(PLACE))]),
        spec=exp.WindowSpec(
            kind="ROWS",
            start="UNBOUNDED",
            start_side="PRECEDING",
            end="UNBOUNDED" if is_final else "CURRENT ROW",
            end_side="FOLLOWING" if is_final else None,
        ),
    )


def _over(call: exp.Expr, over: exp.Window | None) -> exp.Expr:
    if over is None:
        return call
    window = over.copy()
    window.set("this", call)
    return window


def _call(function: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=function, expressions=list(arguments))

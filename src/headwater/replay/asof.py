"""Rewrite: of equally new matches of an ASOF JOIN the one that came last counts.

DuckDB picks any of the right rows that have the same key and the same time. Here the right side is
reduced to the last of each before it is joined; its order is that of the input, which DuckDB keeps
on one thread through filters and projections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from headwater.sql.aliases import conjuncts

# Quoted names that no author can write.
_PLACE = "\x01place"
_ROWS = "\x01rows"


def last_of_equal_matches(
    query: exp.Query, columns_of: Callable[[exp.Query], tuple[str, ...]]
) -> exp.Query:
    """A copy in which no ASOF JOIN has a choice between two rows.

    Args:
        query: Any query, window table functions written out.
        columns_of: The columns of a query.

    """
    copy = query.copy()
    for join in reversed(list(copy.find_all(exp.Join))):
        if str(join.args.get("method") or "").upper() == "ASOF":
            _reduce(join, columns_of)
    return copy


def _reduce(join: exp.Join, columns_of: Callable[[exp.Query], tuple[str, ...]]) -> None:
    right = join.this
    alias = right.alias_or_name
    bare = right.copy()
    columns = {name.lower() for name in columns_of(exp.select("*").from_(bare.copy()))}
    placed = exp.select("*", _named(exp.Window(this=exp.RowNumber()), _PLACE)).from_(bare)
    by = [_unqualified(e) for e in _right_sides(join, alias.lower(), columns)]
    newest = exp.Window(
        this=exp.RowNumber(),
        partition_by=by,
        order=exp.Order(expressions=[exp.Ordered(this=_column(_PLACE), desc=True)]),
    )
    star = exp.Star(except_=[_column(_PLACE)])
    last = exp.Select(
        expressions=[star],
        qualify=exp.Qualify(this=exp.EQ(this=newest, expression=exp.Literal.number(1))),
    ).from_(exp.Subquery(this=placed, alias=exp.TableAlias(this=_name(_ROWS))))
    join.set("this", exp.Subquery(this=last, alias=exp.TableAlias(this=_name(alias))))


def _right_sides(join: exp.Join, alias: str, columns: set[str]) -> Iterator[exp.Expr]:
    """What the join compares of its right side."""
    for used in join.args.get("using") or ():
        yield exp.column(used.name, quoted=True)
    on = join.args.get("on")
    for condition in conjuncts(on) if on is not None else ():
        for side in (condition.args.get("this"), condition.args.get("expression")):
            if isinstance(side, exp.Expr) and _is_right(side, alias, columns):
                yield side


def _is_right(side: exp.Expr, alias: str, columns: set[str]) -> bool:
    read = list(side.find_all(exp.Column))
    return bool(read) and all(
        c.table.lower() == alias if c.table else c.name.lower() in columns for c in read
    )


def _unqualified(side: exp.Expr) -> exp.Expr:
    return side.copy().transform(
        lambda n: exp.Column(this=n.this.copy()) if isinstance(n, exp.Column) else n
    )


def _name(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _column(name: str) -> exp.Column:
    return exp.Column(this=_name(name))


def _named(value: exp.Expr, name: str) -> exp.Expr:
    return exp.Alias(this=value, alias=_name(name))

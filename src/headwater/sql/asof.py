"""Rewrite: of equally new matches of an ASOF JOIN the one that came last counts.

DuckDB picks any of the right rows that have the same key and the same time. Here the right side is
reduced to the last of each before it is joined; its order is that of the input, which DuckDB keeps
on one thread through filters and projections. Where the input has no order, as rows may be
withdrawn, it is that of the rows' content. Both batch and the recomputed parts of a plan are
written so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.sql.aliases import conjuncts
from headwater.sql.places import place_of

# Quoted names that no author can write.
_PLACE = "\x01place"
_ROWS = "\x01rows"


ColumnsOf = Callable[[exp.Query], tuple[str, ...]]


def last_of_equal_matches(
    query: exp.Query,
    columns_of: ColumnsOf,
    *,
    has_order: Callable[[exp.Expr], bool | None] = lambda _: True,
) -> exp.Query:
    """A copy in which no ASOF JOIN has a choice between two rows.

    Args:
        query: Any query, window table functions written out.
        columns_of: The columns of a query.
        has_order: Whether the rows of a right side stand in the order in which they came; None
            where the choice is left to DuckDB.

    """
    copy = query.copy()
    for join in reversed(list(copy.find_all(exp.Join))):
        is_ordered = has_order(join.this) if is_asof(join) else None
        if is_ordered is not None:
            _reduce(join, columns_of, by_content=not is_ordered)
    return copy


def is_asof(join: exp.Join) -> bool:
    """Whether a join is an ASOF JOIN."""
    return str(join.args.get("method") or "").upper() == "ASOF"


def refuse_outer(query: exp.Query, origin: Place | None) -> None:
    """Refuse what DuckDB does not get to the end of when the left side is empty.

    Raises:
        DefinitionError: An ASOF JOIN keeps the right rows without a match.

    """
    for join in query.find_all(exp.Join):
        side = str(join.args.get("side") or "").upper()
        if is_asof(join) and side in ("RIGHT", "FULL"):
            raise DefinitionError(
                f"an ASOF {side} JOIN has no answer while its left side is empty",
                place=place_of(join, origin) or origin,
                hint="use ASOF [LEFT] JOIN, and add the right rows without a match with UNION ALL",
            )


def _reduce(join: exp.Join, columns_of: ColumnsOf, *, by_content: bool) -> None:
    right = join.this
    alias = right.alias_or_name
    bare = right.copy()
    names = columns_of(exp.select("*").from_(bare.copy()))
    columns = {name.lower() for name in names}
    placed = exp.select("*", _named(exp.Window(this=exp.RowNumber()), _PLACE)).from_(bare)
    by = [_unqualified(e) for e in _right_sides(join, alias.lower(), columns)]
    order = [_column(name) for name in (names if by_content else (_PLACE,))]
    newest = exp.Window(
        this=exp.RowNumber(),
        partition_by=by,
        order=exp.Order(expressions=[exp.Ordered(this=value, desc=True) for value in order]),
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

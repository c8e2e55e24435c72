"""Rewrite: a bound on a row number, or rank, moves into the query that numbers the rows.

    SELECT ... FROM (SELECT ..., row_number() OVER (...) AS rn FROM t) WHERE rn <= 3

is, for the inner query, `QUALIFY rn <= 3`: the same rows pass the outer condition, and the inner
query need not number all of them. The outer condition stays. The numbering query may also be a
CTE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.sql.aliases import conjuncts
from headwater.sql.ranks import bound_of, place_of

if TYPE_CHECKING:
    from headwater.sql.planner import Names

_STOPS = ("qualify", "limit", "offset", "distinct", "with_", "windows")


def push_bound(select: exp.Select, names: Names) -> exp.Select:
    """The block with its row-number bounds moved in; itself where there are none."""
    where = select.args.get("where")
    source = select.args["from_"].this
    inner = _numbering(source, names)
    if where is None or inner is None or select.args.get("joins"):
        return select
    alias = source.alias_or_name
    for condition in conjuncts(where.this):
        if condition.find(exp.Query) is None:
            bounded = _bounded(condition, inner, alias)
            if bounded is not None:
                copy = select.copy()
                item = exp.Subquery(
                    this=bounded,
                    alias=exp.TableAlias(this=exp.to_identifier(alias, quoted=True))
                    if alias
                    else None,
                )
                copy.args["from_"].set("this", item)
                return copy
    return select


def _numbering(source: exp.Expr, names: Names) -> exp.Select | None:
    """The SELECT behind a FROM item, when a condition may be added to it."""
    query: exp.Expr | None = None
    alias = source.args.get("alias")
    if alias is not None and alias.args.get("columns"):
        return None
    if isinstance(source, exp.Subquery):
        query = source.this
    elif isinstance(source, exp.Table) and isinstance(source.this, exp.Identifier):
        found = names.find(source.name)
        if found is not None and not found[0].args["alias"].args.get("columns"):
            query = found[0].this
    if not isinstance(query, exp.Select) or any(query.args.get(stop) for stop in _STOPS):
        return None
    return query


def _bounded(condition: exp.Expr, inner: exp.Select, alias: str) -> exp.Select | None:
    """The inner query with the condition on its row number, or None where there is none."""
    for item in inner.expressions:
        if not isinstance(item, exp.Alias) or not isinstance(item.this, exp.Window):
            continue
        if place_of(item.this) is None:
            continue
        for reference in condition.find_all(exp.Column):
            is_it = reference.name.lower() == item.alias.lower()
            if not is_it or reference.table.lower() not in ("", alias.lower()):
                continue
            if bound_of(condition, reference) is not None:
                window = item.this.copy()
                qualify = condition.copy().transform(
                    lambda n, w=window: w if isinstance(n, exp.Column) else n
                )
                copy = inner.copy()
                copy.set("qualify", exp.Qualify(this=qualify))
                return copy
    return None

"""Rewrite: an ASOF JOIN with a table reads the table's versions.

What held at an event's time is an older row of the table where a newer one has replaced it since.
So where an ASOF JOIN finds a table's rows by its whole key and by its event time, the table stands
for all rows that were sent to it (`plan.versions`), in the stream as in batch. By other keys, or by
another time, the rows of a key are no versions of each other, and the table stands for its content.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlglot import exp

from headwater.plan.versions import Versioned, versions_of
from headwater.sql.aliases import conjuncts
from headwater.sql.asof import is_asof


def read_versions(query: exp.Query, tables: Iterable[Versioned]) -> exp.Query:
    """A copy in which such joins read the versions; the query itself where there are none."""
    known = {table.name.lower(): table for table in tables}
    if not any(is_asof(join) for join in query.find_all(exp.Join)):
        return query
    copy = query.copy()
    for join in copy.find_all(exp.Join):
        right = join.this
        if not (is_asof(join) and isinstance(right, exp.Table)):
            continue
        table = known.get(right.name.lower())
        if table is not None and not _is_hidden(right) and _is_by_version(join, table):
            _read(right, table)
    return copy


def _is_hidden(table: exp.Table) -> bool:
    """Whether the name is not a plain one, or that of a common table expression."""
    if not isinstance(table.this, exp.Identifier) or table.args.get("db"):
        return True
    above: exp.Expr | None = table
    while above is not None:
        clause = above.args.get("with_")
        names = [] if clause is None else [cte.alias.lower() for cte in clause.expressions]
        if table.name.lower() in names:
            return True
        above = above.parent
    return False


def _is_by_version(join: exp.Join, table: Versioned) -> bool:
    """Whether the join compares the whole key for equality, and then the event time."""
    used = [c.name.lower() for c in join.args.get("using") or ()]
    keys, others = set(used[:-1]), used[-1:]
    on = join.args.get("on")
    for condition in conjuncts(on) if on is not None else ():
        sides = (condition.args.get("this"), condition.args.get("expression"))
        columns = [side for side in sides if isinstance(side, exp.Column)]
        mine = [c.name.lower() for c in columns if _is_of(c, join.this, table)]
        if len(mine) != 1:
            return False
        (name,) = mine
        if isinstance(condition, exp.EQ):
            keys.add(name)
        else:
            others.append(name)
    return keys == {k.lower() for k in table.key} and others == [table.event_time.lower()]


def _is_of(column: exp.Column, table: exp.Table, versioned: Versioned) -> bool:
    if column.table:
        return column.table.lower() == table.alias_or_name.lower()
    return column.name.lower() in {name.lower() for name in versioned.columns}


def _read(right: exp.Table, table: Versioned) -> None:
    """Let the item read the versions, under the name that it has."""
    if not right.alias:
        alias = exp.TableAlias(this=exp.to_identifier(right.name, quoted=True))
        right.set("alias", alias)
    name = exp.to_identifier(versions_of(table.name), quoted=True)
    name.meta.update(right.this.meta)
    right.set("this", name)

"""The fallback: a query block that DuckDB computes again whenever its inputs change.

The block's text is kept. What it reads becomes inputs: derived tables and CTEs that can be planned
are nodes of their own, so that only the block itself is computed again; window table functions
become `Windows` nodes; relations become scans of the columns that the block may read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.nodes import Node
from headwater.sql import temporal
from headwater.sql.asof import last_of_equal_matches
from headwater.sql.build import column, fresh, identifier
from headwater.sql.decline import Decline
from headwater.sql.ties import break_ties
from headwater.sql.windows import is_window_call, relation_name

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner


def block(planner: Planner, query: exp.Query, names: Names, reason: str) -> Node:
    """A whole query block, computed again at once."""
    return _Block(planner, names).plan(query, reason)


class _Block:
    """Collects the inputs of one block while its text is rewritten to read them."""

    def __init__(self, planner: Planner, names: Names) -> None:
        self._planner = planner
        self._names = names
        self._inputs: dict[str, Node] = {}
        self._by_source: dict[str, str] = {}

    def plan(self, query: exp.Query, reason: str) -> Node:
        """The node that answers `query`."""
        schema = self._planner.schema_of(query, self._names)
        copy = break_ties(query, self._columns_of)
        assert isinstance(copy, exp.Query)
        if isinstance(copy, exp.Select):
            temporal.set_aside(copy)
        for subquery in _derived_tables(copy):
            self._capture_derived(subquery)
        for table in list(copy.find_all(exp.Table)):
            if table.parent is not None:
                self._capture_table(table, copy)
        temporal.refuse_left(copy, self._planner.definition.origin)
        self._prune(copy)
        copy = last_of_equal_matches(copy, self._columns_of_input, has_order=self._has_order)
        named = exp.select("*").from_(
            exp.Subquery(
                this=copy,
                alias=exp.TableAlias(
                    this=identifier("_block"), columns=[identifier(n) for n in schema.names]
                ),
            )
        )
        inputs = [(name, node, ()) for name, node in self._inputs.items()]
        return self._planner.build.recompute(inputs, named, reason)

    def _columns_of_input(self, query: exp.Query) -> tuple[str, ...]:
        """The columns of `SELECT * FROM input`."""
        return self._inputs[query.args["from_"].this.name].schema.names

    def _has_order(self, right: exp.Expr) -> bool | None:
        """Whether rows of an input stand as they came; None for what is no input."""
        node = self._inputs.get(right.name) if isinstance(right, exp.Table) else None
        return None if node is None else node.append_only

    def _columns_of(self, query: exp.Query) -> tuple[str, ...]:
        return self._planner.schema_of(query, self._names).names

    def _capture_derived(self, subquery: exp.Subquery) -> None:
        """A derived table that can stand alone becomes an input; a lateral one stays text."""
        try:
            node = self._planner.query(subquery.this, self._names)
        except (Decline, DefinitionError):
            return
        name = fresh(subquery.alias or "derived", self._inputs)
        self._inputs[name] = node
        _replace(subquery, name, subquery.args.get("alias"))

    def _capture_table(self, table: exp.Table, root: exp.Query) -> None:
        if table.name in self._inputs and not table.args.get("db") and table.meta.get("captured"):
            return
        if not is_window_call(table) and (
            not isinstance(table.this, exp.Identifier) or _is_local(table, root)
        ):
            return
        source = _source_key(table)
        name = self._by_source.get(source)
        if name is None:
            node = self._planner.table(table, self._names)
            name = fresh(_name_of(table), self._inputs)
            self._inputs[name] = node
            self._by_source[source] = name
        alias = table.args.get("alias") or exp.TableAlias(this=identifier(_name_of(table)))
        _replace(table, name, alias)

    def _prune(self, query: exp.Query) -> None:
        """Drop the columns of inputs whose names do not occur, unless a star may mean them."""
        used = {node.name.lower() for node in query.find_all(exp.Identifier)}
        stars = [s for s in query.find_all(exp.Star) if not isinstance(s.parent, exp.Count)]
        has_whole_rows = any(
            isinstance(c, exp.Column) and c.name.lower() in _aliases(query)
            for c in query.find_all(exp.Column)
        )
        natural = any(j.args.get("method") == "NATURAL" for j in query.find_all(exp.Join))
        positional = query.find(exp.SetOperation) is not None
        if stars or has_whole_rows or natural or positional or query.find(exp.Columns):
            return
        for name, node in self._inputs.items():
            keep = [n for n in node.schema.names if n.lower() in used] or [node.schema.names[0]]
            self._inputs[name] = self._planner.build.map(node, [(n, column(n)) for n in keep])


def _derived_tables(query: exp.Query) -> list[exp.Subquery]:
    """The queries in the FROM clause of the block itself."""
    if isinstance(query, exp.SetOperation):
        return []
    items = []
    source = query.args.get("from_")
    if source is not None:
        items.append(source.this)
    items += [join.this for join in query.args.get("joins") or ()]
    return [
        i
        for i in items
        if isinstance(i, exp.Subquery)
        and isinstance(i.this, exp.Query)
        and not i.args.get("pivots")
        and not i.args.get("sample")
    ]


def _is_local(table: exp.Table, root: exp.Query) -> bool:
    """Whether the name is that of a CTE written inside the block."""
    node: exp.Expr | None = table
    while node is not None:
        clause = node.args.get("with_")
        if isinstance(clause, exp.With):
            for cte in clause.expressions:
                if cte.alias.lower() == table.name.lower():
                    return bool(clause.args.get("recursive")) or not _inside(table, cte)
        if node is root:
            return False
        node = node.parent
    return False


def _inside(node: exp.Expr, ancestor: exp.Expr) -> bool:
    current: exp.Expr | None = node
    while current is not None:
        if current is ancestor:
            return True
        current = current.parent
    return False


def _source_key(table: exp.Table) -> str:
    bare = table.copy()
    bare.set("alias", None)
    return bare.sql("duckdb").lower()


def _name_of(table: exp.Table) -> str:
    if is_window_call(table):
        return relation_name(table) or table.this.name.lower()
    return table.name


def _aliases(query: exp.Query) -> set[str]:
    return {t.alias_or_name.lower() for t in query.find_all(exp.Table, exp.Subquery)}


def _replace(item: exp.Expr, name: str, alias: exp.Expr | None) -> None:
    table = exp.Table(this=identifier(name), alias=alias.copy() if alias is not None else None)
    table.meta["captured"] = True
    for key in ("joins", "pivots", "sample", "laterals"):
        if item.args.get(key):
            table.set(key, item.args[key])
    item.replace(table)

"""A view's query, as a plan.

The rule is: decompose only what is fully understood, and recompute the smallest enclosing query
block otherwise. So whatever DuckDB accepts can be a view, and every answer is DuckDB's.

First DuckDB types the whole query; what it refuses is refused here, with the place. Then each
query block becomes nodes, from the inside out (`select`, `setops`; CTEs and derived tables are
blocks of their own). A rewrite that meets something it does not know raises `Decline`, and the
block becomes a `Recompute` over its inputs. At the end rules run over the finished tree: windows
are pulled up into the aggregates that group by them, and columns that nobody reads are pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.nodes import Node, Scan
from headwater.plan.pipeline import ViewDefinition, ViewPlan
from headwater.schema.schema import Schema
from headwater.sql import (
    completeness,
    emission,
    firings,
    match,
    python_steps,
    recompute,
    select,
    setops,
    sketches,
    temporal,
)
from headwater.sql.asof import refuse_outer
from headwater.sql.build import Builder
from headwater.sql.decline import Decline
from headwater.sql.diagnose import checked_schema
from headwater.sql.fingerprint import called_by, fingerprint
from headwater.sql.functions import refuse_volatile
from headwater.sql.order import final_order
from headwater.sql.prune import prune
from headwater.sql.pull import pull_windows
from headwater.sql.relations import Describe, Relation, versioned, with_versions
from headwater.sql.versions import read_versions
from headwater.sql.windows import is_window_call, plain, window_call


def plan_view(
    definition: ViewDefinition,
    relations: Mapping[str, Relation],
    describe: Describe,
    functions: Mapping[str, str] = MappingProxyType({}),
) -> ViewPlan:
    """Plan a view.

    Args:
        definition: What the author declared.
        relations: All that the query may read, by name: topics, tables and earlier views.
        describe: DuckDB's typing.
        functions: The fingerprints of the author's functions, by their names in lower case.

    Raises:
        DefinitionError: The query is wrong, or cannot be kept up to date, with the place.

    """
    known = with_versions(relations)
    declared = definition
    query = sketches.exactly(declared.query, declared.origin)
    query = read_versions(query, versioned(relations.values()))
    definition, share = completeness.lift(replace(declared, query=query))

    def whole(
        part: ViewDefinition, readable: Mapping[str, Relation], nodes: Mapping[str, Node]
    ) -> Node:
        return _plan_query(part, readable, describe, nodes)

    refuse_outer(definition.query, definition.origin)
    refuse_volatile(definition.query, definition.origin, temporal.placed(definition.query))
    lifted = match.lift(definition, known, describe, whole)
    root = whole(lifted.definition, lifted.relations, lifted.nodes)
    root = pull_windows(root)
    root = prune(root)
    root = emission.apply(root, definition, known)
    root = firings.fired(root, definition, known)
    root = completeness.told(
        root,
        share,
        declared,
        known,
        lambda node, what: emission.check(node, definition, known, what),
    )
    if definition.python is not None:
        root = python_steps.over(root, definition, definition.python, known)
    root = emission.paced(root, definition, known)
    return ViewPlan(
        declared,
        root,
        fingerprint(root, known, functions),
        () if definition.python else final_order(lifted.definition.query, root.schema),
        python=called_by(root, functions) + ((definition.name,) if definition.python else ()),
    )


def _plan_query(
    definition: ViewDefinition,
    relations: Mapping[str, Relation],
    describe: Describe,
    nodes: Mapping[str, Node],
) -> Node:
    """The plan of a query in which all relations have names."""
    schema = checked_schema(definition, relations, describe)
    planner = Planner(definition, relations, describe, nodes)
    try:
        return planner.build.cast(planner.query(definition.query, Names()), schema)
    except Decline as decline:
        raise DefinitionError(
            f"view {definition.name} cannot be kept up to date because {decline.reason}",
            place=definition.origin,
        ) from None


@dataclass(frozen=True, slots=True)
class Names:
    """The common table expressions that a query block can read, innermost last."""

    ctes: tuple[tuple[exp.CTE, Names], ...] = ()

    def find(self, name: str) -> tuple[exp.CTE, Names] | None:
        """The CTE of that name and what it can read itself, or None."""
        for cte, names in reversed(self.ctes):
            if cte.alias.lower() == name.lower():
                return cte, names
        return None

    def with_ctes(self, query: exp.Query) -> Names:
        """These and the query's own, each of which reads those before it.

        Raises:
            Decline: They are recursive.

        """
        clause = query.args.get("with_")
        if clause is None:
            return self
        if clause.args.get("recursive"):
            raise Decline("a recursive query has no bound on how far one row reaches")
        names = self
        for cte in clause.expressions:
            names = Names((*names.ctes, (cte, names)))
        return names


@dataclass(slots=True)
class Planner:
    """What the rewrites of one view share.

    Args:
        definition: The view.
        relations: By folded name.
        describe: DuckDB's typing.
        nodes: The plans of those relations that are parts of the view itself, by folded name.

    """

    definition: ViewDefinition
    relations: Mapping[str, Relation]
    describe: Describe
    nodes: Mapping[str, Node] = field(default_factory=dict)
    build: Builder = field(init=False)

    def __post_init__(self) -> None:
        self.build = Builder(self.describe)

    def query(self, query: exp.Query, names: Names) -> Node:
        """The plan of a query. Its columns are the query's, named as DuckDB names them."""
        try:
            inner = names.with_ctes(query)
            block = query
            if query.args.get("with_") is not None:
                block = query.copy()
                block.set("with_", None)
            return self._block(block, inner)
        except Decline as decline:
            return recompute.block(self, query, names, decline.reason)

    def _block(self, query: exp.Query, names: Names) -> Node:
        try:
            if isinstance(query, exp.Subquery):
                return setops.plan_subquery(self, query, names)
            if isinstance(query, exp.Select):
                return select.plan_select(self, query, names)
            if isinstance(query, exp.SetOperation):
                return setops.plan_setop(self, query, names)
            raise Decline("this kind of query is not taken apart")
        except Decline as decline:
            return recompute.block(self, query, names, decline.reason)

    def scan(self, name: str) -> Node:
        """All columns of a relation; what is not read is pruned at the end."""
        relation = self.relations.get(name.lower())
        if relation is None:
            raise DefinitionError(f"there is no relation {name}", place=self.definition.origin)
        if name.lower() in self.nodes:
            return self.nodes[name.lower()]
        schema, closed = relation.schema, relation.closed
        return Scan(relation.name, schema, relation.append_only, closed=closed)

    def table(self, table: exp.Table, names: Names) -> Node:
        """A relation, a CTE or a window table function, without its alias.

        Raises:
            Decline: It is something else.

        """
        if is_window_call(table):
            return self.windowed(table, names)
        if not isinstance(table.this, exp.Identifier) or table.args.get("db"):
            raise Decline(f"{table.sql('duckdb')} is not a topic, a table or a view")
        found = names.find(table.name)
        if found is None:
            return self.scan(table.name)
        cte, inner = found
        node = self.query(cte.this, inner)
        columns = [c.name for c in cte.args["alias"].args.get("columns") or ()]
        return self.renamed(node, columns)

    def windowed(self, table: exp.Table, names: Names) -> Node:
        """The rows of a window table function."""
        call = window_call(table, self.definition.origin)
        if isinstance(call.relation, exp.Table):
            node = self.table(call.relation, names)
        else:
            node = self.query(call.relation, names)
        emission.check_time(call, node, self.definition)
        return self.build.windows(node, call.spec, "window_start", "window_end")

    def renamed(self, node: Node, columns: list[str]) -> Node:
        """The node with its first columns called `columns`, as `AS t(a, b)` does."""
        names = [*columns, *node.schema.names[len(columns) :]]
        target = Schema(
            tuple(type(c)(name, c.type) for name, c in zip(names, node.schema, strict=True))
        )
        return self.build.cast(node, target)

    def schema_of(self, query: exp.Query, names: Names) -> Schema:
        """The columns of a query block, as DuckDB names and types them.

        Raises:
            Decline: DuckDB cannot type the block by itself: it is lateral.

        """
        text = plain(standalone(query, names), self.definition.origin)
        outer = exp.select("*").from_(
            exp.Subquery(this=text, alias=exp.TableAlias(this=exp.to_identifier("_block")))
        )
        schemas = {r.name: r.schema for r in read_by(text, self.relations)}
        try:
            return self.describe(outer, schemas)
        except DefinitionError:
            raise Decline("it depends on the query around it") from None


def standalone(query: exp.Query, names: Names) -> exp.Query:
    """The query with the CTEs it can read written into it."""
    copy = query.copy()
    own = copy.args.get("with_")
    ctes: dict[str, exp.CTE] = {}
    for cte, _ in names.ctes:
        ctes.pop(cte.alias.lower(), None)
        ctes[cte.alias.lower()] = cte.copy()
    used = {table.name.lower() for table in copy.find_all(exp.Table, exp.Column)}
    if not ctes or not _reaches(used, ctes):
        return copy
    before = list(ctes.values())
    clause = exp.With(
        expressions=before + (list(own.expressions) if own is not None else []),
        recursive=bool(own is not None and own.args.get("recursive")),
    )
    copy.set("with_", clause)
    return copy


def _reaches(used: set[str], ctes: Mapping[str, exp.CTE]) -> bool:
    return any(name in ctes for name in used)


def read_by(query: exp.Query, relations: Mapping[str, Relation]) -> list[Relation]:
    """The relations whose names occur as tables in the query, each once."""
    found: dict[str, Relation] = {}
    for table in query.find_all(exp.Table):
        relation = relations.get(table.name.lower())
        if relation is not None:
            found[relation.name] = relation
    return list(found.values())

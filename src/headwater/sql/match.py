"""MATCH_RECOGNIZE: each clause of a query becomes a node, and the query reads the node by a name.

A clause stands in FROM, and what it matches over is a query of its own; so it is planned first,
innermost first, and from then on it is one more relation that the query may read. Everything else
of the planner takes it for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.plan.nodes import MatchRecognize, Node, Order, Scan, walk
from headwater.plan.patterns import (
    Choice,
    Condition,
    Follow,
    Pattern,
    Pick,
    Reading,
    Repeat,
    Skip,
    Symbol,
    has_end,
    rows_min,
    symbols,
)
from headwater.plan.pipeline import ViewDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.sql.build import Builder, fresh, nullable
from headwater.sql.decline import Decline
from headwater.sql.diagnose import explained_in
from headwater.sql.match_bind import Binder
from headwater.sql.match_measures import MATCH, PLACE, SYMBOL, all_rows, one_row
from headwater.sql.match_pattern import parse_pattern, parse_skip
from headwater.sql.match_types import kind_of, kind_of_type
from headwater.sql.places import hint_for, place_of
from headwater.sql.relations import Describe, Relation
from headwater.sql.ties import in_context
from headwater.sql.times import lag_of, times_below
from headwater.sql.tree import bottom_up

Plan = Callable[[ViewDefinition, Mapping[str, Relation], Mapping[str, Node]], Node]


@dataclass(frozen=True, slots=True)
class Lifted:
    """A view whose clauses are relations.

    Args:
        definition: The query without clauses.
        relations: What it may read, by folded name, the matches among them.
        nodes: The plans of the matches, by folded name.

    """

    definition: ViewDefinition
    relations: dict[str, Relation]
    nodes: dict[str, Node]


def lift(
    definition: ViewDefinition,
    relations: Mapping[str, Relation],
    describe: Describe,
    plan: Plan,
) -> Lifted:
    """Plan the clauses of a view.

    Args:
        relations: By folded name.
        plan: Plans a query over relations of which some are nodes.

    Raises:
        DefinitionError: A clause is wrong, with the place.

    """
    query = definition.query
    lifted = Lifted(replace(definition, query=query.copy()), dict(relations), {})
    for table in clauses(lifted.definition.query):
        node = _Clause(table.this, lifted, describe, plan).node()
        name = fresh("match_1", lifted.relations)
        lifted.nodes[name] = node
        lifted.relations[name] = Relation(name, node.schema, append_only=True)
        table.set("this", exp.to_identifier(name, quoted=True))
    return lifted


def clauses(query: exp.Query) -> list[exp.Table]:
    """The items of FROM clauses that are matches, in the order of the text.

    What a clause reads stands before its own first word.
    """
    found = [t for t in query.find_all(exp.Table) if isinstance(t.this, exp.MatchRecognize)]
    return sorted(found, key=lambda table: int(table.this.meta["start"]))


def matched_over(clause: exp.MatchRecognize) -> exp.Select:
    """What a clause matches over, as a query that can stand alone."""
    query = exp.select("*").from_(clause.this.copy())
    block = clause.find_ancestor(exp.Query)
    assert block is not None
    whole = in_context(query, block)
    own = block.args.get("with_")
    if own is not None:
        outer = whole.args.get("with_")
        before = [] if outer is None else list(outer.expressions)
        ctes = [*before, *(cte.copy() for cte in own.expressions)]
        whole.set("with_", exp.With(expressions=ctes))
    assert isinstance(whole, exp.Select)
    return whole


@dataclass(slots=True)
class _Clause:
    """One clause on its way to a node."""

    clause: exp.MatchRecognize
    lifted: Lifted
    describe: Describe
    plan: Plan

    @property
    def _origin(self) -> Place | None:
        return self.lifted.definition.origin

    def node(self) -> Node:
        below = self._below()
        pattern, binder = self._pattern(below.schema)
        readings: dict[str, Reading] = {}
        conditions = self._conditions(binder, readings)
        measured: dict[str, Reading] = {}
        measures = tuple(
            (item.alias, binder.measure(item.this, measured))
            for item in self.clause.args["measures"]
        )
        partition = tuple(self._column(c, below.schema) for c in self.clause.args["partition_by"])
        time, order, behind_us = self._order(below)
        added = list(binder.computed.items())
        try:
            computed = Builder(self.describe).with_columns(below, added)
        except Decline as decline:
            raise self._error(self.clause, decline.reason, "see the expressions in it") from None
        node = MatchRecognize(
            input=computed,
            partition=tuple(dict.fromkeys(partition)),
            time=time,
            order=order,
            content=below.schema.names,
            neighbours=tuple(binder.neighbours.values()),
            pattern=pattern,
            conditions=conditions,
            readings=tuple(readings.values()),
            measured=tuple(measured.values()),
            measures=measures,
            all_rows=bool(self.clause.args["all_rows"].this),
            skip=Skip.PAST_LAST,
            skip_symbol=None,
            within_us=self._within(binder),
            sources=self._sources(below),
            behind_us=behind_us,
            schema=below.schema,
        )
        node = self._skipping(node)
        self._check(node)
        self._check_kinds(node)
        return replace(node, schema=self._schema(node))

    def _below(self) -> Node:
        """What is matched over, its rows with their places in the log."""
        lifted = self.lifted
        inner = replace(lifted.definition, query=matched_over(self.clause))
        node = self.plan(inner, lifted.relations, lifted.nodes)
        if not node.append_only:
            raise self._error(
                self.clause.this,
                "MATCH_RECOGNIZE needs rows that are never withdrawn",
                "match over a topic, or a view that only adds rows, such as a filter",
            )
        return bottom_up(node, lambda n: replace(n, ticks=True) if isinstance(n, Scan) else n)

    def _pattern(self, schema: Schema) -> tuple[Pattern, Binder]:
        place = self._place_of(self.clause.args["pattern"])
        pattern = parse_pattern(place)
        found: dict[str, str] = {}
        for symbol in symbols(pattern):
            found.setdefault(symbol.lower(), symbol)
        if rows_min(pattern) == 0:
            raise DefinitionError(
                "this pattern can match without a row",
                place=place,
                hint="let a part come at least once: a+ and not a*",
            )
        pattern = _spelled(pattern, found)
        return pattern, Binder(schema, found, self._origin)

    def _conditions(self, binder: Binder, readings: dict[str, Reading]) -> tuple[Condition, ...]:
        conditions: dict[str, Condition] = {}
        for item in self.clause.args["define"]:
            symbol = binder.symbols.get(item.alias.lower())
            if symbol is None:
                raise self._error(
                    item.args["alias"],
                    f"{item.alias} is not in the pattern",
                    hint_for(item.alias, binder.symbols.values(), "the symbols are"),
                )
            if symbol in conditions:
                raise self._error(
                    item.args["alias"], f"{item.alias} is defined twice", "join them with AND"
                )
            conditions[symbol] = binder.condition(symbol, item.this, readings)
        return tuple(conditions.values())

    def _order(self, below: Node) -> tuple[str, tuple[Order, ...], int]:
        """The time, the further columns, and how far the time may be behind the watermark."""
        first, *others = self.clause.args["order"].expressions
        time = self._column(first.this, below.schema)
        if first.args.get("desc"):
            raise self._error(
                first.this, "rows are matched in the order of time, so not DESC", "leave DESC out"
            )
        behind_us = self._behind_us(first.this, time, below)
        order = tuple(
            Order(
                self._column(item.this, below.schema),
                bool(item.args.get("desc")),
                bool(item.args.get("nulls_first")),
            )
            for item in others
        )
        return time, order, behind_us

    def _behind_us(self, at: exp.Expr, time: str, below: Node) -> int:
        """How far the first column of ORDER BY, which must be an event time, may be behind."""
        found = times_below(below, time)
        hint = "order by the topic's own time column, passed on unchanged"
        if found is None:
            raise self._error(
                at, f"MATCH_RECOGNIZE needs the event time of a topic, and {time} is computed", hint
            )
        for name, source in found:
            relation = self.lifted.relations[name.lower()]
            if not relation.times:
                raise self._error(
                    at,
                    f"MATCH_RECOGNIZE needs a watermark, and {name} has no event time",
                    f"declare it: WATERMARK FOR {source} AS {source} - INTERVAL '10 seconds'",
                )
            if source.lower() not in dict(relation.times):
                known = relation.event_time or relation.times[0][0]
                raise self._error(
                    at,
                    f"MATCH_RECOGNIZE needs the event time of {name}, which is "
                    f"{known}, not {source}",
                    f"use ORDER BY {known}",
                )
        lag = lag_of(below, time, self.lifted.relations)
        if lag is None:
            raise self._error(
                at,
                f"MATCH_RECOGNIZE needs to know how late a row may be, and by {time} the rows here "
                "may come any time after it",
                "bound on both sides how far apart in time rows of the join are",
            )
        return lag.behind_us

    def _sources(self, below: Node) -> tuple[str, ...]:
        scans = [node for node in walk(below) if isinstance(node, Scan)]
        known = self.lifted.relations
        return tuple(
            dict.fromkeys(topic for s in scans for topic in known[s.relation.lower()].sources)
        )

    def _within(self, binder: Binder) -> int | None:
        within = self.clause.args.get("within")
        if within is None:
            return None
        length_us = binder.length_us(within)
        if length_us == 0:
            raise self._error(within, "a match takes some time", "WITHIN INTERVAL '5 minutes'")
        return length_us

    def _skipping(self, node: MatchRecognize) -> MatchRecognize:
        words = self.clause.args.get("after")
        if words is None:
            return node
        skip, symbol = parse_skip(words.name, self._place_of(words))
        known = {name.lower(): name for name in symbols(node.pattern)}
        if symbol is not None and symbol.strip('"').lower() not in known:
            raise self._error(
                words,
                f"{symbol} is not in the pattern",
                hint_for(symbol, known.values(), "the symbols are"),
            )
        name = None if symbol is None else known[symbol.strip('"').lower()]
        return replace(node, skip=skip, skip_symbol=name)

    def _check(self, node: MatchRecognize) -> None:
        if has_end(node.pattern) and node.within_us is None:
            raise self._error(
                self.clause.args["pattern"],
                "$ stands for the end of the time of a match, and no time is said",
                "add WITHIN INTERVAL '5 minutes' behind the pattern",
            )
        names = [name.lower() for name, _ in node.measures]
        names += [n.lower() for n in (node.content if node.all_rows else node.partition)]
        for item in self.clause.args["measures"]:
            if names.count(item.alias.lower()) > 1:
                raise self._error(
                    item.args["alias"],
                    f"there are two columns {item.alias}",
                    "give the measure another name",
                )
        if not names:
            raise self._error(
                self.clause,
                "these matches have no column",
                "add MEASURES, PARTITION BY or ALL ROWS PER MATCH",
            )

    def _check_kinds(self, node: MatchRecognize) -> None:
        """What is computed while rows are matched must be what Python computes as DuckDB does."""
        rows = matched_schema(node)
        numbers = (Pick.COUNT, Pick.SUM)
        kinds = {
            r.name: "number" if r.column is None else kind_of_type(rows[r.column].type.sql)
            for r in node.readings
        }
        for reading in node.readings:
            is_number = kinds[reading.name] == "number"
            if reading.pick is Pick.COUNT:
                kinds[reading.name] = "number"
            elif reading.pick in numbers and not is_number:
                kinds[reading.name] = ""
        for condition in node.conditions:
            if condition.rest is None:
                continue
            if kind_of(condition.rest, kinds, self._error) not in ("BOOLEAN", None):
                raise self._error(
                    condition.rest,
                    f"the condition of {condition.symbol} is no condition",
                    "compare it with something",
                )

    def _schema(self, node: MatchRecognize) -> Schema:
        """What DuckDB says of the measures."""
        rows = matched_schema(node)
        query = measures_query(node)
        try:
            described = self.describe(query, {"input": rows})
        except DefinitionError as error:
            measures = self.clause.args["measures"]
            whole = replace(self.lifted.definition, query=exp.select(*measures))
            raise explained_in(error, whole, {"input": rows}) from None
        return nullable(described)

    def _column(self, node: exp.Expr, schema: Schema) -> str:
        if not isinstance(node, exp.Column) or isinstance(node.this, exp.Star):
            raise self._error(
                node,
                "PARTITION BY and ORDER BY name columns",
                "compute it before: FROM (SELECT *, ... AS k FROM topic) MATCH_RECOGNIZE (...)",
            )
        if node.name not in schema:
            raise self._error(
                node,
                f"there is no column {node.name}",
                hint_for(node.name, schema.names, "the columns are"),
            )
        return schema[node.name].name

    def _place_of(self, node: exp.Expr) -> Place:
        place = place_of(node, self._origin)
        assert place is not None, "a clause is cut out of a text"
        return place

    def _error(self, node: exp.Expr, message: str, hint: str) -> DefinitionError:
        return DefinitionError(message, place=place_of(node, self._origin), hint=hint)


def measures_query(node: MatchRecognize) -> exp.Select:
    """What the node puts out, as one SELECT over the rows of its matches."""
    if node.all_rows:
        return all_rows(node.content, node.measures, node.measured)
    return one_row(node.partition, node.measures, node.measured)


def matched_schema(node: MatchRecognize) -> Schema:
    """The columns of the rows of matches."""
    columns = [
        *node.input.schema,
        *(Column(n.name, node.input.schema[n.column].type) for n in node.neighbours),
        Column(MATCH, parse_type("BIGINT")),
        Column(PLACE, parse_type("BIGINT")),
        Column(SYMBOL, parse_type("VARCHAR")),
    ]
    return nullable(columns)


def _spelled(pattern: Pattern, names: Mapping[str, str]) -> Pattern:
    """The pattern with each symbol in one spelling."""
    if isinstance(pattern, Symbol):
        return Symbol(names[pattern.name.lower()])
    if isinstance(pattern, Repeat):
        return replace(pattern, part=_spelled(pattern.part, names))
    if isinstance(pattern, Follow | Choice):
        return replace(pattern, parts=tuple(_spelled(p, names) for p in pattern.parts))
    return pattern

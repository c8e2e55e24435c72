"""Plan nodes with their schemas filled in.

A node's schema is what DuckDB says of it (through `describe`) wherever an expression is computed,
and follows from its inputs everywhere else. Above a scan every column may be null: no operator has
to trust a claim that a join or a filter could break.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.nodes import (
    Distinct,
    Join,
    JoinKind,
    Map,
    Node,
    Order,
    Place,
    Recompute,
    SetOperation,
    SetRule,
    TemporalFilter,
    TopN,
    Union,
    Windows,
    WindowSpec,
    Within,
)
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType
from headwater.sql import temporal
from headwater.sql.decline import Decline
from headwater.sql.relations import Describe

Projection = tuple[str, exp.Expr]
INPUT = "input"


def column(name: str) -> exp.Column:
    """A reference to an input's column, as plans spell it."""
    return exp.Column(this=exp.to_identifier(name, quoted=True))


def identifier(name: str) -> exp.Identifier:
    """A quoted name."""
    return exp.to_identifier(name, quoted=True)


def column_names(expression: exp.Expr) -> tuple[str, ...]:
    """The input columns that a bound expression reads, each once, in order of appearance."""
    return tuple(dict.fromkeys(c.name for c in expression.find_all(exp.Column, bfs=False)))


def fresh(base: str, taken: Iterable[str]) -> str:
    """`base`, or with a number where it is taken (without regard to case)."""
    folded = {name.lower() for name in taken}
    name, number = base, 1
    while name.lower() in folded:
        name, number = f"{base}_{number}", number + 1
    return name


def nullable(columns: Iterable[Column]) -> Schema:
    """The columns without the claims that only a topic can make."""
    return Schema(tuple(Column(c.name, c.type) for c in columns))


def data_type(sql_type: DataType) -> exp.DataType:
    """A column type as sqlglot has it."""
    return exp.DataType.build(sql_type.sql, dialect="duckdb")


def is_identity(node: Node, projections: Sequence[Projection]) -> bool:
    """Whether the projections are the node's own columns in its own order."""
    return tuple(name for name, _ in projections) == node.schema.names and all(
        isinstance(e, exp.Column) and e.name == name for name, e in projections
    )


class Builder:
    """Makes nodes.

    Args:
        describe: DuckDB's typing.

    """

    def __init__(self, describe: Describe) -> None:
        self.describe = describe

    def ask(self, query: exp.Query, relations: Mapping[str, Schema]) -> Schema:
        """DuckDB's typing of a part of the query.

        Raises:
            Decline: DuckDB refuses the part alone, though it accepts the whole.

        """
        try:
            return self.describe(query, relations)
        except DefinitionError as error:
            raise Decline(f"DuckDB takes it only whole: {error.message.splitlines()[0]}") from None

    def map(
        self, node: Node, projections: Sequence[Projection], condition: exp.Expr | None = None
    ) -> Node:
        """Filter, then project; the node itself where that changes nothing."""
        if condition is None and is_identity(node, projections):
            return node
        schema = self.types(node.schema, projections)
        return Map(node, tuple(projections), condition, schema)  # type: ignore[arg-type]

    def filter(self, node: Node, conditions: Sequence[exp.Expr]) -> Node:
        """Keep the rows for which all conditions hold."""
        if not conditions:
            return node
        by_time = [c for c in conditions if temporal.has_now(c)]
        if by_time:
            rest = [c for c in conditions if not temporal.has_now(c)]
            return self._temporal(self.filter(node, rest), by_time)
        keep = [(name, column(name)) for name in node.schema.names]
        return self.map(node, keep, exp.and_(*conditions, copy=True))

    def _temporal(self, node: Node, conditions: Sequence[exp.Expr]) -> Node:
        """Keep the rows for which conditions with `now()` hold, as long as they do."""
        found = [temporal.bounds(condition) for condition in conditions]
        node = self.filter(node, [plain for _, rest in found for plain in rest])
        bounds = [bound for some, _ in found for bound in some]
        added: dict[str, exp.Expr] = {}
        taken = list(node.schema.names)
        for base, is_until in (("valid_from", False), ("valid_until", True)):
            moments = [
                temporal.micros(b.time, self._type(node, b.time), b.shift_us)
                for b in bounds
                if b.is_until is is_until
            ]
            if moments:
                name = fresh(base, [*taken, *added])
                added[name] = temporal.combined(moments, is_until=is_until)
        # Of a null time nothing holds.
        known = [exp.Not(this=exp.Is(this=b.time.copy(), expression=exp.null())) for b in bounds]
        keep = [(name, column(name)) for name in taken]
        timed = self.map(node, [*keep, *added.items()], exp.and_(*known, copy=True))
        names = {base: n for n in added for base in ("valid_from", "valid_until") if base in n}
        first, last = names.get("valid_from"), names.get("valid_until")
        if first and last:
            timed = self.filter(timed, [exp.LT(this=column(first), expression=column(last))])
        return TemporalFilter(timed, first, last, nullable(timed.schema.select(tuple(taken))))

    def _type(self, node: Node, expression: exp.Expr) -> str:
        return self.types(node.schema, [("time", expression)])["time"].type.sql

    def with_columns(self, node: Node, added: Sequence[Projection]) -> Node:
        """The node's columns and some computed ones."""
        if not added:
            return node
        return self.map(node, [(n, column(n)) for n in node.schema.names] + list(added))

    def cast(self, node: Node, target: Schema) -> Node:
        """The node's columns, renamed and cast, in order, to what `target` says."""
        pairs = zip(node.schema, target, strict=True)
        return self.map(node, [(t.name, self.to_type(column(c.name), c, t)) for c, t in pairs])

    def to_type(self, expression: exp.Expr, is_now: Column, wanted: Column) -> exp.Expr:
        """The expression, cast where its type is not the wanted one."""
        if is_now.type.sql == wanted.type.sql:
            return expression
        return exp.Cast(this=expression, to=data_type(wanted.type))

    def types(self, schema: Schema, projections: Sequence[Projection]) -> Schema:
        """What DuckDB says of the projections over rows of `schema`."""
        if all(isinstance(e, exp.Column) for _, e in projections):
            return nullable(Column(name, schema[e.name].type) for name, e in projections)
        query = exp.select(
            *(exp.alias_(e.copy(), identifier(name)) for name, e in projections)
        ).from_(exp.Table(this=identifier(INPUT)))
        described = self.ask(query, {INPUT: schema})
        names = [name for name, _ in projections]
        pairs = zip(names, described, strict=True)
        return nullable(Column(name, c.type) for name, c in pairs)

    def join(  # noqa: PLR0913, PLR0917 - the fields of the node
        self,
        kind: JoinKind,
        left: Node,
        right: Node,
        keys: Sequence[tuple[str, str]],
        within: Within | None = None,
        conditions: Sequence[exp.Expr] = (),
    ) -> Node:
        """The rows of two inputs that match; the inputs' column names differ."""
        schema = nullable((*left.schema, *(right.schema if kind.has_both else ())))
        left_keys, right_keys = tuple(k for k, _ in keys), tuple(k for _, k in keys)
        condition: Any = exp.and_(*conditions, copy=True) if conditions else None
        return Join(kind, left, right, left_keys, right_keys, schema, within, condition)

    def windows(self, node: Node, spec: WindowSpec, start: str, end: str) -> Node:
        """Rows with the windows that they are in."""
        time_type = node.schema[spec.time].type
        added = (Column(start, time_type), Column(end, time_type))
        keys = tuple(dict.fromkeys(node.schema[key].name for key in spec.keys))
        spec = replace(spec, time=node.schema[spec.time].name, keys=keys)
        return Windows(node, spec, start, end, nullable((*node.schema, *added)))

    def distinct(self, node: Node) -> Node:
        """Each row once."""
        return Distinct(node, nullable(node.schema))

    def union(self, nodes: Sequence[Node], *, of_same_rows: bool = False) -> Node:
        """All rows of nodes that have the same columns."""
        return Union(tuple(nodes), nullable(nodes[0].schema), of_same_rows)

    def widened(self, node: Node, target: Schema) -> Node:
        """The node with all columns of `target`, null where it has none of that name."""
        projections = [
            (c.name, column(node.schema[c.name].name))
            if c.name in node.schema
            else (c.name, exp.Cast(this=exp.null(), to=data_type(c.type)))
            for c in target
        ]
        return self.map(node, projections)

    def set_operation(self, rule: SetRule, left: Node, right: Node) -> Node:
        """Rows of two nodes that have the same columns, counted against each other."""
        return SetOperation(rule, left, right, nullable(left.schema))

    def top(  # noqa: PLR0913 - the fields of the node
        self,
        node: Node,
        partition: Sequence[str],
        order: Sequence[Order],
        *,
        limit: int,
        offset: int = 0,
        number: str | None = None,
        place: Place = Place.ROW_NUMBER,
    ) -> Node:
        """The first rows of each partition."""
        columns = tuple(node.schema)
        if number is not None:
            columns += self.types(node.schema, [(number, BIGINT_ONE)]).columns
        shown = nullable(columns)
        return TopN(node, tuple(partition), tuple(order), limit, offset, number, shown, place)

    def recompute(
        self,
        inputs: Sequence[tuple[str, Node, tuple[str, ...]]],
        query: exp.Query,
        reason: str,
    ) -> Node:
        """Any query over named inputs, each with its group keys."""
        schema = self.ask(query, {name: node.schema for name, node, _ in inputs})
        return Recompute(
            tuple(node for _, node, _ in inputs),
            tuple(name for name, _, _ in inputs),
            tuple(keys for _, _, keys in inputs),
            query,
            nullable(schema),
            reason,
        )


BIGINT_ONE = exp.Cast(this=exp.Literal.number(1), to=exp.DataType.build("BIGINT", dialect="duckdb"))

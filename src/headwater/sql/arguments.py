"""The rows that an aggregate reads: its keys and arguments, each computed once.

All are columns of one map. What each value counts in only once (`count(DISTINCT x)`) is read by an
aggregate of its own (`DistinctValues`): from the distinct rows of keys and value, or, where the
same value is counted under several conditions, from one group for each value that knows which of
the conditions held. What such a group knows is a number with a bit for each condition, which grows;
where rows may be withdrawn it is a count for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Aggregate, Merge, Node, Partial
from headwater.schema.schema import Schema
from headwater.sql import by_value
from headwater.sql.build import INPUT, Projection, column, fresh, identifier, nullable

if TYPE_CHECKING:
    from headwater.sql.planner import Planner

# So many bits an INTEGER has to spare.
CONDITIONS_MAX = 30


class Arguments:
    """Collects the columns, then builds the rows.

    Args:
        node: What the expressions read.
        group: The grouping expressions.

    """

    def __init__(self, planner: Planner, node: Node, group: list[exp.Expr]) -> None:
        self._planner = planner
        self._input = node
        self._names: dict[str, str] = {}
        self.projections: list[Projection] = []
        self.keys: list[exp.Expr] = [column(self.name(key, "key")) for key in group]

    def name(self, expression: exp.Expr, base: str) -> str:
        """The column that holds the expression."""
        text = expression.sql("duckdb")
        if text not in self._names:
            if isinstance(expression, exp.Column):
                base = expression.name
            self._names[text] = fresh(base, [n for n, _ in self.projections])
            self.projections.append((self._names[text], expression))
        return self._names[text]

    def type_of(self, expression: exp.Expr) -> str:
        """DuckDB's type of an expression over the input."""
        types = self._planner.build.types(self._input.schema, [("x", expression)])
        return types["x"].type.sql.upper()

    def node(self) -> Node:
        """The rows."""
        first = self._input.schema.names[0]
        return self._planner.build.map(self._input, self.projections or [(first, column(first))])


class DistinctValues:
    """Rows of a group's keys and one value, each value once for each condition it is counted under.

    Args:
        node: What the expressions read.
        group: The grouping expressions.
        value: What is counted.

    """

    def __init__(
        self, planner: Planner, node: Node, group: list[exp.Expr], value: exp.Expr
    ) -> None:
        self._planner = planner
        self._input = node
        self._value = value
        self._keys = Arguments(planner, node, group).projections
        self._conditions: dict[str, exp.Expr | None] = {}
        self._names: dict[str, str] = {}
        self._base = value.name if isinstance(value, exp.Column) else "value"

    def name(self, condition: exp.Expr | None) -> str:
        """The column with the value, where the condition held, and else null."""
        text = "" if condition is None else condition.sql("duckdb")
        if text not in self._names:
            self._conditions[text] = condition
            taken = [*(name for name, _ in self._keys), *self._names.values()]
            self._names[text] = fresh(f"distinct_{self._base}", taken)
        return self._names[text]

    def has(self, condition: exp.Expr | None) -> bool:
        """Whether the values are counted under the condition already."""
        return ("" if condition is None else condition.sql("duckdb")) in self._names

    @property
    def is_full(self) -> bool:
        """Whether there is no room for a further condition."""
        return len(self._names) >= CONDITIONS_MAX

    def node(self, *, keeps_groups: bool, only_counts: bool) -> Node:
        """The rows.

        Args:
            keeps_groups: Whether each group must have a row, also one without any value.
            only_counts: Whether nobody asks which value it is.

        """
        if len(self._names) == 1:
            return self._once(keeps_groups=keeps_groups)
        return self._flagged(keeps_groups=keeps_groups, only_counts=only_counts)

    def _once(self, *, keeps_groups: bool) -> Node:
        ((text, name),) = self._names.items()
        build = self._planner.build
        projections = [*self._keys, (name, case(self._conditions[text], self._value))]
        rows = build.map(self._input, projections)
        if not keeps_groups:
            rows = build.filter(rows, [is_known(column(name))])
        return build.distinct(rows)

    def _flagged(self, *, keeps_groups: bool, only_counts: bool) -> Node:
        """A group for each value, and from it a column for each condition."""
        build = self._planner.build
        value = fresh(self._base, [name for name, _ in self._keys])
        rows = self._input
        if not keeps_groups:
            rows = build.filter(rows, self._wanted())
        grouped, held = self._grouped(rows, value)
        shown: exp.Expr = exp.Literal.number(1) if only_counts else column(value)
        if keeps_groups and only_counts:
            # A null is no value, whatever held.
            held = [exp.and_(is_known(column(value)), test) for test in held]
        columns: list[Projection] = [(name, column(name)) for name, _ in self._keys]
        columns += [
            (name, case(test, shown)) for name, test in zip(self._names.values(), held, strict=True)
        ]
        return build.map(grouped, columns)

    def _grouped(self, rows: Node, value: str) -> tuple[Node, list[exp.Expr]]:
        """One row for each value of a group, and over it which of the conditions held."""
        build = self._planner.build
        projections = [*self._keys, (value, self._value)]
        keys = [name for name, _ in projections]
        conditions = list(self._conditions.values())
        if self._input.append_only:
            flags = fresh("conditions", keys)
            bits = [_bit(condition, 1 << at) for at, condition in enumerate(conditions)]
            total: exp.Expr = bits[0]
            for bit in bits[1:]:
                total = exp.Add(this=total, expression=bit)
            mapped = build.map(rows, [*projections, (flags, _integer(total))])
            partials: tuple[Partial, ...] = (Partial(flags, Merge.BIT_OR, flags),)
            held = [_has_bit(flags, 1 << at) for at in range(len(conditions))]
        else:
            names = list(self._names.values())
            one = exp.Literal.number(1)
            hits = [(n, case(c, one.copy())) for n, c in zip(names, conditions, strict=True)]
            mapped = build.map(rows, [*projections, *hits])
            partials = tuple(Partial(f"times_{n}", Merge.COUNT, n) for n in names)
            zero = exp.Literal.number(0)
            held = [exp.GT(this=column(p.name), expression=zero.copy()) for p in partials]
        return aggregate(self._planner, mapped, tuple(keys), partials), held

    def _wanted(self) -> list[exp.Expr]:
        """Which rows can count at all."""
        wanted = [is_known(self._value.copy())]
        conditions = [c for c in self._conditions.values() if c is not None]
        if len(conditions) == len(self._conditions):
            wanted.append(exp.or_(*(exp.paren(c.copy()) for c in conditions)))
        return wanted


def aggregate(
    planner: Planner, below: Node, keys: tuple[str, ...], partials: tuple[Partial, ...]
) -> Node:
    """An aggregate without windows, its types filled in by DuckDB."""
    columns = [below.schema[key] for key in keys]
    if partials:
        calls = [exp.alias_(by_value.call(p), identifier(p.name)) for p in partials]
        query = exp.select(*calls).from_(exp.Table(this=identifier(INPUT)))
        columns += planner.build.ask(query, {INPUT: below.schema})
    schema: Schema = nullable(columns)
    return Aggregate(below, keys, partials, schema)


def case(condition: exp.Expr | None, value: exp.Expr) -> exp.Expr:
    """The value where the condition holds, else null."""
    if condition is None:
        return value
    return exp.Case(ifs=[exp.If(this=condition.copy(), true=value.copy())])


def _bit(condition: exp.Expr | None, bit: int) -> exp.Expr:
    found = case(condition, exp.Literal.number(bit))
    if isinstance(found, exp.Case):
        found.set("default", exp.Literal.number(0))
    return found


def _has_bit(name: str, bit: int) -> exp.Expr:
    both = exp.BitwiseAnd(this=column(name), expression=exp.Literal.number(bit))
    return exp.GT(this=exp.paren(both), expression=exp.Literal.number(0))


def _integer(value: exp.Expr) -> exp.Expr:
    return exp.Cast(this=value, to=exp.DataType.build("INTEGER"))


def is_known(value: exp.Expr) -> exp.Expr:
    """IS NOT NULL."""
    return exp.Not(this=exp.Is(this=value, expression=exp.null()))

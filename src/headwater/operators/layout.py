"""The columns in which an aggregate's partial results are kept.

A partial result of a group is one row: the group's key, how many rows it has (`__n`), and per
aggregate a value that merges with another of its kind:

    COUNT(*)      __n itself
    COUNT(x)      __v0  int64
    SUM(x)        __v0  DECIMAL(38, s), or DOUBLE for floats; 0 over nothing
                  __c0  how many x were not null: a sum over none of them is null
    MIN, MAX      __v0  null over nothing; so are BIT_OR and ONLY
    ONLY(x)       __c0  how many x are not null, beside __v0: 0 or 1
    by value      __b0  the distinct values, ascending; one list for all that read this argument
                  __w0  how often each of them occurs

The same columns come out of the partial statement, lie in windows that are still open, and are
the running totals, so that there is one way to merge them. In windowed aggregates the start of a
slice, or of a window, is part of the key (`__slice`, `__start`, in microseconds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, TICK, WEIGHT
from headwater.delta.watermark import BEFORE_ALL
from headwater.operators import bags, render
from headwater.plan.nodes import Aggregate, Merge, Panes, SessionPanes
from headwater.schema.schema import Schema

ROWS = "__n"
SLICE = "__slice"
START = "__start"
FROM = "__from"


@dataclass(frozen=True, slots=True)
class Term:
    """One aggregate's columns.

    Args:
        name: The column it publishes.
        argument: The column it reads; None counts rows.
        value: Its value's column.
        count: For SUM and ONLY, the column with the number of non-null arguments.
        arrow: The type of the value.
        sql: DuckDB's spelling of the type of the value.
        argument_sql: DuckDB's spelling of the type of the argument.

    """

    name: str
    merge: Merge
    argument: str | None
    value: str
    count: str | None
    arrow: pa.DataType
    sql: str
    argument_sql: str

    @property
    def is_float(self) -> bool:
        """True for a sum whose bits depend on the order of addition."""
        return self.merge is Merge.SUM and bool(pa.types.is_floating(self.arrow))


@dataclass(frozen=True, slots=True)
class Bag:
    """The counts by value of one argument.

    Args:
        argument: The column it reads.
        values: The column with the lists of values.
        counts: The column with the lists of counts.
        arrow: The type of a value.
        sql: DuckDB's spelling of it.

    """

    argument: str
    values: str
    counts: str
    arrow: pa.DataType
    sql: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One aggregate that is read off counts by value.

    Args:
        name: The column it publishes.
        bag: What it reads.
        arrow: The type of what it publishes.

    """

    name: str
    merge: Merge
    bag: Bag
    fraction: str | None
    arrow: pa.DataType

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """What it publishes, from state columns."""
        values, counts = rows.column(self.bag.values), rows.column(self.bag.counts)
        if self.merge is Merge.QUANTILE:
            assert self.fraction is not None
            return bags.quantiles(values, counts, self.fraction)
        if self.merge is Merge.DISTINCT:
            return bags.sizes(values)
        return bags.histograms(values, counts, self.arrow)


@dataclass(frozen=True, slots=True)
class Layout:
    """The partial results of one `Aggregate`, or of `Panes`.

    Args:
        keys: The key columns of the node's schema.
        terms: The aggregates that are kept as they are published.
        bags: The counts by value.
        readings: The aggregates that are read off these.
        is_weighted: True when the input's rows carry weights.
        has_ticks: True when the input's rows carry ticks: the highest of them is kept.
        not_null: Arguments that are never null. Their number is that of the rows, which DuckDB
            then counts but once.

    """

    keys: Schema
    terms: tuple[Term, ...]
    is_weighted: bool
    has_ticks: bool
    not_null: frozenset[str] = frozenset()
    bags: tuple[Bag, ...] = ()
    readings: tuple[Reading, ...] = ()

    @property
    def is_ordered(self) -> bool:
        """True when a merge must add in a fixed order."""
        return any(term.is_float or term.merge is Merge.ONLY for term in self.terms)

    @property
    def extremes(self) -> tuple[Term, ...]:
        """The MIN and MAX terms."""
        return tuple(t for t in self.terms if t.merge in (Merge.MIN, Merge.MAX))

    def state(self, *places: str) -> pa.Schema:
        """The schema of rows of partial results, without hidden columns.

        Args:
            places: Further key columns, such as the start of the window.

        """
        fields = [pa.field(c.name, c.type.arrow) for c in self.keys]
        fields += [pa.field(place, pa.int64()) for place in places]
        fields.append(pa.field(ROWS, pa.int64()))
        for term in self.terms:
            if term.value != ROWS:
                fields.append(pa.field(term.value, term.arrow))
            if term.count:
                fields.append(pa.field(term.count, pa.int64()))
        for bag in self.bags:
            fields.append(pa.field(bag.values, pa.list_(bag.arrow)))
            fields.append(pa.field(bag.counts, pa.list_(pa.int64())))
        return pa.schema(fields)

    def settled(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Partial results as a statement gives them, with each value once in its list.

        `partial` and `combined` only list values, which is quicker in DuckDB than to count them.
        """
        for bag in self.bags:
            pair = bags.counted([(rows.column(bag.values), rows.column(bag.counts))], bag.arrow)
            for name, column in zip((bag.values, bag.counts), pair, strict=True):
                position = rows.schema.get_field_index(name)
                rows = rows.set_column(position, pa.field(name, column.type), column)
        return rows

    def carried(self, *places: str) -> pa.Schema:
        """The schema of partial results on their way: the state's, the hash and the tick."""
        schema = self.state(*places).append(pa.field(HASH, pa.uint64()))
        return schema.append(pa.field(TICK, pa.int64())) if self.has_ticks else schema

    def read(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with what is read off counts by value in place of the counts."""
        if not self.bags:
            return rows
        counts = {name for bag in self.bags for name in (bag.values, bag.counts)}
        readings = [(reading.name, reading.of(rows)) for reading in self.readings]
        rows = rows.select([name for name in rows.schema.names if name not in counts])
        for name, column in readings:
            rows = rows.append_column(name, column)
        return rows

    def partial(self, rows: exp.Select, places: Sequence[str] = ()) -> exp.Select:
        """Group rows of the input into partial results.

        Args:
            rows: A query with the aggregate's input columns, the hidden ones and `places`.
            places: Columns that tell groups apart beside the keys.

        """
        keys = [*self.keys.names, *places]
        columns: list[exp.Expression] = [render.column(key) for key in keys]
        columns.append(render.named(self._count(None), ROWS))
        for term in self.terms:
            columns += self._term(term)
        for bag in self.bags:
            columns += self._listed(bag)
        columns.append(render.key_hash(self.keys.names))
        if self.has_ticks:
            columns.append(_tick_last())
        return _grouped(columns, rows, keys)

    def combined(self, source: str, places: Sequence[str] = ()) -> exp.Select:
        """Merge partial results with equal keys and places into one row each."""
        keys = [*self.keys.names, *places]
        columns: list[exp.Expression] = [render.column(key) for key in keys]
        columns.append(render.named(_int_sum(render.column(ROWS)), ROWS))
        for term in self.terms:
            columns += _merged(term)
        for bag in self.bags:
            columns += [render.named(_together(n), n) for n in (bag.values, bag.counts)]
        # The carried hash may cover more than the keys, and is equal in equal groups.
        columns.append(render.named(render.call("any_value", render.column(HASH)), HASH))
        if self.has_ticks:
            columns.append(_tick_last())
        rows = render.select([exp.Star()], source, None)
        return _grouped(columns, rows, keys)

    def _count(self, argument: str | None) -> exp.Expression:
        """The number of rows, or of non-null arguments, by weight."""
        if argument in self.not_null:
            argument = None
        if not self.is_weighted:
            counted = exp.Star() if argument is None else render.column(argument)
            return exp.Count(this=counted, big_int=True)
        weight: exp.Expression = render.column(WEIGHT)
        if argument is not None:
            is_null = exp.Is(this=render.column(argument), expression=exp.null())
            zero = exp.Literal.number(0)
            weight = exp.Case(ifs=[exp.If(this=is_null, true=zero)], default=weight)
        return _int_sum(weight)

    def _term(self, term: Term) -> list[exp.Expression]:
        if term.argument is None:
            return []
        argument = render.column(term.argument)
        if term.merge is Merge.COUNT:
            return [render.named(self._count(term.argument), term.value)]
        if term.merge is Merge.ONLY:
            return self._only(term)
        if term.merge in (Merge.MIN, Merge.MAX, Merge.BIT_OR):
            return [render.named(render.call(term.merge.value, argument), term.value)]
        assert term.count is not None
        zero = render.cast(exp.Literal.number(0), term.sql)
        total = exp.Coalesce(this=exp.Sum(this=self._weighted(term)), expressions=[zero])
        return [
            render.named(render.cast(total, term.sql), term.value),
            render.named(self._count(term.argument), term.count),
        ]

    def _only(self, term: Term) -> list[exp.Expression]:
        """The value that was added last, and by how much the number of values changes."""
        assert term.argument is not None and term.count is not None
        argument = render.column(term.argument)
        is_added: exp.Expr = exp.Not(this=exp.Is(this=argument.copy(), expression=exp.null()))
        if self.is_weighted:
            adds = exp.GT(this=render.column(WEIGHT), expression=exp.Literal.number(0))
            is_added = exp.and_(is_added, adds, copy=False)
        last = render.call("last", argument)
        value = exp.Filter(this=last, expression=exp.Where(this=is_added))
        counted = self._count(term.argument)
        return [render.named(value, term.value), render.named(counted, term.count)]

    def _listed(self, bag: Bag) -> list[exp.Expression]:
        """All values of a bag and, where rows have weights, these; otherwise each counts one."""
        argument = render.column(bag.argument)
        is_value = exp.Not(this=exp.Is(this=argument.copy(), expression=exp.null()))
        counts: exp.Expression = render.cast(exp.null(), "BIGINT[]")
        if self.is_weighted:
            counts = _list_of(render.column(WEIGHT), is_value)
        values = _list_of(argument, is_value)
        return [render.named(values, bag.values), render.named(counts, bag.counts)]

    def _weighted(self, term: Term) -> exp.Expression:
        """The argument of a sum, times the row's weight where rows have weights."""
        assert term.argument is not None
        argument = render.column(term.argument)
        if not self.is_weighted:
            return argument
        if not term.argument_sql.upper().startswith("DECIMAL"):
            small = ("TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "BOOLEAN")
            wide = "BIGINT" if term.argument_sql.upper() in small else "HUGEINT"
            return exp.Mul(this=render.cast(argument, wide), expression=render.column(WEIGHT))
        return exp.Mul(this=argument, expression=render.column(WEIGHT))


def layout(node: Aggregate | Panes | SessionPanes, *, is_weighted: bool, has_ticks: bool) -> Layout:
    """The columns of the partial results of `node`."""
    terms = []
    bags_of, readings = _by_value(node)
    for position, partial in enumerate(node.partials):
        if partial.merge.is_by_value:
            continue
        counts_rows = partial.merge is Merge.COUNT and partial.argument is None
        kind = node.schema[partial.name].type
        argument = partial.argument
        term = Term(
            name=partial.name,
            merge=partial.merge,
            argument=argument,
            value=ROWS if counts_rows else f"__v{position}",
            count=f"__c{position}" if partial.merge in (Merge.SUM, Merge.ONLY) else None,
            arrow=kind.arrow,
            sql=kind.sql,
            argument_sql=node.input.schema[argument].type.sql if argument else "",
        )
        grows = term.is_float or partial.merge in (Merge.MIN, Merge.MAX, Merge.BIT_OR)
        assert not (is_weighted and grows), f"{partial} cannot take rows back"
        terms.append(term)
    keys = node.schema.select(node.keys)
    return Layout(
        keys,
        tuple(terms),
        is_weighted=is_weighted,
        has_ticks=has_ticks,
        not_null=frozenset(c.name for c in node.input.schema if not c.nullable),
        bags=bags_of,
        readings=readings,
    )


def _by_value(
    node: Aggregate | Panes | SessionPanes,
) -> tuple[tuple[Bag, ...], tuple[Reading, ...]]:
    """The counts by value that a node keeps, one for each argument, and what is read off them."""
    found: dict[str, Bag] = {}
    readings = []
    for partial in node.partials:
        if not partial.merge.is_by_value:
            continue
        assert partial.argument is not None
        kind, number = node.input.schema[partial.argument].type, len(found)
        bag = Bag(partial.argument, f"__b{number}", f"__w{number}", kind.arrow, kind.sql)
        bag = found.setdefault(partial.argument, bag)
        shown = node.schema[partial.name].type.arrow
        readings.append(Reading(partial.name, partial.merge, bag, partial.fraction, shown))
    return tuple(found.values()), tuple(readings)


def _list_of(value: exp.Expression, condition: exp.Expression) -> exp.Expression:
    """list(value) FILTER (WHERE condition)."""
    return exp.Filter(this=render.call("list", value), expression=exp.Where(this=condition.copy()))


def _together(name: str) -> exp.Expression:
    """The lists of a group one after the other."""
    return render.call("flatten", render.call("list", render.column(name)))


def _tick_last() -> exp.Expression:
    """The last place in the log of a group's rows; before all when it has none."""
    first = render.cast(exp.Literal.string(str(BEFORE_ALL)), "BIGINT")
    last = exp.Coalesce(this=exp.Max(this=render.column(TICK)), expressions=[first])
    return render.named(last, TICK)


def _int_sum(value: exp.Expression) -> exp.Expression:
    """A sum of counts or weights: 0 over nothing, and an int64."""
    total = exp.Coalesce(this=exp.Sum(this=value), expressions=[exp.Literal.number(0)])
    return render.cast(total, "BIGINT")


def _merged(term: Term) -> list[exp.Expression]:
    value = render.column(term.value)
    if term.value == ROWS:
        return []
    if term.merge is Merge.COUNT:
        return [render.named(_int_sum(value), term.value)]
    if term.merge is Merge.SUM:
        assert term.count is not None
        total = render.cast(exp.Sum(this=value), term.sql)
        count = _int_sum(render.column(term.count))
        return [render.named(total, term.value), render.named(count, term.count)]
    if term.merge is Merge.BIT_OR:
        return [render.named(render.call("bit_or", value), term.value)]
    assert term.merge is not Merge.ONLY, "what is brought together has no windows"
    typed = render.cast(value, term.sql)
    extreme = exp.Min(this=typed) if term.merge is Merge.MIN else exp.Max(this=typed)
    return [render.named(extreme, term.value)]


def _grouped(
    columns: Sequence[exp.Expression], rows: exp.Select, keys: Sequence[str]
) -> exp.Select:
    """SELECT columns FROM rows GROUP BY keys; without keys it is one row, also over no rows."""
    query = render.select(columns, rows, None)
    return query.group_by(*map(render.column, keys), copy=False) if keys else query

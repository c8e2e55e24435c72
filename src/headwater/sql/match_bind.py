"""What the expressions of a MATCH_RECOGNIZE clause read.

An expression names rows of the match (`a.x` is that of the last row that `a` took, `first(a.x)`,
`last(a.x, 1)`), rows beside them (`prev(x)`, `next(x)`), and aggregates over rows (`sum(a.x)`).
Here each of these becomes a *reading* with a name, and what is left is an expression over names:

- What a row's own columns say is computed for each row as it comes, by DuckDB, as a further column.
- A condition's part that depends on the row and its neighbours alone is computed by DuckDB for all
  rows at once. Only what looks back at the rows matched before is decided while rows are matched,
  and is limited to the operators of `plan.patterns.COMBINING`.
- A measure may be any expression: it is computed over the rows of found matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce

from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.plan.patterns import COMBINING, Condition, Neighbour, Pick, Reading
from headwater.schema.duration import parse_duration
from headwater.schema.schema import Schema
from headwater.sql.aliases import conjuncts
from headwater.sql.build import column, fresh
from headwater.sql.functions import is_aggregate
from headwater.sql.places import hint_for, place_of, span_of

_FOLDS: dict[type[exp.Expr], Pick] = {
    exp.Count: Pick.COUNT,
    exp.Sum: Pick.SUM,
    exp.Min: Pick.MIN,
    exp.Max: Pick.MAX,
}
_WRAPPERS = (exp.Filter, exp.WithinGroup, exp.IgnoreNulls)
_WHOLE = re.compile(r"(FINAL|RUNNING)_+(\w+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Navigation:
    """A call of FIRST, LAST, PREV or NEXT."""

    word: str
    argument: exp.Expr
    rows: int
    is_final: bool = False


@dataclass(slots=True)
class Binder:
    """Collects what the expressions of one clause read.

    Args:
        schema: The columns of the relation.
        symbols: Those of the pattern, by folded name.
        origin: For places.

    """

    schema: Schema
    symbols: Mapping[str, str]
    origin: Place | None
    computed: dict[str, exp.Expr] = field(default_factory=dict)
    neighbours: dict[str, Neighbour] = field(default_factory=dict)
    _names: dict[tuple[object, ...], str] = field(default_factory=dict)

    def condition(
        self, symbol: str, condition: exp.Expr, readings: dict[str, Reading]
    ) -> Condition:
        """What a row must be for a symbol.

        Args:
            readings: Gets what the condition reads of rows matched before.

        """
        row: list[exp.Expr] = []
        rest: list[exp.Expr] = []
        for part in conjuncts(condition):
            if self._is_of_row(part, symbol):
                row.append(self._of_row(part, symbol))
            else:
                rest.append(self._combined(part, symbol, readings))
        near = [part for part in row if self._has_neighbour(part)]
        alone = _all([part for part in row if not self._has_neighbour(part)])
        if alone is not None:
            # Computed as a row comes, so that a row which it fails on is left out alone.
            near.insert(0, column(self._column_of(alone)))
        row = near
        return Condition(symbol, _all(row), _all(rest))

    def measure(self, node: exp.Expr, readings: dict[str, Reading]) -> exp.Expr:
        """A measure over the names of readings."""
        navigation = self._navigation(node)
        if navigation is not None:
            return self._navigated(navigation, None, readings)
        aggregate, is_final = self._aggregate(node)
        if aggregate is not None:
            return self._aggregated(aggregate, readings, is_final=is_final)
        if isinstance(node, exp.Anonymous) and node.name.upper() == "CLASSIFIER":
            return self._read(readings, Pick.SYMBOL, (), None)
        if isinstance(node, exp.Anonymous) and node.name.upper() == "MATCH_NUMBER":
            raise self._error(
                node,
                "MATCH_NUMBER would have to count the matches of each partition for ever",
                "number them where they are read: row_number() OVER (PARTITION BY k ORDER BY ts)",
            )
        if isinstance(node, exp.Query | exp.Window):
            raise self._error(
                node, "a measure reads the rows of its match only", "join or rank the matches"
            )
        if isinstance(node, exp.Column):
            symbol, bound = self._column(node)
            symbols = () if symbol is None else (symbol,)
            return self._read(readings, Pick.LAST, symbols, self._column_of(bound))
        return _rebuilt(node, lambda child: self.measure(child, readings))

    # What stands in one row.

    def _is_of_row(self, node: exp.Expr, own: str) -> bool:
        """Whether an expression depends on the row that is tried and its neighbours alone."""
        navigation = self._navigation(node)
        if navigation is not None:
            is_near = navigation.word in ("PREV", "NEXT") or (
                navigation.word == "LAST" and navigation.rows == 0
            )
            return is_near and self._is_of_row(navigation.argument, own)
        if self._aggregate(node)[0] is not None:
            return False
        if isinstance(node, exp.Column):
            return self._column(node)[0] in (None, own)
        return all(self._is_of_row(child, own) for child in _children(node))

    def _of_row(self, node: exp.Expr, own: str | None) -> exp.Expr:
        """The expression over the columns of a row and the names of neighbours."""
        navigation = self._navigation(node)
        if navigation is not None:
            if navigation.word == "LAST":
                return self._of_row(navigation.argument, own)
            return column(self._beside(navigation, own))
        if isinstance(node, exp.Column):
            return self._column(node)[1]
        if isinstance(node, exp.Query | exp.Window) or self._aggregate(node)[0] is not None:
            raise self._error(
                node, "this cannot stand inside another function here", "take it out of the call"
            )
        return _rebuilt(node, lambda child: self._of_row(child, own))

    def _beside(self, navigation: _Navigation, own: str | None) -> str:
        """The column that holds a neighbour's value."""
        if any(self._navigation(n) is not None for n in navigation.argument.walk()):
            raise self._error(
                navigation.argument,
                f"{navigation.word} inside which another row is named",
                "name one row: prev(x, 2), last(a.x, 1)",
            )
        name = self._column_of(self._of_row(navigation.argument, own))
        rows = -navigation.rows if navigation.word == "PREV" else navigation.rows
        if rows == 0:
            return name
        return self._neighbour(name, rows)

    def _neighbour(self, name: str, rows: int) -> str:
        found = self._name(("beside", name, rows), "beside")
        self.neighbours[found] = Neighbour(found, name, rows)
        return found

    def _column_of(self, bound: exp.Expr) -> str:
        """The column that holds an expression's value, computed for each row if it is none."""
        if isinstance(bound, exp.Column):
            return bound.name
        name = self._name(("value", bound.sql("duckdb")), "value")
        self.computed[name] = bound
        return name

    def _has_neighbour(self, bound: exp.Expr) -> bool:
        return any(c.name in self.neighbours for c in bound.find_all(exp.Column))

    def _column(self, node: exp.Column) -> tuple[str | None, exp.Expr]:
        """The symbol that a column is qualified with, and the column."""
        if isinstance(node.this, exp.Star):
            raise self._error(node, "a * stands for no value", "use count(*), or name the columns")
        parts = list(node.parts)
        symbol = None
        if len(parts) > 1 and parts[0].name.lower() in self.symbols:
            symbol, parts = self.symbols[parts[0].name.lower()], parts[1:]
        first = parts[0]
        if first.name not in self.schema:
            if len(parts) > 1:
                raise self._error(
                    first,
                    f"{first.name} is no symbol of the pattern",
                    hint_for(first.name, self.symbols.values(), "the symbols are"),
                )
            raise self._error(
                first,
                f"there is no column {first.name}",
                hint_for(first.name, self.schema.names, "the columns are"),
            )
        value: exp.Expr = column(self.schema[first.name].name)
        for part in parts[1:]:
            value = exp.Anonymous(
                this="struct_extract", expressions=[value, exp.Literal.string(part.name)]
            )
        return symbol, value

    # What a condition reads of the rows matched before.

    def _combined(self, node: exp.Expr, own: str, readings: dict[str, Reading]) -> exp.Expr:
        """A part of a condition over the names of readings, with the place where it stood."""
        bound = self._combining(node, own, readings)
        span = span_of(node)
        if isinstance(bound, exp.Column) and span is not None:
            bound.this.meta.update(start=span[0], end=span[1] - 1)
        return bound

    def _combining(  # noqa: PLR0911 - one for each kind of part
        self, node: exp.Expr, own: str, readings: dict[str, Reading]
    ) -> exp.Expr:
        if isinstance(node, exp.Literal | exp.Boolean | exp.Null):
            return node.copy()
        if isinstance(node, exp.Interval):
            return exp.Interval(
                this=exp.Literal.string(str(self.length_us(node))), unit=exp.var("MICROSECOND")
            )
        navigation = self._navigation(node)
        if navigation is not None:
            return self._navigated(navigation, own, readings)
        aggregate, _ = self._aggregate(node)
        if aggregate is not None:
            return self._folded(aggregate, readings)
        if self._is_of_row(node, own):
            bound = self._of_row(node, own)
            if isinstance(bound, exp.Column) or not self._has_neighbour(bound):
                return self._read(readings, Pick.CURRENT, (), self._column_of(bound))
        if isinstance(node, exp.Column):
            symbol, bound = self._column(node)
            symbols = () if symbol is None else (symbol,)
            return self._read(readings, Pick.LAST, symbols, self._column_of(bound))
        if isinstance(node, COMBINING) and node.find(exp.Query) is None:
            return _rebuilt(node, lambda child: self._combined(child, own, readings))
        return self._pushed(node, readings)

    def _pushed(self, node: exp.Expr, readings: dict[str, Reading]) -> exp.Expr:
        """A function of one matched row's columns: of the last row of its symbol."""
        inner = list(node.walk())
        named = {self._column(c)[0] for c in inner if isinstance(c, exp.Column)}
        is_one = len(named) == 1 and not any(
            self._navigation(n) or self._aggregate(n)[0] or isinstance(n, exp.Query) for n in inner
        )
        if not is_one:
            raise self._error(
                node,
                f"{type(node).__name__.upper()} cannot combine values of several rows in DEFINE",
                "compute it for each row in a query before MATCH_RECOGNIZE, and compare the results"
                " with = < > + - * / and or not between in coalesce least greatest abs",
            )
        (symbol,) = named
        symbols = () if symbol is None else (symbol,)
        return self._read(readings, Pick.LAST, symbols, self._column_of(self._of_row(node, symbol)))

    def _folded(self, aggregate: exp.Expr, readings: dict[str, Reading]) -> exp.Expr:
        """A running aggregate of a condition."""
        if isinstance(aggregate, exp.Avg):
            parts = [exp.Sum(this=aggregate.this.copy()), exp.Count(this=aggregate.this.copy())]
            total, count = (self._folded(part, readings) for part in parts)
            return exp.Div(this=total, expression=count)
        pick = _FOLDS.get(type(aggregate))
        if pick is None or isinstance(aggregate.this, exp.Distinct):
            raise self._error(
                aggregate,
                "a condition may count, sum, avg, min and max over the rows so far, and no more",
                "put other aggregates into MEASURES and filter the matches",
            )
        argument = aggregate.this
        symbols, bound = self._argument(argument)
        name = None if bound is None else self._column_of(bound)
        return self._read(readings, pick, symbols, name)

    def _argument(self, argument: exp.Expr) -> tuple[tuple[str, ...], exp.Expr | None]:
        """Whose rows an aggregate runs over, and the expression over a row; None for `*`."""
        if isinstance(argument, exp.Star):
            return (), None
        if isinstance(argument, exp.Column) and isinstance(argument.this, exp.Star):
            return (self._symbol(argument.args["table"]),), None
        symbols = self._one_symbol(argument)
        return symbols, self._of_row(argument, symbols[0] if symbols else None)

    def _symbol(self, name: exp.Identifier) -> str:
        if name.name.lower() not in self.symbols:
            raise self._error(
                name,
                f"{name.name} is no symbol of the pattern",
                hint_for(name.name, self.symbols.values(), "the symbols are"),
            )
        return self.symbols[name.name.lower()]

    def _one_symbol(self, node: exp.Expr) -> tuple[str, ...]:
        """The symbol that the columns of a call are qualified with, none for all rows."""
        named = {
            self._column(c)[0]
            for c in node.find_all(exp.Column)
            if not isinstance(c.this, exp.Star)
        }
        if len(named) > 1:
            raise self._error(
                node,
                "a call over rows reads the rows of one symbol",
                "qualify all columns in it with the same symbol",
            )
        return tuple(symbol for symbol in named if symbol is not None)

    # What both read.

    def _navigated(
        self, navigation: _Navigation, own: str | None, readings: dict[str, Reading]
    ) -> exp.Expr:
        """FIRST, LAST, PREV or NEXT of rows of the match."""
        word, argument, rows = navigation.word, navigation.argument, navigation.rows
        is_final, beside = navigation.is_final, 0
        if word in ("PREV", "NEXT"):
            beside = -rows if word == "PREV" else rows
            inner = self._navigation(argument)
            if inner is not None and inner.word in ("FIRST", "LAST"):
                word, argument, rows = inner.word, inner.argument, inner.rows
                is_final = is_final or inner.is_final
            else:
                word, rows = "LAST", 0
        symbols = self._one_symbol(argument)
        bound = self._of_row(argument, symbols[0] if symbols else None)
        if self._has_neighbour(bound) and not isinstance(bound, exp.Column):
            raise self._error(
                argument,
                f"{navigation.word} of an expression with PREV or NEXT in it",
                "take the values one by one: last(a.x) - prev(a.x)",
            )
        name = self._column_of(bound)
        if beside:
            name = self._neighbour(name, beside)
        if own is not None and word == "LAST" and rows == 0 and symbols in ((), (own,)):
            return self._read(readings, Pick.CURRENT, (), name)
        pick = Pick.FIRST if word == "FIRST" else Pick.LAST
        return self._read(readings, pick, symbols, name, offset=rows, is_final=is_final)

    def _aggregated(
        self, aggregate: exp.Expr, readings: dict[str, Reading], *, is_final: bool
    ) -> exp.Expr:
        """An aggregate of a measure."""
        copy = aggregate.copy()
        stars = [c for c in copy.find_all(exp.Column) if isinstance(c.this, exp.Star) and c.table]
        symbols = tuple({self._symbol(star.args["table"]) for star in stars})
        for star in stars:
            star.replace(exp.Star())
        symbols = symbols or self._one_symbol(copy)
        owner = symbols[0] if symbols else None
        bound = self._call_over_rows(copy, owner)
        name = self._name(("call", bound.sql("duckdb"), symbols, is_final), "read")
        readings[name] = Reading(
            name, Pick.AGGREGATE, symbols, None, aggregate=bound, is_final=is_final
        )
        return column(name)

    def _call_over_rows(self, node: exp.Expr, own: str | None) -> exp.Expr:
        """An aggregate call, with its FILTER, over the columns of a row."""
        call = node.this if isinstance(node, _WRAPPERS) else None

        def rule(child: exp.Expr) -> exp.Expr:
            is_call = call is not None and child == call
            return self._call_over_rows(child, own) if is_call else self._of_row(child, own)

        return _rebuilt(node, rule)

    def _read(  # noqa: PLR0913 - what a reading is
        self,
        readings: dict[str, Reading],
        pick: Pick,
        symbols: tuple[str, ...],
        name: str | None,
        *,
        offset: int = 0,
        is_final: bool = False,
    ) -> exp.Expr:
        found = self._name((pick, symbols, name, offset, is_final), "read")
        readings[found] = Reading(found, pick, symbols, name, offset, None, is_final)
        return column(found)

    def _name(self, key: tuple[object, ...], base: str) -> str:
        """A name for a thing, the same whenever it is asked for."""
        if key not in self._names:
            taken = [*self.schema.names, *self._names.values()]
            self._names[key] = fresh(f"__{base}", taken)
        return self._names[key]

    def _navigation(self, node: exp.Expr) -> _Navigation | None:
        arguments: list[exp.Expr]
        if isinstance(node, exp.First | exp.Last):
            word = type(node).__name__.upper()
            arguments = [node.this]
            if node.args.get("expression") is not None:
                arguments.append(node.args["expression"])
            return self._navigation_of(node, word, arguments, is_final=False)
        if not isinstance(node, exp.Anonymous):
            return None
        found = _WHOLE.fullmatch(node.name)
        word = (found[2] if found else node.name).upper()
        if word not in ("FIRST", "LAST", "PREV", "NEXT"):
            return None
        is_final = found is not None and found[1].upper() == "FINAL"
        return self._navigation_of(node, word, list(node.expressions), is_final=is_final)

    def _navigation_of(
        self, node: exp.Expr, word: str, arguments: list[exp.Expr], *, is_final: bool
    ) -> _Navigation:
        rows = 1 if word in ("PREV", "NEXT") else 0
        if len(arguments) == 2 and isinstance(arguments[1], exp.Literal):
            given = arguments[1]
            if not given.is_string and given.name.isdigit():
                return _Navigation(word, arguments[0], int(given.name), is_final)
        if len(arguments) == 1:
            return _Navigation(word, arguments[0], rows, is_final)
        raise self._error(
            node,
            f"{word} takes a value and a number of rows",
            f"for example {word.lower()}(a.x, 2)",
        )

    def _aggregate(self, node: exp.Expr) -> tuple[exp.Expr | None, bool]:
        """The aggregate call that the node is, and whether it is FINAL."""
        if isinstance(node, exp.Anonymous) and (found := _WHOLE.fullmatch(node.name)):
            call = exp.func(found[2], *node.expressions, dialect="duckdb")
            return (call, found[1].upper() == "FINAL") if is_aggregate(call) else (None, False)
        inner = node
        while isinstance(inner, _WRAPPERS):
            inner = inner.this
        is_call = is_aggregate(inner) and not isinstance(inner, exp.First | exp.Last)
        return (node, False) if is_call else (None, False)

    def length_us(self, node: exp.Expr) -> int:
        """A fixed length of time, in microseconds."""
        text = ""
        if isinstance(node, exp.Literal):
            text = node.name
        elif isinstance(node, exp.Interval) and isinstance(node.this, exp.Literal):
            unit = node.args.get("unit")
            text = f"{node.this.name} {unit.name.lower() if unit is not None else ''}"
        try:
            return parse_duration(text.strip())
        except DefinitionError:
            raise self._error(
                node,
                f"{node.sql('duckdb')} is not a fixed length of time",
                "for example INTERVAL '5 minutes'",
            ) from None

    def _error(self, node: exp.Expr, message: str, hint: str) -> DefinitionError:
        return DefinitionError(message, place=place_of(node, self.origin), hint=hint)


def _children(node: exp.Expr) -> list[exp.Expr]:
    return [c for c in node.iter_expressions() if not isinstance(c, exp.Identifier | exp.DataType)]


def _rebuilt(node: exp.Expr, rule: Callable[[exp.Expr], exp.Expr]) -> exp.Expr:
    """A copy of the node with its parts replaced."""
    copy = node.copy()
    for child in _children(copy):
        child.replace(rule(child.copy()))
    return copy


def _all(parts: list[exp.Expr]) -> exp.Expr | None:
    if not parts:
        return None
    return reduce(lambda left, right: exp.And(this=left, expression=right), map(_bracketed, parts))


def _bracketed(part: exp.Expr) -> exp.Expr:
    return exp.paren(part, copy=False) if isinstance(part, exp.Or) else part

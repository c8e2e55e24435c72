"""MATCH_RECOGNIZE in batch: a plain search over all rows, sorted.

It shares with the engine how a clause is read from text, and nothing else: the pattern's tree is
walked as it stands, way by way, and DuckDB is asked for every value. What a condition or a measure
names of other rows becomes a look into the table of sorted rows at a place, and these places are
parameters of a prepared statement. Conditions on one row and its neighbours are answered for all
rows at once; every other one costs a question of DuckDB (some tenths of a millisecond).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
from sqlglot import exp

from headwater.errors import DefinitionError, Place
from headwater.plan.patterns import Choice, End, Follow, Pattern, Repeat, Skip, Symbol, symbols
from headwater.schema.duration import parse_duration
from headwater.sql.aliases import conjuncts
from headwater.sql.functions import is_aggregate
from headwater.sql.match import clauses, matched_over
from headwater.sql.match_pattern import parse_pattern, parse_skip

# Quoted names that no author can write.
_AT = "\x01at"
_PART = "\x01part"
_US = "\x01us"
_NAVIGATION = re.compile(r"(?:(FINAL|RUNNING)_+)?(\w+)", re.IGNORECASE)

Labels = tuple["Labels", str] | None
Todo = tuple[Any, "Todo"] | None


def with_matches(
    connection: duckdb.DuckDBPyConnection,
    query: exp.Query,
    origin: Place | None,
    written_out: Callable[[exp.Query], exp.Query],
) -> exp.Query:
    """The query with a table of its own for each MATCH_RECOGNIZE clause.

    Args:
        written_out: A query as DuckDB can run it.

    """
    copy = query.copy()
    for table in clauses(copy):
        number = connection.execute("SELECT count(*) FROM duckdb_tables()").fetchall()[0][0]
        name = f"\x01match_{number}"
        source = written_out(matched_over(table.this))
        _Clause(connection, table.this, origin, name).answer(source)
        table.set("this", exp.to_identifier(name, quoted=True))
    return copy


@dataclass(slots=True)
class _Match:
    """Places of a match's rows so far, and what took them."""

    places: list[int]
    labels: list[str]

    def of(self, symbol: str | None) -> list[int]:
        """The places of a symbol's rows, of all rows for None."""
        return [p for p, s in zip(self.places, self.labels, strict=True) if symbol in (None, s)]


Choose = Callable[[_Match, _Match], Any]


@dataclass(slots=True)
class _Question:
    """A query with parameters, and how these are chosen from a match.

    A parameter is chosen from the rows up to the current one and from the whole match.
    """

    query: exp.Select
    choose: list[Choose]
    known: dict[Any, Any] = field(default_factory=dict)


class _Clause:
    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        clause: exp.MatchRecognize,
        origin: Place | None,
        name: str,
    ) -> None:
        assert origin is not None, "a clause is cut out of a text"
        self._connection = connection
        self._clause = clause
        self._name = name
        self._rows = f"{name}_rows"
        span = clause.args["pattern"].meta
        place = Place(origin.text, span["start"], span["end"] + 1, origin.source)
        self._pattern = parse_pattern(place)
        self._symbols = {symbol.lower(): symbol for symbol in symbols(self._pattern)}
        within = clause.args.get("within")
        self._within_us = None if within is None else _microseconds(within)
        after = clause.args.get("after")
        skip = (Skip.PAST_LAST, None) if after is None else parse_skip(after.name, place)
        self._skip = (skip[0], None if skip[1] is None else skip[1].strip('"').lower())
        self._bounds: list[tuple[int, int]] = []
        self._times: list[int] = []
        self._flags: dict[str, list[bool]] = {}
        self._questions: dict[str, list[_Question]] = {}
        self._texts: dict[int, tuple[exp.Expr, str]] = {}

    def answer(self, source: exp.Query) -> None:
        """Create the table of what the clause puts out."""
        columns = self._sort(source)
        for item in self._clause.args["define"]:
            self._define(self._symbols[item.alias.lower()], item.this)
        is_all = bool(self._clause.args["all_rows"].this)
        kept = [c.name for c in self._clause.args["partition_by"]]
        names = columns if is_all else list(dict.fromkeys(kept))
        items = [exp.Column(this=_quoted(name)) for name in names]
        measures = [*items, *(item.this for item in self._clause.args["measures"])]
        outputs = [*names, *(item.alias for item in self._clause.args["measures"])]
        question = self._asked(measures, outputs)
        empty = question.query.copy().transform(
            lambda n: exp.null() if isinstance(n, exp.Parameter) else n
        )
        assert isinstance(empty, exp.Select)
        nothing = exp.select("*").from_(empty.subquery("_")).where(exp.false())
        into = exp.Table(this=_quoted(self._name))
        self._run(exp.Create(this=into, kind="TABLE", expression=nothing))
        insert = exp.Insert(this=into.copy(), expression=question.query)
        for match in self._matches():
            steps = range(1, len(match.places) + 1) if is_all else [len(match.places)]
            for step in steps:
                running = _Match(match.places[:step], match.labels[:step])
                given = [choose(running, match) for choose in question.choose]
                self._run(insert, given)

    def _sort(self, source: exp.Query) -> list[str]:
        """Create the table of sorted rows; their columns."""
        clause, into = self._clause, exp.to_identifier(self._rows, quoted=True)
        base = f"{self._rows}_raw"
        raw = exp.Table(this=_quoted(base))
        self._run(exp.Create(this=raw, kind="TABLE", expression=source))
        columns = list(self._run(exp.select("*").from_(raw.copy())).fetchnumpy())
        time, *others = clause.args["order"].expressions
        keys = [c.copy() for c in clause.args["partition_by"]]
        content = [exp.Ordered(this=_column(c), nulls_first=False) for c in columns]
        order = [exp.Ordered(this=time.this.copy()), *(o.copy() for o in others), *content]
        parts = [exp.Ordered(this=key.copy(), nulls_first=False) for key in keys]
        at = exp.Window(
            this=exp.RowNumber(), order=exp.Order(expressions=[*(p.copy() for p in parts), *order])
        )
        part = (
            exp.Window(this=exp.DenseRank(), order=exp.Order(expressions=parts))
            if parts
            else exp.Literal.number(1)
        )
        us = exp.Anonymous(this="epoch_us", expressions=[time.this.copy()])
        query = exp.select(
            "*",
            _named(exp.Sub(this=at, expression=exp.Literal.number(1)), _AT),
            _named(part, _PART),
            _named(us, _US),
        ).from_(exp.Table(this=_quoted(base)))
        query = query.where(exp.Anonymous(this="isfinite", expressions=[time.this.copy()]))
        query = query.order_by(_column(_AT))
        table = exp.Table(this=into.copy())
        self._run(exp.Create(this=table, kind="TABLE", expression=query))
        read = exp.select(_column(_US), _column(_PART)).from_(exp.Table(this=into.copy()))
        rows = self._run(read.order_by(_column(_AT))).fetchall()
        self._times = [us for us, _ in rows]
        first = 0
        for place in range(1, len(rows) + 1):
            if place == len(rows) or rows[place][1] != rows[first][1]:
                self._bounds += [(first, place)] * (place - first)
                first = place
        return columns

    def _define(self, symbol: str, condition: exp.Expr) -> None:
        near: list[exp.Expr] = []
        far: list[exp.Expr] = []
        for part in conjuncts(condition):
            (near if self._is_near(part, symbol) else far).append(part)
        if near:
            flag = exp.func("coalesce", exp.and_(*(self._beside(p) for p in near)), exp.false())
            query = exp.select(flag).from_(exp.Table(this=_quoted(self._rows)))
            rows = self._run(query.order_by(_column(_AT))).fetchall()
            self._flags[symbol] = [bool(value) for (value,) in rows]
        self._questions[symbol] = [self._asked([part], ["holds"]) for part in far]

    def _is_near(self, node: exp.Expr, own: str) -> bool:
        """Whether only the row and its neighbours are read."""
        for part in node.walk():
            word = _word(part)
            if word in ("FIRST", "LAST") or is_aggregate(part):
                return False
            if isinstance(part, exp.Column) and self._symbol_of(part) not in (None, own):
                return False
        return True

    def _beside(self, node: exp.Expr) -> exp.Expr:
        """PREV and NEXT of the row as window functions."""

        def rule(part: exp.Expr) -> exp.Expr:
            word = _word(part)
            if word in ("PREV", "NEXT"):
                kind = exp.Lag if word == "PREV" else exp.Lead
                rows = exp.Literal.number(_rows(part))
                return exp.Window(
                    this=kind(this=self._beside(part.expressions[0]), offset=rows),
                    partition_by=[_column(_PART)],
                    order=exp.Order(expressions=[exp.Ordered(this=_column(_AT))]),
                )
            return self._bare(part) if isinstance(part, exp.Column) else part

        return exp.paren(node.copy()).transform(rule)

    def _bare(self, node: exp.Column) -> exp.Expr:
        """The column without its symbol."""
        parts = [p.copy() for p in node.parts]
        if self._symbol_of(node) is not None:
            parts = parts[1:]
        first, *path = parts
        if isinstance(first, exp.Star):
            return exp.Star()
        value: exp.Expr = exp.Column(this=first)
        for part in path:
            name = exp.Literal.string(part.name)
            value = exp.Anonymous(this="struct_extract", expressions=[value, name])
        return value

    def _symbol_of(self, node: exp.Column) -> str | None:
        parts = list(node.parts)
        return self._symbols.get(parts[0].name.lower()) if len(parts) > 1 else None

    def _asked(self, values: list[exp.Expr], names: list[str]) -> _Question:
        """Values as one prepared SELECT."""
        choose: list[Choose] = []
        items = [
            _named(self._placed(value.copy(), choose), name)
            for value, name in zip(values, names, strict=True)
        ]
        return _Question(exp.select(*items), choose)

    def _placed(self, node: exp.Expr, choose: list[Choose]) -> exp.Expr:
        """The expression with looks into the sorted rows for what it reads of them."""
        word, is_final = _word(node), _is_final(node)
        if word in ("FIRST", "LAST", "PREV", "NEXT"):
            return self._navigated(node, choose)
        call = _call(node)
        if is_aggregate(_innermost(call)):
            symbol = self._named_in(call)
            choose.append(lambda run, whole: (whole if is_final else run).of(symbol))
            inner = call.transform(lambda n: self._bare(n) if isinstance(n, exp.Column) else n)
            inside = exp.Anonymous(
                this="list_contains",
                expressions=[_parameter(len(choose), "BIGINT[]"), _column(_AT)],
            )
            return self._look(inner, inside)
        if isinstance(node, exp.Anonymous) and word == "CLASSIFIER":
            choose.append(lambda run, _: run.labels[-1])
            return _parameter(len(choose), "VARCHAR")
        if isinstance(node, exp.Column):
            symbol = self._symbol_of(node)
            choose.append(lambda run, _: _nth(run.of(symbol), -1))
            return self._look(self._bare(node), self._is_at(len(choose)))
        for child in list(node.iter_expressions()):
            if not isinstance(child, exp.Identifier | exp.DataType):
                child.replace(self._placed(child.copy(), choose))
        return node

    def _navigated(self, node: exp.Expr, choose: list[Choose]) -> exp.Expr:
        word, is_final, beside = _word(node), _is_final(node), 0
        argument, rows = _argument(node), _rows(node)
        if word in ("PREV", "NEXT"):
            beside = -rows if word == "PREV" else rows
            word, rows = "LAST", 0
            if _word(argument) in ("FIRST", "LAST"):
                word, is_final = _word(argument), is_final or _is_final(argument)
                argument, rows = _argument(argument), _rows(argument)
        symbol = self._named_in(argument)
        nth = rows if word == "FIRST" else -1 - rows

        def place(run: _Match, whole: _Match) -> int | None:
            found = _nth((whole if is_final else run).of(symbol), nth)
            if found is None:
                return None
            first, stop = self._bounds[found]
            return found + beside if first <= found + beside < stop else None

        choose.append(place)
        at = self._is_at(len(choose))
        # PREV inside of LAST is a neighbour of that row, so it looks at all rows before it is one.
        return self._look(self._beside(argument), at)

    def _look(self, value: exp.Expr, where: exp.Expr) -> exp.Expr:
        rows = exp.Table(this=_quoted(self._rows))
        if value.find(exp.Window) is not None:
            inner = exp.select(_named(value, "value"), _column(_AT)).from_(rows)
            return exp.select(_column("value")).from_(inner.subquery("_")).where(where).subquery()
        ordered = exp.select("*").from_(rows).order_by(_column(_AT)).subquery("_")
        source = ordered if is_aggregate(_innermost(value)) else rows
        return exp.select(value).from_(source).where(where).subquery()

    def _is_at(self, number: int) -> exp.Expr:
        return exp.EQ(this=_column(_AT), expression=_parameter(number, "BIGINT"))

    def _named_in(self, node: exp.Expr) -> str | None:
        named = {self._symbol_of(c) for c in node.find_all(exp.Column)} - {None}
        return next(iter(named), None)

    def _matches(self) -> Iterator[_Match]:
        """All matches, in the order of the partitions."""
        first, count = 0, len(self._times)
        while first < count:
            match = self._from(first)
            if match is None:
                first += 1
                continue
            yield match
            first = self._after(match)

    def _after(self, match: _Match) -> int:
        skip, symbol = self._skip
        first = match.places[0]
        if skip is Skip.PAST_LAST:
            return match.places[-1] + 1
        places = match.of(self._symbols[symbol]) if symbol is not None else []
        if skip is Skip.NEXT or not places:
            return first + 1
        return max(first + 1, places[0] if skip is Skip.FIRST else places[-1])

    def _from(self, first: int) -> _Match | None:
        """The preferred match that begins at a place.

        A way is what is still to be matched, where, and what was taken. The top one is preferred.
        """
        _, stop = self._bounds[first]
        if self._within_us is not None:
            bound = self._times[first] + self._within_us
            while stop > first and self._times[stop - 1] >= bound:
                stop -= 1
        ways: list[tuple[Todo, int, Labels]] = [((self._pattern, None), first, None)]
        while ways:
            todo, place, labels = ways.pop()
            if todo is None:
                return _match(first, labels)
            head, rest = todo
            if isinstance(head, int):
                # An optional repetition took a row, or it was none.
                if place > head:
                    ways.append((rest, place, labels))
            elif isinstance(head, Symbol):
                taken = (labels, self._symbols[head.name.lower()])
                if place < stop and self._holds(first, place, taken):
                    ways.append((rest, place + 1, taken))
            elif isinstance(head, End):
                if place == stop:
                    ways.append((rest, place, labels))
            else:
                for way in reversed(list(_ways(head, rest, place))):
                    ways.append((way, place, labels))
        return None

    def _holds(self, first: int, place: int, labels: Labels) -> bool:
        """Whether the last of these symbols may take the row."""
        assert labels is not None
        symbol = labels[1]
        flags = self._flags.get(symbol)
        if flags is not None and not flags[place]:
            return False
        match: _Match | None = None
        for question in self._questions.get(symbol, ()):
            match = match or _match(first, labels)
            given = [choose(match, match) for choose in question.choose]
            key = repr(given)
            if key not in question.known:
                row = self._run(question.query, given).fetchone()
                question.known[key] = row is not None and row[0] is True
            if not question.known[key]:
                return False
        return True

    def _text(self, query: exp.Expr) -> str:
        """The query's text, written once: it is asked again and again."""
        if id(query) not in self._texts:
            self._texts[id(query)] = (query, query.sql("duckdb"))
        return self._texts[id(query)][1]

    def _run(self, query: exp.Expr, given: list[Any] | None = None) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(self._text(query), given)
        except duckdb.Error as error:
            line = str(error).strip().split("\n")[0]
            raise DefinitionError(f"MATCH_RECOGNIZE cannot be computed: {line}") from None


def _ways(pattern: Pattern, rest: Todo, place: int) -> Iterator[Todo]:
    """What a part of the pattern leaves to be matched, the preferred way first."""
    if isinstance(pattern, Follow):
        for part in reversed(pattern.parts):
            rest = (part, rest)
        yield rest
    elif isinstance(pattern, Choice):
        for part in pattern.parts:
            yield (part, rest)
    elif isinstance(pattern, Repeat):
        most = None if pattern.most is None else pattern.most - 1
        fewer = Repeat(pattern.part, max(0, pattern.least - 1), most, pattern.is_greedy)
        if pattern.least > 0:
            yield (pattern.part, (fewer, rest))
            return
        if pattern.most == 0:
            yield rest
            return
        again: Todo = (pattern.part, (place, (fewer, rest)))
        yield from (again, rest) if pattern.is_greedy else (rest, again)


def _match(first: int, labels: Labels) -> _Match:
    names: list[str] = []
    while labels is not None:
        labels, name = labels
        names.append(name)
    names.reverse()
    return _Match(list(range(first, first + len(names))), names)


def _nth(places: list[int], nth: int) -> int | None:
    is_there = -len(places) <= nth < len(places)
    return places[nth] if is_there else None


def _word(node: exp.Expr) -> str:
    """The name of a navigation, without FINAL."""
    if isinstance(node, exp.First | exp.Last):
        return type(node).__name__.upper()
    if not isinstance(node, exp.Anonymous):
        return ""
    found = _NAVIGATION.fullmatch(node.name)
    return found[2].upper() if found else ""


def _is_final(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.upper().startswith("FINAL_")


def _argument(node: exp.Expr) -> exp.Expr:
    value = node.this if isinstance(node, exp.First | exp.Last) else node.expressions[0]
    assert isinstance(value, exp.Expr)
    return value


def _rows(node: exp.Expr) -> int:
    given = (
        [node.args.get("expression")]
        if isinstance(node, exp.First | exp.Last)
        else node.expressions[1:]
    )
    if given and given[0] is not None:
        return int(given[0].name)
    return 1 if _word(node) in ("PREV", "NEXT") else 0


def _call(node: exp.Expr) -> exp.Expr:
    """An aggregate with FINAL or RUNNING before it, without them."""
    found = _NAVIGATION.fullmatch(node.name) if isinstance(node, exp.Anonymous) else None
    if found is None or found[1] is None:
        return node
    return exp.func(found[2], *(e.copy() for e in node.expressions), dialect="duckdb")


def _innermost(node: exp.Expr) -> exp.Expr:
    while isinstance(node, exp.Filter | exp.WithinGroup | exp.IgnoreNulls):
        node = node.this
    return node


def _microseconds(within: exp.Expr) -> int:
    unit = within.args.get("unit") if isinstance(within, exp.Interval) else None
    text = within.this.name if isinstance(within, exp.Interval) else within.name
    return parse_duration(f"{text} {unit.name.lower() if unit is not None else ''}".strip())


def _parameter(number: int, sql_type: str) -> exp.Expr:
    """A parameter of a prepared statement."""
    to = exp.DataType.build(sql_type, dialect="duckdb")
    return exp.Cast(this=exp.Parameter(this=exp.Literal.number(number)), to=to)


def _quoted(name: str) -> exp.Identifier:
    return exp.to_identifier(name, quoted=True)


def _column(name: str) -> exp.Column:
    return exp.Column(this=_quoted(name))


def _named(value: exp.Expr, name: str) -> exp.Expr:
    return exp.Alias(this=value, alias=_quoted(name))

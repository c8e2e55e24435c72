"""Row patterns: the shape of a match, as a small tree of plain data.

A pattern is read like a regular expression over the rows of one partition: a symbol takes one row,
and the other nodes say which symbols may follow each other. Where several ways lead on, the node
says which is preferred; the first way that ends in a match is the match.

`End` takes no row. It holds where no further row of the partition lies within the time that the
match may take, so it is how the absence of a row is said: `A END` is an A that nothing follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from sqlglot import exp


@dataclass(frozen=True, slots=True)
class Symbol:
    """One row for which the symbol's condition holds."""

    name: str


@dataclass(frozen=True, slots=True)
class Follow:
    """The parts, one after the other."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the parts, the first preferred."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The part again and again.

    Args:
        least: At least so often.
        most: At most so often; None for no bound.
        is_greedy: Whether once more is preferred to going on.

    """

    part: Pattern
    least: int
    most: int | None
    is_greedy: bool = True


@dataclass(frozen=True, slots=True)
class End:
    """No further row lies within the time of the match."""


Pattern = Symbol | Follow | Choice | Repeat | End


class Skip(StrEnum):
    """Where the search goes on after a match.

    A target that would be the match's own first row, or that took no row, is the row after the
    first: the search always moves on.
    """

    PAST_LAST = "past last row"
    NEXT = "to next row"
    FIRST = "to first"
    LAST = "to last"


class Pick(StrEnum):
    """How a value is read from the rows of a match."""

    CURRENT = "current"
    FIRST = "first"
    LAST = "last"
    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    SYMBOL = "symbol"
    AGGREGATE = "aggregate"


@dataclass(frozen=True, slots=True)
class Reading:
    """A value that a condition or a measure reads from a match.

    Args:
        name: The column by which the expression knows it.
        pick: CURRENT is the row that is tried. FIRST and LAST are rows of `symbols`, `offset` rows
            on from the first or back from the last; null where there is none. COUNT, SUM, MIN and
            MAX, in conditions, run over the rows so far. SYMBOL is the name that a row was matched
            by. AGGREGATE, in measures, is any other function over rows.
        symbols: Whose rows; empty for all.
        column: The column that is read; None where no value is.
        aggregate: With AGGREGATE the call over columns of a row, its FILTER around it.
        is_final: With all rows per match: over the whole match, not up to the row.

    """

    name: str
    pick: Pick
    symbols: tuple[str, ...] = ()
    column: str | None = None
    offset: int = 0
    aggregate: exp.Expr | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The value of a column some rows after a row of its partition; before it, where negative."""

    name: str
    column: str
    rows: int


@dataclass(frozen=True, slots=True)
class Condition:
    """What a row must be for a symbol.

    Args:
        row: What depends on the row and its neighbours alone; None for nothing.
        rest: What also depends on the rows matched before, over the names of readings and with the
            operators of `COMBINING` only; None for nothing.

    """

    symbol: str
    row: exp.Expr | None
    rest: exp.Expr | None


# What may combine values of several rows in a condition. A function of one row's values may be
# anything that DuckDB knows: it is computed before rows are matched.
COMBINING: tuple[type[exp.Expr], ...] = (
    exp.And,
    exp.Or,
    exp.Not,
    exp.Paren,
    exp.EQ,
    exp.NEQ,
    exp.GT,
    exp.GTE,
    exp.LT,
    exp.LTE,
    exp.Is,
    exp.Between,
    exp.In,
    exp.Add,
    exp.Sub,
    exp.Mul,
    exp.Div,
    exp.Neg,
    exp.Abs,
    exp.Coalesce,
    exp.Greatest,
    exp.Least,
    exp.Literal,
    exp.Boolean,
    exp.Null,
    exp.Interval,
    exp.Column,
)


def symbols(pattern: Pattern) -> tuple[str, ...]:
    """The symbols of a pattern, each once, in order of appearance."""
    return tuple(dict.fromkeys(_symbols(pattern)))


def _symbols(pattern: Pattern) -> Iterator[str]:
    if isinstance(pattern, Symbol):
        yield pattern.name
    elif isinstance(pattern, Repeat):
        yield from _symbols(pattern.part)
    elif isinstance(pattern, Follow | Choice):
        for part in pattern.parts:
            yield from _symbols(part)


def rows_min(pattern: Pattern) -> int:
    """The fewest rows that a match can have."""
    if isinstance(pattern, Symbol):
        return 1
    if isinstance(pattern, Repeat):
        return pattern.least * rows_min(pattern.part)
    if isinstance(pattern, Follow):
        return sum(rows_min(part) for part in pattern.parts)
    if isinstance(pattern, Choice):
        return min(rows_min(part) for part in pattern.parts)
    return 0


def has_end(pattern: Pattern) -> bool:
    """Whether an `End` stands in the pattern."""
    if isinstance(pattern, Repeat):
        return has_end(pattern.part)
    if isinstance(pattern, Follow | Choice):
        return any(has_end(part) for part in pattern.parts)
    return isinstance(pattern, End)


def rows_before(pattern: Pattern) -> dict[str, int]:
    """For each symbol the fewest rows of a match that can come before one of its rows."""
    found: dict[str, int] = {}
    _rows_before(pattern, 0, found)
    return found


def _rows_before(pattern: Pattern, before: int, found: dict[str, int]) -> None:
    if isinstance(pattern, Symbol):
        found[pattern.name] = min(before, found.get(pattern.name, before))
    elif isinstance(pattern, Repeat):
        if pattern.most != 0:
            _rows_before(pattern.part, before, found)
    elif isinstance(pattern, Choice):
        for part in pattern.parts:
            _rows_before(part, before, found)
    elif isinstance(pattern, Follow):
        for part in pattern.parts:
            _rows_before(part, before, found)
            before += rows_min(part)

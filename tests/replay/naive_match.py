"""A third answer to MATCH_RECOGNIZE: all ways through a pattern, tried one after the other.

Patterns and conditions are drawn here together with what they mean in Python, so that nothing is
shared with how the text is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

# A pattern: a symbol, "$", or (kind, ...).
Pattern = Any
SYMBOLS = "ABC"


@dataclass(frozen=True)
class Row:
    k: int
    x: int | None
    id: int
    t: int


@dataclass(frozen=True)
class Path:
    """The rows of a match so far, the current one among them, and their symbols."""

    rows: tuple[Row, ...]
    labels: str
    before: Row | None

    def of(self, symbol: str) -> list[Row]:
        return [r for r, s in zip(self.rows, self.labels, strict=True) if s in symbol]


Holds = Callable[[Path], bool]


def above(left: int | None, right: int | None) -> bool:
    return left is not None and right is not None and left > right


def last(rows: list[Row], nth: int = 0) -> int | None:
    return rows[-1 - nth].x if len(rows) > nth else None


def total(rows: list[Row]) -> int | None:
    values = [r.x for r in rows if r.x is not None]
    return sum(values) if values else None


def conditions(own: str) -> tuple[tuple[str, Holds], ...]:
    """What a symbol may need, in SQL and in Python."""

    def x(path: Path) -> int | None:
        return path.rows[-1].x

    def previous(path: Path) -> int | None:
        before = path.rows[-2] if len(path.rows) > 1 else path.before
        return None if before is None else before.x

    def is_first_or_more(path: Path) -> bool:
        mine = path.of(own)
        return len(mine) == 1 or above(x(path), last(mine, 1))

    return (
        ("x > 1", lambda p: above(x(p), 1)),
        ("x < 3", lambda p: above(3, x(p))),
        (f"{own}.x > PREV({own}.x)", lambda p: above(x(p), previous(p))),
        ("x > A.x", lambda p: above(x(p), last(p.of("A")))),
        (f"count({own}.*) <= 2", lambda p: len(p.of(own)) <= 2),
        (
            "sum(x) < 6 AND x IS NOT NULL",
            lambda p: x(p) is not None and (total(list(p.rows)) or 0) < 6,
        ),
        ("x <> first(x)", lambda p: x(p) is not None and p.rows[0].x not in (None, x(p))),
        (
            f"x > LAST({own}.x, 1) OR count({own}.*) = 1",
            is_first_or_more,
        ),
        (
            "x = coalesce(B.x, 2)",
            lambda p: (
                x(p) is not None and x(p) == (2 if last(p.of("B")) is None else last(p.of("B")))
            ),
        ),
        ("max(A.x) - min(A.x) < x * 2", lambda p: _spread(p, x(p))),
    )


def _spread(path: Path, x: int | None) -> bool:
    values = [r.x for r in path.of("A") if r.x is not None]
    return bool(values) and x is not None and max(values) - min(values) < x * 2


@dataclass(frozen=True)
class Clause:
    """A clause, in SQL and in Python."""

    pattern: Pattern
    needs: tuple[tuple[str, str, Holds], ...]
    skip: str
    within_s: int | None
    all_rows: bool

    @property
    def define(self) -> str:
        items = ", ".join(f"{symbol} AS {sql}" for symbol, sql, _ in self.needs)
        return f"DEFINE {items}" if items else ""

    @property
    def sql(self) -> str:
        within = f" WITHIN INTERVAL '{self.within_s} seconds'" if self.within_s else ""
        rows = "ALL ROWS PER MATCH" if self.all_rows else "ONE ROW PER MATCH"
        used = text(self.pattern)
        a = "count(A.*)" if "A" in used else "0"
        b = "count(B.*)" if "B" in used else "0"
        second = "last(A.x, 1)" if "A" in used else "NULL::BIGINT"
        measures = (
            f"classifier() AS c, {a} AS n, last(x) AS l, FINAL sum(x) AS s"
            if self.all_rows
            else f"first(id) AS f, last(id) AS l, {b} AS n, {second} AS a, prev(x) AS p"
        )
        return (
            f"SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts MEASURES {measures} "
            f"{rows} AFTER MATCH SKIP {self.skip} PATTERN ({text(self.pattern)}){within} "
            f"{self.define})"
        )


def text(pattern: Pattern) -> str:
    if isinstance(pattern, str):
        return pattern
    kind, *parts = pattern
    if kind == "follow":
        return " ".join(f"({text(p)})" for p in parts)
    if kind == "choice":
        return "(" + " | ".join(text(p) for p in parts) + ")"
    part, least, most, greedy = parts
    bound = f"{{{least},{'' if most is None else most}}}"
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most), bound)
    return f"({text(part)}){short}{'' if greedy else '?'}"


def rows_min(pattern: Pattern) -> int:
    if isinstance(pattern, str):
        return int(pattern != "$")
    kind, *parts = pattern
    if kind == "repeat":
        return parts[1] * rows_min(parts[0])
    return (sum if kind == "follow" else min)(rows_min(p) for p in parts)


def answer(clause: Clause, rows: list[Row]) -> list[tuple[Any, ...]]:
    """All rows that the clause puts out."""
    out: list[tuple[Any, ...]] = []
    for k in sorted({row.k for row in rows}):
        mine = sorted(
            (row for row in rows if row.k == k), key=lambda r: (r.t, r.x is None, r.x or 0, r.id)
        )
        at = 0
        while at < len(mine):
            labels = first_match(clause, mine, at)
            if labels is None:
                at += 1
                continue
            out += shown(clause, k, mine, at, labels)
            at = after(clause.skip, at, labels)
    return out


def first_match(clause: Clause, rows: list[Row], start: int) -> str | None:
    stop = len(rows)
    if clause.within_s is not None:
        stop = sum(row.t < rows[start].t + clause.within_s for row in rows)
    needs = {symbol: holds for symbol, _, holds in clause.needs}
    before = rows[start - 1] if start else None

    def ways(pattern: Pattern, at: int, labels: str) -> Iterator[tuple[int, str]]:
        if pattern == "$":
            if at == stop:
                yield at, labels
        elif isinstance(pattern, str):
            path = Path(tuple(rows[start : at + 1]), labels + pattern, before)
            if at < stop and (pattern not in needs or needs[pattern](path)):
                yield at + 1, labels + pattern
        elif pattern[0] == "follow":
            yield from in_turn(pattern[1:], at, labels)
        elif pattern[0] == "choice":
            for part in pattern[1:]:
                yield from ways(part, at, labels)
        else:
            yield from repeated(pattern, at, labels)

    def in_turn(parts: tuple[Pattern, ...], at: int, labels: str) -> Iterator[tuple[int, str]]:
        if not parts:
            yield at, labels
            return
        for middle, taken in ways(parts[0], at, labels):
            yield from in_turn(parts[1:], middle, taken)

    def repeated(pattern: Pattern, at: int, labels: str) -> Iterator[tuple[int, str]]:
        _, part, least, most, greedy = pattern
        if most == 0:
            yield at, labels
            return
        fewer = ("repeat", part, max(0, least - 1), None if most is None else most - 1, greedy)
        again = (
            way
            for middle, taken in ways(part, at, labels)
            if least > 0 or middle > at
            for way in repeated(fewer, middle, taken)
        )
        if least > 0:
            yield from again
        elif greedy:
            yield from again
            yield at, labels
        else:
            yield at, labels
            yield from again

    found = next(ways(clause.pattern, start, ""), None)
    return None if found is None else found[1]


def after(skip: str, start: int, labels: str) -> int:
    if skip == "PAST LAST ROW":
        return start + len(labels)
    if skip == "TO NEXT ROW":
        return start + 1
    _, which, symbol = skip.split()
    place = labels.find(symbol) if which == "FIRST" else labels.rfind(symbol)
    return start + max(1, place)


def shown(
    clause: Clause, k: int, rows: list[Row], start: int, labels: str
) -> list[tuple[Any, ...]]:
    taken = rows[start : start + len(labels)]
    if clause.all_rows:
        sums = total(taken)
        return [
            (row.k, row.x, row.id, row.t, labels[i], labels[: i + 1].count("A"), row.x, sums)
            for i, row in enumerate(taken)
        ]
    of_a = [row for row, label in zip(taken, labels, strict=True) if label == "A"]
    place = start + len(labels) - 2
    before = rows[place].x if place >= 0 else None
    return [(k, taken[0].id, taken[-1].id, labels.count("B"), last(of_a, 1), before)]


def _repeats(part: st.SearchStrategy[Pattern]) -> st.SearchStrategy[Pattern]:
    bounds = st.sampled_from([(0, None), (1, None), (0, 1), (2, 3), (0, 2), (2, None), (1, 2)])
    return st.builds(
        lambda p, bound, greedy: ("repeat", p, *bound, greedy), part, bounds, st.booleans()
    )


def _larger(part: st.SearchStrategy[Pattern]) -> st.SearchStrategy[Pattern]:
    several = st.lists(part, min_size=2, max_size=3)
    return st.one_of(
        several.map(lambda parts: ("follow", *parts)),
        several.map(lambda parts: ("choice", *parts)),
        _repeats(part),
    )


@st.composite
def clauses(draw: st.DrawFn) -> Clause:
    shape = st.recursive(st.sampled_from(SYMBOLS), _larger, max_leaves=5)
    pattern = draw(shape.filter(lambda p: rows_min(p) > 0))
    within = draw(st.sampled_from([None, 3, 6, 20]))
    if within is not None and draw(st.booleans()):
        pattern = ("follow", pattern, "$")
    if within is not None and draw(st.integers(0, 4)) == 0:
        pattern = ("choice", pattern, ("follow", "A", "$"))
    used = [symbol for symbol in SYMBOLS if symbol in text(pattern)]
    pool = draw(st.sampled_from([0, 1, 2]))
    needs = []
    for symbol in used:
        choices = [
            c
            for c in conditions(symbol)
            if ("A." not in c[0] or "A" in used) and ("B." not in c[0] or "B" in used)
        ]
        chosen = draw(st.lists(st.sampled_from(choices), max_size=pool, unique_by=lambda c: c[0]))
        if chosen:
            sql = " AND ".join(f"({c[0]})" for c in chosen)
            holds = [c[1] for c in chosen]
            needs.append((symbol, sql, lambda p, holds=holds: all(h(p) for h in holds)))
    skips = ["PAST LAST ROW", "TO NEXT ROW", *(f"TO FIRST {s}" for s in used)]
    skips += [f"TO LAST {s}" for s in used]
    skip = draw(st.sampled_from(skips))
    return Clause(pattern, tuple(needs), skip, within, draw(st.booleans()))

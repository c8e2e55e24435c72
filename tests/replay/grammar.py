"""Random queries over the topics of `rows`.

Nested blocks, CTEs and views on views; joins of every kind, on equal keys and on others, of a topic
with itself too; `IN`, `EXISTS` and scalar subqueries, correlated or not; windows of time; groups,
`GROUPING SETS` and their kin, `FILTER`, `DISTINCT` and sketches; `UNION`, `EXCEPT` and `INTERSECT`
with and without `ALL`; `DISTINCT ON`, `OVER`, `LIMIT`; lists, structs, maps and JSON.

Answers are exact and do not depend on the order of rows: a sum of fractions is one of DECIMALs, and
where a query picks among rows it says which.
"""

from __future__ import annotations

import re
from random import Random

from replay.rows import TOPICS

# What a column can be used as: a number, a text, a truth, a list of texts, or a window's bound.
Columns = dict[str, str]
Item = tuple[str, Columns]

_KINDS = {
    "BIGINT": "n", "INTEGER": "n", "DECIMAL(12,6)": "n", "VARCHAR": "t", "BOOLEAN": "b",
    "VARCHAR[]": "l",
}  # fmt: skip
_COLUMNS: dict[str, Columns] = {
    topic.name: {c.name: _KINDS[c.type.sql] for c in topic.schema if c.type.sql in _KINDS}
    for topic in TOPICS
}
_WINDOWED = (
    "TUMBLE({}, INTERVAL '2 minutes')",
    "HOP({}, INTERVAL '1 minute', INTERVAL '3 minutes')",
)
_TIMES = {"clicks": "ts", "shows": "at"}
_JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")


class Grammar:
    """Writes queries; every choice is one of `random`'s."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._aliases = 0
        self._relations: dict[str, Columns] = dict(_COLUMNS)

    def views(self, count: int) -> list[str]:
        """Queries of views `v0`, `v1`, ..., of which a later one may read the earlier."""
        queries = []
        for number in range(count):
            text, columns = self.query()
            queries.append(text)
            known = {name: kind for name, kind in columns.items() if kind != "?"}
            if known:
                self._relations[f"v{number}"] = known
        return queries

    def query(self, depth: int = 0) -> tuple[str, Columns]:
        """A query and what its columns can be used as."""
        if depth < 2 and self._may(0.1):
            return self._with(depth)
        if depth < 2 and self._may(0.1):
            return self._set_operation(depth)
        rows, scope, where = self._rows(depth)
        if self._may(0.5):
            where.append(self._condition(scope))
        numbers = self._columns(scope, "n")
        if numbers and self._may(0.15):
            where.append(self._match(numbers))
        source = f"FROM {rows}" + (f" WHERE {' AND '.join(where)}" if where else "")
        if self._may(0.5):
            return self._grouped(source, scope)
        return self._selected(source, scope, depth)

    def _with(self, depth: int) -> tuple[str, Columns]:
        """A common table expression, and a query that may read it more than once."""
        inner, columns = self.query(depth + 1)
        name = f"q{self._next()}"
        before = dict(self._relations)
        self._relations = {name: {n: k for n, k in columns.items() if k != "?"}, **before}
        if not self._relations[name]:
            self._relations = before
        outer, found = self.query(depth + 1)
        self._relations = before
        if outer.startswith("WITH"):
            return f"WITH {name} AS ({inner}) SELECT * FROM ({outer}) AS r{self._next()}", found
        return f"WITH {name} AS ({inner}) {outer}", found

    def _set_operation(self, depth: int) -> tuple[str, Columns]:
        sides = []
        kinds = [self._one("n", "t") for _ in range(self._random.randrange(1, 3))]
        for _ in range(2):
            rows, scope, where = self._rows(depth + 1)
            values = [self._number(scope) if k == "n" else self._text(scope) for k in kinds]
            items = ", ".join(f"{v} AS c{i}" for i, v in enumerate(values))
            kept = f" WHERE {' AND '.join(where)}" if where else ""
            sides.append(f"SELECT {items} FROM {rows}{kept}")
        operation = self._one("UNION", "EXCEPT", "INTERSECT") + self._one("", " ALL")
        text = f"{sides[0]} {operation} {sides[1]}"
        return text, {f"c{i}": kind for i, kind in enumerate(kinds)}

    def _next(self) -> int:
        self._aliases += 1
        return self._aliases

    def _may(self, often: float) -> bool:
        return self._random.random() < often

    def _one(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _columns(self, scope: list[Item], kind: str) -> list[str]:
        return [f"{a}.{name}" for a, columns in scope for name in columns if columns[name] == kind]

    def _number(self, scope: list[Item], depth: int = 0) -> str:
        columns = self._columns(scope, "n")
        if not columns or self._may(0.1):
            return str(self._random.randrange(4))
        if depth > 1 or self._may(0.6):
            return self._random.choice(columns)
        if self._may(0.15):
            return self._nested(scope)
        one, other = self._number(scope, depth + 1), self._number(scope, depth + 1)
        case = f"CASE WHEN {self._condition(scope, depth + 1)} THEN {one} ELSE {other} END"
        operator = self._one("+", "-", "*")
        return self._one(f"({one} {operator} {other})", f"coalesce({one}, {other})", case)

    def _nested(self, scope: list[Item]) -> str:
        """A number out of a list, a struct, a map or a JSON text."""
        one, other = self._number(scope, 2), self._number(scope, 2)
        lists = self._columns(scope, "l")
        choices = [
            f"{{'a': {one}, 'b': {other}}}.b",
            f"[{one}, {other}][{self._random.randrange(1, 4)}]",
            f"len(list_filter([{one}, {other}], x -> x > 1))",
            f"map([1, 2], [{one}, {other}])[{self._random.randrange(1, 4)}]",
            f"CAST(json_extract_string(to_json({{'k': {one}}}), '$.k') AS DOUBLE)",
        ]
        if lists:
            values = self._random.choice(lists)
            choices += [f"len({values})", f"CAST(list_contains({values}, 'x') AS INTEGER)"]
        return self._one(*choices)

    def _text(self, scope: list[Item]) -> str:
        columns = self._columns(scope, "t")
        if not columns:
            return "'q'"
        chosen = self._random.choice(columns)
        return self._one(chosen, chosen, f"upper({chosen})")

    def _condition(self, scope: list[Item], depth: int = 0) -> str:
        if depth > 1 or self._may(0.5):
            sign = self._one("<", ">", "=", "<>", "<=", ">=")
            return f"{self._number(scope, 2)} {sign} {self._number(scope, 2)}"
        one, other = self._condition(scope, depth + 1), self._condition(scope, depth + 1)
        return self._one(
            f"{self._text(scope)} = '{self._one('a', 'b', 'red')}'",
            f"{self._number(scope, 2)} IS {self._one('', 'NOT ')}NULL",
            f"({one} {self._one('AND', 'OR')} {other})",
            f"NOT ({one})",
            self._random.choice(self._columns(scope, "b") or ["TRUE"]),
        )

    def _match(self, numbers: list[str]) -> str:
        value = self._random.choice(numbers)
        return self._one(
            f"{value} IN (SELECT n FROM shows WHERE ad > 1)",
            f"EXISTS (SELECT 1 FROM campaigns z WHERE z.ad = {value} AND z.budget > 0)",
            f"NOT EXISTS (SELECT 1 FROM shows z WHERE z.ad = {value})",
            f"{value} NOT IN (SELECT ad FROM campaigns WHERE budget IS NOT NULL)",
            f"{value} > (SELECT min(z.n) FROM shows z WHERE z.ad = {value})",
            f"{value} <= (SELECT max(budget) FROM campaigns)",
            f"EXISTS (SELECT 1 FROM clicks z WHERE z.ad < {value} AND z.ok)",
            f"{value} IN (SELECT z.n FROM shows z WHERE z.ad = {value})",
            f"{value} = ANY (SELECT budget FROM campaigns)",
        )

    def _item(self, depth: int) -> tuple[str, Item]:
        self._aliases += 1
        alias = f"r{self._aliases}"
        if depth < 2 and self._may(0.25):
            text, columns = self.query(depth + 1)
            return f"({text}) AS {alias}", (alias, columns)
        if self._may(0.2):
            topic = self._random.choice(sorted(_TIMES))
            call = self._random.choice(_WINDOWED).format(f"{topic}, {_TIMES[topic]}")
            columns = {**_COLUMNS[topic], "window_start": "w", "window_end": "w"}
            return f"{call} AS {alias}", (alias, columns)
        relation = self._random.choice(sorted(self._relations))
        return f"{relation} AS {alias}", (alias, dict(self._relations[relation]))

    def _rows(self, depth: int) -> tuple[str, list[Item], list[str]]:
        """A FROM clause, what is visible after it, and conditions for WHERE."""
        text, first = self._item(depth)
        scope, where = [first], []
        while len(scope) < 3 and self._may(0.35):
            right, item = self._item(depth)
            kind = self._one("n", "n", "t")
            ours, theirs = self._columns(scope, kind), self._columns([item], kind)
            if not ours or not theirs:
                break
            on = f"{self._random.choice(ours)} = {self._random.choice(theirs)}"
            if self._may(0.15):
                on = on.replace(" = ", self._one(" < ", " >= ", " <> "))
            elif self._may(0.3):
                on += f" AND {self._condition([*scope, item], 1)}"
            join = self._one(*_JOINS, "JOIN", "LEFT JOIN", ",")
            if join == ",":
                where.append(on)
            text += f", {right}" if join == "," else f" {join} {right} ON {on}"
            if join not in ("SEMI JOIN", "ANTI JOIN"):
                scope.append(item)
        lists = self._columns(scope, "l")
        if lists and self._may(0.15):
            alias = f"r{self._next()}"
            text += f", unnest({self._random.choice(lists)}) AS {alias}(tag)"
            scope.append((alias, {"tag": "t"}))
        return text, scope, where

    def _aggregate(self, scope: list[Item]) -> str:
        number, condition = self._number(scope), self._condition(scope)
        only = f" FILTER (WHERE {self._condition(scope)})" if self._may(0.2) else ""
        if self._may(0.05):
            return self._sketch(number, self._text(scope), only)
        simple = [f"{name}({number}){only}" for name in ("sum", "min", "max", "avg", "count")]
        return self._one(
            *simple,
            f"count(*){only}",
            f"count(DISTINCT {number}){only}",
            f"sum(DISTINCT {number})",
            f"median({number})",
            f"bool_or({condition}){only}",
            f"count_if({condition})",
            f"sum({number}) + count(*)",
            f"list({number} ORDER BY {number}){only}",
            f"string_agg({self._text(scope)}, ',' ORDER BY {self._text(scope)}, {number})",
            f"max_by({number}, {number})",
        )

    def _sketch(self, number: str, text: str, only: str) -> str:
        return self._one(
            f"approx_quantile({number}, {self._one('0.1', '0.5', '[0.5, 0.9]')}){only}",
            f"approx_count_distinct({text}){only}",
            f"approx_top_k({text}, 2)",
        )

    def _neighbours(self, scope: list[Item]) -> str:
        number = self._number(scope, 1)
        return self._one(
            f"lag({number}, {self._random.randrange(3)})",
            f"lead({number})",
            "row_number()",
            f"first_value({number})",
            *(f"{name}({number})" for name in ("sum", "min", "max", "count", "avg")),
        )

    def _grouped(self, source: str, scope: list[Item]) -> tuple[str, Columns]:
        items, columns = [], {}
        for index in range(self._random.randrange(3)):
            kind = self._one("n", "t")
            key = self._number(scope, 1) if kind == "n" else self._text(scope)
            items.append(f"{key} AS k{index}")
            columns[f"k{index}"] = kind
        windows = self._columns(scope, "w")
        if windows and self._may(0.8):
            items.append(f"{self._random.choice(windows)} AS w")
            columns["w"] = "w"
        group = " GROUP BY ALL" if items else ""
        if items and self._may(0.15):
            keys = ", ".join(item.rpartition(" AS ")[0] for item in items)
            sets = self._one(f"ROLLUP ({keys})", f"CUBE ({keys})", f"GROUPING SETS (({keys}), ())")
            # A number would be the place of an output, and not a value.
            group = f" GROUP BY {sets}" if not re.search(r"(^|, )\d+(,|$)", keys) else group
        if items and self._may(0.2):
            group += f" HAVING count(*) > {self._random.randrange(3)}"
        for index in range(self._random.randrange(1, 3)):
            items.append(f"{self._aggregate(scope)} AS a{index}")
            columns[f"a{index}"] = "?"
        return f"SELECT {', '.join(items)} {source}{group}", columns

    def _selected(self, source: str, scope: list[Item], depth: int) -> tuple[str, Columns]:
        items, columns = [], {}
        for index in range(self._random.randrange(1, 4)):
            kind = self._one("n", "n", "t")
            value = self._number(scope) if kind == "n" else self._text(scope)
            items.append(f"{value} AS c{index}")
            columns[f"c{index}"] = kind
        select = ", ".join(items)
        number = self._number(scope, 2)
        nothing = ", ".join("0" if kind == "n" else "NULL" for kind in columns.values())
        over = f"OVER (PARTITION BY {self._text(scope)} ORDER BY {self._number(scope, 2)} "
        over += self._one("", "DESC NULLS FIRST", "ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING") + ")"
        operation = self._one("UNION ALL", "UNION", "EXCEPT", "INTERSECT")
        if self._may(0.12):
            return f"SELECT {select}, {self._over(scope)} AS o {source}", columns
        text = self._one(
            f"SELECT {select} {source}",
            f"SELECT {select} {source}",
            f"SELECT DISTINCT {select} {source}",
            f"SELECT {select} {source} QUALIFY row_number() OVER "
            f"(PARTITION BY {number} ORDER BY {self._number(scope, 2)} DESC) <= 2",
            f"SELECT {select}, {self._neighbours(scope)} {over} AS o {source}",
            f"SELECT {select} {source} ORDER BY c0 {self._one('DESC', 'NULLS FIRST')} LIMIT 3",
            f"SELECT {select} {source} {operation} SELECT {nothing} FROM shows",
            f"SELECT DISTINCT ON (c0) {select} {source} ORDER BY c0, {number} + 0",
        )
        return text, columns

    def _over(self, scope: list[Item]) -> str:
        """A function over other rows. Its order is completed by the rows' content."""
        number, order = self._number(scope, 2), self._number(scope, 2)
        by = f"PARTITION BY {self._number(scope, 2)}"
        return self._one(
            f"sum({number}) OVER ({by})",
            f"count(*) OVER ({by} ORDER BY {order})",
            f"rank() OVER ({by} ORDER BY {order} DESC NULLS LAST)",
            f"dense_rank() OVER (ORDER BY {order})",
            f"row_number() OVER ({by} ORDER BY {order})",
            f"lag({number}) OVER ({by} ORDER BY {order})",
            f"max({number}) OVER ({by} ORDER BY {order} ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        )

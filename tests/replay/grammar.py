"""Random queries over the topics of `rows`, and over views.

Nested blocks, CTEs and views on views; joins of every kind, on equal keys and on others, of a topic
with itself too; `IN`, `EXISTS` and scalar subqueries, correlated or not; windows of time; groups,
`GROUPING SETS` and their kin; `UNION`, `EXCEPT` and `INTERSECT` with and without `ALL`, several in
a row; `DISTINCT ON`, `OVER`, `LIMIT`. Queries that hang on time are in `timed`.
"""

from __future__ import annotations

import re
from random import Random

from replay.rows import TOPICS
from replay.values import KEYS, KINDS, Columns, Item, Scope, Values, columns_of

# Windows are over the times of topics: a table's time has no watermark.
_COLUMNS: dict[str, Columns] = {
    topic.name: {
        c.name: KINDS[c.type.sql]
        for c in topic.schema
        if not (topic.is_table and KINDS[c.type.sql] == "e")
    }
    for topic in TOPICS
}
WINDOWED = (
    "TUMBLE({}, INTERVAL '2 minutes')",
    "TUMBLE({}, INTERVAL '90 seconds', INTERVAL '7 seconds')",
    "HOP({}, INTERVAL '1 minute', INTERVAL '3 minutes')",
    "HOP({}, INTERVAL '40 seconds', INTERVAL '100 seconds')",
    "CUMULATE({}, INTERVAL '1 minute', INTERVAL '4 minutes')",
)
_JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")


class Grammar:
    """Writes queries; every choice is one of `random`'s."""

    def __init__(self, random: Random) -> None:
        self.some = Values(random)
        self._aliases = 0
        self.relations: dict[str, Columns] = dict(_COLUMNS)

    def know(self, name: str, columns: Columns) -> None:
        """Let later queries read a view."""
        known = {column: kind for column, kind in columns.items() if kind != "?"}
        if known:
            self.relations[name] = known

    def alias(self) -> str:
        """A new name."""
        self._aliases += 1
        return f"r{self._aliases}"

    def query(self, depth: int = 0) -> tuple[str, Columns]:
        """A query and what its columns can be used as."""
        if depth < 2 and self.some.may(0.1):
            return self._with(depth)
        if depth < 2 and self.some.may(0.12):
            return self._set_operation(depth)
        rows, scope, where = self.rows(depth)
        if self.some.may(0.5):
            where.append(self.some.condition(scope))
        if self.some.may(0.15):
            where.append(self._match(self.some.number(scope, 2)))
        source = f"FROM {rows}" + (f" WHERE {' AND '.join(where)}" if where else "")
        if self.some.may(0.5):
            return self.grouped(source, scope)
        return self._selected(source, scope)

    def _with(self, depth: int) -> tuple[str, Columns]:
        """A common table expression, and a query that may read it more than once."""
        inner, columns = self.query(depth + 1)
        name = f"q{self.alias()}"
        before = dict(self.relations)
        self.know(name, columns)
        outer, found = self.query(depth + 1)
        self.relations = before
        if outer.startswith("WITH"):
            return f"WITH {name} AS ({inner}) SELECT * FROM ({outer}) AS {self.alias()}", found
        return f"WITH {name} AS ({inner}) {outer}", found

    def _set_operation(self, depth: int) -> tuple[str, Columns]:
        kinds = [self.some.one(*"nt") for _ in range(self.some.random.randrange(1, 3))]
        text = self._side(kinds, depth)
        for _ in range(self.some.random.choice([1, 1, 1, 2])):
            operation = self.some.one("UNION", "EXCEPT", "INTERSECT") + self.some.one("", " ALL")
            text += f" {operation} {self._side(kinds, depth)}"
        return text, {f"c{i}": kind for i, kind in enumerate(kinds)}

    def _side(self, kinds: list[str], depth: int) -> str:
        rows, scope, where = self.rows(depth + 1)
        values = [self.some.number(scope) if k == "n" else self.some.text(scope) for k in kinds]
        items = ", ".join(f"{v} AS c{i}" for i, v in enumerate(values))
        kept = f" WHERE {' AND '.join(where)}" if where else ""
        return f"SELECT {items} FROM {rows}{kept}"

    def _match(self, value: str) -> str:
        """A condition with a query in it."""
        return self.some.one(
            f"{value} IN (SELECT n FROM shows WHERE ad > 1)",
            f"EXISTS (SELECT 1 FROM campaigns z WHERE z.ad = {value} AND z.budget > 0)",
            f"NOT EXISTS (SELECT 1 FROM shows z WHERE z.ad = {value})",
            f"{value} NOT IN (SELECT ad FROM campaigns WHERE budget IS NOT NULL)",
            f"{value} NOT IN (SELECT budget FROM campaigns)",
            f"{value} > (SELECT min(z.n) FROM shows z WHERE z.ad = {value})",
            f"{value} <= (SELECT max(budget) FROM campaigns)",
            f"EXISTS (SELECT 1 FROM clicks z WHERE z.ad < {value} AND z.ok)",
            f"{value} IN (SELECT z.n FROM shows z WHERE z.ad = {value})",
            f"{value} = ANY (SELECT budget FROM campaigns)",
            f"{value} > ALL (SELECT n FROM shows WHERE visitor = 'a')",
            f"(SELECT count(*) FROM shows z WHERE z.n = {value}) > 1",
        )

    def item(self, depth: int) -> tuple[str, Item]:
        """Something for FROM."""
        alias = self.alias()
        if depth < 2 and self.some.may(0.25):
            text, columns = self.query(depth + 1)
            return f"({text}) AS {alias}", (alias, columns)
        if self.some.may(0.2):
            call, columns = self.windowed()
            return f"{call} AS {alias}", (alias, columns)
        if self.some.may(0.03):
            return f"(VALUES (1, 'a'), (2, 'b'), (NULL, 'c')) AS {alias}(k, x)", (
                alias,
                {"k": "n", "x": "t"},
            )
        relation = self.some.one(*sorted(self.relations))
        return f"{relation} AS {alias}", (alias, dict(self.relations[relation]))

    def timed_relation(self) -> tuple[str, str]:
        """A relation with a time, and that column."""
        timed = [(n, c) for n, known in self.relations.items() for c in known if known[c] == "e"]
        of_views = [(n, c) for n, c in timed if n not in _COLUMNS]
        chosen = of_views if of_views and self.some.may(0.3) else timed
        return self.some.random.choice(sorted(chosen))

    def windowed(self) -> tuple[str, Columns]:
        """A window function over a relation, and its columns."""
        relation, time = self.timed_relation()
        known = self.relations[relation]
        columns = {**known, "window_start": "w", "window_end": "w"}
        source = relation
        if self.some.may(0.2):
            scope = [(relation, known)]
            source = f"(SELECT * FROM {relation} WHERE {self.some.condition(scope, 1)})"
        if self.some.may(0.25):
            keys = [name for name in known if known[name] in "nt"]
            chosen = self.some.random.sample(keys, min(len(keys), self.some.random.randrange(3)))
            by = f" PARTITION BY {', '.join(chosen)}" if chosen else ""
            gap = self.some.one("20 seconds", "45 seconds", "2 minutes")
            return f"SESSION({source}{by}, {time}, INTERVAL '{gap}')", columns
        return self.some.one(*WINDOWED).format(f"{source}, {time}"), columns

    def rows(self, depth: int) -> tuple[str, Scope, list[str]]:
        """A FROM clause, what is visible after it, and conditions for WHERE."""
        text, first = self.item(depth)
        scope, where = [first], []
        while len(scope) < 3 and self.some.may(0.35):
            right, item = self.item(depth)
            joined = self._join(scope, item, right)
            if joined is None:
                break
            clause, condition, is_shown = joined
            text += clause
            where += [condition] if condition else []
            scope += [item] if is_shown else []
        lists = columns_of(scope, "l")
        if lists and self.some.may(0.15):
            alias = self.alias()
            text += f", unnest({self.some.one(*lists)}) AS {alias}(tag)"
            scope.append((alias, {"tag": "t"}))
        return text, scope, where

    def _join(self, scope: Scope, item: Item, right: str) -> tuple[str, str, bool] | None:
        """A join with one more relation: its text, what it adds to WHERE, and whether it shows."""
        if self.some.may(0.04):
            return f" CROSS JOIN {right}", "", True
        if len(scope) == 1 and self.some.may(0.1):
            names = [n for n in item[1] if scope[0][1].get(n) == item[1][n] and item[1][n] in KEYS]
            if names:
                using = f"USING ({self.some.one(*names)})"
                join = self.some.one(*_JOINS)
                return f" {join} {right} {using}", "", join not in ("SEMI JOIN", "ANTI JOIN")
        kind = self.some.one(*"nnntttw")
        ours, theirs = columns_of(scope, kind), columns_of([item], kind)
        if not ours or not theirs:
            return None
        on = f"{self.some.one(*ours)} = {self.some.one(*theirs)}"
        if self.some.may(0.15):
            on = on.replace(" = ", self.some.one(" < ", " >= ", " <> ", " IS NOT DISTINCT FROM "))
        elif self.some.may(0.3):
            on += f" AND {self.some.condition([*scope, item], 1)}"
        elif self.some.may(0.1):
            on = f"({on} OR {self.some.condition([*scope, item], 1)})"
        join = self.some.one(*_JOINS, "JOIN", "LEFT JOIN", ",")
        if join == ",":
            return f", {right}", on, True
        return f" {join} {right} ON {on}", "", join not in ("SEMI JOIN", "ANTI JOIN")

    def grouped(self, source: str, scope: Scope) -> tuple[str, Columns]:
        """Groups and what is computed of each."""
        items: list[str] = []
        columns: Columns = {}
        for index in range(self.some.random.randrange(3)):
            key, columns[f"k{index}"] = self.some.key(scope)
            items.append(f"{key} AS k{index}")
        windows = columns_of(scope, "w")
        if windows and self.some.may(0.8):
            items.append(f"{self.some.one(*windows)} AS w")
            columns["w"] = "w"
        group = self._group_by(items)
        aggregates = [self.some.aggregate(scope) for _ in range(self.some.random.randrange(1, 4))]
        if items and self.some.may(0.2):
            group += f" HAVING {self.some.one('count(*)', 'count(*)', aggregates[0])} IS NOT NULL"
            group += f" AND count(*) > {self.some.random.randrange(3)}"
        items += [f"{text} AS a{index}" for index, text in enumerate(aggregates)]
        columns |= {f"a{index}": _kind_of(text) for index, text in enumerate(aggregates)}
        return f"SELECT {', '.join(items)} {source}{group}", columns

    def _group_by(self, items: list[str]) -> str:
        keys = ", ".join(item.rpartition(" AS ")[0] for item in items)
        # A number would be the place of an output, and not a value.
        if not items or re.search(r"(^|, )\d+(,|$)", keys) or self.some.may(0.8):
            return " GROUP BY ALL" if items else ""
        first = items[0].rpartition(" AS ")[0]
        return " GROUP BY " + self.some.one(
            f"ROLLUP ({keys})",
            f"CUBE ({keys})",
            f"GROUPING SETS (({keys}), ())",
            f"GROUPING SETS (({first}), ({keys}), ())",
        )

    def _selected(self, source: str, scope: Scope) -> tuple[str, Columns]:
        items, columns = [], {}
        for index in range(self.some.random.randrange(1, 4)):
            value, columns[f"c{index}"] = self.some.value(scope)
            items.append(f"{value} AS c{index}")
        select = ", ".join(items)
        if self.some.may(0.25):
            calls = self.some.overs(scope)
            text = ", ".join(f"{call} AS o{i}" for i, call in enumerate(calls))
            return f"SELECT {select}, {text} {source}", columns
        if self.some.may(0.08):
            asked = f"(SELECT {self.some.one('max(n)', 'count(*)', 'sum(n)')} FROM shows z"
            asked += f" WHERE z.ad = {self.some.number(scope, 2)})"
            return f"SELECT {select}, {asked} AS c9 {source}", {**columns, "c9": "n"}
        return self._chosen(select, source, scope, columns), columns

    def _chosen(self, select: str, source: str, scope: Scope, columns: Columns) -> str:
        """All rows, or some of them."""
        number, order = self.some.number(scope, 2), self.some.key(scope)[0]
        is_plain = all(kind in "nt" for kind in columns.values())
        nothing = ", ".join("0" if kind == "n" else "NULL" for kind in columns.values())
        operation = self.some.one("UNION ALL", "UNION", "EXCEPT", "INTERSECT", "EXCEPT ALL")
        unordered = any(kind in "slmj" for kind in columns.values())
        choices = [f"SELECT {select} {source}"] * 3
        if not unordered:
            choices += [
                f"SELECT DISTINCT {select} {source}",
                f"SELECT {select} {source} QUALIFY row_number() OVER "
                f"(PARTITION BY {order} ORDER BY {number} DESC) <= 2",
                f"SELECT {select} {source} QUALIFY {self.some.one('rank()', 'dense_rank()')} OVER "
                f"(PARTITION BY {order} ORDER BY {number}) <= 2",
                f"SELECT {select} {source} ORDER BY c0 {self.some.one('DESC', 'NULLS FIRST')} "
                f"LIMIT 3{self.some.one('', ' OFFSET 1')}",
                f"SELECT DISTINCT ON (c0) {select} {source} ORDER BY c0, {number} + 0",
            ]
        if is_plain:
            choices.append(f"SELECT {select} {source} {operation} SELECT {nothing} FROM shows")
        return self.some.one(*choices)


def _kind_of(aggregate: str) -> str:
    """What an aggregate can be used as: counts as numbers, of others nothing is said."""
    is_count = aggregate.startswith(("count(", "count_if(")) and " + " not in aggregate
    return "n" if is_count else "?"

"""Random expressions: numbers, texts, truths, aggregates and functions over other rows.

Values are exact and small, and none depends on the order of rows: a sum of fractions is one of
DECIMALs, and where a function picks among rows its arguments are what decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

# What a column can be used as: a number, a great number that is only compared and summed, a text, a
# truth, a list of texts, an event time, a bound of a window, a date, a time with a zone, a struct
# {a: number, b: text}, a map from texts to numbers, or a JSON text.
KINDS = {
    "BIGINT": "n", "INTEGER": "n", "DECIMAL(12,6)": "n", "HUGEINT": "g", "DOUBLE": "g",
    "DECIMAL(24,2)": "g",
    "VARCHAR": "t", "BOOLEAN": "b", "VARCHAR[]": "l", "TIMESTAMP": "e", "DATE": "d",
    "TIMESTAMP WITH TIME ZONE": "z", "STRUCT(a INTEGER, b VARCHAR)": "s",
    "MAP(VARCHAR, INTEGER)": "m", "JSON": "j",
}  # fmt: skip
# What may stand in a SELECT list as it is, and be a key.
KEYS = "nntttebdwzg"

# Functions whose result may differ for rows that are alike in all that a query reads.
_TELLS_APART = re.compile(r"ROWS|^(lag|lead|row_number|ntile|first_value|last_value|nth_value)")

Columns = dict[str, str]
Item = tuple[str, Columns]
Scope = list[Item]


def columns_of(scope: Scope, kind: str) -> list[str]:
    """The columns in sight that can be used so."""
    return [f"{a}.{name}" for a, columns in scope for name in columns if columns[name] in kind]


@dataclass(frozen=True, slots=True)
class Values:
    """Writes expressions; every choice is one of `random`'s."""

    random: Random

    def may(self, often: float) -> bool:
        """True so often."""
        return self.random.random() < often

    def one(self, *choices: str) -> str:
        """One of the choices."""
        return self.random.choice(choices)

    def column(self, scope: Scope, kind: str) -> str | None:
        """A column that can be used so, if there is one."""
        found = columns_of(scope, kind)
        return self.random.choice(found) if found else None

    def number(self, scope: Scope, depth: int = 0) -> str:
        """A small number."""
        column = self.column(scope, "n")
        if column is None or self.may(0.1):
            return self.out_of(scope) if self.may(0.4) else str(self.random.randrange(4))
        if depth > 1 or self.may(0.6):
            return column
        if self.may(0.2):
            return self.out_of(scope)
        one, other = self.number(scope, depth + 1), self.number(scope, depth + 1)
        case = f"CASE WHEN {self.condition(scope, depth + 1)} THEN {one} ELSE {other} END"
        operator = self.one("+", "-", "*")
        return self.one(
            f"({one} {operator} {other})",
            f"coalesce({one}, {other})",
            case,
            f"nullif({one}, {other})",
            f"greatest({one}, {other})",
            f"abs({one})",
        )

    def out_of(self, scope: Scope) -> str:
        """A number out of a list, a struct, a map, a JSON text or a time."""
        choices = []
        number = self.column(scope, "n")
        if number is not None:
            other = self.column(scope, "n")
            choices += [
                f"{{'a': {number}, 'b': {other}}}.b",
                f"[{number}, {other}][{self.random.randrange(1, 4)}]",
                f"len(list_filter([{number}, {other}], x -> x > 1))",
                f"list_sum(list_transform([{number}, {other}], x -> x + 1))",
                f"map([1, 2], [{number}, {other}])[{self.random.randrange(1, 4)}]",
                f"CAST(json_extract_string(to_json({{'k': {number}}}), '$.k') AS DOUBLE)",
            ]
        forms = {
            "l": ("len({})", "CAST(list_contains({}, 'x') AS INTEGER)", "len(list_distinct({}))"),
            "s": ("{}.a", "len({}.b)"),
            "m": ("{}['k']", "cardinality({})", "len(map_keys({}))"),
            "j": ("CAST({} ->> '$.a' IS NULL AS INTEGER)", "json_array_length({})"),
            "e": ("minute({})", "epoch(date_trunc('minute', {}))::BIGINT % 7"),
            "w": ("minute({})",),
            "d": ("day({})", "date_diff('day', DATE '2024-02-27', {})"),
            "z": ("hour({})",),
            "t": ("len({})", "strpos('abcd', {})"),
            "g": ("CAST({} > 0 AS INTEGER)",),
        }
        for kind, texts in forms.items():
            column = self.column(scope, kind)
            choices += [] if column is None else [text.format(column) for text in texts]
        return self.one(*choices) if choices else str(self.random.randrange(4))

    def text(self, scope: Scope) -> str:
        """A short text."""
        chosen = self.column(scope, "t")
        if chosen is None:
            struct, document = self.column(scope, "s"), self.column(scope, "j")
            inner = [f"{struct}.b"] if struct else []
            inner += [f"json_type({document})"] if document else []
            return self.one(*inner, "'q'")
        return self.one(chosen, chosen, f"upper({chosen})", f"{chosen} || 'x'")

    def key(self, scope: Scope) -> tuple[str, str]:
        """What may be grouped or partitioned by, and its kind."""
        kind = self.one(*KEYS)
        column = self.column(scope, kind)
        if column is None or kind in "nt":
            return (self.number(scope, 1), "n") if kind not in "t" else (self.text(scope), "t")
        return column, kind

    def value(self, scope: Scope) -> tuple[str, str]:
        """Anything for a SELECT list, and its kind."""
        kind = self.one(*"nnnttebdwzgslmj")
        column = self.column(scope, kind)
        if column is None or kind in "nt":
            return (self.number(scope), "n") if kind != "t" else (self.text(scope), "t")
        return column, kind

    def condition(self, scope: Scope, depth: int = 0) -> str:
        """A truth, or null."""
        if depth > 1 or self.may(0.5):
            return self.comparison(scope)
        one, other = self.condition(scope, depth + 1), self.condition(scope, depth + 1)
        number = self.number(scope, 2)
        return self.one(
            f"{self.text(scope)} = '{self.one('a', 'b', 'red')}'",
            f"{number} IS {self.one('', 'NOT ')}NULL",
            f"({one} {self.one('AND', 'OR')} {other})",
            f"NOT ({one})",
            self.column(scope, "b") or "TRUE",
            f"{number} BETWEEN 1 AND {self.number(scope, 2)}",
            f"{number} IN (0, 2, NULL)",
            f"{self.text(scope)} LIKE '%{self.one(*'abd')}%'",
            f"{number} IS DISTINCT FROM {self.number(scope, 2)}",
            f"({self.text(scope)}, {number}) IN (('a', 1), ('b', 2))",
        )

    def comparison(self, scope: Scope) -> str:
        """Two values of one kind, compared."""
        sign = self.one("<", ">", "=", "<>", "<=", ">=")
        kind = self.one(*"nnnnegdz")
        one, other = self.column(scope, kind), self.column(scope, kind)
        if one is None or other is None or kind == "n":
            return f"{self.number(scope, 2)} {sign} {self.number(scope, 2)}"
        return f"{one} {sign} {other}"

    def aggregate(self, scope: Scope) -> str:
        """An aggregate."""
        number, condition = self.number(scope), self.condition(scope)
        only = f" FILTER (WHERE {self.condition(scope)})" if self.may(0.2) else ""
        if self.may(0.05):
            return self.sketch(number, self.text(scope), only)
        key, _ = self.key(scope)
        great = self.column(scope, "g") or number
        names = ("sum", "min", "max", "avg", "count")
        return self.one(
            *(f"{name}({number}){only}" for name in names),
            *(f"{name}({key}){only}" for name in ("min", "max", "count")),
            f"count(*){only}",
            f"count(DISTINCT {key}){only}",
            f"sum(DISTINCT {number})",
            f"sum({great}){only}",
            f"median({number})",
            f"quantile_disc({number}, 0.25)",
            f"bool_or({condition}){only}",
            f"bool_and({condition})",
            f"count_if({condition})",
            f"sum({number}) + count(*)",
            f"sum({number}) / count({number})",
            f"list({number} ORDER BY {number}){only}",
            f"list_sort(list(DISTINCT {number}))",
            f"string_agg({self.text(scope)}, ',' ORDER BY {self.text(scope)}, {number})",
            f"max_by({number}, {number})",
        )

    def sketch(self, number: str, text: str, only: str) -> str:
        """An approximate aggregate."""
        return self.one(
            f"approx_quantile({number}, {self.one('0.1', '0.5', '[0.5, 0.9]')}){only}",
            f"approx_count_distinct({text}){only}",
            f"approx_top_k({text}, 2)",
        )

    def overs(self, scope: Scope) -> list[str]:
        """Functions over other rows, of which one may tell rows apart that are alike in all.

        Of two that did, DuckDB would pair the results as it finds the rows.
        """
        calls = [self.over(scope) for _ in range(self.random.randrange(1, 4))]
        alike = [call for call in calls if not _TELLS_APART.search(call)]
        return [*alike, *[call for call in calls if call not in alike][:1]]

    def over(self, scope: Scope) -> str:
        """A function over other rows. Its order is completed by the rows' content."""
        by = f"PARTITION BY {self.key(scope)[0]}"
        by = self.one(by, by, by + f", {self.key(scope)[0]}", "")
        time = self.column(scope, "ew")
        if time is not None and self.may(0.3):
            near = "BETWEEN INTERVAL '2 minutes' PRECEDING AND INTERVAL '30 seconds' FOLLOWING"
            frame = self.one("INTERVAL '3 minutes' PRECEDING", near, "UNBOUNDED PRECEDING")
            function = self.framed(scope)
            return f"{function} OVER ({by} ORDER BY {time} {self.one('', 'DESC')} RANGE {frame})"
        order = f"ORDER BY {self.key(scope)[0]} {self.one('', 'DESC', 'NULLS FIRST')}"
        if self.may(0.3):
            frame = self.one(
                "2 PRECEDING",
                "BETWEEN 2 PRECEDING AND 1 FOLLOWING",
                "UNBOUNDED PRECEDING",
                "BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING",
                "BETWEEN 3 PRECEDING AND 1 PRECEDING",
            )
            return f"{self.framed(scope)} OVER ({by} {order} ROWS {frame})"
        if self.may(0.15):
            return f"{self.framed(scope)} OVER ({by})"
        return f"{self.numbering(scope)} OVER ({by} {order})"

    def framed(self, scope: Scope) -> str:
        """A function over a frame."""
        number = self.number(scope, 1)
        names = ("sum", "min", "max", "count", "avg", "first_value", "last_value")
        only = f" FILTER (WHERE {self.condition(scope, 1)})"
        return self.one(
            *(f"{name}({number})" for name in names),
            "count(*)",
            f"sum({number}){only}",
            f"nth_value({number}, 2)",
            f"last_value({number} IGNORE NULLS)",
            f"max({self.text(scope)})",
        )

    def numbering(self, scope: Scope) -> str:
        """A function of a row's place, or of the rows from the first to it."""
        number = self.number(scope, 1)
        return self.one(
            f"lag({number}, {self.random.randrange(3)})",
            f"lead({number})",
            f"lag({self.text(scope)}, 1, 'none')",
            "row_number()",
            "rank()",
            "dense_rank()",
            "ntile(2)",
            "percent_rank()",
            f"first_value({number})",
            *(f"{name}({number})" for name in ("sum", "min", "max", "count", "avg")),
        )

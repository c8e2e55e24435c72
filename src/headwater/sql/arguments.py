"""The rows that an aggregate reads: its keys and arguments, each computed once.

Arguments are columns of one map. An argument of which each value counts only once (`count(DISTINCT
x)`) is a branch of its own, the distinct rows of keys and argument, and the aggregate reads the
union of all
branches: in a branch the columns of the others are null, which no aggregate sees. A group has rows
in every branch or in none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Node
from headwater.schema.schema import Schema
from headwater.sql.build import Projection, column, data_type, fresh

if TYPE_CHECKING:
    from headwater.sql.planner import Planner


class Arguments:
    """Collects the columns, then builds the rows.

    Args:
        node: What the expressions read.
        group: The grouping expressions.

    """

    def __init__(self, planner: Planner, node: Node, group: list[exp.Expr]) -> None:
        self._planner = planner
        self._input = node
        self._projections: list[Projection] = []
        self._distinct: set[str] = set()
        self._names: dict[str, str] = {}
        self.keys: list[exp.Expr] = [column(self.name(key, "key")) for key in group]

    def name(self, expression: exp.Expr, base: str, *, is_distinct: bool = False) -> str:
        """The column that holds the expression, or with `is_distinct` each value of it once."""
        text = f"{is_distinct} {expression.sql('duckdb')}"
        if text not in self._names:
            if isinstance(expression, exp.Column):
                base = expression.name
            if is_distinct:
                base = f"distinct_{base}"
            name = fresh(base, [n for n, _ in self._projections])
            self._names[text] = name
            self._projections.append((name, expression))
            if is_distinct:
                self._distinct.add(name)
        return self._names[text]

    def type_of(self, expression: exp.Expr) -> str:
        """DuckDB's type of an expression over the input."""
        types = self._planner.build.types(self._input.schema, [("x", expression)])
        return types["x"].type.sql.upper()

    def node(self, *, counts_rows: bool = False) -> tuple[Node, str | None]:
        """The rows.

        Args:
            counts_rows: Whether the number of rows is asked for.

        Returns:
            The node, and the column that is not null once for each row, where rows cannot be
            counted as they are.

        """
        if not self._distinct:
            first = self._input.schema.names[0]
            projections = self._projections or [(first, column(first))]
            return self._planner.build.map(self._input, projections), None
        keys = {key.name for key in self.keys}
        plain = [p for p in self._projections if p[0] not in self._distinct]
        each_row = None
        if counts_rows:
            each_row = fresh("each_row", [name for name, _ in self._projections])
            plain.append((each_row, exp.Literal.number(1)))
        branches = [
            self._once([p for p in self._projections if p[0] in keys or p[0] == name])
            for name in sorted(self._distinct)
        ]
        if len(plain) > len(keys):
            branches.insert(0, self._planner.build.map(self._input, plain))
        return self._united(branches), each_row

    def _once(self, projections: list[Projection]) -> Node:
        build = self._planner.build
        return build.distinct(build.map(self._input, projections))

    def _united(self, branches: list[Node]) -> Node:
        """All branches with the columns of all, null where they are another's."""
        if len(branches) == 1:
            return branches[0]
        columns = {c.name: c for branch in branches for c in branch.schema}
        target = Schema(tuple(columns.values()))
        build = self._planner.build
        return build.union(
            [
                build.map(
                    branch,
                    [
                        (c.name, column(c.name))
                        if c.name in branch.schema
                        else (c.name, exp.Cast(this=exp.null(), to=data_type(c.type)))
                        for c in target
                    ],
                )
                for branch in branches
            ]
        )

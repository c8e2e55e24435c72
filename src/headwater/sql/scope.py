"""What the names in one query block mean.

Each item of a FROM clause is a planned node whose columns have names that are unique in the whole
block. A scope maps what an author can write (`ad`, `clicks.ad`, `*`) to these columns, as DuckDB
does: without regard to case, a USING column standing for both sides. What it cannot settle for
certain it declines, and the block is recomputed by DuckDB itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlglot import exp

from headwater.sql.build import column
from headwater.sql.decline import Decline


@dataclass(frozen=True, slots=True)
class Field:
    """One column that a name can mean.

    Args:
        table: The alias of its FROM item.
        name: Its name there.
        column: Its name in the plan.
        is_merged: True for the side of a USING column that `*` leaves out.

    """

    table: str
    name: str
    column: str
    is_merged: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """All columns of a block's FROM clause, in order.

    Args:
        fields: The columns.
        merged: What the unqualified name of a USING column means, by the folded name.

    """

    fields: tuple[Field, ...]
    merged: Mapping[str, exp.Expr] = field(default_factory=dict)

    def knows(self, name: str) -> bool:
        """Whether an unqualified name means a column."""
        folded = name.lower()
        return folded in self.merged or any(f.name.lower() == folded for f in self.fields)

    def resolve(self, reference: exp.Column) -> exp.Expr:
        """The plan's spelling of a column reference.

        Raises:
            Decline: It means nothing here, or more than one thing.

        """
        if isinstance(reference.this, exp.Star):
            raise Decline("of a * inside an expression")
        parts = [part.name for part in reference.parts]
        if len(parts) == 1:
            return _marked(self._unqualified(parts[0]), reference, self)
        found = self._matching(parts[0], parts[1])
        if len(found) == 1:
            return _marked(_fields_of(column(found[0].column), parts[2:]), reference, self)
        if not found and self.knows(parts[0]) and not self._has_table(parts[0]):
            return _fields_of(self._unqualified(parts[0]), parts[1:])
        raise Decline(f"of the reference {reference.sql('duckdb')}")

    def bind(self, expression: exp.Expr) -> exp.Expr:
        """A copy of the expression over the plan's columns.

        Raises:
            Decline: A name cannot be settled, or a subquery stands in the expression.

        """
        if expression.find(exp.Query) is not None:
            raise Decline("of a subquery inside an expression")
        copy = expression.copy()
        return copy.transform(
            lambda node: self.resolve(node) if isinstance(node, exp.Column) else node, copy=False
        )

    def star(self, star: exp.Expr) -> list[tuple[str, exp.Expr]]:
        """The output names and expressions that `*` or `t.*` stands for, still to be bound.

        Raises:
            Decline: It has a clause that is not understood.

        """
        table = star.table if isinstance(star, exp.Column) else ""
        inner = star.this if isinstance(star, exp.Column) else star
        fields = [
            f
            for f in self.fields
            if (f.table.lower() == table.lower() if table else not f.is_merged)
        ]
        if not fields:
            raise Decline(f"of {star.sql('duckdb')}")
        out = [(f.name, self._star_field(f, bool(table))) for f in fields]
        return _star_clauses(inner, out)

    def _star_field(self, f: Field, is_qualified: bool) -> exp.Expr:
        """A field under `*`, as a reference that `resolve` finds again."""
        if not is_qualified and f.name.lower() in self.merged:
            return exp.column(exp.to_identifier(f.name, quoted=True))
        return exp.column(
            exp.to_identifier(f.name, quoted=True), table=exp.to_identifier(f.table, quoted=True)
        )

    def _unqualified(self, name: str) -> exp.Expr:
        folded = name.lower()
        if folded in self.merged:
            return self.merged[folded].copy()
        found = [f for f in self.fields if f.name.lower() == folded]
        if len(found) != 1:
            raise Decline(f"of the reference {name}")
        return column(found[0].column)

    def _matching(self, table: str, name: str) -> list[Field]:
        return [
            f
            for f in self.fields
            if f.table.lower() == table.lower() and f.name.lower() == name.lower()
        ]

    def _has_table(self, table: str) -> bool:
        return any(f.table.lower() == table.lower() for f in self.fields)


def _marked(bound: exp.Expr, reference: exp.Column, scope: Scope) -> exp.Expr:
    """The bound column with its place in the text and its author's name for it, as `label`."""
    if isinstance(bound, exp.Column):
        labels = [f"{f.table}.{f.name}" for f in scope.fields if f.column == bound.name]
        bound.this.meta.update(reference.this.meta)
        first = reference.parts[0]
        if "start" in first.meta and "start" in bound.this.meta:
            bound.this.meta["start"] = first.meta["start"]
        bound.this.meta["label"] = labels[0] if labels else bound.name
    return bound


def label_of(expression: exp.Expr) -> str:
    """A bound expression as its author would recognise it."""
    copy = expression.copy()
    for name in copy.find_all(exp.Identifier):
        name.set("this", name.meta.get("label", name.name))
        name.set("quoted", False)
    return copy.sql("duckdb")


def _fields_of(value: exp.Expr, path: Sequence[str]) -> exp.Expr:
    """Fields of a struct: `s.f.g`."""
    for name in path:
        value = exp.Anonymous(this="struct_extract", expressions=[value, exp.Literal.string(name)])
    return value


def _star_clauses(star: exp.Expr, out: list[tuple[str, exp.Expr]]) -> list[tuple[str, exp.Expr]]:
    """EXCLUDE, REPLACE and RENAME of a star."""
    known = {"except_", "replace", "rename"}
    if any(value for name, value in star.args.items() if name not in known):
        raise Decline("of a * with a pattern")
    excluded = set()
    for item in star.args.get("except_") or ():
        if isinstance(item, exp.Column) and item.table:
            raise Decline("of a * that excludes a qualified name")
        excluded.add(item.name.lower())
    replaced = {e.alias.lower(): e.this for e in star.args.get("replace") or ()}
    renamed = {e.this.name.lower(): e.alias for e in star.args.get("rename") or ()}
    return [
        (renamed.get(name.lower(), name), replaced.get(name.lower(), reference))
        for name, reference in out
        if name.lower() not in excluded
    ]

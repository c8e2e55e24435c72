"""What a new column list changes of a topic's columns, and whether rows of before fit it.

A column is the same one when it has the same name, or names the other as its alias. What is taken:
columns that are new (a NOT NULL one with a default), wider types, new names, nulls where none were
allowed, other defaults and aliases, another order, and columns that are gone. All else would lose
or invent values of rows that are there, and is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from headwater.schema.schema import Schema
from headwater.schema.spell import literal, spelled_column
from headwater.schema.types import Column
from headwater.schema.versions import Field, Version
from headwater.schema.widening import widens


@dataclass(frozen=True, slots=True)
class Comparison:
    """A column list beside the newest version.

    Args:
        fields: The columns of the list, each with the id that it has or gets.
        next_id: The id after those.
        changes: What is different, in words; empty when nothing is.
        problems: Why it cannot be taken, in words; empty when it can.
        dropped: Names of dropped columns that records may still have.

    """

    fields: tuple[Field, ...]
    next_id: int
    changes: tuple[str, ...]
    problems: tuple[str, ...]
    dropped: tuple[str, ...]

    def version(self, before: Version, *, tick: int, time_us: int) -> Version:
        """The version that the list becomes."""
        return Version(
            before.number + 1, self.fields, self.next_id, tick, time_us, self.changes, self.dropped
        )


def compare(
    newest: Version,
    columns: Schema,
    *,
    fixed: Collection[str] = (),
    drops: Collection[str] | None = None,
) -> Comparison:
    """What `columns` would change of the newest version.

    Args:
        columns: The whole list.
        fixed: Columns of the newest version that must stay and keep their type: a key's, say.
        drops: Those that may go, as the newest version names them; None: any, but not where one
            that comes may be the same under another name.

    """
    return _Comparing(newest, columns, {name.lower() for name in fixed}, drops).run()


class _Comparing:
    def __init__(
        self, newest: Version, columns: Schema, fixed: set[str], drops: Collection[str] | None
    ) -> None:
        self._newest = newest
        self._columns = columns
        self._fixed = fixed
        self._drops = None if drops is None else {name.lower() for name in drops}
        self._changes: list[str] = []
        self._problems: list[str] = []
        self._next_id = newest.next_id

    def run(self) -> Comparison:
        known = {f.column.name.lower(): f for f in self._newest.fields}
        named = {c.name.lower() for c in self._columns}
        fields: list[Field] = []
        added: list[Column] = []
        for column in self._columns:
            before = self._before(column, known, named)
            if before is None:
                added.append(column)
                fields.append(self._added(column))
            else:
                self._changed(before.column, column)
                fields.append(replace(before, column=column))
        kept = [field.id for field in fields]
        gone = [f for f in self._newest.fields if f.id not in kept]
        self._gone([f.column for f in gone], added)
        order = [f.id for f in self._newest.fields if f.id in kept]
        if order != [number for number in kept if number in order]:
            self._changes.append(f"orders the columns {', '.join(self._columns.names)}")
        names = [f.column.name for f in gone]
        return Comparison(
            tuple(fields),
            self._next_id,
            tuple(self._changes),
            tuple(self._problems),
            self._passed_over(names),
        )

    def _before(self, column: Column, known: dict[str, Field], named: set[str]) -> Field | None:
        """What the column was in the newest version; None where it is new."""
        field = known.get(column.name.lower())
        aliases = [a.lower() for a in column.aliases if a.lower() in known]
        if field is None and aliases:
            field = known[aliases.pop(0)]
        for alias in aliases:
            if alias not in named:
                self._problems.append(
                    f"{known[alias].column.name} is a column of its own and cannot become "
                    f"{column.name}"
                )
        return field

    def _added(self, column: Column) -> Field:
        if not column.nullable and column.default is None:
            self._problems.append(
                f"{column.name} is NOT NULL without a default: older rows would have no value"
            )
        self._changes.append(f"adds {spelled_column(column)}")
        self._next_id += 1
        return Field(self._next_id - 1, column, replace(column, nullable=True, aliases=()))

    def _changed(self, before: Column, now: Column) -> None:
        if before.name != now.name:
            self._changes.append(f"renames {before.name} to {now.name}")
        if before.type.sql != now.type.sql:
            self._retyped(before, now)
        if before.nullable and not now.nullable:
            self._problems.append(f"{before.name} may be null in rows that are there")
        if now.nullable and not before.nullable:
            if before.name.lower() in self._fixed:
                self._problems.append(f"{before.name} must not be null")
            self._changes.append(f"{now.name} may be null")
        if (before.default, before.is_optional) != (now.default, now.is_optional):
            self._changes.append(_default_change(now))
        self._renamed(before, now)

    def _retyped(self, before: Column, now: Column) -> None:
        if before.name.lower() in self._fixed:
            self._problems.append(
                f"{before.name} is {before.type}, and must stay so: the key or the time of rows "
                "depends on it"
            )
        elif not widens(before.type, now.type):
            self._problems.append(
                f"{before.name} is {before.type}: not every value of it is a {now.type}, in the "
                "same order"
            )
        self._changes.append(f"widens {now.name} from {before.type} to {now.type}")

    def _renamed(self, before: Column, now: Column) -> None:
        """What else than a new name happened to the names that records may use."""
        was = {alias.lower() for alias in (before.name, *before.aliases)}
        will = {alias.lower() for alias in (now.name, *now.aliases)}
        for alias in now.aliases:
            if alias.lower() not in was:
                self._changes.append(f"takes {alias} for {now.name}")
        lost = [a for a in (before.name, *before.aliases) if a.lower() in was - will]
        self._changes += [f"takes {alias} no longer for {now.name}" for alias in lost]

    def _gone(self, gone: list[Column], added: list[Column]) -> None:
        for column in gone:
            if column.name.lower() in self._fixed:
                self._problems.append(
                    f"{column.name} must stay: the key or the time of rows depends on it"
                )
            near = next((a.name for a in added if widens(column.type, a.type)), None)
            if self._drops is None and near is not None:
                self._problems.append(
                    f"{column.name} is gone and {near} is new: write {near} with ALIAS "
                    f"{column.name} if they are the same; if not, drop and add one after the other"
                )
            elif self._drops is not None and column.name.lower() not in self._drops:
                self._problems.append(f"{column.name} is not in the list")
            self._changes.append(f"drops {column.name}")

    def _passed_over(self, gone: Iterable[str]) -> tuple[str, ...]:
        """Names that records may still have; not those that have a meaning again."""
        meant = {n.lower() for c in self._columns for n in (c.name, *c.aliases)}
        return tuple(
            name
            for name in dict.fromkeys((*self._newest.dropped, *gone))
            if name.lower() not in meant
        )


def _default_change(now: Column) -> str:
    if not now.may_miss:
        return f"{now.name} has no default any more"
    return f"the default of {now.name} is {literal(now.default)}"

"""The versions of a topic's columns, and how rows of one are read as those of another.

A version is a numbered column list, in which each column has an id that it keeps for ever: through
a new name and a wider type. So an old row is read with the newest columns by id. A column that was
added since reads what its default was when it was added, or null; one of a narrower type is cast,
which loses nothing (`widening`); one that was dropped is not read, and its id never comes back.

Rows are of the last version that begins at or before their place in the log: the version's tick.
The first begins with the log. A version is never changed.

Reading rows of the newest version costs nothing. Of an older one the columns that were widened are
cast and those that were added are made; the others are used as they lie.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import pyarrow as pa

from headwater.schema.ddl import parse_columns
from headwater.schema.decode.columns import column_of_values
from headwater.schema.schema import Schema
from headwater.schema.spell import spelled, spelled_column
from headwater.schema.types import Column
from headwater.schema.widening import widened


@dataclass(frozen=True, slots=True)
class Field:
    """A column of a version.

    Args:
        id: Given when the column was added; no other column of the topic ever has it.
        fill: The column as it was added, whose default older rows read; None for the first
            version's, which every row has.

    """

    id: int
    column: Column
    fill: Column | None = None

    def save(self) -> dict[str, Any]:
        """A JSON value for `load`."""
        fill = None if self.fill is None else spelled_column(self.fill)
        return {"id": self.id, "column": spelled_column(self.column), "fill": fill}

    @staticmethod
    def load(value: Mapping[str, Any]) -> Field:
        """Take back what `save` gave."""
        fill = None if value["fill"] is None else _column(value["fill"])
        return Field(value["id"], _column(value["column"]), fill)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a topic's columns.

    Args:
        number: Counted from 1.
        fields: Its columns, in order.
        next_id: The id that the next column gets.
        tick: Rows from this place in the log on are written with it.
        time_us: When it was taken; None where that is not known.
        changes: What it changed of the version before, in words.
        dropped: Names of columns that were dropped and that records may still have.

    """

    number: int
    fields: tuple[Field, ...]
    next_id: int
    tick: int = 0
    time_us: int | None = None
    changes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    @staticmethod
    def first(schema: Schema, time_us: int | None = None) -> Version:
        """The first version of a topic."""
        fields = tuple(Field(number, column) for number, column in enumerate(schema))
        return Version(1, fields, len(fields), time_us=time_us)

    @property
    def schema(self) -> Schema:
        """Its columns."""
        return Schema(tuple(field.column for field in self.fields), self.dropped)

    @property
    def ids(self) -> dict[str, int]:
        """The id of each column, by its name in lower case."""
        return {field.column.name.lower(): field.id for field in self.fields}

    @property
    def names(self) -> dict[int, str]:
        """The name of each column by its id."""
        return {field.id: field.column.name for field in self.fields}

    def spelled(self) -> str:
        """The column list as its author would write it."""
        return spelled(field.column for field in self.fields)

    def save(self) -> dict[str, Any]:
        """A JSON value for `load`."""
        return {
            "number": self.number,
            "fields": [field.save() for field in self.fields],
            "next_id": self.next_id,
            "tick": self.tick,
            "time_us": self.time_us,
            "changes": list(self.changes),
            "dropped": list(self.dropped),
        }

    @staticmethod
    def load(value: Mapping[str, Any]) -> Version:
        """Take back what `save` gave, also after a trip through JSON."""
        return Version(
            **{
                **value,
                "fields": tuple(Field.load(field) for field in value["fields"]),
                "changes": tuple(value["changes"]),
                "dropped": tuple(value["dropped"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Versions:
    """All versions of a topic's columns, oldest first; at least one."""

    all: tuple[Version, ...]

    @property
    def newest(self) -> Version:
        """The last of them."""
        return self.all[-1]

    def numbered(self, number: int) -> Version:
        """The version of this number."""
        return self.all[number - 1]

    def at(self, tick: int) -> Version:
        """The version with which a row at this place in the log was written."""
        return self.all[bisect_right(self.all, tick, key=lambda version: version.tick) - 1]

    def up_to(self, number: int) -> Versions:
        """Those that there were when this one was the newest."""
        return replace(self, all=self.all[:number])

    def then(self, version: Version) -> Versions:
        """These and the next."""
        assert version.number == self.newest.number + 1
        return replace(self, all=(*self.all, version))

    def reading(self, number: int) -> Reading | None:
        """How rows of a version are read as the newest; None where they are as they lie."""
        if number == self.newest.number:
            return None
        return reading(self.numbered(number), self.newest)


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """How rows of one version are read as those of a later one.

    Args:
        stored: The columns of the rows as they lie.
        target: As what they are read.
        sources: For each column of the target the name under which it lies; None where it does not.
        fills: For each that does not lie there, the value that it has.

    """

    stored: pa.Schema
    target: Schema
    sources: Mapping[str, str | None]
    fills: Mapping[str, pa.Scalar]

    def needed(self, columns: Sequence[str] | None) -> tuple[str, ...]:
        """The stored columns that give the `columns` of the target: at least one.

        Rows without a column would not know how many they are.
        """
        wanted = self.target.names if columns is None else columns
        found = [source for name in wanted if (source := self.sources[name]) is not None]
        return tuple(dict.fromkeys(found)) or tuple(self.stored.names[:1])

    def read(self, rows: pa.RecordBatch, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        """The `columns` of the target of rows that have at least the stored columns they need."""
        target = self.target if columns is None else self.target.select(tuple(columns))
        arrays = [self._array(rows, column) for column in target]
        if not arrays:
            return rows.select([])
        return pa.RecordBatch.from_arrays(arrays, schema=target.arrow)

    def _array(self, rows: pa.RecordBatch, column: Column) -> pa.Array:
        source = self.sources[column.name]
        if source is None:
            return pa.repeat(self.fills[column.name], rows.num_rows)
        return widened(rows.column(source), column.type)


@lru_cache(maxsize=1024)
def reading(old: Version, new: Version) -> Reading:
    """How rows of a version are read as those of a later one of the same topic."""
    names = old.names
    sources = {f.column.name: names.get(f.id) for f in new.fields}
    fills = {f.column.name: _fill(f) for f in new.fields if f.id not in names}
    return Reading(old.schema.arrow, new.schema, sources, fills)


def _fill(field: Field) -> pa.Scalar:
    """What rows from before a column was added have of it."""
    if field.fill is None or field.fill.default is None:
        return pa.scalar(None, field.column.type.arrow)
    array, _ = column_of_values([field.fill.default], field.fill.type)
    return widened(array, field.column.type)[0]


def _column(text: str) -> Column:
    """The only column of a list."""
    (column,) = parse_columns(text).schema
    return column

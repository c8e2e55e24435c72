"""What a row is: an ordered list of named, typed columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa

from headwater.schema.names import quoted
from headwater.schema.types import Column


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of a relation, in order. Names are unique without regard to case.

    Args:
        dropped: Names of columns that were dropped: a record that still has one is taken without.

    """

    columns: tuple[Column, ...]
    dropped: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, name: str) -> Column:
        """The column called `name`, without regard to case.

        Raises:
            KeyError: There is none.

        """
        folded = name.lower()
        for column in self.columns:
            if column.name.lower() == folded:
                return column
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and any(c.name.lower() == name.lower() for c in self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The column names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def arrow(self) -> pa.Schema:
        """The Arrow schema of a batch of these rows."""
        return pa.schema(
            [pa.field(c.name, c.type.arrow, nullable=c.nullable) for c in self.columns]
        )

    def ddl(self) -> str:
        """The column list as DuckDB spells it, without the brackets."""
        return ", ".join(
            f"{quoted(c.name)} {c.type.sql}{'' if c.nullable else ' NOT NULL'}" for c in self
        )

    def select(self, names: tuple[str, ...]) -> Schema:
        """The columns called `names`, in that order."""
        return Schema(tuple(self[name] for name in names))

    def not_null(self, names: Iterable[str]) -> Schema:
        """The same columns, those called `names` NOT NULL, as a primary key's must be."""
        folded = {name.lower() for name in names}
        return replace(
            self,
            columns=tuple(
                replace(c, nullable=False) if c.name.lower() in folded else c for c in self
            ),
        )

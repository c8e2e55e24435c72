"""A column list as its author would write it, with defaults and aliases; `ddl` reads it back."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from headwater.schema.names import quoted
from headwater.schema.types import Column


def spelled(columns: Iterable[Column]) -> str:
    """The column list, without the brackets.

    >>> from headwater.schema.ddl import parse_columns
    >>> spelled(parse_columns("user text alias visitor, n int not null default 0").schema)
    'user VARCHAR ALIAS visitor, n INTEGER NOT NULL DEFAULT 0'
    """
    return ", ".join(map(spelled_column, columns))


def spelled_column(column: Column) -> str:
    """One column of a list."""
    words = [quoted(column.name), column.type.sql]
    if not column.nullable:
        words.append("NOT NULL")
    if column.may_miss:
        words.append(f"DEFAULT {literal(column.default)}")
    words += [f"ALIAS {quoted(alias)}" for alias in column.aliases]
    return " ".join(words)


def literal(value: Any) -> str:
    """A plain value as SQL writes it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"{value:f}" if isinstance(value, Decimal) else str(value)

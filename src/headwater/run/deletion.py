"""The row that deletes a key of a table.

It is a row like any other: the key, the version if the table has versions, and true in the column
that the table's `deleted_by` names. Nothing else is known of it, so all other columns have their
default or are null; where one may not be null the row is rejected like any other that lacks it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from headwater.errors import DefinitionError
from headwater.operators.lookup import Key, Lookup
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.instants import UnfitError
from headwater.schema.schema import Schema
from headwater.schema.values import value_reader


def deletion(table: TopicDefinition, lookup: Lookup, key: Key, version: Any) -> dict[str, Any]:
    """The row that deletes a key.

    Args:
        lookup: Knows the table's keys.
        key: Given by column it may hold the version too.
        version: What it has in the column by which the newest row is known; None where the table
            has no such column.

    Raises:
        DefinitionError: The table takes no deletions, it has another key, or it has versions and
            none is given, or one is and it has none.

    """
    if table.deleted_by is None:
        raise DefinitionError(
            f"table {table.name} takes no deletions",
            hint="name the BOOLEAN column that is true of them: deleted_by = 'gone'",
        )
    by = None if table.newest_by in table.key else table.newest_by
    if isinstance(key, Mapping) and by is not None and version is None:
        key, version = _divided(key, by)
    batch, _ = lookup.key(key)
    # A null is to be written: what is missing is taken for a mistake.
    row: dict[str, Any] = {
        column.name: None for column in table.schema if column.nullable and column.default is None
    }
    row |= {**batch.to_pylist()[0], table.deleted_by: True}
    if by is None and version is not None:
        raise DefinitionError(f"{table.name} has no versions", hint="leave it out")
    if by is not None:
        if version is None:
            raise DefinitionError(
                f"the newest row of a key of {table.name} is known by {by}",
                hint=f"say which {by} the deletion has",
            )
        row[by] = _value(table.schema, by, version)
    return row


def _divided(values: Mapping[str, Any], by: str) -> tuple[Key, Any]:
    """Key and version where both are given by column."""
    key = {column: value for column, value in values.items() if column.lower() != by.lower()}
    found = [value for column, value in values.items() if column.lower() == by.lower()]
    return key, found[0] if found else None


def _value(schema: Schema, column: str, version: Any) -> Any:
    """A version as rows are sent with it; a number may be text."""
    kind = schema[column].type
    if not isinstance(version, str) or not pa.types.is_integer(kind.arrow):
        return version
    try:
        return value_reader(kind).from_text(version)
    except UnfitError as error:
        raise DefinitionError(f"{column}: {error}", hint="give a whole number") from None

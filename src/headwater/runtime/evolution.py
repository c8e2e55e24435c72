"""A change of a topic's columns that is asked for while the pipeline runs, and what it would break.

What is asked for becomes a whole column list, which is compared with the newest version as a
declaration is (`schema.compare`). Here is also what is told of versions to the API.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from headwater.errors import DefinitionError
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.compare import Comparison, compare
from headwater.schema.ddl import parse_columns
from headwater.schema.schema import Schema
from headwater.schema.spell import literal, spelled
from headwater.schema.types import Column, parse_type
from headwater.schema.versions import Version, Versions


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. Columns are named as the newest version names them.

    Args:
        add: Column lists, as in a declaration.
        widen: New types by column.
        rename: New names by column; the old one becomes an alias.
        drop: Columns that go.

    """

    add: Sequence[str] = ()
    widen: Mapping[str, str] | None = None
    rename: Mapping[str, str] | None = None
    drop: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ColumnStatus:
    """A column of a version.

    Args:
        default: What a record that leaves it out gets, as SQL writes it; None: it may not.
        aliases: Other names that records may use.

    """

    name: str
    type: str
    nullable: bool = True
    default: str | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """A version of a topic's columns.

    Args:
        number: Counted from 1.
        time_us: When it was taken; None where that is not known.
        tick: Rows from this place in the log's one order on are written with it.
        changes: What it changed of the version before, in words.
        columns: Its columns, in order.
        text: The same as a declaration writes them.
        dropped: Names of dropped columns that records may still have.

    """

    number: int
    time_us: int | None
    tick: int
    changes: tuple[str, ...]
    columns: tuple[ColumnStatus, ...]
    text: str
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Break:
    """What a change would break.

    Args:
        kind: `view` or `sink`.
        reason: Why, in words.
        place: Where in the view's text, with the line; None where that is not known.

    """

    kind: str
    name: str
    reason: str
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Evolution:
    """What became, or would become, of a change.

    Args:
        version: The number of the version that it makes.
        applied: Whether it was made.
        changes: What it changes, in words; empty for nothing.
        breaks: What it would break; then it is not made.
        text: All columns after it, as a declaration writes them.

    """

    topic: str
    version: int
    applied: bool
    changes: tuple[str, ...]
    breaks: tuple[Break, ...]
    text: str


def versions_of(topic: TopicDefinition) -> Versions:
    """The versions of a running topic's columns."""
    assert topic.versions is not None
    return topic.versions


def wished(topic: TopicDefinition, wish: Wish) -> Comparison:
    """What a wish would change of a topic's columns.

    Raises:
        DefinitionError: It names a column that is not there, cannot be read, or rows that are there
            cannot be read with it.

    """
    newest = versions_of(topic).newest
    schema = _changed(topic.name, newest.schema, wish)
    found = compare(newest, schema, fixed=topic.bearing, drops=wish.drop)
    if found.problems:
        raise DefinitionError(
            f"the columns of topic {topic.name} cannot be changed so: {'; '.join(found.problems)}",
            hint=f"version {newest.number} is: {newest.spelled()}",
        )
    return found


def told(version: Version) -> VersionStatus:
    """A version as the API tells it."""
    columns = [field.column for field in version.fields]
    return VersionStatus(
        version.number,
        version.time_us,
        version.tick,
        version.changes,
        tuple(
            ColumnStatus(
                column.name,
                column.type.sql,
                column.nullable,
                literal(column.default) if column.may_miss else None,
                column.aliases,
            )
            for column in columns
        ),
        spelled(columns),
        version.dropped,
    )


def _changed(topic: str, schema: Schema, wish: Wish) -> Schema:
    """All columns after what is wished."""
    columns = {column.name.lower(): column for column in schema}

    def known(name: str) -> str:
        if name.lower() in columns:
            return name.lower()
        near = difflib.get_close_matches(name, schema.names, n=1)
        raise DefinitionError(
            f"topic {topic} has no column {name}",
            hint=f"did you mean {near[0]}?" if near else f"it has: {', '.join(schema.names)}",
        )

    for name, kind in (wish.widen or {}).items():
        columns[known(name)] = replace(
            columns[known(name)], type=parse_type(kind, f"the new type of {name}")
        )
    for name, new in (wish.rename or {}).items():
        columns[known(name)] = _renamed(columns[known(name)], new)
    for name in wish.drop:
        del columns[known(name)]
    if not columns and not wish.add:
        raise DefinitionError(f"topic {topic} would have no columns", hint="leave it one")
    added = [column for text in wish.add for column in _added(topic, text)]
    # As a whole it is what a declaration could say: names are told apart there.
    text = spelled([*columns.values(), *added])
    return parse_columns(text, f"the columns of topic {topic}").schema


def _renamed(column: Column, new: str) -> Column:
    aliases = dict.fromkeys((*column.aliases, column.name))
    kept = tuple(alias for alias in aliases if alias.lower() != new.lower())
    return replace(column, name=new, aliases=kept)


def _added(topic: str, text: str) -> Schema:
    declared = parse_columns(text, f"new columns of topic {topic}")
    if declared.key or declared.watermark:
        raise DefinitionError(
            f"topic {topic}: key and watermark cannot be changed",
            hint="name columns only, for example cost DOUBLE DEFAULT 0",
        )
    return declared.schema

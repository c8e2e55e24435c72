"""The versions of a table: all rows that were sent to it, each from its event time on.

A table's content is the newest row of each key. Its versions are a relation beside it, under a name
that no author can declare: rows are only added to it, and it has the table's watermark.
"""

from __future__ import annotations

from dataclasses import dataclass

_SUFFIX = "$versions"


@dataclass(frozen=True, slots=True)
class Versioned:
    """A table that has versions."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    event_time: str


def versions_of(table: str) -> str:
    """What the versions of a table are called."""
    return table + _SUFFIX


def table_of(relation: str) -> str:
    """The table whose versions a relation holds; the relation itself where it holds none."""
    return relation.removesuffix(_SUFFIX)

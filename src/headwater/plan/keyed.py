"""By which columns the rows of a view are told apart: at any moment a key has one row at most."""

from __future__ import annotations

from sqlglot import exp

from headwater.plan.completeness import Completeness
from headwater.plan.groups import Aggregate
from headwater.plan.nodes import Node
from headwater.plan.rows import Distinct, Map
from headwater.plan.windows import Pace


def key_of(node: Node) -> tuple[str, ...] | None:
    """The key columns of a plan's rows; None where none is known.

    No columns at all are the key of what has one row only.
    """
    match node:
        case Aggregate():
            bounds = (node.window.start, node.window.end) if node.window else ()
            return (*node.keys, *bounds)
        case Distinct():
            return tuple(node.schema.names)
        case Pace() | Completeness():
            return key_of(node.input)
        case Map():
            return _through(node)
        case _:
            return None


def _through(node: Map) -> tuple[str, ...] | None:
    """The key of a map's input under the names that it has in its output, if all of it is there."""
    below = key_of(node.input)
    if below is None or any(value.find(exp.Unnest, exp.Explode) for _, value in node.projections):
        return None
    names: dict[str, str] = {}
    for name, value in node.projections:
        if isinstance(value, exp.Column) and not value.table:
            names.setdefault(value.name, name)
    return tuple(names[key] for key in below) if all(key in names for key in below) else None

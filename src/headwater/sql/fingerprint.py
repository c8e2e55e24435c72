"""What a view computes, as one short text that changes when, and only when, that could change.

The plan is written out in one canonical form and hashed, together with the fingerprints of the
views it reads and the order in which topics' columns are typed. Names that the author chose for
aliases are gone by then; a renamed output column is a change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from sqlglot import exp

from headwater.plan.nodes import Node, Scan, walk
from headwater.schema.schema import Schema
from headwater.sql.relations import Relation

# Changes when the meaning of a plan node does, so that state of an older one is not taken over.
FORMAT = "1"


def fingerprint(root: Node, relations: Mapping[str, Relation], functions: Mapping[str, str]) -> str:
    """The sha256 of the plan, of what it reads and of what it calls, in hexadecimal.

    Args:
        functions: The fingerprints of the author's functions, by their names in lower case.

    """
    read = sorted({node.relation for node in walk(root) if isinstance(node, Scan)})
    below = [f"{name}={relations[name.lower()].fingerprint}" for name in read]
    called = [f"{name}()={functions[name]}" for name in called_by(root, functions)]
    text = "\n".join([FORMAT, _text(root), *below, *called])
    return hashlib.sha256(text.encode()).hexdigest()


def called_by(root: Node, functions: Mapping[str, str]) -> tuple[str, ...]:
    """Those of the author's functions that a plan calls, by their names in lower case, sorted."""
    return tuple(sorted(set(_called(root)) & set(functions)))


def _called(value: object) -> Iterator[str]:
    """The names of all functions in a plan that are not SQL's own, in lower case."""
    if isinstance(value, exp.Expr):
        yield from (call.name.lower() for call in value.find_all(exp.Anonymous))
    elif isinstance(value, tuple):
        for item in value:
            yield from _called(item)
    elif is_dataclass(value):
        for f in fields(value):
            yield from _called(getattr(value, f.name))


def _text(value: object) -> str:
    """A value in the one form that does not depend on versions of Python or sqlglot's `repr`."""
    if isinstance(value, exp.Expr):
        return value.sql("duckdb", normalize=False, comments=False)
    if isinstance(value, Schema):
        return ",".join(f"{c.name} {c.type.sql}" for c in value)
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple):
        return "(" + ",".join(_text(item) for item in value) + ")"
    if is_dataclass(value):
        # The reason of a recomputation is for people and changes no answer.
        parts = [
            f"{f.name}={_text(getattr(value, f.name))}" for f in fields(value) if f.name != "reason"
        ]
        return f"{type(value).__name__}({';'.join(parts)})"
    return repr(value)

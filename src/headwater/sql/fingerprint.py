"""What a view computes, as one short text that changes when, and only when, that could change.

The plan is written out in one canonical form and hashed, together with the fingerprints of the
views it reads and the order in which topics' columns are typed. Names that the author chose for
aliases are gone by then; a renamed output column is a change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

from sqlglot import exp

from headwater.plan.nodes import Node, Scan, walk
from headwater.schema.schema import Schema
from headwater.sql.relations import Relation

# Changes when the meaning of a plan node does, so that state of an older one is not taken over.
FORMAT = "1"


def fingerprint(root: Node, relations: Mapping[str, Relation]) -> str:
    """The sha256 of the plan and of what it reads, in hexadecimal."""
    read = sorted({node.relation for node in walk(root) if isinstance(node, Scan)})
    below = [f"{name}={relations[name.lower()].fingerprint}" for name in read]
    text = "\n".join([FORMAT, _text(root), *below])
    return hashlib.sha256(text.encode()).hexdigest()


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

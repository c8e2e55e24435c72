"""Where a plan counts distinct values: the nodes that say so, and what of them is to be counted.

The planner writes `count(DISTINCT x)` as an aggregate over the distinct rows of keys and value, or,
where the same value is counted under several conditions, over a group for each value that knows as
bits which of them held (`sql.arguments`). Over rows that are never withdrawn all that such a node
below must remember is a set of numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from sqlglot import exp

from headwater.operators.masks import conditional, is_whole
from headwater.plan.closing import bounded
from headwater.plan.nodes import Aggregate, Distinct, Map, Merge, Node

# The flags of a number have a sign, and one says that the number is there at all.
_BITS_MAX = 30


@dataclass(frozen=True, slots=True)
class Values:
    """The distinct values that an aggregate counts.

    Args:
        rows: The node with a row for each value that came, again and again.
        value: Its column with the value.
        flags: Its column with the bits of the conditions that held; None where none is asked.
        bits: For each count of the aggregate, by its name, the bit that it counts.

    """

    rows: Node
    value: str
    flags: str | None
    bits: dict[str, int]


def values_of(node: Node) -> Values | None:
    """What an aggregate counts, if it counts distinct whole numbers or times that only come."""
    if not isinstance(node, Aggregate) or node.window is not None or not node.partials:
        return None
    if any(p.merge is not Merge.COUNT or p.argument is None for p in node.partials):
        return None
    found = _once(node) if isinstance(node.input, Distinct) else _flagged(node)
    if found is None or not found.rows.append_only:
        return None
    # What time closes is forgotten, and not by number.
    is_bounded = bounded(node) is not None or bounded(node.input) is not None
    kind = found.rows.schema[found.value].type.arrow
    is_number = is_whole(kind) or pa.types.is_timestamp(kind) or pa.types.is_date32(kind)
    fits = all(bit < 1 << _BITS_MAX for bit in found.bits.values())
    return found if is_number and fits and not is_bounded else None


def _once(node: Aggregate) -> Values | None:
    """Counts of the distinct rows of the keys and one value."""
    names = [name for name in node.input.schema.names if name not in node.keys]
    if len(names) != 1 or len(node.input.schema.names) != len(node.keys) + 1:
        return None
    (value,) = names
    if any(partial.argument != value for partial in node.partials):
        return None
    return Values(node.inputs[0].inputs[0], value, None, {p.name: 1 for p in node.partials})


def _flagged(node: Aggregate) -> Values | None:
    """Counts of the values for which a bit is set."""
    shown, grouped = node.input, None
    if isinstance(shown, Map) and shown.condition is None:
        grouped = shown.input
    if not isinstance(shown, Map) or not isinstance(grouped, Aggregate) or grouped.window:
        return None
    if len(grouped.partials) != 1 or len(grouped.keys) != len(node.keys) + 1:
        return None
    (flags,), value = grouped.partials, grouped.keys[-1]
    if flags.merge is not Merge.BIT_OR or grouped.keys[:-1] != node.keys:
        return None
    columns = dict(shown.projections)
    if any(not _is_column(columns[key], key) for key in node.keys):
        return None
    bits = {p.name: _bit(columns[p.argument or ""], value, flags.name) for p in node.partials}
    known = {name: bit for name, bit in bits.items() if bit is not None}
    if len(known) != len(bits) or flags.argument is None:
        return None
    return Values(grouped.input, value, flags.argument, known)


def _bit(shown: exp.Expr, value: str, flags: str) -> int | None:
    """The bit of `CASE WHEN [value IS NOT NULL AND] (flags & bit) > 0 THEN 1 END`."""
    case = conditional(shown)
    if case is None or shown.args.get("default") or not isinstance(case[1], exp.Literal):
        return None
    test = case[0].unnest()
    if isinstance(test, exp.And) and _says_known(test.this.unnest(), value):
        test = test.expression.unnest()
    if not isinstance(test, exp.GT) or test.expression != exp.Literal.number(0):
        return None
    both = test.this.unnest()
    if not isinstance(both, exp.BitwiseAnd) or not _is_column(both.this, flags):
        return None
    bit = both.expression
    return int(bit.name) if isinstance(bit, exp.Literal) and bit.name.isdigit() else None


def _says_known(test: exp.Expr, value: str) -> bool:
    """Whether it is `value IS NOT NULL`."""
    is_null = test.this.unnest() if isinstance(test, exp.Not) else None
    if not isinstance(is_null, exp.Is) or not isinstance(is_null.expression, exp.Null):
        return False
    return _is_column(is_null.this, value)


def _is_column(value: exp.Expr, name: str) -> bool:
    return isinstance(value, exp.Column) and not value.table and value.name == name

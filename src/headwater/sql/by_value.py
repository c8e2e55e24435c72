"""Which aggregates are read off the counts by value, and how these are written.

How often each value occurs in a group merges, and takes back a row that is withdrawn. It costs one
count for each distinct value of a group, kept and, when the group changes, read: never more than
the group's rows, and few where the values are the buckets of a sketch (`sketches`).
"""

from __future__ import annotations

from sqlglot import exp

from headwater.plan.nodes import Join, Map, Merge, Node, Partial, Windows
from headwater.sql.build import column

_WHOLE = (
    "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER",
)  # fmt: skip
_COUNTED = (*_WHOLE, "VARCHAR", "DATE", "TIMESTAMP")
_SMALL = ("TINYINT", "SMALLINT", "UTINYINT", "USMALLINT")
# More digits, and the number of rows times ten to their power could leave 64 bits.
_DIGITS_MAX = 6


def is_whole(sql_type: str) -> bool:
    """Whether quantiles of this type are read off counts."""
    return sql_type in _WHOLE


def is_counted(sql_type: str) -> bool:
    """Whether values of this type are counted."""
    return sql_type in _COUNTED


def is_small(sql_type: str) -> bool:
    """Whether the type has at most 65,536 values."""
    return sql_type in _SMALL


def fractions(value: exp.Expr | None) -> list[str] | None:
    """The quantiles that are asked for, when they are plain decimal numbers."""
    items = value.expressions if isinstance(value, exp.Array) else [value]
    found = [i.name for i in items if isinstance(i, exp.Literal) and _is_decimal(i)]
    return found if found and len(found) == len(items) else None


def _is_decimal(literal: exp.Literal) -> bool:
    """Whether DuckDB reads it as a DECIMAL, of which quantiles are exact."""
    whole, point, digits = literal.name.partition(".")
    is_number = not literal.is_string and bool(point) and (whole + digits).isdigit()
    return is_number and len(digits) <= _DIGITS_MAX and float(literal.name) <= 1


def call(partial: Partial) -> exp.Expr:
    """A partial result as DuckDB's aggregate over its argument."""
    argument: exp.Expr = column(partial.argument) if partial.argument is not None else exp.Star()
    if partial.merge is Merge.DISTINCT:
        return exp.Count(this=exp.Distinct(expressions=[argument]))
    arguments: list[exp.Expr] = [argument]
    if partial.merge is Merge.ONLY:
        return exp.Anonymous(this="any_value", expressions=arguments)
    if partial.fraction is not None:
        arguments.append(exp.Literal.number(partial.fraction))
    return exp.Anonymous(this=partial.merge.value, expressions=arguments)


def is_of_window(node: Node, name: str) -> bool:
    """Whether a column is the start or the end of a window, passed on unchanged."""
    match node:
        case Windows():
            return name in (node.start, node.end) or is_of_window(node.input, name)
        case Map():
            expression = dict(node.projections).get(name)
            return isinstance(expression, exp.Column) and is_of_window(node.input, expression.name)
        case Join():
            side = node.left if name in node.left.schema else node.right
            return is_of_window(side, name)
        case _:
            return False

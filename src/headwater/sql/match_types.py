"""Which values the look-back part of a DEFINE condition may combine.

That part is computed while rows are matched, outside of DuckDB, so both sides of an operator must
be of one kind, as they are after a cast. What DuckDB would cast by itself is refused here, with the
cast that makes it plain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlglot import exp

# Kinds of values, by the first word of their type.
_NUMBERS = frozenset(
    (*(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")),)
) | {"INTEGER", "UINTEGER", "FLOAT", "DOUBLE", "DECIMAL"}
_OTHERS = {
    "VARCHAR": "VARCHAR",
    "BOOLEAN": "BOOLEAN",
    "TIMESTAMP": "TIMESTAMP",
    "DATE": "DATE",
    "INTERVAL": "INTERVAL",
}
_COMPARING = (exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.In)
_OF_ONE_KIND = (exp.Coalesce, exp.Greatest, exp.Least)
_ARITHMETIC = (exp.Mul, exp.Div, exp.Neg, exp.Abs)

Refuse = Callable[[exp.Expr, str, str], Exception]


def kind_of_type(sql_type: str) -> str:
    """The kind of a column's values; empty for one that cannot be combined."""
    name = sql_type.upper()
    if name in ("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE"):
        return "TIMESTAMPTZ"
    if name.partition("(")[0] in _NUMBERS and not name.endswith("]"):
        return "number"
    return _OTHERS.get(name, "")


def kind_of(node: exp.Expr, kinds: Mapping[str, str], refuse: Refuse) -> str | None:
    """The kind of an expression over readings; None for a null.

    Args:
        kinds: Of the readings, by name.
        refuse: Makes the error.

    """
    if isinstance(node, exp.Column):
        if not kinds[node.name]:
            raise refuse(
                node,
                "values of this type cannot be compared across rows",
                "cast them to VARCHAR, or compute what counts for each row before",
            )
        return kinds[node.name]
    if isinstance(node, exp.Null):
        return None
    if isinstance(node, exp.Literal):
        return "VARCHAR" if node.is_string else "number"
    if isinstance(node, exp.Interval):
        return "INTERVAL"
    if isinstance(node, exp.Paren):
        return kind_of(node.this, kinds, refuse)
    parts = [kind_of(part, kinds, refuse) for part in node.iter_expressions()]
    found = [part for part in parts if part is not None]
    return _combined(node, found, refuse)


def _combined(node: exp.Expr, found: list[str], refuse: Refuse) -> str | None:
    if isinstance(node, exp.And | exp.Or | exp.Not | exp.Boolean):
        _same(node, [*found, "BOOLEAN"], refuse)
        return "BOOLEAN"
    if isinstance(node, exp.Is):
        return "BOOLEAN"
    if isinstance(node, _COMPARING):
        _same(node, found, refuse)
        return "BOOLEAN"
    if isinstance(node, _OF_ONE_KIND):
        _same(node, found, refuse)
        return found[0] if found else None
    if isinstance(node, exp.Add | exp.Sub):
        return _summed(node, found, refuse)
    assert isinstance(node, _ARITHMETIC), type(node).__name__
    _same(node, [*found, "number"], refuse)
    return "number"


def _summed(node: exp.Expr, found: list[str], refuse: Refuse) -> str | None:
    """Times and lengths of time add up as numbers do."""
    if len(found) < 2:
        return found[0] if found else None
    stamps = ("TIMESTAMP", "TIMESTAMPTZ")
    first, second = found
    if first == second and first in ("number", "INTERVAL"):
        return first
    if first in stamps and second == "INTERVAL":
        return first
    if isinstance(node, exp.Add) and second in stamps and first == "INTERVAL":
        return second
    if isinstance(node, exp.Sub) and first == second and first in stamps:
        return "INTERVAL"
    raise _misfit(node, found, refuse)


def _same(node: exp.Expr, found: list[str], refuse: Refuse) -> None:
    if len(set(found)) > 1:
        raise _misfit(node, found, refuse)


def _misfit(node: exp.Expr, found: list[str], refuse: Refuse) -> Exception:
    kinds = " and ".join(dict.fromkeys(found))
    return refuse(
        node,
        f"{kinds} cannot be combined across rows",
        "cast one side, for example CAST(a.x AS TIMESTAMP) or TIMESTAMP '2026-01-01'",
    )

"""Join keys: the two sides of an equality, as columns of one common type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.errors import DefinitionError
from headwater.plan.nodes import Aggregate, Map, Node, Place, TopN
from headwater.schema.schema import Schema
from headwater.schema.types import Column
from headwater.sql.build import (
    INPUT,
    Projection,
    column,
    column_names,
    data_type,
    fresh,
    identifier,
)
from headwater.sql.places import place_of
from headwater.sql.scope import label_of

if TYPE_CHECKING:
    from headwater.sql.planner import Planner


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An equality between two inputs.

    Args:
        left: An expression over the left input.
        right: An expression over the right input.
        condition: The condition that it was, to be struck from the list of conditions.

    """

    left: exp.Expr
    right: exp.Expr
    condition: exp.Expr


def equality(condition: exp.Expr, left: frozenset[str], right: frozenset[str]) -> KeyPair | None:
    """The condition as a key between two sets of columns; None where it is something else."""
    inner = condition.this if isinstance(condition, exp.Paren) else condition
    if not isinstance(inner, exp.EQ):
        return None
    one, other = inner.this, inner.expression
    one_reads, other_reads = set(column_names(one)), set(column_names(other))
    if not one_reads or not other_reads:
        return None
    if one_reads <= left and other_reads <= right:
        return KeyPair(one, other, condition)
    if one_reads <= right and other_reads <= left:
        return KeyPair(other, one, condition)
    return None


def keys_of(conditions: Sequence[exp.Expr], left: Node, right: Node) -> list[KeyPair]:
    """The conditions that are keys between two inputs."""
    sides = frozenset(left.schema.names), frozenset(right.schema.names)
    found = [equality(condition, *sides) for condition in conditions]
    return [key for key in found if key is not None]


def without(conditions: Sequence[exp.Expr], used: Sequence[exp.Expr]) -> list[exp.Expr]:
    """The conditions that are not among those used, each told by what it is and not by its text."""
    return [c for c in conditions if not any(c is u for u in used)]


def reads(expression: exp.Expr) -> frozenset[str]:
    """The input columns that a bound expression reads."""
    return frozenset(column_names(expression))


def common_keys(
    planner: Planner, left: Node, right: Node, keys: Sequence[KeyPair]
) -> tuple[Node, Node, list[tuple[str, str]]]:
    """The inputs with a column for each side of each key, of the type that DuckDB compares them in.

    Raises:
        DefinitionError: The types cannot be compared without a cast that could fail on a row.

    """
    added_left: list[Projection] = []
    added_right: list[Projection] = []
    pairs: list[tuple[str, str]] = []
    taken = [*left.schema.names, *right.schema.names]
    for key in keys:
        left_type = planner.build.types(left.schema, [("k", key.left)])["k"]
        right_type = planner.build.types(right.schema, [("k", key.right)])["k"]
        wanted = _common(planner, key, left_type, right_type)
        used_left, used_right = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
        pairs.append(
            (
                _column(key.left, left_type, wanted, added_left, taken, used_left),
                _column(key.right, right_type, wanted, added_right, taken, used_right),
            )
        )
    build = planner.build
    return build.with_columns(left, added_left), build.with_columns(right, added_right), pairs


def _column(  # noqa: PLR0913, PLR0917 - a side of a key, and what is known of that side
    expression: exp.Expr,
    is_now: Column,
    wanted: Column,
    added: list[Projection],
    taken: list[str],
    used: set[str],
) -> str:
    """The column that holds this side of a key; a new one where it must be computed.

    A column that is a key already is copied, so that no column is a key twice.
    """
    is_typed = is_now.type.sql == wanted.type.sql
    if isinstance(expression, exp.Column) and is_typed and expression.name not in used:
        return expression.name
    value = expression.copy()
    if not is_typed:
        value = exp.Cast(this=value, to=data_type(wanted.type))
    name = fresh("key", taken)
    taken.append(name)
    added.append((name, value))
    return name


def _common(planner: Planner, key: KeyPair, left: Column, right: Column) -> Column:
    """The type in which DuckDB compares the two."""
    if left.type.sql == right.type.sql:
        return left
    is_text = [t.type.sql.upper().startswith("VARCHAR") for t in (left, right)]
    if any(is_text):
        # DuckDB would cast the text, and fail on the first row that holds something else.
        raise _differ(planner, key, left, right)
    query = exp.select(
        exp.alias_(exp.Coalesce(this=column("one"), expressions=[column("other")]), identifier("k"))
    ).from_(exp.Table(this=identifier(INPUT)))
    both = Schema((Column("one", left.type), Column("other", right.type)))
    return planner.build.ask(query, {INPUT: both})["k"]


def _differ(planner: Planner, key: KeyPair, left: Column, right: Column) -> DefinitionError:
    place = place_of(key.condition, planner.definition.origin)
    text, other = (key.left, right) if left.type.sql.upper() == "VARCHAR" else (key.right, left)
    return DefinitionError(
        f"join keys differ in type: {label_of(key.left)} is {left.type}, "
        f"{label_of(key.right)} is {right.type}",
        place=place,
        hint=f"cast one side, for example CAST({label_of(text)} AS {other.type})",
    )


def is_one_of(node: Node, names: Sequence[str]) -> bool:
    """Whether no two rows are equal in these columns, as far as the plan tells."""
    match node:
        case Map():
            values = dict(node.projections)
            read = [values[n].name for n in names if isinstance(values.get(n), exp.Column)]
            return is_one_of(node.input, read)
        case Aggregate() if node.window is None:
            return set(node.keys) <= set(names)
        case TopN():
            is_first = node.limit == 1 and node.place is Place.ROW_NUMBER
            return is_first and set(node.partition) <= set(names)
        case _:
            return False

"""Rewrite: GROUPING SETS, ROLLUP and CUBE, as one pass over the rows.

Each row is grouped once for each set: it is repeated with the number of the set, and what the set
does not group by is null. Then one aggregate, by that number too, keeps all sets. The set of
nothing is an aggregate of its own, as it has a row also over no rows. GROUPING(...) is read off the
number of the set.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Node
from headwater.sql.build import column, data_type, fresh
from headwater.sql.decline import Decline
from headwater.sql.functions import GROUPING

if TYPE_CHECKING:
    from headwater.sql.planner import Planner

# So many times a row is looked at in one pass, at most.
_SETS_MAX = 64

Keyed = tuple[list[exp.Expr], list[exp.Expr], Node]


def sets_of(items: Sequence[exp.Expr], place: Callable[[exp.Expr], int]) -> list[frozenset[int]]:
    """The sets that a GROUP BY clause asks for: every choice of one from each item.

    Args:
        place: Gives the place of a grouping expression among all of them.

    Raises:
        Decline: There are too many.

    """
    choices = [_choices(item, place) for item in items]
    sets = [frozenset().union(*chosen) for chosen in itertools.product(*choices)]
    if len(sets) > _SETS_MAX:
        raise Decline(f"of more than {_SETS_MAX} grouping sets")
    return sets


def _choices(item: exp.Expr, place: Callable[[exp.Expr], int]) -> list[frozenset[int]]:
    if isinstance(item, exp.GroupingSets):
        return [chosen for inner in item.expressions for chosen in _choices(inner, place)]
    parts = [_set_of(part, place) for part in item.expressions]
    if isinstance(item, exp.Rollup):
        return [frozenset().union(*parts[:end]) for end in range(len(parts), -1, -1)]
    if isinstance(item, exp.Cube):
        if 1 << len(parts) > _SETS_MAX:
            raise Decline(f"of more than {_SETS_MAX} grouping sets")
        return [
            frozenset().union(*chosen)
            for size in range(len(parts), -1, -1)
            for chosen in itertools.combinations(parts, size)
        ]
    return [_set_of(item, place)]


def _set_of(item: exp.Expr, place: Callable[[exp.Expr], int]) -> frozenset[int]:
    parts = item.expressions if isinstance(item, exp.Tuple) else [item]
    return frozenset(place(part) for part in parts)


def plan(
    planner: Planner,
    rows: Node,
    group: Sequence[exp.Expr],
    sets: Sequence[frozenset[int]],
    grouped: Callable[[Node, list[exp.Expr]], Keyed],
) -> tuple[list[exp.Expr], list[exp.Expr], Node, exp.Expr]:
    """Keys, results and the node, as of a single set, and the column with the number of the set.

    Args:
        grouped: Groups rows by expressions.

    """
    keys = planner.build.types(rows.schema, [(f"key_{n}", key) for n, key in enumerate(group)])
    nulls: list[exp.Expr] = [exp.Cast(this=exp.null(), to=data_type(key.type)) for key in keys]
    branches = [
        _branch(planner, number, nulls, grouped(rows, []))
        for number, chosen in enumerate(sets)
        if not chosen
    ]
    some = [number for number, chosen in enumerate(sets) if chosen]
    if len(some) == 1:
        branches.insert(0, _single(planner, rows, some[0], group, sets[some[0]], nulls, grouped))
    elif some:
        branches.insert(0, _expanded(planner, rows, group, sets, grouped))
    target = branches[0].schema
    branches = [planner.build.cast(branch, target) for branch in branches]
    node = branches[0] if len(branches) == 1 else planner.build.union(branches, of_same_rows=True)
    columns: list[exp.Expr] = [column(name) for name in node.schema.names]
    return columns[1 : 1 + len(group)], columns[1 + len(group) :], node, columns[0]


def _single(  # noqa: PLR0913, PLR0917 - what it is made of
    planner: Planner,
    rows: Node,
    number: int,
    group: Sequence[exp.Expr],
    chosen: frozenset[int],
    nulls: Sequence[exp.Expr],
    grouped: Callable[[Node, list[exp.Expr]], Keyed],
) -> Node:
    """The groups of a set that is alone."""
    found = grouped(rows, [group[place] for place in sorted(chosen)])
    keys = list(nulls)
    for place, key in zip(sorted(chosen), found[0], strict=True):
        keys[place] = key
    return _named(planner, found[2], exp.Literal.number(number), keys, found[1])


def _expanded(
    planner: Planner,
    rows: Node,
    group: Sequence[exp.Expr],
    sets: Sequence[frozenset[int]],
    grouped: Callable[[Node, list[exp.Expr]], Keyed],
) -> Node:
    """The groups of all sets but those of nothing: the set's number, the keys, the results."""
    build = planner.build
    number = fresh("grouping_set", rows.schema.names)
    numbers = [n for n, chosen in enumerate(sets) if chosen]
    listed = exp.Array(expressions=[exp.Literal.number(n) for n in numbers])
    repeated = build.with_columns(rows, [(number, exp.Explode(this=listed))])
    keys: list[tuple[str, exp.Expr]] = []
    for at, expression in enumerate(group):
        members = [n for n in numbers if at in sets[n]]
        base = expression.name if isinstance(expression, exp.Column) else "key"
        name = fresh(base, [*repeated.schema.names, *(n for n, _ in keys)])
        keys.append((name, _where_in(number, members, numbers, expression)))
    keyed = build.with_columns(repeated, keys)
    found = grouped(keyed, [column(number), *(column(name) for name, _ in keys)])
    return _named(planner, found[2], found[0][0], found[0][1:], found[1])


def _where_in(
    number: str, members: Sequence[int], all_: Sequence[int], expression: exp.Expr
) -> exp.Expr:
    """The expression in rows of these sets, null in those of others."""
    if len(members) == len(all_):
        return expression.copy()
    some = [exp.Literal.number(n) for n in members]
    is_member = exp.In(this=column(number), expressions=some)
    return exp.Case(ifs=[exp.If(this=is_member, true=expression.copy())])


def _branch(planner: Planner, number: int, nulls: Sequence[exp.Expr], found: Keyed) -> Node:
    """The one group of a set of nothing."""
    return _named(planner, found[2], exp.Literal.number(number), nulls, found[1])


def _named(
    planner: Planner,
    node: Node,
    number: exp.Expr,
    keys: Sequence[exp.Expr],
    results: Sequence[exp.Expr],
) -> Node:
    columns = [("grouping_set", number)]
    columns += [(f"key_{at}", key) for at, key in enumerate(keys)]
    columns += [(f"result_{at}", result) for at, result in enumerate(results)]
    return planner.build.map(node, columns)


def numbers(
    expressions: Iterable[exp.Expr],
    group: Sequence[exp.Expr],
    sets: Sequence[frozenset[int]] | None,
    number: exp.Expr | None,
) -> dict[str, exp.Expr]:
    """For each GROUPING call, by its text, which of its arguments are not grouped by, as bits.

    Args:
        number: The column with the number of the set; None where there is only one.

    """
    places = {key.sql("duckdb"): place for place, key in enumerate(group)}
    found: dict[str, exp.Expr] = {}
    for call in (c for e in expressions for c in e.find_all(*GROUPING)):
        asked = [places.get(item.sql("duckdb")) for item in call.expressions]
        if None in asked:
            raise Decline("of GROUPING of what is not grouped by")
        if sets is None or number is None:
            value: exp.Expr = exp.Literal.number(0)
        else:
            value = exp.Case(
                this=number.copy(),
                ifs=[
                    exp.If(this=exp.Literal.number(n), true=exp.Literal.number(_bits(asked, some)))
                    for n, some in enumerate(sets)
                ],
            )
        found[call.sql("duckdb")] = exp.Cast(this=value, to=exp.DataType.build("BIGINT"))
    return found


def _bits(asked: Sequence[int | None], chosen: frozenset[int]) -> int:
    return sum(1 << bit for bit, place in enumerate(reversed(asked)) if place not in chosen)

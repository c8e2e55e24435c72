"""Which columns tell the rows of a view apart, as far as its plan says.

A store that is kept equal to a view finds the row to replace by them. A group is one row, so what
it is grouped by tells it apart; a table's row is found by its key; a filter leaves that as it is,
and a join with at most one match for each row does too. Where the plan does not say, there may be
equal rows, and a store must count them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlglot import exp

from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Completeness,
    Distinct,
    Hold,
    Join,
    JoinKind,
    Map,
    Node,
    Over,
    Pace,
    Place,
    Scan,
    SetOperation,
    SetRule,
    TemporalFilter,
    TopN,
    WindowKind,
    Windows,
    WindowSpec,
)
from headwater.plan.pipeline import TopicDefinition, ViewPlan

Key = tuple[str, ...]
Keys = tuple[Key, ...]


def keys_by_name(topics: Sequence[TopicDefinition], plans: Sequence[ViewPlan]) -> dict[str, Keys]:
    """The keys of tables and views, by name.

    Args:
        plans: In an order in which each reads only earlier ones.

    """
    keys: dict[str, Keys] = {topic.name: (topic.key,) for topic in topics if topic.is_table}
    for plan in plans:
        keys[plan.name] = keys_of(plan.root, keys)
    return keys


def keys_of(node: Node, relations: Mapping[str, Keys]) -> Keys:  # noqa: PLR0911 - a kind, a line
    """The sets of output columns in each of which no two rows are equal, a null like a null.

    Args:
        relations: The keys of tables and of other views, by name.

    Returns:
        None or several, the best known first. The empty key says that there is at most one row.
    """
    match node:
        case Scan():
            return _within(relations.get(node.relation, ()), node.schema.names)
        case Map():
            return _projected(node, keys_of(node.input, relations))
        case Aggregate():
            return _of_groups(node)
        case Distinct():
            return (node.schema.names,)
        case SetOperation():
            is_set = node.rule in (SetRule.EXCEPT, SetRule.INTERSECT)
            return (node.schema.names,) if is_set else ()
        case Windows():
            return _windowed(node, keys_of(node.input, relations))
        case Join():
            return _joined(node, relations)
        case AsofJoin():
            return _within(keys_of(node.left, relations), node.schema.names)
        case TopN():
            return _of_first(node) + keys_of(node.input, relations)
        case Completeness():
            kept = keys_of(node.input, relations)
            return tuple(key for key in kept if node.end not in key)
        case Over() | TemporalFilter() | Pace() | Hold():
            return _within(keys_of(node.input, relations), node.schema.names)
        case _:
            return ()


def _within(keys: Keys, names: Key) -> Keys:
    """The keys whose columns are all among these."""
    return tuple(key for key in keys if set(key) <= set(names))


def _projected(node: Map, keys: Keys) -> Keys:
    """The keys under the names that the columns have afterwards."""
    if any(value.find(exp.Unnest, exp.Explode) for _, value in node.projections):
        return ()
    named: dict[str, str] = {}
    for name, value in node.projections:
        if isinstance(value, exp.Column):
            named.setdefault(value.name, name)
    kept = (key for key in keys if set(key) <= set(named))
    return tuple(tuple(named[column] for column in key) for key in kept)


def _bounds(spec: WindowSpec, start: str, end: str) -> Keys:
    """What tells the windows of a row, or a group, apart: windows that grow share their start."""
    return ((end,),) if spec.kind is WindowKind.CUMULATE else ((start,), (end,))


def _of_groups(node: Aggregate) -> Keys:
    if node.window is None:
        return (node.keys,)
    bounds = _bounds(node.window.spec, node.window.start, node.window.end)
    return tuple((*node.keys, *bound) for bound in bounds)


def _windowed(node: Windows, keys: Keys) -> Keys:
    if node.spec.kind in (WindowKind.TUMBLE, WindowKind.SESSION):
        return keys
    bounds = _bounds(node.spec, node.start, node.end)
    return tuple((*key, *bound) for key in keys for bound in bounds)


def _joined(node: Join, relations: Mapping[str, Keys]) -> Keys:
    left = keys_of(node.left, relations)
    if not node.kind.has_both:
        return _within(left, node.schema.names)
    if node.kind is JoinKind.FULL:
        # A row without a match has nulls for the other side's key, which may have some of its own.
        return ()
    right = keys_of(node.right, relations)
    found: list[Key] = []
    if any(set(key) <= set(node.right_keys) for key in right):
        found += left
    if node.kind is JoinKind.INNER and any(set(key) <= set(node.left_keys) for key in left):
        found += right
    found += [(*one, *other) for one in left for other in right]
    return _within(tuple(found), node.schema.names)


def _of_first(node: TopN) -> Keys:
    if node.place is not Place.ROW_NUMBER:
        return ()
    if node.limit == 1:
        return (node.partition,)
    return ((*node.partition, node.number),) if node.number is not None else ()

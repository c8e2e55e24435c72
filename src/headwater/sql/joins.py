"""The FROM clause and WHERE of a block, as nodes.

Inner joins, comma joins and WHERE are one pool of conditions: an equality between two items is a
key, a condition on one item filters it before the join, the rest filters the joined rows. Outer,
semi, anti and ASOF joins bind in their order; a condition moves below one only where that cannot
change which rows match. A join that has no equality, or a condition that cannot move, is
recomputed, by key where it has keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import AsofJoin, JoinKind, Node, Within
from headwater.plan.pipeline import Emit
from headwater.sql import subqueries
from headwater.sql.build import column, column_names, identifier, nullable
from headwater.sql.intervals import read_within
from headwater.sql.keys import KeyPair, common_keys, equality
from headwater.sql.sources import Item, Source

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner

_ASOF_TYPES = frozenset(
    {"DATE", *(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG"))}
    | {"INTEGER", "UINTEGER"}
)
_NOT_EQUAL_REASON = "of a join without an equality"


def plan_from(
    planner: Planner, select: exp.Select, source: Source, where: list[exp.Expr], names: Names
) -> tuple[Node, list[exp.Expr]]:
    """The joined rows, and the conditions that must still be applied to them.

    Raises:
        Decline: A condition is not understood.

    """
    plain = [c for c in where if c.find(exp.Query) is None]
    nested = [c for c in where if c.find(exp.Query) is not None]
    pool = [source.scope.bind(c) for c in plain]
    node, leftover = _Joiner(planner, source, pool).join()
    if nested:
        node = planner.build.filter(node, leftover)
        leftover = []
        for condition in nested:
            node = subqueries.plan(planner, node, condition, source.scope, names)
    return node, leftover


class _Joiner:
    """Joins the items from left to right."""

    def __init__(self, planner: Planner, source: Source, pool: list[exp.Expr]) -> None:
        self._planner = planner
        self._build = planner.build
        self._items = source.items
        self._pool = pool
        self._fixed = self._fixed_columns()

    def join(self) -> tuple[Node, list[exp.Expr]]:
        """The joined rows, and the conditions that are still to be applied."""
        for item in self._items:
            if not self._fixed.intersection(item.columns):
                self._filter(item)
        node = self._items[0].node
        index = 1
        while index < len(self._items):
            segment = []
            while index < len(self._items) and self._is_inner(self._items[index]):
                segment.append(self._items[index])
                index += 1
            node = self._inner(node, segment)
            if index < len(self._items):
                node = self._other(node, self._items[index])
                index += 1
        return node, self._pool

    def _is_inner(self, item: Item) -> bool:
        return item.kind == "inner" and not item.is_asof

    def _fixed_columns(self) -> frozenset[str]:
        """Columns whose rows WHERE may not filter before the joins are done."""
        fixed: set[str] = set()
        before: set[str] = set()
        for item in self._items:
            if item.kind in ("left", "full", "semi", "anti") or item.is_asof:
                fixed |= item.columns
            if item.kind in ("right", "full"):
                fixed |= before
            before |= item.columns
        return frozenset(fixed)

    def _filter(self, item: Item) -> None:
        """Apply the pool's conditions that read only this item."""
        mine = [c for c in self._pool if _reads(c) and _reads(c) <= item.columns]
        item.node = self._build.filter(item.node, mine)
        self._pool = [c for c in self._pool if not any(c is m for m in mine)]

    def _inner(self, node: Node, segment: list[Item]) -> Node:
        """Join items of which any order will do: always one that a key links to what is joined."""
        movable = [c for c in self._pool if not self._fixed & _reads(c)]
        self._pool = [c for c in self._pool if self._fixed & _reads(c)]
        conditions = movable + [c for item in segment for c in item.on]
        for item in segment:
            mine = [c for c in conditions if _reads(c) and _reads(c) <= item.columns]
            item.node = self._build.filter(item.node, mine)
            conditions = [c for c in conditions if not any(c is m for m in mine)]
        waiting = list(segment)
        while waiting:
            item = next((i for i in waiting if self._keys(conditions, node, i)), waiting[0])
            waiting.remove(item)
            node, conditions = self._join_inner(node, item, conditions)
        self._pool += conditions
        return node

    def _join_inner(
        self, node: Node, item: Item, conditions: list[exp.Expr]
    ) -> tuple[Node, list[exp.Expr]]:
        keys = self._keys(conditions, node, item)
        used = [key.condition for key in keys]
        rest = [c for c in conditions if not any(c is u for u in used)]
        both = frozenset(node.schema.names) | item.columns
        now = [c for c in rest if _reads(c) <= both and _reads(c)]
        later = [c for c in rest if not any(c is n for n in now)]
        within, now = self._within(JoinKind.INNER, now, node, item, bool(keys))
        if not keys and within is None:
            return self._recomputed(node, item, now, [], _NOT_EQUAL_REASON), later
        left, right, pairs = common_keys(self._planner, node, item.node, keys)
        joined = self._build.join(JoinKind.INNER, left, right, pairs, within)
        return self._build.filter(joined, now), later

    def _within(
        self, kind: JoinKind, conditions: list[exp.Expr], node: Node, item: Item, has_keys: bool
    ) -> tuple[Within | None, list[exp.Expr]]:
        """The bound in time among the conditions, where a join gains by it, and the others."""
        within, rest = read_within(conditions, node.schema, item.node.schema)
        definition = self._planner.definition
        is_kept = definition.emit is not Emit.FINAL and definition.lateness_us is None
        is_open = within is None or within.lower_us is None or within.upper_us is None
        if kind is JoinKind.INNER and has_keys and is_kept and is_open:
            # Nothing would be forgotten, and rows by key alone are found more quickly.
            return None, conditions
        return within, rest

    def _keys(self, conditions: list[exp.Expr], node: Node, item: Item) -> list[KeyPair]:
        before = frozenset(node.schema.names)
        found = [equality(c, before, item.columns) for c in conditions]
        return [key for key in found if key is not None]

    def _other(self, node: Node, item: Item) -> Node:
        """A join that is not inner."""
        if item.is_asof:
            return self._asof(node, item)
        keys = self._keys(item.on, node, item)
        rest = [c for c in item.on if not any(c is key.condition for key in keys)]
        if item.kind in ("left", "semi", "anti"):
            mine = [c for c in rest if _reads(c) <= item.columns and _reads(c)]
            item.node = self._build.filter(item.node, mine)
            rest = [c for c in rest if not any(c is m for m in mine)]
        elif item.kind == "right":
            mine = [c for c in rest if not _reads(c) & item.columns and _reads(c)]
            node = self._build.filter(node, mine)
            rest = [c for c in rest if not any(c is m for m in mine)]
        within = None
        if item.kind in ("left", "semi", "anti"):
            within, unread = self._within(JoinKind(item.kind), rest, node, item, bool(keys))
            within, rest = (None, rest) if unread else (within, [])
        if (not keys and within is None) or rest or item.kind == "full":
            reason = (
                _NOT_EQUAL_REASON
                if not keys
                else f"of a {item.kind.upper()} JOIN"
                + (" with a further condition" if rest else "")
            )
            return self._recomputed(node, item, rest, keys, reason)
        left, right, pairs = common_keys(self._planner, node, item.node, keys)
        if item.kind == "right":
            swapped = [(r, lk) for lk, r in pairs]
            joined = self._build.join(JoinKind.LEFT, right, left, swapped)
            names = [*node.schema.names, *item.node.schema.names]
            return self._build.map(joined, [(n, column(n)) for n in names])
        joined = self._build.join(JoinKind(item.kind), left, right, pairs, within)
        if item.kind in ("semi", "anti"):
            return self._build.map(joined, [(n, column(n)) for n in node.schema.names])
        return joined

    def _asof(self, node: Node, item: Item) -> Node:
        keys = self._keys(item.on, node, item)
        rest = [c for c in item.on if not any(c is key.condition for key in keys)]
        order = _asof_order(rest[0], node, item) if len(rest) == 1 else None
        if item.kind not in ("inner", "left") or order is None:
            return self._recomputed(node, item, rest, keys, "of an ASOF JOIN of another shape")
        pair, is_strict = order
        left, right, pairs = common_keys(self._planner, node, item.node, [*keys, pair])
        left_time, right_time = pairs[-1]
        if not _is_asof_type(left.schema[left_time].type.sql):
            return self._recomputed(
                node, item, rest, keys, "of an ASOF JOIN by another type than time"
            )
        return AsofJoin(
            left,
            right,
            tuple(lk for lk, _ in pairs[:-1]),
            tuple(rk for _, rk in pairs[:-1]),
            left_time,
            right_time,
            item.kind == "left",
            is_strict,
            nullable((*left.schema, *right.schema)),
        )

    def _recomputed(
        self, node: Node, item: Item, rest: list[exp.Expr], keys: list[KeyPair], reason: str
    ) -> Node:
        """The join as DuckDB does it, for the keys that changed where it has keys."""
        left, right, pairs = common_keys(self._planner, node, item.node, keys)
        equal: list[exp.Expr] = [exp.EQ(this=column(lk), expression=column(rk)) for lk, rk in pairs]
        on = exp.and_(*equal, *rest, copy=True) if equal or rest else None
        names = list(node.schema.names)
        if item.kind not in ("semi", "anti"):
            names += item.node.schema.names
        query = exp.select(*(exp.alias_(column(n), identifier(n)) for n in names))
        query = query.from_(exp.Table(this=identifier("left_rows")))
        join = exp.Join(this=exp.Table(this=identifier("right_rows")), on=on)
        if item.is_asof:
            join.set("method", "ASOF")
        if item.kind in ("left", "right", "full"):
            join.set("side", item.kind.upper())
        if item.kind in ("semi", "anti"):
            join.set("kind", item.kind.upper())
        if on is None and item.kind == "inner":
            join.set("kind", "CROSS")
        elif on is None:
            join.set("on", exp.true())
        query.append("joins", join)
        left_keys = tuple(lk for lk, _ in pairs)
        right_keys = tuple(rk for _, rk in pairs)
        inputs = [("left_rows", left, left_keys), ("right_rows", right, right_keys)]
        return self._build.recompute(inputs, query, reason)


def _asof_order(condition: exp.Expr, node: Node, item: Item) -> tuple[KeyPair, bool] | None:
    """The times of `left >= right` or `left > right`, whichever way it is written."""
    if not isinstance(condition, exp.GTE | exp.GT | exp.LTE | exp.LT):
        return None
    this, other = condition.this, condition.expression
    is_after = isinstance(condition, exp.GTE | exp.GT)
    left, right = (this, other) if is_after else (other, this)
    before = frozenset(node.schema.names)
    if not (_reads(left) and _reads(left) <= before and _reads(right) <= item.columns):
        return None
    is_strict = isinstance(condition, exp.GT | exp.LT)
    return KeyPair(left, right, condition), is_strict


def _is_asof_type(sql_type: str) -> bool:
    spelled = sql_type.upper()
    return spelled in _ASOF_TYPES or (spelled.startswith("TIMESTAMP") and "[" not in spelled)


def _reads(expression: exp.Expr) -> frozenset[str]:
    return frozenset(column_names(expression))

"""The FROM clause and WHERE of a block, as nodes.

Inner joins, comma joins and WHERE are one pool of conditions: an equality between two items is a
key, a condition on one item filters it before the join, the rest is tested pair by pair. Outer,
semi, anti and ASOF joins bind in their order (`outer`); a condition of WHERE moves below one only
where that cannot change which rows match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import AsofJoin, JoinKind, Node, Order
from headwater.sql import outer, subqueries, temporal
from headwater.sql.asof import last_of_equal_matches
from headwater.sql.build import column, identifier, nullable
from headwater.sql.keys import KeyPair, common_keys, is_one_of, keys_of, reads, without
from headwater.sql.sources import Item, Source

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner

_ASOF_TYPES = frozenset(
    {"DATE", *(f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG"))}
    | {"INTEGER", "UINTEGER"}
)


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
        mine = [c for c in self._pool if reads(c) and reads(c) <= item.columns]
        item.node = self._build.filter(item.node, mine)
        self._pool = without(self._pool, mine)

    def _inner(self, node: Node, segment: list[Item]) -> Node:
        """Join items of which any order will do: always one that a key links to what is joined."""
        movable = [c for c in self._pool if not self._fixed & reads(c)]
        self._pool = [c for c in self._pool if self._fixed & reads(c)]
        conditions = movable + [c for item in segment for c in item.on]
        for item in segment:
            mine = [c for c in conditions if reads(c) and reads(c) <= item.columns]
            item.node = self._build.filter(item.node, mine)
            conditions = without(conditions, mine)
        waiting = list(segment)
        while waiting:
            item = next((i for i in waiting if keys_of(conditions, node, i.node)), waiting[0])
            waiting.remove(item)
            node, conditions = self._join_inner(node, item, conditions)
        self._pool += conditions
        return node

    def _join_inner(
        self, node: Node, item: Item, conditions: list[exp.Expr]
    ) -> tuple[Node, list[exp.Expr]]:
        keys = keys_of(conditions, node, item.node)
        rest = without(conditions, [key.condition for key in keys])
        both = frozenset(node.schema.names) | item.columns
        now = [c for c in rest if reads(c) <= both and reads(c)]
        later = without(rest, now)
        within, now = outer.bound_of(self._planner, now, node, item.node, is_by_key=bool(keys))
        left, right, pairs = common_keys(self._planner, node, item.node, keys)
        # What depends on the time of day is a node of its own, above.
        timed = [c for c in now if temporal.has_now(c)]
        tested = without(now, timed)
        joined = self._build.join(JoinKind.INNER, left, right, pairs, within, tested)
        return self._build.filter(joined, timed), later

    def _other(self, node: Node, item: Item) -> Node:
        """A join that is not inner."""
        if item.is_asof:
            return self._asof(node, item)
        if item.kind == "right":
            joined = outer.plan(self._planner, JoinKind.LEFT, item.node, node, item.on)
            names = [*node.schema.names, *item.node.schema.names]
            return self._build.map(joined, [(n, column(n)) for n in names])
        joined = outer.plan(self._planner, JoinKind(item.kind), node, item.node, item.on)
        if item.kind in ("semi", "anti"):
            return self._build.map(joined, [(n, column(n)) for n in node.schema.names])
        return joined

    def _asof(self, node: Node, item: Item) -> Node:
        keys = keys_of(item.on, node, item.node)
        rest = without(item.on, [key.condition for key in keys])
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
            self._last_of_equal(right, [rk for _, rk in pairs]),
            tuple(lk for lk, _ in pairs[:-1]),
            tuple(rk for _, rk in pairs[:-1]),
            left_time,
            right_time,
            item.kind == "left",
            is_strict,
            nullable((*left.schema, *right.schema)),
        )

    def _last_of_equal(self, right: Node, by: list[str]) -> Node:
        """The right rows, of those that are equal in key and time the last by its content.

        Where none is withdrawn it is the last that came; where some are, those of one epoch come in
        no order that another cut into epochs would keep.
        """
        if right.append_only or is_one_of(right, by):
            return right
        order = [Order(name, is_descending=True) for name in right.schema.names]
        return self._build.top(right, by, order, limit=1)

    def _recomputed(
        self, node: Node, item: Item, rest: list[exp.Expr], keys: list[KeyPair], reason: str
    ) -> Node:
        """An ASOF join as DuckDB does it, for the keys that changed where it has keys."""
        left, right, pairs = common_keys(self._planner, node, item.node, keys)
        equal: list[exp.Expr] = [exp.EQ(this=column(lk), expression=column(rk)) for lk, rk in pairs]
        names = [*node.schema.names, *item.node.schema.names]
        query = exp.select(*(exp.alias_(column(n), identifier(n)) for n in names))
        query = query.from_(exp.Table(this=identifier("left_rows")))
        on = exp.and_(*equal, *rest, copy=True)
        join = exp.Join(this=exp.Table(this=identifier("right_rows")), on=on, method="ASOF")
        if item.kind == "left":
            join.set("side", "LEFT")
        query.append("joins", join)
        total = last_of_equal_matches(
            query, lambda _: right.schema.names, has_order=lambda _: right.append_only
        )
        left_keys = tuple(lk for lk, _ in pairs)
        right_keys = tuple(rk for _, rk in pairs)
        inputs = [("left_rows", left, left_keys), ("right_rows", right, right_keys)]
        return self._build.recompute(inputs, total, reason)


def _asof_order(condition: exp.Expr, node: Node, item: Item) -> tuple[KeyPair, bool] | None:
    """The times of `left >= right` or `left > right`, whichever way it is written."""
    if not isinstance(condition, exp.GTE | exp.GT | exp.LTE | exp.LT):
        return None
    this, other = condition.this, condition.expression
    is_after = isinstance(condition, exp.GTE | exp.GT)
    left, right = (this, other) if is_after else (other, this)
    before = frozenset(node.schema.names)
    if not (reads(left) and reads(left) <= before and reads(right) <= item.columns):
        return None
    is_strict = isinstance(condition, exp.GT | exp.LT)
    return KeyPair(left, right, condition), is_strict


def _is_asof_type(sql_type: str) -> bool:
    spelled = sql_type.upper()
    return spelled in _ASOF_TYPES or (spelled.startswith("TIMESTAMP") and "[" not in spelled)

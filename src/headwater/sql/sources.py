"""The items of a FROM clause: what each is, what it is called, and how it is joined.

Each item becomes a node whose columns have names that are unique in the whole block; a column that
another item has too is called after its item. From then on nothing depends on aliases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlglot import exp

from headwater.plan.nodes import Node
from headwater.sql import recompute
from headwater.sql.aliases import conjuncts
from headwater.sql.build import column, column_names, fresh, identifier
from headwater.sql.decline import Decline
from headwater.sql.scope import Field, Scope
from headwater.sql.windows import is_window_call, relation_name

if TYPE_CHECKING:
    from headwater.sql.planner import Names, Planner

_SIDES = {"": "inner", "LEFT": "left", "RIGHT": "right", "FULL": "full"}
_KINDS = ("", "INNER", "OUTER", "CROSS", "SEMI", "ANTI")


@dataclass(slots=True)
class Item:
    """One item of a FROM clause.

    Args:
        alias: What the author calls it.
        node: Its rows; column names are unique in the whole block.
        names: For each column its name in the item, in order.
        kind: How it is joined to the items before it: inner, left, right, full, semi, anti, asof.
        on: The conjuncts of its ON or USING, bound.

    """

    alias: str
    node: Node
    names: tuple[str, ...]
    kind: str = "inner"
    is_asof: bool = False
    on: list[exp.Expr] = field(default_factory=list)

    @property
    def columns(self) -> frozenset[str]:
        """The plan's names of its columns."""
        return frozenset(self.node.schema.names)


@dataclass(slots=True)
class Source:
    """All items of a FROM clause, and what names mean over them."""

    items: list[Item]
    scope: Scope


def read_items(planner: Planner, select: exp.Select, names: Names) -> Source:
    """Plan each item, give its columns names of their own, and bind the join conditions.

    Raises:
        Decline: An item or a join is not understood.

    """
    return _Reader(planner, names).read(select)


class _Reader:
    def __init__(self, planner: Planner, names: Names) -> None:
        self._planner = planner
        self._names = names
        self._items: list[Item] = []
        self._fields: list[Field] = []
        self._merged: dict[str, exp.Expr] = {}
        self._taken: set[str] = set()

    def read(self, select: exp.Select) -> Source:
        self._show(self._add(select.args["from_"].this))
        for join in select.args.get("joins") or ():
            self._join(join)
        return Source(self._items, self._scope())

    def _scope(self) -> Scope:
        return Scope(tuple(self._fields), dict(self._merged))

    def _add(self, source: exp.Expr) -> Item:
        alias, node = self._planned(source)
        names = node.schema.names
        unique = []
        for name in names:
            free = (
                name if name.lower() not in self._taken else fresh(f"{alias}_{name}", self._taken)
            )
            self._taken.add(free.lower())
            unique.append(free)
        pairs = [(u, column(n)) for u, n in zip(unique, names, strict=True)]
        node = self._planner.build.map(node, pairs)
        item = Item(alias, node, names)
        self._items.append(item)
        return item

    def _planned(self, source: exp.Expr) -> tuple[str, Node]:
        for clause in ("pivots", "sample", "joins", "laterals", "ordinality", "only", "when"):
            if source.args.get(clause):
                raise Decline(f"of {clause} in FROM")
        alias = source.args.get("alias")
        columns = [c.name for c in (alias.args.get("columns") or ())] if alias is not None else []
        if isinstance(source, exp.Table) and is_constant(source):
            return source.alias_or_name, constant(self._planner, source, self._names)
        if isinstance(source, exp.Table):
            node = self._planner.table(source, self._names)
            name = relation_name(source) if is_window_call(source) else source.name
            name = name or source.this.name.lower()
        elif isinstance(source, exp.Values):
            return source.alias, constant(self._planner, source, self._names)
        elif isinstance(source, exp.Subquery):
            self._planner.schema_of(source.this, self._names)
            inner = source.copy()
            inner.set("alias", None)
            node, name = self._planner.query(inner, self._names), ""
        else:
            raise Decline(f"of {type(source).__name__.upper()} in FROM")
        if columns:
            node = self._planner.renamed(node, columns)
        return source.alias or name, node

    def _show(self, item: Item, merged: frozenset[str] = frozenset()) -> None:
        """Make the item's columns visible."""
        for name, unique in zip(item.names, item.node.schema.names, strict=True):
            self._fields.append(Field(item.alias, name, unique, name.lower() in merged))

    def _unnest(self, join: exp.Join) -> None:
        """`, unnest(t.list) AS u(x)`: a further column of the item that has the list."""
        unnest = join.this
        alias = unnest.args.get("alias")
        names = [c.name for c in (alias.args.get("columns") or ())] if alias is not None else []
        on = join.args.get("on")
        is_inner = _kind_of(join) == ("inner", False) and not join.args.get("using")
        is_plain = len(unnest.expressions) == 1 and len(names) == 1 and not unnest.args["offset"]
        if not is_inner or not is_plain or (on is not None and on != exp.true()):
            raise Decline("of UNNEST in FROM")
        value = self._scope().bind(unnest.expressions[0])
        item = self._owner(value)
        unique = fresh(names[0], self._taken)
        self._taken.add(unique.lower())
        added = exp.Explode(this=value)
        item.node = self._planner.build.with_columns(item.node, [(unique, added)])
        self._fields.append(Field(alias.this.name, names[0], unique))

    def _owner(self, value: exp.Expr) -> Item:
        """The one item whose columns an expression reads, when its rows may multiply at once."""
        read = set(column_names(value))
        owners = [item for item in self._items if read and read <= item.columns]
        is_free = owners and owners[0].kind == "inner" and not owners[0].is_asof
        if not is_free or any(item.kind in ("right", "full") for item in self._items):
            raise Decline("of UNNEST of a column that a join fills in")
        return owners[0]

    def _join(self, join: exp.Join) -> None:
        if isinstance(join.this, exp.Unnest):
            self._unnest(join)
            return
        item = self._add(join.this)
        item.kind, item.is_asof = _kind_of(join)
        before = self._scope()
        using = self._using(join, item)
        on = join.args.get("on")
        only_left = item.kind in ("semi", "anti")
        shown = list(self._fields)
        self._show(item, frozenset(name.name.lower() for name in using))
        if using:
            item.on = [self._merge(name, before, item) for name in using]
        elif on is not None:
            item.on = [self._scope().bind(c) for c in conjuncts(on)]
        if item.is_asof and using:
            item.on[-1] = exp.GTE(this=item.on[-1].this, expression=item.on[-1].expression)
        if only_left:
            self._fields = shown

    def _using(self, join: exp.Join, item: Item) -> list[exp.Identifier]:
        if join.args.get("method") == "NATURAL":
            known = {f.name.lower() for f in self._fields}
            return [identifier(n) for n in item.names if n.lower() in known]
        return [
            u if isinstance(u, exp.Identifier) else u.this for u in join.args.get("using") or ()
        ]

    def _merge(self, used: exp.Identifier, before: Scope, item: Item) -> exp.Expr:
        """The equality of a USING column; from here on its plain name means both sides."""
        name = used.name.lower()
        left = before.resolve(exp.Column(this=used.copy()))
        right = self._scope().resolve(
            exp.Column(this=used.copy(), table=exp.to_identifier(item.alias, quoted=True))
        )
        if item.kind not in ("semi", "anti"):
            merged: exp.Expr = left
            if item.kind == "right":
                merged = right
            elif item.kind == "full":
                merged = exp.Coalesce(this=left.copy(), expressions=[right.copy()])
            self._merged[name] = merged.copy()
        return exp.EQ(this=left.copy(), expression=right)


def is_constant(source: exp.Table) -> bool:
    """Whether a table function depends on nothing, as `range(3)` does."""
    is_call = isinstance(source.this, exp.Func) and not is_window_call(source)
    return is_call and source.find(exp.Column) is None


def constant(planner: Planner, source: exp.Expr, names: Names) -> Node:
    """The rows of an item that reads no relation."""
    query = exp.select("*").from_(source.copy())
    return recompute.block(planner, query, names, "it reads nothing")


def _kind_of(join: exp.Join) -> tuple[str, bool]:
    method, side, kind = (str(join.args.get(a) or "").upper() for a in ("method", "side", "kind"))
    if method not in ("", "ASOF", "NATURAL") or kind not in (
        "",
        "INNER",
        "OUTER",
        "CROSS",
        "SEMI",
        "ANTI",
    ):
        raise Decline(f"of {method or kind} JOIN")
    if kind in ("SEMI", "ANTI"):
        return kind.lower(), method == "ASOF"
    return _SIDES[side], method == "ASOF"

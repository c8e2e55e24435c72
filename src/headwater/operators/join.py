"""Join two inputs by key, by a further condition, or by both.

Each side is remembered. A change on one side meets all that the other remembers, so an epoch costs
its changes times the rows of their keys, never the size of a side. The left rows are sorted only
once the right side changes: a join with a table that stands still only probes. Without keys a
change meets every row, and only the columns that the condition reads are looked at.

The rule is DBSP's: dA x B + A x dB + dA x dB (Budiu et al., VLDB 2023, section 5). A LEFT join is
that and an anti join whose rows have nulls on the right; a FULL join is the same once more with the
sides changed. Whether a row has a match is counted: where equal keys are all that decides, the
other side's rows of each key (SEMI and ANTI joins then remember nothing else of it); where a
condition decides too, the pairs of each kind of row.

Rows that the other side does not bring a match for any more (`plan.closing`) are forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta
from headwater.delta.watermark import BEFORE_ALL
from headwater.operators.feed import KeyHash
from headwater.operators.matched import Matched
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.own_key import OwnKey
from headwater.operators.pairing import Half, Joined, Pairing
from headwater.operators.presence import Presence
from headwater.operators.residual import Residual, read_by
from headwater.operators.sides import (
    Part,
    Side,
    hidden_columns,
    output_schema,
    side_of,
    split,
    together,
    visible_fields,
)
from headwater.operators.statement import Engine
from headwater.plan.closing import Bounded, bounded_sides
from headwater.plan.nodes import Join, JoinKind, Node
from headwater.plan.unique import Keys, keys_of
from headwater.state.afar import Stretch, Unread
from headwater.state.codes import has_codes


def is_coded(node: Join) -> bool:
    """Whether a join's rows are found by their key's code: the inputs then need no hash of it."""
    if node.within is not None or len(node.left_keys) != 1:
        return False
    kinds = {
        side.schema[key].type.arrow
        for side, (key,) in ((node.left, node.left_keys), (node.right, node.right_keys))
    }
    return len(kinds) == 1 and has_codes(kinds.pop())


class JoinOperator:
    """Keeps a `Join` up to date.

    Args:
        node: What to compute.
        left: The left input's columns, with the hash over the left keys unless these have codes;
            without keys over any of them.
        right: The right input's columns, with the same of them.
        engine: Tests the further condition.
        relations: The keys of the relations that are read, by name.

    """

    def __init__(
        self,
        node: Join,
        left: pa.Schema,
        right: pa.Schema,
        engine: Engine,
        relations: Mapping[str, Keys] = MappingProxyType({}),
    ) -> None:
        self._node = node
        self._has_ticks = TICK in left.names or TICK in right.names
        self._weighted = not node.append_only
        self._bounds = bounded_sides(node)
        self._left = _half(node, left, engine, self._bounds, relations, is_left=True)
        self._right = _half(node, right, engine, self._bounds, relations, is_left=False)
        self._pairing = _pairing(node, self._left, self._right, engine)
        self._unmatched = _unmatched(node, self._left, self._right)
        fields = visible_fields(left)
        if node.kind.has_both:
            fields += visible_fields(right)
        shown = [field for field in fields if field.name in node.schema]
        self._shown = [
            [name for name in half.names if name in node.schema]
            for half in (self._left, self._right)
        ]
        self.schema = output_schema(shown, weighted=self._weighted, has_ticks=self._has_ticks)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed on both sides; return what changed in the join."""
        kind = self._node.kind
        left, lonely_left = self._taken(self._left, inputs[0], epoch)
        right, lonely_right = self._taken(self._right, inputs[1], epoch)
        met = [] if self._pairing is None else self._pairing.step(left, right, epoch)
        if kind is JoinKind.INNER:
            self._remember(left, right, epoch)
            return Delta(self._unread(met))
        parts = [self._pair(pairs) for pairs in met] if kind.has_both else []
        for side in self._unmatched:
            mine, other = (left, right) if side.is_left else (right, left)
            parts += [self._widened(part, side) for part in side.step(met, mine, other)]
            lonely = lonely_left if side.is_left else lonely_right
            if lonely is not None and kind is not JoinKind.SEMI:
                part = Part(lonely.rows.columns, lonely.weights, lonely.ticks)
                parts.append(self._widened(part, side))
        self._remember(left, right, epoch)
        return together(parts, self.schema)

    def save(self, saver: Saver) -> Any:
        """Hand over what is remembered of both sides."""
        return {
            "left": self._left.rows.save(saver),
            "right": self._right.rows.save(saver),
            "counts": [side.told.counts.save(saver) for side in self._unmatched],
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what is remembered of both sides."""
        self._left.load(manifest["left"], loader)
        self._right.load(manifest["right"], loader)
        for side, saved in zip(self._unmatched, manifest["counts"], strict=True):
            side.told.counts.load(saved, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered of both sides."""
        sizes = [self._left.rows.size(), self._right.rows.size()]
        sizes += [side.told.counts.size() for side in self._unmatched]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def _remember(self, left: Side, right: Side, epoch: Epoch) -> None:
        # First, so that what goes is not copied together with what comes.
        if self._bounds != (None, None):
            self._forget(epoch)
        self._left.remember(left)
        if self._pairing is not None:
            self._right.remember(right)

    def _forget(self, epoch: Epoch) -> None:
        """Drop the rows of keys that the other side does not bring any more."""
        left, right = self._bounds
        of_left, of_right = (
            BEFORE_ALL if by is None else epoch.passed(by.frontier).end_us for by in self._bounds
        )
        both = BEFORE_ALL
        if left is not None and right is not None and _are_paired(self._node, left, right):
            both = min(of_left, of_right)
            for side in self._unmatched:
                of_mine = side.is_left is isinstance(side.told, Matched)
                by = left if of_mine else right
                side.told.counts.forget_below(by.columns[0], both)
        # A withdrawn row is told by the remembered ones of its kind, where kinds are counted.
        self._left.multiset.forget_below(both if self._left.kinds else of_left)
        self._right.multiset.forget_below(both if self._right.kinds else of_right)

    def _taken(self, half: Half, change: Delta, epoch: Epoch) -> tuple[Side, Side | None]:
        """The rows that can match, as they are remembered, and those whose key has a null."""
        side = side_of(change, half.keys, epoch, has_ticks=self._has_ticks, is_coded=half.is_coded)
        side, lonely = split(side, side.keys.columns)
        return half.dressed(side), lonely

    def _unread(self, met: Sequence[Joined]) -> Unread:
        """The pairs, of which nothing is gathered yet."""
        mine, theirs = self._shown
        stretches = []
        for pairs in met:
            lies = {name: pairs.lies(name, is_left=True) for name in mine}
            lies |= {name: pairs.lies(name, is_left=False) for name in theirs}
            rows = len(pairs.left)
            hidden = hidden_columns(self.schema, rows, pairs.weights, pairs.ticks)
            if rows:
                stretches.append(Stretch(rows, lies, hidden))
        return Unread(self.schema, stretches)

    def _pair(self, pairs: Joined) -> Part:
        mine, theirs = self._shown
        columns = pairs.columns(mine, is_left=True) + pairs.columns(theirs, is_left=False)
        return Part(columns, pairs.weights, pairs.ticks)

    def _widened(self, part: Part, side: _Unmatched) -> Part:
        """The part with nulls for the columns of the other side, where the output has them."""
        mine, others = self._shown if side.is_left else self._shown[::-1]
        rows = len(part.columns[0])
        columns = [part.columns[side.mine.names.index(name)] for name in mine]
        if self._node.kind.has_both:
            schema = side.other.rows.schema
            nulls = [pa.nulls(rows, schema.field(name).type) for name in others]
            columns = [*columns, *nulls] if side.is_left else [*nulls, *columns]
        return Part(columns, part.weights, part.ticks)


@dataclass(frozen=True, slots=True)
class _Unmatched:
    """One side, and how it is known which of its rows have a match."""

    mine: Half
    other: Half
    told: Presence | Matched
    is_left: bool

    def step(self, met: Sequence[Joined], mine: Side, other: Side) -> list[Part]:
        """The side's rows that came or went for having a match, or none."""
        if isinstance(self.told, Presence):
            return self.told.step(mine, other)
        return self.told.step([p.met(self.mine, is_left=self.is_left) for p in met], mine)


def _are_paired(node: Join, left: Bounded, right: Bounded) -> bool:
    """Whether the columns by which the sides are bounded are compared with each other."""
    pairs = zip(node.left_keys, node.right_keys, strict=True)
    return (left.columns[0], right.columns[0]) in pairs


def _half(  # noqa: PLR0913 - what is known of a side, and which it is
    node: Join,
    schema: pa.Schema,
    engine: Engine,
    bounds: tuple[Bounded | None, Bounded | None],
    relations: Mapping[str, Keys],
    *,
    is_left: bool,
) -> Half:
    by = bounds[0 if is_left else 1]
    closing = None if by is None else by.columns[0]
    keys, side = (node.left_keys, node.left) if is_left else (node.right_keys, node.right)
    own = None
    if WEIGHT in schema.names and node.condition is None and bounds == (None, None):
        own = _own_key(side, keys, relations, engine)
    is_counted = node.kind is JoinKind.FULL or (node.kind is not JoinKind.INNER and is_left)
    if node.condition is None or not is_counted:
        return Half(schema, keys, closing=closing, is_coded=is_coded(node), own=own)
    kinds = list(dict.fromkeys((*keys, *read_by(node.condition, side.schema))))
    kind_hash = KeyHash(kinds, side.schema, engine)
    return Half(schema, keys, kinds, kind_hash, closing=closing, is_coded=is_coded(node))


def _own_key(
    side: Node, keys: Sequence[str], relations: Mapping[str, Keys], engine: Engine
) -> OwnKey | None:
    """What tells rows of a side apart, where many may share the keys of the join."""
    known = keys_of(side, relations)
    if not known or not keys or any(set(own) <= set(keys) for own in known):
        return None
    return OwnKey(min(known, key=len), side.schema, engine)


def _pairing(node: Join, left: Half, right: Half, engine: Engine) -> Pairing | None:
    """How pairs are found; None where a count of the other side's rows tells what matches."""
    if node.condition is None:
        return Pairing(node, left, right, None) if node.kind.has_both else None
    residual = Residual(node.condition, node.left.schema, node.right.schema, engine)
    return Pairing(node, left, right, residual)


def _unmatched(node: Join, left: Half, right: Half) -> list[_Unmatched]:
    """The sides of which it must be known what has a match."""
    sides = []
    if node.kind is not JoinKind.INNER:
        sides.append((left, right, True))
    if node.kind is JoinKind.FULL:
        sides.append((right, left, False))
    wants = node.kind is JoinKind.SEMI
    return [
        _Unmatched(
            mine,
            other,
            Presence(mine.rows, other.rows.schema, other.keys, wants=wants)
            if node.condition is None
            else Matched(mine.multiset, mine.kinds, wants=wants),
            is_left,
        )
        for mine, other, is_left in sides
    ]

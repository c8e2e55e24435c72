"""Join two inputs by key.

Each side is remembered. A change on one side meets all that the other remembers, so an epoch costs
its changes times their matches, never the size of a side. The left rows are sorted only once the
right side changes: a join with a table that stands still only probes.

The rule is DBSP's: dA x B + A x dB + dA x dB (Budiu et al., VLDB 2023, section 5). SEMI and ANTI
joins only count the right rows of each key, and say a key's left rows again when its count leaves
or reaches zero. A LEFT join is an inner join and an anti join whose rows have nulls on the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, Delta, Int64Array
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.presence import COUNT, counted
from headwater.operators.sides import (
    Part,
    Side,
    columns_at,
    output_schema,
    side_of,
    split,
    together,
    visible_fields,
    weighed,
)
from headwater.plan.nodes import Join, JoinKind
from headwater.state.equality import BoolArray
from headwater.state.latest import Latest
from headwater.state.multiset import Multiset, matching
from headwater.state.run import sorted_run


class JoinOperator:
    """Keeps a `Join` up to date.

    Args:
        node: What to compute.
        left: The left input's columns, with the hash over the left keys.
        right: The right input's columns, with the hash over the right keys.

    """

    def __init__(self, node: Join, left: pa.Schema, right: pa.Schema) -> None:
        self._node = node
        self._has_ticks = TICK in left.names or TICK in right.names
        self._weighted = not node.append_only
        fields = visible_fields(left)
        self._left = Multiset(pa.schema(fields), node.left_keys)
        self._pairs = _Pairs(node, self._left, right) if _has_pairs(node) else None
        self._presence = _Presence(node, self._left, right) if _has_presence(node) else None
        if self._pairs is not None:
            fields += visible_fields(right)
        self.schema = output_schema(fields, weighted=self._weighted, has_ticks=self._has_ticks)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed on both sides; return what changed in the join."""
        node, has_ticks = self._node, self._has_ticks
        left, lonely = _keyed(side_of(inputs[0], node.left_keys, epoch, has_ticks=has_ticks))
        right, _ = _keyed(side_of(inputs[1], node.right_keys, epoch, has_ticks=has_ticks))
        parts: list[Part] = []
        if self._pairs is not None:
            parts += self._pairs.step(left, right)
        if self._presence is not None:
            parts += map(self._widened, self._presence.step(left, right))
        if lonely is not None and node.kind in (JoinKind.LEFT, JoinKind.ANTI):
            parts.append(self._widened(Part(lonely.rows.columns, lonely.weights, lonely.ticks)))
        self._left.insert_rows(left.rows.cast(self._left.schema), left.hashes, left.weights)
        return together(parts, self.schema)

    def save(self, saver: Saver) -> Any:
        """Hand over what is remembered of both sides."""
        return {
            "left": self._left.save(saver),
            "pairs": None if self._pairs is None else self._pairs.right.save(saver),
            "presence": None if self._presence is None else self._presence.counts.save(saver),
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what is remembered of both sides."""
        self._left.load(manifest["left"], loader)
        if self._pairs is not None:
            self._pairs.right.load(manifest["pairs"], loader)
        if self._presence is not None:
            self._presence.counts.load(manifest["presence"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered of both sides."""
        sizes = [self._left.size()]
        if self._pairs is not None:
            sizes.append(self._pairs.right.size())
        if self._presence is not None:
            sizes.append(self._presence.counts.size())
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def _widened(self, part: Part) -> Part:
        """The part with nulls for the columns of the right side, where the output has them."""
        if self._pairs is None:
            return part
        rows = len(part.columns[0])
        nulls = [pa.nulls(rows, field.type) for field in self._pairs.right.schema]
        return Part([*part.columns, *nulls], part.weights, part.ticks)


class _Pairs:
    """The rows of both sides that have equal keys."""

    def __init__(self, node: Join, left: Multiset, right: pa.Schema) -> None:
        self._left = left
        self.right = Multiset(pa.schema(visible_fields(right)), node.right_keys)
        self._weighted = not node.append_only
        # A right key column is equal to its left one, which need not be looked up again.
        self._twins = {
            r: left.schema.get_field_index(lk)
            for lk, r in zip(node.left_keys, node.right_keys, strict=True)
            if _is_canonical(self.right.schema.field(r).type)
            and left.schema.field(lk).type == self.right.schema.field(r).type
        }
        self._others = [name for name in self.right.schema.names if name not in self._twins]

    def step(self, left: Side, right: Side) -> list[Part]:
        """The pairs that came or went; then the right side is remembered."""
        parts = []
        if len(left):
            parts.append(self._left_changes(left))
        if len(right):
            parts.append(self._right_changes(right))
        if len(left) and len(right):
            parts.append(self._both_change(left, right))
        self.right.insert_rows(right.rows.cast(self.right.schema), right.hashes, right.weights)
        return parts

    def _left_changes(self, left: Side) -> Part:
        matches = self.right.probe(left.keys, left.hashes, columns=self._others)
        mine = columns_at(left.rows, matches.probes)
        weights = self._weights(left.weights, matches.probes, matches.weights)
        return Part(self._pair(mine, matches.rows), weights, _ticks_at(left, matches.probes))

    def _right_changes(self, right: Side) -> Part:
        matches = self._left.probe(right.keys, right.hashes)
        others = right.rows.select(self._others).take(pa.array(matches.probes))
        weights = self._weights(right.weights, matches.probes, matches.weights)
        columns = self._pair(matches.rows.columns, others)
        return Part(columns, weights, _ticks_at(right, matches.probes))

    def _both_change(self, left: Side, right: Side) -> Part:
        mine, theirs = _meeting(left, right)
        others = right.rows.select(self._others).take(pa.array(theirs))
        weights = None
        if self._weighted:
            weights = weighed(left.weights, mine, weighed(right.weights, theirs, None))
        ticks = None
        if left.ticks is not None and right.ticks is not None:
            ticks = np.maximum(left.ticks.take(mine), right.ticks.take(theirs))
        return Part(self._pair(columns_at(left.rows, mine), others), weights, ticks)

    def _pair(self, mine: Sequence[pa.Array], others: pa.RecordBatch) -> list[pa.Array]:
        """The left columns, then the right ones."""
        theirs = dict(zip(self._others, others.columns, strict=True))
        names = self.right.schema.names
        return [*mine, *(mine[self._twins[n]] if n in self._twins else theirs[n] for n in names)]

    def _weights(
        self, weights: Int64Array | None, places: Int64Array, others: Int64Array
    ) -> Int64Array | None:
        return weighed(weights, places, others) if self._weighted else None


@dataclass(frozen=True, slots=True)
class _Flips:
    """Keys whose number of right rows left zero (1) or reached it (-1)."""

    keys: pa.RecordBatch
    hashes: Any
    signs: Int64Array
    ticks: Int64Array | None


class _Presence:
    """The left rows whose key has right rows, or, for LEFT and ANTI, has none."""

    def __init__(self, node: Join, left: Multiset, right: pa.Schema) -> None:
        self._left = left
        self._wants = node.kind is JoinKind.SEMI
        keys = [pa.field(name, right.field(name).type) for name in node.right_keys]
        schema = pa.schema([*keys, pa.field(COUNT, pa.int64())])
        self.counts = Latest(schema, node.right_keys)

    def step(self, left: Side, right: Side) -> list[Part]:
        """The left rows that came or went; then the right side is counted."""
        parts = []
        if len(right):
            parts.append(self._said_again(self._counted(right)))
        if len(left):
            mask = self._is_present(left) == self._wants
            chosen = left.where(mask)
            parts.append(Part(chosen.rows.columns, chosen.weights, chosen.ticks))
        return parts

    def _is_present(self, left: Side) -> BoolArray:
        """Which left rows have a right row, after the epoch."""
        return self.counts.find(left.keys, left.hashes).mask

    def _said_again(self, flips: _Flips) -> Part:
        """The remembered left rows of the keys that flipped."""
        matches = self._left.probe(flips.keys, flips.hashes)
        signs = flips.signs if self._wants else -flips.signs
        ticks = None if flips.ticks is None else flips.ticks.take(matches.probes)
        return Part(matches.rows.columns, signs.take(matches.probes) * matches.weights, ticks)

    def _counted(self, right: Side) -> _Flips:
        """Count the right rows of each key."""
        flips = counted(self.counts, right.keys, right.hashes, right.weights, right.ticks)
        keys = right.keys.take(pa.array(flips.places))
        return _Flips(keys, right.hashes[flips.places], flips.signs, flips.ticks)


def _has_pairs(node: Join) -> bool:
    return node.kind in (JoinKind.INNER, JoinKind.LEFT)


def _has_presence(node: Join) -> bool:
    return node.kind is not JoinKind.INNER


def _keyed(side: Side) -> tuple[Side, Side | None]:
    """The rows that can match, and those whose key has a null."""
    return split(side, side.keys.columns)


def _meeting(left: Side, right: Side) -> tuple[Int64Array, Int64Array]:
    """The pairs of a left and a right row of equal keys, ordered by the longer side."""
    if len(left) >= len(right):
        run, order = sorted_run(right.hashes, right.keys, None)
        mine, places = matching(run, left.keys, left.hashes, right.keys.schema.names)
        return mine, order.take(places)
    run, order = sorted_run(left.hashes, left.keys, None)
    theirs, places = matching(run, right.keys, right.hashes, left.keys.schema.names)
    return order.take(places), theirs


def _ticks_at(side: Side, places: Int64Array) -> Int64Array | None:
    return None if side.ticks is None else side.ticks.take(places)


def _is_canonical(kind: pa.DataType) -> bool:
    """Whether equal values of a type are the same value: 0.0 and -0.0 are not."""
    intricate = pa.types.is_floating(kind) or pa.types.is_nested(kind)
    return not (intricate or pa.types.is_interval(kind))

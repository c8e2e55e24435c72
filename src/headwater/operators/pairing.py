"""The pairs of rows of a join's two sides, as they come and go.

Found by key, by the further condition, or both; tested before rows are gathered, so that a pair
that does not match costs the columns that the condition reads. What is found are places: whoever
reads a column of the pairs gathers it (`state.afar`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.errors import RecordError
from headwater.operators.feed import KeyHash
from headwater.operators.matched import KIND, Met
from headwater.operators.operator import Epoch, Loader
from headwater.operators.own_key import OwnKey
from headwater.operators.residual import Residual, accepting
from headwater.operators.sides import Side, is_all, visible_fields, weighed
from headwater.plan.nodes import Join
from headwater.state.afar import Afar, Stretch
from headwater.state.keyed import Keyed
from headwater.state.matching import Seek, accepted, matching_by_two
from headwater.state.multiset import Found, Multiset
from headwater.state.run import Run, sorted_run
from headwater.state.zones import Near

# From so many pairs on DuckDB is asked which of them meet a condition.
_SEARCHED_MIN = 1 << 17


class Half:
    """One side of a join: its rows, by key.

    Args:
        schema: The input's columns.
        keys: Of them the key columns.
        kinds: The columns that make a row's kind, when kinds are counted (see `Matched`).
        kind_hash: Hashes these.
        closing: The key by which rows are forgotten, if there is one.
        is_coded: Whether the key's codes stand in the place of hashes.
        own: Columns in which no two rows are equal at any moment, where there are some: then rows
            are remembered by these.

    """

    rows: Multiset | Keyed

    def __init__(  # noqa: PLR0913 - how rows are kept, by keyword
        self,
        schema: pa.Schema,
        keys: Sequence[str],
        kinds: Sequence[str] = (),
        kind_hash: KeyHash | None = None,
        *,
        closing: str | None = None,
        is_coded: bool = False,
        own: OwnKey | None = None,
    ) -> None:
        fields = visible_fields(schema)
        self.names = [field.name for field in fields]
        self.keys, self.kinds, self._kind_hash = tuple(keys), list(kinds), kind_hash
        if kind_hash is not None:
            fields.append(pa.field(KIND, pa.uint64()))
        self.is_coded = is_coded
        self._own = own
        if own is None:
            self.rows = Multiset(pa.schema(fields), keys, closing=closing, is_coded=is_coded)
        else:
            self.rows = Keyed(pa.schema(fields), own.names, keys)

    def dressed(self, side: Side) -> Side:
        """The side's rows as they are remembered."""
        rows = side.rows
        if self._kind_hash is not None:
            rows = rows.append_column(KIND, self._kind_hash.of(rows))
        rows = rows.cast(self.rows.schema)
        return Side(rows, side.keys, side.hashes, side.weights, side.ticks)

    def compared(self, side: Side) -> pa.RecordBatch | None:
        """The keys of a side's rows, where those that are found by their hash must be compared."""
        return None if self.is_coded else side.keys

    def remember(self, side: Side) -> None:
        """Keep rows that were dressed."""
        if isinstance(self.rows, Multiset):
            self.rows.insert_rows(side.rows, side.hashes, side.weights)
        elif len(side):
            self._put(self.rows, side.rows, side.hashes, side.weights)

    def find(self, side: Side, seek: Seek | None, near: Sequence[Near]) -> Found:
        """The remembered rows of equal key for each of the other side's."""
        if isinstance(self.rows, Multiset):
            return self.rows.find(side.keys, side.hashes, seek=seek, near=near)
        assert seek is None
        return self.rows.find(side.keys, side.hashes)

    @property
    def multiset(self) -> Multiset:
        """The rows, where a condition decides or some are forgotten."""
        assert isinstance(self.rows, Multiset)
        return self.rows

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `rows.save` handed over, also where rows were not known by their key."""
        if isinstance(self.rows, Multiset) or "keyed" in manifest:
            self.rows.load(manifest, loader)
            return
        older = Multiset(self.rows.schema, self.keys, is_coded=self.is_coded)
        older.load(manifest, loader)
        for run in older.whole():
            self._put(self.rows, run.rows, run.hashes, run.weights)

    def _put(
        self,
        kept: Keyed,
        rows: pa.RecordBatch,
        hashes: UInt64Array,
        weights: Int64Array | None,
    ) -> None:
        assert self._own is not None
        kept.insert_rows(rows, weights, self._own.hashes(rows), hashes)


@dataclass(frozen=True, slots=True)
class Joined:
    """Pairs that came or went.

    Args:
        left: The left rows, where they lie.
        right: The right ones.
        twins: For each right column that is read off a left one, which.
        key_hashes: The hashes of the keys; None where nobody asks.
        weights: Their weights; None when all are 1.
        ticks: Their places in the log's order, or None where nobody needs them.

    """

    left: Afar
    right: Afar
    twins: Mapping[str, str]
    key_hashes: UInt64Array | None
    weights: Int64Array | None
    ticks: Int64Array | None

    def met(self, half: Half, *, is_left: bool) -> Met:
        """The rows of one side that are in the pairs."""
        *columns, hashes = self.columns([*half.kinds, KIND], is_left=is_left)
        kinds = pa.RecordBatch.from_arrays(columns, half.kinds)
        assert self.key_hashes is not None
        return Met(kinds, hashes.to_numpy(), self.key_hashes, self.weights, self.ticks)

    def lies(self, name: str, *, is_left: bool) -> tuple[Afar, str]:
        """Where a column of one side lies, and its name there."""
        if is_left:
            return self.left, name
        return (self.left, self.twins[name]) if name in self.twins else (self.right, name)

    def columns(self, names: Sequence[str], *, is_left: bool) -> list[pa.Array]:
        """Some columns of one side, gathered."""
        lies = {name: self.lies(name, is_left=is_left) for name in names}
        return Stretch(len(self.left), lies, {}).columns(names)


class Pairing:
    """Finds the pairs of a join that come and go.

    Args:
        node: The join.
        left: What is remembered of the left side.
        right: The same of the right side.
        residual: The further condition, if there is one.

    """

    def __init__(self, node: Join, left: Half, right: Half, residual: Residual | None) -> None:
        self._left, self._right, self._residual = left, right, residual
        self._weighted = not node.append_only
        # A right key column is equal to its left one, which need not be looked up again.
        self._twins = {
            r: lk
            for lk, r in zip(node.left_keys, node.right_keys, strict=True)
            if _is_canonical(right.rows.schema.field(r).type)
            and left.rows.schema.field(lk).type == right.rows.schema.field(r).type
        }
        self._counts_kinds = bool(left.kinds or right.kinds)

    def step(self, left: Side, right: Side, epoch: Epoch) -> list[Joined]:
        """The pairs that came or went. Neither side has remembered the epoch's rows yet."""
        met = []
        if len(left):
            met.append(self._left_changes(left, epoch))
        if len(right):
            met.append(self._right_changes(right, epoch))
        if len(left) and len(right):
            met.append(self._both_change(left, right, epoch))
        return met

    def _left_changes(self, left: Side, epoch: Epoch) -> Joined:
        seek = self._seek(left, epoch, is_left=True)
        near = self._near(left, is_left=True)
        found = self._right.find(left, seek, near)
        mine = _at(left.rows, found.probes)
        return self._joined(mine, found.rows, left, found.probes, found.weights)

    def _right_changes(self, right: Side, epoch: Epoch) -> Joined:
        seek = self._seek(right, epoch, is_left=False)
        near = self._near(right, is_left=False)
        found = self._left.find(right, seek, near)
        others = _at(right.rows, found.probes)
        return self._joined(found.rows, others, right, found.probes, found.weights)

    def _both_change(self, left: Side, right: Side, epoch: Epoch) -> Joined:
        mine, theirs = self._meeting(left, right, epoch)
        weights = None if right.weights is None else right.weights.take(theirs)
        joined = self._joined(_at(left.rows, mine), Afar([right.rows], theirs), left, mine, weights)
        if left.ticks is None or right.ticks is None:
            return joined
        ticks = np.maximum(left.ticks.take(mine), right.ticks.take(theirs))
        return replace(joined, ticks=ticks)

    def _joined(
        self,
        mine: Afar,
        others: Afar,
        side: Side,
        places: Int64Array,
        weights: Int64Array | None,
    ) -> Joined:
        """Pairs of one side's rows at `places` with others of such weights."""
        return Joined(
            mine,
            others,
            self._twins,
            side.hashes.take(places) if self._counts_kinds else None,
            weighed(side.weights, places, weights) if self._weighted else None,
            None if side.ticks is None else side.ticks.take(places),
        )

    def _meeting(self, left: Side, right: Side, epoch: Epoch) -> tuple[Int64Array, Int64Array]:
        """The pairs of a left and a right row of the epoch, ordered by the longer side."""
        if len(left) >= len(right):
            run, order = self._as_run(right, self._right, is_left=False)
            seek = self._seek(left, epoch, is_left=True)
            names = right.keys.schema.names
            keys = self._left.compared(left)
            mine, places = (
                seek(run)
                if seek
                else matching_by_two(run, keys, left.hashes, names, null_equal=True)
            )
            return mine, order.take(places)
        run, order = self._as_run(left, self._left, is_left=True)
        seek = self._seek(right, epoch, is_left=False)
        names = left.keys.schema.names
        keys = self._right.compared(right)
        theirs, places = (
            seek(run) if seek else matching_by_two(run, keys, right.hashes, names, null_equal=True)
        )
        return order.take(places), theirs

    def _as_run(self, side: Side, half: Half, *, is_left: bool) -> tuple[Run, Int64Array]:
        """A side with the columns by which its rows are found, and where each stood."""
        names = list(half.keys)
        if self._residual is not None:
            read = self._residual.left if is_left else self._residual.right
            names = list(dict.fromkeys((*names, *read)))
        rows = side.rows.select(names) if names else side.rows
        if not half.keys:
            return Run(side.hashes, rows, side.weights), np.arange(len(side), dtype=np.int64)
        return sorted_run(side.hashes, rows, side.weights)

    def _near(self, side: Side, *, is_left: bool) -> Sequence[Near]:
        return () if self._residual is None else self._residual.near(side.rows, is_left=is_left)

    def _seek(self, side: Side, epoch: Epoch, *, is_left: bool) -> Seek | None:
        """How the partners of a side's rows are found; None when by key alone."""
        residual = self._residual
        if residual is None:
            return None
        names = (self._right if is_left else self._left).keys
        keys = self._left.compared(side)

        accept = accepting(
            residual, side, epoch.failed, is_left=is_left, is_weighted=self._weighted
        )

        def seek(run: Run) -> tuple[Int64Array, Int64Array]:
            if not names and len(side) * len(run) >= _SEARCHED_MIN:
                try:
                    return _searched(residual, side, run, is_left=is_left)
                except RecordError:
                    # Which pair it is that the condition refuses is found one by one.
                    pass
            return accepted(run, keys, side.hashes, names, accept, by_two=not residual.asks_duckdb)

        return seek


def _at(rows: pa.RecordBatch, places: Int64Array) -> Afar:
    """Rows at ascending places; not to be copied when these are all."""
    return Afar([rows], None if is_all(places, rows.num_rows) else places)


def _searched(
    residual: Residual, side: Side, run: Run, *, is_left: bool
) -> tuple[Int64Array, Int64Array]:
    """The pairs of a side's rows and a run's that meet a condition, in order."""
    if is_left:
        probes, places = residual.found(side.rows, run.rows)
    else:
        places, probes = residual.found(run.rows, side.rows)
    order = np.lexsort((places, probes))
    return probes.take(order), places.take(order)


def _is_canonical(kind: pa.DataType) -> bool:
    """Whether equal values of a type are the same value: 0.0 and -0.0 are not."""
    intricate = pa.types.is_floating(kind) or pa.types.is_nested(kind)
    return not (intricate or pa.types.is_interval(kind))

"""A run: rows sorted by the hash of their key, and never changed.

Rows of one key stand in the order of their arrival, or, in runs for `ASOF`, of their time and then
of their arrival. Two runs merge in linear time. A weight may be of any sign; in a `Latest`, a row
of weight 0 says that its key is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import HASH, WEIGHT, Int64Array, UInt64Array
from headwater.state.checkpoint import MAPPED_BYTES_MIN, Loader, Saver
from headwater.state.dense import DenseIndex, is_dense
from headwater.state.equality import first_alike, last_alike
from headwater.state.index import HashIndex, Ranges, search, sifted
from headwater.state.zones import Near, bounds_of

RowsT = TypeVar("RowsT", pa.RecordBatch, pa.Table)

# An index costs about as much as so many binary searches as it has hashes, divided by this.
_INDEX_WORTH = 8
# A table of dense numbers is made by a few passes over them.
_DENSE_WORTH = 64
_INDEX_PROBES_MIN = 1 << 14
_MANY_PROBES = 1 << 12
# So many probes for each hash are sifted first: hardly any of them is there.
_SIFT_SHARE = 64
# A run that spans less than this is that of a shard.
_NARROW = 1 << 60
_LOOKED_AT = 64


@dataclass(slots=True, eq=False)
class Run:
    """Sorted rows.

    Args:
        hashes: The hashes of the keys, ascending.
        rows: The rows, in the same order. The number of rows is that of the hashes.
        weights: Their weights; None when all are 1.
        times: Their times, ascending within a hash; None where rows stand in order of arrival.
        name: What a checkpoint calls the run, once it is in one.
        is_mapped: Whether it lies in that checkpoint's file, and not in memory.

    """

    hashes: UInt64Array
    rows: pa.RecordBatch
    weights: Int64Array | None = None
    times: Int64Array | None = None
    name: str | None = None
    is_mapped: bool = False
    _index: HashIndex | DenseIndex | None = field(default=None, repr=False)
    _probed: int = 0
    _bounds: dict[str, tuple[int, int]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def size_bytes(self) -> int:
        """The memory that the run holds, or maps."""
        arrays = (self.hashes, self.weights, self.times)
        return int(self.rows.nbytes) + sum(a.nbytes for a in arrays if a is not None)

    def prepare(self, probes: int) -> None:
        """Make ready for so many probes, before several threads bring them."""
        self._probed += probes
        if self._index is None and len(self.hashes) and self._probed >= _INDEX_PROBES_MIN:
            self._index = _index_of(self.hashes)

    def reaches(self, near: Sequence[Near]) -> bool:
        """Whether there may be a row that is near in every respect."""
        return all(self._reaches(one) for one in near)

    def find(self, probes: UInt64Array) -> Ranges:
        """Where the hashes of the probes stand."""
        if not len(self.hashes) or not len(probes):
            nothing = np.zeros(0, dtype=np.int64)
            return Ranges(nothing, nothing, None)
        is_sparse = len(probes) >= _MANY_PROBES and len(self.hashes) * _SIFT_SHARE <= len(probes)
        if is_sparse and not is_dense(self.hashes):
            near = sifted(probes, self.hashes)
            found = search(self.hashes, probes.take(near))
            return Ranges(near.take(found.probes), found.first, found.end)
        low, high = self.hashes[0], self.hashes[-1]
        if isinstance(self._index, DenseIndex) or int(high) - int(low) >= _NARROW:
            return self._find(probes)
        # The run of a shard, or codes: most of the probes may belong elsewhere.
        mine = np.flatnonzero((probes >= low) & (probes <= high))
        if len(mine) == len(probes):
            return self._find(probes)
        found = self._find(probes.take(mine))
        return Ranges(mine.take(found.probes), found.first, found.end)

    def between(self, low: int, high: int) -> Run:
        """The rows whose hash is at least `low` and below `high`; nothing is copied."""
        start = int(np.searchsorted(self.hashes, np.uint64(low)))
        past = high >= 1 << 64
        end = len(self) if past else int(np.searchsorted(self.hashes, np.uint64(high)))
        return Run(
            self.hashes[start:end],
            self.rows.slice(start, end - start),
            None if self.weights is None else self.weights[start:end],
            None if self.times is None else self.times[start:end],
        )

    def _reaches(self, near: Near) -> bool:
        bounds = self._bounds.get(near.column)
        if bounds is None:
            bounds = self._bounds[near.column] = bounds_of(self.rows.column(near.column))
        return bounds[0] <= near.high and bounds[1] >= near.low

    def _find(self, probes: UInt64Array) -> Ranges:
        if self._index is None:
            # An index pays off only for a run that is probed often before it is merged away. To
            # build it takes long; who asks for few hashes is in a hurry, and quick without one.
            if len(probes) >= _MANY_PROBES:
                self._probed += len(probes)
            worth = _DENSE_WORTH if is_dense(self.hashes) else _INDEX_WORTH
            if self._probed < max(_INDEX_PROBES_MIN, len(self.hashes) // worth):
                return search(self.hashes, probes)
            self._index = _index_of(self.hashes)
        return self._index.ranges(probes)

    def take(self, places: Int64Array, weights: Int64Array | None) -> Run:
        """The rows at `places`, which ascend, with other weights."""
        return Run(
            self.hashes.take(places),
            self.rows.take(pa.array(places)),
            weights,
            None if self.times is None else self.times.take(places),
        )

    def ones(self) -> Int64Array:
        """The weights, also when all are 1."""
        return np.ones(len(self), dtype=np.int64) if self.weights is None else self.weights

    def weights_at(self, places: Int64Array) -> Int64Array:
        """The weights of some rows, also when all are 1."""
        if self.weights is None:
            return np.ones(len(places), dtype=np.int64)
        return self.weights.take(places)

    def save(self, saver: Saver) -> str:
        """Hand the run over, once; return what the checkpoint calls it."""
        if self.name is not None:
            saver.keep(self.name)
            if not self.is_mapped and self.size_bytes >= MAPPED_BYTES_MIN:
                self._map(saver.stored(self.name))
            return self.name
        columns = [*self.rows.columns, pa.array(self.hashes)]
        names = [*self.rows.schema.names, HASH]
        if self.weights is not None:
            columns.append(pa.array(self.weights))
            names.append(WEIGHT)
        self.name = saver.put(pa.RecordBatch.from_arrays(columns, names=names))
        return self.name

    def _map(self, stored: pa.RecordBatch | None) -> None:
        """Hold the stored rows in place of those in memory; whoever reads meanwhile sees either."""
        if stored is None:
            return
        self.rows = conformed(stored, self.rows.schema)
        self.hashes = stored.column(HASH).to_numpy()
        if self.weights is not None:
            self.weights = stored.column(WEIGHT).to_numpy()
        self.is_mapped = True


def load_run(name: str, loader: Loader, schema: pa.Schema, time: str | None = None) -> Run:
    """Take back what `Run.save` handed over."""
    batch = loader.get(name)
    weights = batch.column(WEIGHT).to_numpy() if WEIGHT in batch.schema.names else None
    rows = conformed(batch, schema)
    times = None if time is None else times_of(rows.column(time))
    return Run(batch.column(HASH).to_numpy(), rows, weights, times, name, is_mapped=True)


def sorted_run(
    hashes: UInt64Array,
    rows: pa.RecordBatch,
    weights: Int64Array | None,
    times: Int64Array | None = None,
) -> tuple[Run, Int64Array]:
    """Rows in any order as a run, and where each of the run's rows stood."""
    if times is None and are_ascending(hashes):
        return Run(hashes, rows, weights), np.arange(len(hashes))
    order = ascending(hashes, times)
    run = Run(
        hashes.take(order),
        rows.take(pa.array(order)),
        None if weights is None else weights.take(order),
        None if times is None else times.take(order),
    )
    return run, order


@dataclass(frozen=True, slots=True)
class Merge:
    """Runs on their way to become one: what stands where is known, and no row has moved yet.

    Args:
        rows: The rows of all runs, one run after the other.
        order: Where each row of the merged run stands in `rows`; None when they are in order.
        hashes, weights, times: Those of the merged run.

    """

    rows: pa.RecordBatch
    order: Int64Array | None
    hashes: UInt64Array
    weights: Int64Array | None
    times: Int64Array | None

    def __len__(self) -> int:
        return len(self.hashes)

    def first_alike(self, names: Sequence[str]) -> Int64Array | None:
        """For each row of the merged run the first one that is equal to it in some columns."""
        columns = [self.rows.column(name) for name in names]
        hashes = self.hashes
        if self.times is not None and len(hashes):
            # Equal rows have equal times: they are told apart among few, not in a whole partition.
            differs = hashes[1:] != hashes[:-1]
            differs |= self.times[1:] != self.times[:-1]
            hashes = np.concatenate([[0], np.cumsum(differs)]).astype(np.uint64)
        return first_alike(hashes, columns, self.order)

    def run(self) -> Run:
        """The merged run."""
        rows = self.rows if self.order is None else self.rows.take(pa.array(self.order))
        return Run(self.hashes, rows, self.weights, self.times)

    def take(self, places: Int64Array, weights: Int64Array | None) -> Run:
        """Some rows of the merged run, with other weights; `places` ascend."""
        at = places if self.order is None else self.order.take(places)
        return Run(
            self.hashes.take(places),
            self.rows.take(pa.array(at)),
            weights,
            None if self.times is None else self.times.take(places),
        )


def merge(runs: Sequence[Run]) -> Merge:
    """Bring runs together; the rows of an earlier one stand before those of a later one."""
    if len(runs) == 1:
        run = runs[0]
        return Merge(run.rows, None, run.hashes, run.weights, run.times)
    hashes = np.concatenate([run.hashes for run in runs])
    weights = None
    if any(run.weights is not None for run in runs):
        weights = np.concatenate([run.ones() for run in runs])
    times = None
    if runs[0].times is not None:
        times = np.concatenate([run.times for run in runs if run.times is not None])
    rows = pa.concat_batches([run.rows for run in runs])
    if times is None and all(a.hashes[-1] <= b.hashes[0] for a, b in pairwise(runs)):
        return Merge(rows, None, hashes, weights, None)
    order = _merge_order(hashes, times)
    return Merge(
        rows,
        order,
        hashes.take(order),
        None if weights is None else weights.take(order),
        None if times is None else times.take(order),
    )


def consolidated(merge: Merge) -> Run:
    """The run with equal rows as one, their weights added, and without rows of weight 0."""
    if merge.weights is None:
        return merge.run()
    first = merge.first_alike(merge.rows.schema.names)
    if first is not None and merge.times is not None:
        # In order of time the newest of equal rows is the one that counts.
        first = last_alike(first)
    return _weighed(merge, first)


def cancelled(merge: Merge) -> Run:
    """The run without rows that were withdrawn.

    Equal rows become one only where one of their hash has another weight than 1. Elsewhere they
    need not, and comparing whole rows is what a merge costs where many rows share a key.
    """
    assert merge.times is None
    if merge.weights is None:
        return merge.run()
    is_new = np.append(True, merge.hashes[1:] != merge.hashes[:-1])[: len(merge)]
    group = np.cumsum(is_new) - 1
    is_mixed = np.zeros(len(merge), dtype=np.bool_)
    is_mixed[group[merge.weights != 1]] = True
    some = np.flatnonzero(is_mixed[group])
    columns = [merge.rows.column(name) for name in merge.rows.schema.names]
    at = some if merge.order is None else merge.order.take(some)
    alike = first_alike(merge.hashes.take(some), columns, at)
    if alike is None:
        return _weighed(merge, None)
    first = np.arange(len(merge), dtype=np.int64)
    first[some] = some.take(alike)
    return _weighed(merge, first)


def _weighed(merge: Merge, first: Int64Array | None) -> Run:
    """The run with rows as one with the first that they are equal to, and without weight 0."""
    assert merge.weights is not None
    totals = merge.weights if first is None else summed(merge.weights, first)
    kept = np.flatnonzero(totals)
    if len(kept) == len(merge):
        return merge.run()
    weights = totals.take(kept)
    return merge.take(kept, None if bool((weights == 1).all()) else weights)


def summed(weights: Int64Array, places: Int64Array) -> Int64Array:
    """The sum of the weights that belong to each place."""
    # Sums of float64 are exact here: no weight comes near 2**53.
    return np.bincount(places, weights=weights, minlength=len(places)).astype(np.int64)


def are_ascending(hashes: UInt64Array) -> bool:
    """Whether hashes are in order; of most that are not a look at the first few tells it."""
    few = hashes[:_LOOKED_AT]
    return bool((few[1:] >= few[:-1]).all()) and bool((hashes[1:] >= hashes[:-1]).all())


def ascending(hashes: UInt64Array, times: Int64Array | None) -> Int64Array:
    """The order of rows by hash, then by time where there is one, then by place."""
    if times is not None:
        return np.lexsort((times, hashes))
    # Numbers are sorted several times as quickly as places by number. So the low bits of a hash
    # make room for the place; hashes that differ only there are rare, and put right by Timsort,
    # which is linear in what is nearly sorted.
    low = np.uint64((1 << len(hashes).bit_length()) - 1)
    packed = hashes & ~low
    packed |= np.arange(len(hashes), dtype=np.uint64)
    packed.sort()
    packed &= low
    order = packed.view(np.int64)
    values = hashes.take(order)
    if (values[1:] < values[:-1]).any():
        order = order.take(np.argsort(values, kind="stable"))
    return order


def _index_of(hashes: UInt64Array) -> HashIndex | DenseIndex:
    return DenseIndex(hashes) if is_dense(hashes) else HashIndex(hashes)


def _merge_order(hashes: UInt64Array, times: Int64Array | None) -> Int64Array:
    """As `ascending`, for what is made of few sorted parts: linear, as `stable` is Timsort."""
    if times is None:
        return np.argsort(hashes, kind="stable")
    return np.lexsort((times, hashes))


def times_of(column: pa.Array) -> Int64Array:
    """A time column without nulls as integers in its own unit and order."""
    if pa.types.is_uint64(column.type):
        return (column.to_numpy() ^ np.uint64(1 << 63)).view(np.int64)
    if pa.types.is_date32(column.type):
        return column.view(pa.int32()).to_numpy().astype(np.int64)
    if pa.types.is_timestamp(column.type):
        return column.view(pa.int64()).to_numpy()
    return column.to_numpy().astype(np.int64)


def closing_of(column: pa.Array) -> Int64Array:
    """As `times_of`, for times by which rows are forgotten: a null is never before a bound."""
    if not column.null_count:
        return times_of(column)
    times = pc.fill_null(column.cast(pa.int64()), np.iinfo(np.int64).max)
    return np.asarray(times.to_numpy(), dtype=np.int64)


def conformed(rows: RowsT, schema: pa.Schema) -> RowsT:
    """The columns of `schema` from rows that have them, and others."""
    columns = [rows.column(name) for name in schema.names]
    return type(rows).from_arrays(columns, schema=schema)


def gathered(runs: Sequence[Run], places: Sequence[Int64Array]) -> pa.RecordBatch:
    """Rows of several runs, those of the first run first."""
    parts = [run.rows.take(pa.array(at)) for run, at in zip(runs, places, strict=True)]
    return parts[0] if len(parts) == 1 else pa.concat_batches(parts)

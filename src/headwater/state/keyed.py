"""Rows that a key tells apart, remembered by it: which are there is known without comparing rows.

For rows of which no two have an equal key at any moment, as those of a table, or of a join of it. A
row is put down once (`state.pile`); what is sorted and merged are a hash, the key and the row's
place. Nothing is looked up to withdraw a row: one that comes takes the place of that with its key,
and one that only goes leaves a mark, until both meet.

Rows may be sought by other columns than the key (a join's). Then the upper half of a row's hash is
made of these, and the lower half of the key: rows that are sought together lie next to each other,
and each meets its own kind. An epoch costs its rows, however many share what they are sought by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.afar import Afar
from headwater.state.checkpoint import Loader, Saver
from headwater.state.codes import has_codes, scattered
from headwater.state.equality import BoolArray, are_last, first_alike, rows_equal
from headwater.state.gather import taken
from headwater.state.index import spread
from headwater.state.loose import Loose
from headwater.state.multiset import Found, Matches
from headwater.state.peek import Peek
from headwater.state.pile import Pile, PilePeek
from headwater.state.run import Merge, Run, ascending, load_run, merge, summed
from headwater.state.spine import Behind, Limits, Merged, Spine

PLACE = "__place"
# A row that is gone has this place.
_GONE = -1
# So many rows wait before they are sorted though nobody looks.
_WAITING_MAX = 1 << 18
_HALF = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)


@dataclass(frozen=True, slots=True)
class KeyedSnapshot:
    """What was held at some moment; may be read from any thread."""

    rows: int
    _names: tuple[str, ...]
    _peek: Peek
    _pile: PilePeek

    def table(self) -> pa.Table:
        """All rows, in the order of their arrival."""
        places = [_NOWHERE]
        for runs in self._peek.parts():
            if runs:
                merged = merge(runs)
                is_kept = _are_kept(merged, self._names, with_marks=False)
                places.append(_places(merged)[is_kept])
        rows = self._pile.take(np.sort(np.concatenate(places)))
        return pa.Table.from_batches([rows], self._pile.schema)


class Keyed:
    """Rows that a key tells apart.

    Args:
        schema: The columns of the rows.
        key: Those that tell them apart; may be empty, then there is one row at most.
        keys: Those by which rows are sought; none where nobody seeks any.
        limits: How large the runs may grow before they are split by hash.

    """

    def __init__(
        self,
        schema: pa.Schema,
        key: Sequence[str],
        keys: Sequence[str] = (),
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.schema = schema
        self.key, self.keys = tuple(key), tuple(keys)
        self._names = tuple(dict.fromkeys((*self.keys, *self.key)))
        own = [pa.field(name, schema.field(name).type) for name in self._names]
        self._placed = pa.schema([*own, pa.field(PLACE, pa.int64())])
        self._pile = Pile(schema)
        behind = Behind(lambda: self._without_outdone, self._pile.give_up)
        self._spine = Spine(self._settled, limits=limits, behind=behind)
        self._rows = self._waiting = 0

    def insert_rows(
        self,
        rows: pa.RecordBatch | pa.Table,
        weights: Int64Array | None,
        key_hashes: UInt64Array,
        hashes: UInt64Array | None = None,
    ) -> None:
        """Take in what came and went in an epoch.

        Args:
            rows: Of the schema.
            weights: Each 1 or -1; None: all came. Added up, no key has more than one row.
            key_hashes: The hashes of the key.
            hashes: Those of the columns by which rows are sought, or codes; None without such.

        """
        mixed = key_hashes if hashes is None else _mixed(hashes, key_hashes)
        if weights is None or bool((weights == 1).all()):
            self._rows += rows.num_rows
            self._put(rows, mixed)
            return
        self._rows += int(weights.sum())
        whole = _one(rows)
        come, gone = _outcome(whole, weights, mixed, self._names)
        if len(gone):
            self._mark(whole.select(self._names).take(pa.array(gone)), mixed[gone])
        self._put(taken(whole, come), mixed[come])

    def find(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Found:
        """The rows that have the same in the columns by which they are sought as each of `keys`.

        Args:
            keys: The probing side's columns in the order of `self.keys`, under any names.
            hashes: Their hashes, or codes, made as those of the inserted rows.

        """
        low = scattered(hashes) & ~_LOW
        different, nth = _different(keys, low)
        probes, places = self._sought(keys.take(pa.array(different)), low[different])
        bounds = np.searchsorted(probes, np.arange(len(different) + 1))
        mine, at = spread(np.arange(len(hashes)), bounds[nth], bounds[nth + 1])
        is_each = len(at) == len(places) and bool((at == np.arange(len(at))).all())
        rows = Afar([self._pile.take(places)], None if is_each else at)
        return Found(mine, rows, None)

    def probe(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Matches:
        """As `find`, gathered; this is what `Multiset.probe` gives."""
        found = self.find(keys, hashes)
        columns = found.rows.columns(self.schema.names)
        rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        return Matches(found.probes, rows, np.ones(len(found), dtype=np.int64))

    def snapshot(self) -> KeyedSnapshot:
        """What is held now; cheap, whatever its size."""
        return KeyedSnapshot(self._rows, self._names, self._spine.peek(), self._pile.peek())

    def size(self) -> tuple[int, int]:
        """Rows and bytes that are held; what was replaced counts until both have met."""
        rows, size_bytes = self._spine.size()
        return rows, size_bytes + self._pile.size_bytes

    def save(self, saver: Saver) -> Any:
        """Hand the rows over; return a JSON value from which `load` finds them."""
        spine = self._spine.save(saver)
        return {"keyed": self._rows, "spine": spine, "pile": self._pile.save(saver)}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._rows = manifest["keyed"]
        self._pile.load(manifest["pile"], loader)
        self._spine.load(manifest["spine"], lambda name: load_run(name, loader, self._placed))

    def _put(self, rows: pa.RecordBatch | pa.Table, mixed: UInt64Array) -> None:
        """Take rows in, which take the place of those with their key."""
        if not rows.num_rows:
            return
        narrow = [_one_column(rows.column(name)) for name in self._names]
        self._add([*narrow, pa.array(self._pile.add(rows))], mixed)

    def _mark(self, rows: pa.RecordBatch, mixed: UInt64Array) -> None:
        """Say that the rows with these keys are gone."""
        self._add([*rows.columns, pa.array(np.full(len(mixed), _GONE))], mixed)

    def _add(self, columns: Sequence[pa.Array], mixed: UInt64Array) -> None:
        placed = pa.RecordBatch.from_arrays(columns, schema=self._placed)
        self._spine.add(Loose(mixed, placed, None))
        self._waiting += len(mixed)
        if self._waiting >= _WAITING_MAX:
            self._sort()

    def _sort(self) -> list[Run]:
        """All rows as runs, the older first."""
        runs = self._spine.runs()
        if self._waiting:
            self._waiting = 0
            self._pile.tidy()
        return runs

    def _settled(self, merge: Merge, is_oldest: bool) -> Run:
        merged = self._without_outdone(merge, is_oldest)
        if merged.left_out is not None:
            self._pile.give_up(merged.left_out)
        return merged.run

    def _without_outdone(self, merge: Merge, is_oldest: bool) -> Merged:
        """The newest row or mark of each key, and the places in the pile of the other rows."""
        is_kept = _are_kept(merge, self._names, with_marks=not is_oldest)
        if is_kept.all():
            return Merged(merge.run())
        outdone = _places(merge, np.flatnonzero(~is_kept))
        run = merge.take(np.flatnonzero(is_kept), None)
        return Merged(run, outdone[outdone != _GONE])

    def _sought(self, keys: pa.RecordBatch, low: UInt64Array) -> tuple[Int64Array, Int64Array]:
        """For keys of which no two are equal what is found for each, in the order of arrival.

        Args:
            low: The least hash that a row of each may have; ascending.

        """
        parts = [self._found(run, keys, low) for run in self._sort()]
        if not parts:
            return _NOWHERE, _NOWHERE
        probes = np.concatenate([probes for probes, _, _ in parts])
        mixed = np.concatenate([hashes for _, hashes, _ in parts])
        rows = pa.concat_batches([rows for _, _, rows in parts])
        # A younger run stands behind an older one.
        order = ascending(mixed, None)
        first = first_alike(mixed.take(order), _columns(rows, self._names), order)
        last = order if first is None else order[are_last(first)]
        places = rows.column(PLACE).to_numpy()
        last = last[places[last] != _GONE]
        last = last[np.lexsort((places[last], probes[last]))]
        return probes[last], places[last]

    def _found(
        self, run: Run, keys: pa.RecordBatch, low: UInt64Array
    ) -> tuple[Int64Array, UInt64Array, pa.RecordBatch]:
        """What a run has of the sought rows, old and gone ones too: probe, hash, columns."""
        # Of many probes most may belong to other runs.
        start = int(np.searchsorted(low, run.hashes[0] & ~_LOW))
        stop = int(np.searchsorted(low, run.hashes[-1], side="right"))
        first = np.searchsorted(run.hashes, low[start:stop])
        end = np.searchsorted(run.hashes, low[start:stop] | _LOW, side="right")
        probes, places = spread(np.arange(start, stop), first, end)
        rows = run.rows.take(pa.array(places))
        same = rows_equal(keys.columns, probes, _columns(rows, self.keys), None)
        if same is not None and not same.all():
            rows = rows.filter(pa.array(same))
            probes, places = probes[same], places[same]
        return probes, run.hashes.take(places), rows


_NOWHERE = np.zeros(0, dtype=np.int64)


def _mixed(hashes: UInt64Array, key_hashes: UInt64Array) -> UInt64Array:
    """Hashes whose upper half is of what rows are sought by, and whose lower one is of the key."""
    mixed = scattered(hashes)
    mixed &= ~_LOW
    mixed |= key_hashes >> _HALF
    return mixed


def _different(keys: pa.RecordBatch, hashes: UInt64Array) -> tuple[Int64Array, Int64Array]:
    """Where each key stands first, by hash, and which of these each of the keys is equal to."""
    order = ascending(hashes, None)
    first = first_alike(hashes.take(order), keys.columns, order)
    every = np.arange(len(order))
    is_first = first == every if first is not None else np.ones(len(order), dtype=np.bool_)
    nth = np.empty_like(order)
    nth[order] = every if first is None else (np.cumsum(is_first) - 1)[first]
    return order[is_first], nth


def _are_kept(merge: Merge, names: Sequence[str], *, with_marks: bool) -> BoolArray:
    """Which rows of a merged run no younger one has the key of.

    Args:
        with_marks: Whether marks of what is gone are kept: there may be an older row.

    """
    first = merge.first_alike(names)
    is_kept = np.ones(len(merge), dtype=np.bool_) if first is None else are_last(first)
    return is_kept if with_marks else is_kept & (_places(merge) != _GONE)


def _places(merge: Merge, some: Int64Array | None = None) -> Int64Array:
    """The places in the pile of rows of the merged run, or of some of these."""
    places: Int64Array = merge.rows.column(PLACE).to_numpy()
    if some is None:
        return places if merge.order is None else places.take(merge.order)
    return places.take(some if merge.order is None else merge.order.take(some))


def _outcome(
    rows: pa.RecordBatch, weights: Int64Array, mixed: UInt64Array, names: Sequence[str]
) -> tuple[Int64Array, Int64Array]:
    """Which rows are there at the end of an epoch, and whose keys are gone then; both ascending.

    Mostly a row that goes has right behind it the one that takes its place, and no key changes
    twice: then no texts are compared.
    """
    come, gone = np.flatnonzero(weights > 0), np.flatnonzero(weights < 0)
    assert len(come) + len(gone) == len(weights), "each row comes or goes once"
    after = np.minimum(gone + 1, len(weights) - 1)
    is_replaced = (weights[after] > 0) & (mixed[after] == mixed[gone])
    same = rows_equal(_columns(rows, names), gone, _columns(rows, names), after)
    if same is not None:
        is_replaced &= same
    alone = gone[~is_replaced]
    alike = gone[is_replaced & _may_be_equal(rows, gone, after)]
    unclear = [_repeated(mixed[come]), _repeated(mixed[gone]), mixed[alike]]
    unclear.append(np.intersect1d(mixed[alone], mixed[come]) if len(alone) else mixed[alike])
    hashes = np.unique(np.concatenate(unclear))
    if not len(hashes):
        return come, alone
    some = np.flatnonzero(np.isin(mixed, hashes))
    back, off = _added_up(rows.take(pa.array(some)), weights[some], mixed[some], names)
    come = np.concatenate([come[~np.isin(mixed[come], hashes)], some[back]])
    gone = np.concatenate([alone[~np.isin(mixed[alone], hashes)], some[off]])
    return np.sort(come), np.sort(gone)


def _may_be_equal(rows: pa.RecordBatch, one: Int64Array, other: Int64Array) -> BoolArray:
    """Whether pairs of rows are equal, as far as columns tell that are quickly compared."""
    plain = [column for column in rows.columns if has_codes(column.type)]
    same = rows_equal(plain, one, plain, other)
    return np.ones(len(one), dtype=np.bool_) if same is None else same


def _added_up(
    rows: pa.RecordBatch, weights: Int64Array, mixed: UInt64Array, names: Sequence[str]
) -> tuple[Int64Array, Int64Array]:
    """The same, whatever came and went within the epoch."""
    order = ascending(mixed, None)
    totals, alike = weights.take(order), first_alike(mixed.take(order), rows.columns, order)
    if alike is not None:
        totals = summed(totals, alike)
    assert int(np.abs(totals).max(initial=0)) <= 1, "a row is there more than once"
    come, gone = np.sort(order[totals > 0]), order[totals < 0]
    # Keys of which a row went, and none came.
    both = np.concatenate([come, gone])
    order = both[ascending(mixed[both], None)]
    alike = first_alike(mixed[order], _columns(rows, names), order)
    if alike is None:
        return come, np.sort(gone)
    has_come = np.zeros(len(order), dtype=np.bool_)
    np.logical_or.at(has_come, alike, _are_among(order, come))
    is_mark = ~has_come[alike] & ~_are_among(order, come)
    return come, np.sort(order[is_mark])


def _are_among(order: Int64Array, come: Int64Array) -> BoolArray:
    """Whether places are among others, which ascend."""
    if not len(come):
        return np.zeros(len(order), dtype=np.bool_)
    at = np.minimum(np.searchsorted(come, order), len(come) - 1)
    return np.asarray(come[at] == order, dtype=np.bool_)


def _repeated(hashes: UInt64Array) -> UInt64Array:
    """Those that are there more than once."""
    ordered = np.sort(hashes)
    return ordered[1:][ordered[1:] == ordered[:-1]]


def _columns(rows: pa.RecordBatch, names: Iterable[str]) -> list[pa.Array]:
    return [rows.column(name) for name in names]


def _one(rows: pa.RecordBatch | pa.Table) -> pa.RecordBatch:
    """Rows as one batch."""
    if isinstance(rows, pa.RecordBatch):
        return rows
    batches = rows.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=rows.schema)


def _one_column(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

"""One row per key, the newest: rows in a pile, found by runs of keys and places.

For tables, whose rows are wide and many. A row is put down once (`state.pile`); what is sorted and
merged are its key's hash, its key and its place (key-value separation, as in WiscKey: Lu et al.,
FAST 2016). Nothing is looked up to put a row: runs hold a key more than once until they are merged,
and a look-up takes the newest. Then the older rows are given up, and the pile lets go of them.

The newest row is the last that came; or, with a version column, the one with the highest version,
whatever the order in which rows came, and the last of those with equal ones. A null is the lowest
version.

A row may say that its key is deleted. It is held like any other, its place marked by being
negative, and is found as nothing: so an older version that comes after it changes nothing. Without
versions it goes when there is no older row left that it could hide.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.state.checkpoint import Loader, Saver
from headwater.state.equality import BoolArray, rows_equal
from headwater.state.latest import Found, Latest, nulls
from headwater.state.loose import Loose
from headwater.state.mapped import row_stretches, will_need
from headwater.state.matching import matching
from headwater.state.peek import Peek
from headwater.state.pile import Pile, PilePeek
from headwater.state.run import Merge, Run, ascending, conformed, load_run, merge, times_of
from headwater.state.spine import Behind, Limits, Merged, Spine

_PLACE, _VERSION = "__place", "__version"
_LOWEST = int(np.iinfo(np.int64).min)
# Whoever reads all rows gets so many at a time.
_BATCH_ROWS = 1 << 16
# So many rows wait before they are sorted though nobody looks.
_WAITING_MAX = 1 << 18
# Narrow rows, in epochs that leave a core idle.
_LIMITS = Limits(behind_rows=1 << 19)


@dataclass(frozen=True, slots=True)
class NewestSnapshot:
    """What was held at some moment; may be read from any thread."""

    _schema: pa.Schema
    _keys: tuple[str, ...]
    _peek: Peek
    _pile: PilePeek

    @property
    def rows(self) -> int:
        """The number of keys. Counted anew at each call, without reading the rows."""
        return sum(int((_places(run) >= 0).sum()) for run in self._runs())

    def batches(self, *, deleted: bool = False) -> Iterator[pa.RecordBatch]:
        """The newest row of each key, by hash.

        Args:
            deleted: Whether the rows that say that a key is deleted are among them.

        """
        for run in self._runs():
            places = _places(run)
            places = _stored(places) if deleted else places[places >= 0]
            for start in range(0, len(places), _BATCH_ROWS):
                yield self._pile.take(places[start : start + _BATCH_ROWS])

    def table(self) -> pa.Table:
        """All of them."""
        return pa.Table.from_batches(self.batches(), self._schema)

    def find(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Found:
        """As `Newest.find`; for few keys, whatever there is."""
        if len(hashes) == 1:
            found = self._find_one(keys, int(hashes[0]))
            if found is not None:
                return found
        return _found(self._peek.with_hashes(hashes), self._pile, keys, hashes, self._keys)

    def _find_one(self, keys: pa.RecordBatch, sought: int) -> Found | None:
        """The newest row of a hash, if it is that of the key; None where two keys have one hash."""
        best = newest_place(self._peek.places_of(sought))
        if best is None:
            return Found(np.zeros(1, dtype=np.bool_), nulls(self._pile.schema, 1))
        row = self._pile.row(best if best >= 0 else ~best)
        own = [row.column(name) for name in self._keys]
        same = rows_equal(keys.columns, None, own, None, null_equal=True)
        if same is not None and not same.all():
            return None
        if best < 0:
            return Found(np.zeros(1, dtype=np.bool_), nulls(self._pile.schema, 1))
        return Found(np.ones(1, dtype=np.bool_), row)

    def _runs(self) -> Iterator[Run]:
        for runs in self._peek.parts():
            if runs:
                merged = merge(runs)
                yield _without(merged, _older(merged, self._keys))


class Newest:
    """One row per key.

    Args:
        schema: The columns of the rows.
        keys: The key columns; not empty.
        newest_by: The column by which the newest row is known: a timestamp, a date or an integer.
            None: it is the last that was put.
        has_deletions: Whether rows may say that a key is deleted.
        limits: How large the runs may grow before they are split by hash.

    """

    def __init__(
        self,
        schema: pa.Schema,
        keys: Sequence[str],
        *,
        newest_by: str | None = None,
        has_deletions: bool = False,
        limits: Limits = _LIMITS,
    ) -> None:
        self.schema = pa.schema([pa.field(f.name, f.type) for f in schema])
        self.keys = tuple(keys)
        self._newest_by = newest_by
        self._has_deletions = has_deletions
        hidden = [_PLACE] if newest_by is None else [_VERSION, _PLACE]
        own = [self.schema.field(name) for name in self.keys]
        self._placed = pa.schema([*own, *(pa.field(name, pa.int64()) for name in hidden)])
        self._pile = Pile(self.schema)
        behind = Behind(lambda: self._without_older, self._pile.give_up)
        self._spine = Spine(self._settled, limits=limits, behind=behind)
        self._waiting = 0

    def put(
        self, rows: pa.RecordBatch, hashes: UInt64Array, is_deletion: BoolArray | None = None
    ) -> None:
        """Take rows in, in the order in which they came; a key may be there several times.

        Args:
            rows: Columns are taken by name.
            hashes: The hashes of the key columns.
            is_deletion: Which rows say that their key is deleted; None for none.

        """
        if not rows.num_rows:
            return
        rows = conformed(rows, self.schema)
        columns = [rows.column(name) for name in self.keys]
        if self._newest_by is not None:
            columns.append(pa.array(versions_of(rows.column(self._newest_by))))
        places = self._pile.add(rows)
        if is_deletion is not None:
            assert self._has_deletions
            places = np.where(is_deletion, ~places, places)
        columns.append(pa.array(places))
        placed = pa.RecordBatch.from_arrays(columns, schema=self._placed)
        self._spine.add(Loose(hashes, placed, None))
        self._waiting += rows.num_rows
        if self._waiting >= _WAITING_MAX:
            self._sort()

    def versions(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Int64Array:
        """The version of the newest row of each of `keys`, as `versions_of` has it.

        Where there is none it is the lowest. The rows are not read.
        """
        assert self._newest_by is not None
        return _sought(self._sort(), keys, hashes, self.keys)[1]

    def find(self, keys: pa.RecordBatch, hashes: UInt64Array) -> Found:
        """The newest row of each of `keys`; a null in a key is a value like any other.

        Args:
            keys: Key columns in the order of `self.keys`, under any names.
            hashes: Their hashes, made as those that were put.

        """
        return _found(self._sort(), self._pile.peek(), keys, hashes, self.keys)

    def snapshot(self) -> NewestSnapshot:
        """What is held now; cheap, whatever its size."""
        return NewestSnapshot(self.schema, self.keys, self._spine.peek(), self._pile.peek())

    def size(self) -> tuple[int, int]:
        """Rows and bytes that are held, older ones too that are not given up yet."""
        rows, size_bytes = self._spine.size()
        return rows, size_bytes + self._pile.size_bytes

    def save(self, saver: Saver) -> Any:
        """Hand the rows over; return a JSON value from which `load` finds them."""
        return {"spine": self._spine.save(saver), "pile": self._pile.save(saver)}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over, also that of a `Latest`."""
        if "pile" not in manifest:
            self._convert(manifest, loader)
            return
        self._pile.load(manifest["pile"], loader)
        self._spine.load(manifest["spine"], lambda name: load_run(name, loader, self._placed))

    def _convert(self, manifest: Any, loader: Loader) -> None:
        """Tables were kept in a `Latest` before."""
        latest = Latest(self.schema, self.keys)
        latest.load(manifest, loader)
        for run in latest.settled():
            self.put(run.rows, run.hashes)

    def _sort(self) -> list[Run]:
        """All rows as runs, the older first."""
        if self._waiting:
            self._waiting = 0
            runs = self._spine.runs()
            self._pile.tidy()
            return runs
        return self._spine.runs()

    def _settled(self, merge: Merge, is_oldest: bool) -> Run:
        merged = self._without_older(merge, is_oldest)
        if merged.left_out is not None:
            self._pile.give_up(merged.left_out)
        return merged.run

    def _without_older(self, merge: Merge, is_oldest: bool) -> Merged:
        """The newest row of each key, and where in the pile the others are."""
        older = _older(merge, self.keys)
        if self._has_deletions and is_oldest and self._newest_by is None:
            older = np.union1d(older, _deletions(merge))
        return Merged(_without(merge, older), _stored(_of(merge, _PLACE, older)))


def versions_of(column: pa.Array) -> Int64Array:
    """A column of versions as integers that order alike; nulls are the lowest."""
    if not column.null_count:
        return times_of(column)
    numbers = column.view(pa.int32()) if pa.types.is_date32(column.type) else column
    return pc.fill_null(numbers.cast(pa.int64()), _LOWEST).to_numpy()


def newest_place(found: Iterable[tuple[pa.RecordBatch, range]]) -> int | None:
    """The place of the newest of some rows, of which the older stand first."""
    rows = [(some, at) for some, places in found for at in places]
    if not rows:
        return None
    if len(rows) > 1 and _VERSION in rows[0][0].schema.names:
        # Of equal versions the last counts.
        rows.sort(key=lambda row: _number(row[0].column(_VERSION), row[1]))
    some, at = rows[-1]
    return _number(some.column(_PLACE), at)


def _number(column: pa.Array, at: int) -> int:
    will_need(row_stretches(pa.RecordBatch.from_arrays([column], ["n"]), at))
    number: int = column[at].as_py()
    return number


def _older(merge: Merge, keys: Sequence[str]) -> Int64Array:
    """Where in the merged run rows are of which a newer one is there, in no order."""
    first = merge.first_alike(keys)
    if first is None:
        return np.zeros(0, dtype=np.int64)
    later = np.flatnonzero(first != np.arange(len(merge)))
    heads = first[later]
    is_pair = np.ones(len(later), dtype=np.bool_)
    same = heads[1:] == heads[:-1]
    is_pair[1:] &= ~same
    is_pair[:-1] &= ~same
    if bool((heads[1:] < heads[:-1]).any()):
        # Keys of one hash alternate.
        is_pair[:] = False
    return np.concatenate(
        [
            _older_of_two(merge, heads[is_pair], later[is_pair]),
            _older_of_many(merge, heads[~is_pair], later[~is_pair]),
        ]
    )


def _older_of_two(merge: Merge, one: Int64Array, other: Int64Array) -> Int64Array:
    """Of each two rows of a key the older; the second came later."""
    if _VERSION not in merge.rows.schema.names:
        return one
    is_newer = _of(merge, _VERSION, other) >= _of(merge, _VERSION, one)
    return np.where(is_newer, one, other)


def _older_of_many(merge: Merge, heads: Int64Array, later: Int64Array) -> Int64Array:
    """Of the rows of each key, the first of which is its head, all but the newest."""
    ends = np.unique(heads)
    rows, group = np.concatenate([ends, later]), np.concatenate([ends, heads])
    if _VERSION in merge.rows.schema.names:
        order = np.lexsort((rows, _of(merge, _VERSION, rows), group))
    else:
        order = np.lexsort((rows, group))
    is_older = group[order][1:] == group[order][:-1]
    return rows[order][:-1][is_older]


def _without(merge: Merge, some: Int64Array) -> Run:
    """The merged run without some of its rows."""
    if not len(some):
        return merge.run()
    is_kept = np.ones(len(merge), dtype=np.bool_)
    is_kept[some] = False
    return merge.take(np.flatnonzero(is_kept), None)


def _deletions(merge: Merge) -> Int64Array:
    """Where in the merged run rows are that say that their key is deleted."""
    return np.flatnonzero(_of(merge, _PLACE, np.arange(len(merge), dtype=np.int64)) < 0)


def _places(run: Run) -> Int64Array:
    found: Int64Array = run.rows.column(_PLACE).to_numpy()
    return found


def _stored(places: Int64Array) -> Int64Array:
    """Where rows lie in the pile; the place of one that deletes its key is negative."""
    return np.where(places < 0, ~places, places)


def _of(merge: Merge, column: str, places: Int64Array) -> Int64Array:
    """A hidden column of some rows of the merged run."""
    at = places if merge.order is None else merge.order.take(places)
    found: Int64Array = merge.rows.column(column).to_numpy().take(at)
    return found


def _found(
    runs: Sequence[Run],
    pile: PilePeek,
    keys: pa.RecordBatch,
    hashes: UInt64Array,
    names: Sequence[str],
) -> Found:
    """The newest row of each key in runs, of which an older stands before a newer."""
    at, _ = _sought(runs, keys, hashes, names)
    mask: BoolArray = at >= 0
    if not mask.any():
        return Found(mask, nulls(pile.schema, len(hashes)))
    rows = pile.take(at[mask])
    if mask.all():
        return Found(mask, rows)
    return Found(mask, rows.take(pa.array(np.cumsum(mask) - 1, mask=~mask)))


def _sought(
    runs: Sequence[Run], keys: pa.RecordBatch, hashes: UInt64Array, names: Sequence[str]
) -> tuple[Int64Array, Int64Array]:
    """The place of the newest row of each key, and its version; -1 and the lowest: there is none.

    It is negative too where that row says that its key is deleted.

    An older run stands before a newer one.
    """
    # Sorted probes are cut by the range of each run, and near each other in memory.
    order = ascending(hashes, None)
    at, version = _ascending(runs, keys.take(pa.array(order)), hashes.take(order), names)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return at.take(back), version.take(back)


def _ascending(
    runs: Sequence[Run], keys: pa.RecordBatch, hashes: UInt64Array, names: Sequence[str]
) -> tuple[Int64Array, Int64Array]:
    """The same for hashes that ascend."""
    at = np.full(len(hashes), -1, dtype=np.int64)
    version = np.full(len(hashes), _LOWEST, dtype=np.int64)
    for run in runs:
        low = int(np.searchsorted(hashes, run.hashes[0]))
        high = int(np.searchsorted(hashes, run.hashes[-1], side="right"))
        probes, places = matching(run, keys.slice(low, high - low), hashes[low:high], names)
        probes += low
        mine = _places(run).take(places)
        if _VERSION in run.rows.schema.names:
            own = run.rows.column(_VERSION).to_numpy().take(places)
            # What waits may have a key several times. Of several writes to one place numpy keeps
            # the last.
            rising = np.argsort(own, kind="stable")
            rising = rising[own[rising] >= version[probes[rising]]]
            probes, mine = probes[rising], mine[rising]
            version[probes] = own[rising]
        at[probes] = mine
    return at, version

"""Count the distinct values of groups, each under several conditions, over rows that only come.

A group has a number, and so has a value: both together are one number of 64 bits, and all that is
remembered of a value in a group are the conditions that have held for it, as flags of that number
(`state.flagged`). An epoch's rows become such numbers, each once (`distinct_pairs`), and what is
new in them is what the groups' counts grow by. So a row costs a place in a table or in a sort, and
a value that is remembered twelve bytes.

Values too far from 0 for that, and groups beyond sixteen million, are remembered by key.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import HASH, WEIGHT, Delta, Int64Array
from headwater.operators.accumulate import Totals, published
from headwater.operators.aggregate import by_hash, shown_schema
from headwater.operators.distinct_pairs import Pairs, fits, in_order, packed
from headwater.operators.distinct_reading import Asked, Seen, reader
from headwater.operators.distinct_values import Values
from headwater.operators.layout import ROWS, layout
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.statement import Engine, Rows
from headwater.operators.window_order import mixed
from headwater.plan.nodes import Aggregate
from headwater.state.equality import BoolArray, taken
from headwater.state.flagged import Flagged, Int32Array
from headwater.state.latest import Latest

_GROUP, _VALUE, _FLAGS = "__group", "__value", "__flags"


class DistinctCountsOperator:
    """Keeps an `Aggregate` that counts distinct values up to date.

    Args:
        node: What to compute.
        values: What it counts.
        input_schema: The columns of the stage below the stretch of `values`; none is hidden.

    """

    def __init__(
        self, node: Aggregate, values: Values, input_schema: pa.Schema, engine: Engine
    ) -> None:
        self._layout = layout(node, is_weighted=False, has_ticks=False)
        self._bits = [(t.value, values.bits[t.name]) for t in self._layout.terms]
        self._read = reader(node, values, engine)
        self._asked = Asked(node, values, input_schema, engine)
        keys = self._layout.keys
        fields = [pa.field(key.name, key.type.arrow) for key in keys]
        self._groups = Latest(pa.schema([*fields, (_GROUP, pa.int64())]), keys.names)
        self._group_count = 0
        self._known, self._far = Flagged(), _Far()
        self._totals = Totals(engine, self._layout)
        self._visible = node.schema.names
        self.schema = shown_schema(node, [WEIGHT])

    def is_due(self, epoch: Epoch) -> bool:
        """Without keys there is a row also before the first input."""
        return not self._layout.keys.names and self._totals.size()[0] == 0

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Add the values of an epoch; return the groups whose counts changed."""
        seen = self._read.seen(rows) if self._read is not None else None
        if seen is None:
            seen = self._asked.seen(rows, epoch.failed)
        changes = self._totals.add(by_hash(self._partials(seen)))
        shown = published(self._layout, changes)
        columns = [*(shown[name] for name in self._visible), changes.column(WEIGHT)]
        return Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema))

    def save(self, saver: Saver) -> Any:
        """Hand over groups, values and totals."""
        return {
            "groups": self._groups.save(saver),
            "count": self._group_count,
            "known": self._known.save(saver),
            "far": self._far.save(saver),
            "totals": self._totals.save(saver),
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take them back."""
        self._groups.load(manifest["groups"], loader)
        self._group_count = manifest["count"]
        self._known.load(manifest["known"], loader)
        self._far.load(manifest["far"], loader)
        self._totals.load(manifest["totals"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of groups, values and totals."""
        parts = (self._groups, self._known, self._far, self._totals)
        sizes = [part.size() for part in parts]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def _partials(self, seen: Seen) -> pa.RecordBatch:
        """What the counts of the groups grow by."""
        ids, is_new = self._numbered(seen)
        found = in_order(seen, ids)
        before = self._before(found)
        fresh = found.flags & ~before
        moved = np.flatnonzero(fresh)
        place, fresh = found.group.take(moved), fresh.take(moved)
        columns: dict[str, pa.Array] = {
            name: seen.groups.column(at) for at, name in enumerate(self._layout.keys.names)
        }
        # That a group is there is all that its number of rows must say.
        columns[ROWS] = pa.array(is_new.astype(np.int64))
        for name, bit in self._bits:
            hits = place[(fresh & bit) != 0]
            columns[name] = pa.array(np.bincount(hits, minlength=len(ids)))
        columns[HASH] = pa.array(seen.hashes)
        schema = self._layout.carried()
        rows = pa.RecordBatch.from_arrays([columns[n] for n in schema.names], schema=schema)
        # The one group of an aggregate without keys is there also without a value.
        is_touched = is_new | (np.bincount(place, minlength=len(ids)) > 0)
        is_whole = is_touched.all() or not self._layout.keys.names
        return rows if is_whole else rows.filter(pa.array(is_touched))

    def _numbered(self, seen: Seen) -> tuple[Int64Array, BoolArray]:
        """The number of each group, and which are new: these get the next ones."""
        if not self._layout.keys.names:
            return np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.bool_)
        found = self._groups.find(seen.groups, seen.hashes)
        column = pc.fill_null(found.rows.column(_GROUP), -1)
        ids = np.array(column.to_numpy(zero_copy_only=False), dtype=np.int64)
        new = np.flatnonzero(~found.mask)
        ids[new] = np.arange(self._group_count, self._group_count + len(new))
        self._group_count += len(new)
        columns = [taken(column, new) for column in seen.groups.columns]
        batch = pa.RecordBatch.from_arrays(
            [*columns, pa.array(ids[new])], schema=self._groups.schema
        )
        self._groups.put(batch, seen.hashes.take(new))
        return ids, ~np.asarray(found.mask)

    def _before(self, found: Pairs) -> Int32Array:
        """The flags that values had before, of which each stands there once."""
        if found.packed is not None:
            return self._known.add(found.packed, found.flags)
        is_near = fits(found.ids, found.values)
        near, far = np.flatnonzero(is_near), np.flatnonzero(~is_near)
        before = np.zeros(len(is_near), dtype=np.int32)
        numbers = packed(found.ids[near], found.values[near])
        before[near] = self._known.add(numbers, found.flags[near])
        before[far] = self._far.add(found.ids[far], found.values[far], found.flags[far])
        return before


class _Far:
    """The flags of values that do not fit into a number with their group."""

    def __init__(self) -> None:
        fields = [(_GROUP, pa.int64()), (_VALUE, pa.int64()), (_FLAGS, pa.int32())]
        self._known = Latest(pa.schema(fields), [_GROUP, _VALUE])

    def add(self, ids: Int64Array, values: Int64Array, flags_: Int32Array) -> Int32Array:
        """Add flags; return those that were there before."""
        if not len(ids):
            return flags_
        keys = pa.RecordBatch.from_arrays([pa.array(ids), pa.array(values)], [_GROUP, _VALUE])
        hashes = mixed(values.view(np.uint64), ids)
        found = self._known.find(keys, hashes)
        column = pc.fill_null(found.rows.column(_FLAGS), 0)
        before = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int32)
        columns = [*keys.columns, pa.array(before | flags_)]
        batch = pa.RecordBatch.from_arrays(columns, schema=self._known.schema)
        self._known.put(batch, hashes)
        return before

    def size(self) -> tuple[int, int]:
        """Rows and bytes."""
        return self._known.size()

    def save(self, saver: Saver) -> Any:
        """Hand them over."""
        return self._known.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take them back."""
        self._known.load(manifest, loader)

"""Group the pairs of a join by the rows that they have on one side, before anything is gathered.

Where all keys of a group lie on one side of a join, pairs with the same row there are of one group.
So what is aggregated, which lies on the other side, is counted by that row's place: the keys are
gathered once for each row that has a pair, and not once for each pair. Rows with equal keys are
brought together at the end. This is eager aggregation (Yan and Larson, "Eager Aggregation and Lazy
Aggregation", VLDB 1995) in one epoch's pairs; what the groups remember is the same with or without.

An epoch costs a pass over its pairs for each aggregate, and the rows that have one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, WEIGHT, Int64Array
from headwater.operators.calendar import Ranks
from headwater.operators.counted import Key, Measure
from headwater.operators.feed import KeyHash
from headwater.operators.layout import Layout
from headwater.operators.merging import can_merge, merged
from headwater.operators.tally import Tallying
from headwater.state.afar import Afar, Unread

# Below this DuckDB is as quick.
_ROWS_MIN = 1 << 14
# Arrays of so many rows stay in the processor's cache from one step to the next.
_BLOCK_ROWS = 1 << 16


class PairCounts:
    """Partial results of an aggregate, for pairs of which one row has all keys.

    Args:
        keys: How the keys of `layout` are read, in its order.
        measures: How its aggregates are.
        key_hash: Hashes the keys.

    """

    def __init__(
        self, layout: Layout, keys: Sequence[Key], measures: Sequence[Measure], key_hash: KeyHash
    ) -> None:
        self._layout, self._hash = layout, key_hash
        self._names = [key.column for key in keys]
        self._reads = sorted({name for measure in measures for name in measure.reads})
        self._reads += [WEIGHT] if layout.is_weighted else []
        self._tallying = Tallying(measures, is_weighted=layout.is_weighted)
        self._schema = layout.carried()

    def partials(self, rows: Unread) -> pa.RecordBatch | None:
        """The partial results of all pairs, by hash; None when these cannot be counted so."""
        if rows.num_rows < _ROWS_MIN:
            return None
        origins = [stretch.origin(self._names) for stretch in rows.stretches]
        batches = [stretch.batch(self._reads or self._names[:1]) for stretch in rows.stretches]
        if any(batch.column(name).null_count for batch in batches for name in self._reads):
            return None
        ranks = self._tallying.ranks(batches)
        if ranks is None or not self._tallying.is_exact(batches, rows.num_rows):
            return None
        parts = []
        for batch, origin in zip(batches, origins, strict=True):
            part = None if origin is None else self._by_place(batch, *origin, ranks)
            if part is None:
                return None
            parts.append(part)
        return self._by_key({n: pa.concat_arrays([part[n] for part in parts]) for n in parts[0]})

    def _by_place(
        self, batch: pa.RecordBatch, lies: Afar, names: list[str], ranks: dict[str, Ranks]
    ) -> dict[str, pa.Array] | None:
        """Partial results by the row that pairs have on the side of the keys."""
        if lies.places is None:
            return None
        cells, index = numbered(lies.places)
        tally = self._tallying.empty(len(cells), ranks, has_ticks=False)
        for first in range(0, batch.num_rows, _BLOCK_ROWS):
            block = batch.slice(first, _BLOCK_ROWS)
            self._tallying.count(block, index[first : first + _BLOCK_ROWS], tally)
        present = np.flatnonzero(tally.present)
        found = Afar(lies.batches, cells.take(present)).columns(names)
        columns = {
            key.name: column.cast(key.type.arrow)
            for key, column in zip(self._layout.keys, found, strict=True)
        }
        return columns | self._tallying.columns(tally, present)

    def _by_key(self, columns: dict[str, pa.Array]) -> pa.RecordBatch | None:
        """Those with equal keys as one."""
        names = list(self._layout.keys.names)
        keys = pa.RecordBatch.from_arrays([columns[name] for name in names], names=names)
        columns[HASH] = self._hash.of(keys)
        arrays = [columns[name] for name in self._schema.names]
        rows = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        return merged(rows, columns[HASH].to_numpy(), self._layout, names)


def suits(layout: Layout, keys: Sequence[Key]) -> bool:
    """Whether groups may be counted by pairs, if the pairs allow it."""
    is_plain = not any(key.calendar for key in keys)
    return bool(keys) and is_plain and not layout.has_ticks and can_merge(layout)


def numbered(places: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Ascending places, all given ones among them, and which of these each given one is."""
    low, high = int(places.min()), int(places.max())
    if high - low < len(places):
        return np.arange(low, high + 1), places - low if low else places
    order = np.argsort(places, kind="stable")
    ordered = places.take(order)
    is_new = np.append(True, ordered[1:] != ordered[:-1])
    index = np.empty_like(places)
    index[order] = np.cumsum(is_new) - 1
    return ordered[is_new], index

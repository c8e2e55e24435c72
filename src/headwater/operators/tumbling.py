"""Final windows of which each is one slice, published once.

Rows of an epoch come as partial results, one for each group and slice, and wait until the window
closes. A slice whose rows all came in one epoch is then published as it lies, without a copy; only
those that epochs share are merged. So a group of its own, as in a DISTINCT of nearly unique rows,
costs little more than its columns, and its hash is asked for only where numbers leave a tie.

What is published is in the order of slices, in a slice in that of the keys that are numbers, then
in that of the keys' hashes: however the rows were grouped and cut.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, UInt64Array
from headwater.operators import render
from headwater.operators.feed import KeyHash
from headwater.operators.layout import SLICE, Layout
from headwater.operators.merging import can_merge, merged
from headwater.operators.runs import Runs
from headwater.operators.statement import Engine, Statement
from headwater.operators.window_order import in_slices, is_number, mixed


class Tumbling:
    """The partial results of windows that have not closed.

    Args:
        layout: Their columns, beside the slice.

    """

    def __init__(self, layout: Layout, engine: Engine) -> None:
        self._layout = layout
        self._hashed = layout.carried(SLICE)
        self.schema = self._hashed.remove(self._hashed.get_field_index(HASH))
        self._numbers = [key.name for key in layout.keys if is_number(key.type.arrow)]
        self._hash = KeyHash(list(layout.keys.names), layout.keys, engine)
        self._combine = Statement(
            engine,
            layout.combined(render.INPUT, (SLICE,)),
            {render.INPUT: self._hashed},
            is_ordered=layout.is_ordered,
        )
        self.runs = Runs(self.schema, SLICE, self._merged)

    def add(self, partials: pa.RecordBatch) -> None:
        """Keep partial results, one for each group and slice; with their hash or without."""
        self.runs.add(self._ordered(partials))

    def closed(self, first_us: int, stop_us: int) -> list[pa.RecordBatch]:
        """The groups of the windows that start in [first, stop), whole and in order."""
        parts, shared = self.runs.apart(first_us, stop_us)
        if shared is not None:
            parts.append(self._merged(shared))
        parts.sort(key=_first)
        follows = all(_last(a) < _first(b) for a, b in pairwise(parts))
        if follows:
            return parts
        together = pa.Table.from_batches(parts).combine_chunks().to_batches()[0]
        order = np.argsort(together.column(SLICE).to_numpy(), kind="stable")
        return [together.take(pa.array(order))]

    def _merged(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """One row for each group and slice, in order."""
        hashes = self._hash_of(rows)
        position = self._hashed.get_field_index(HASH)
        hashed = rows.add_column(position, self._hashed.field(HASH), pa.array(hashes))
        if can_merge(self._layout):
            keys = [*self._layout.keys.names, SLICE]
            of_both = mixed(hashes, rows.column(SLICE).to_numpy())
            found = merged(hashed, of_both, self._layout, keys)
            if found is not None:
                return self._ordered(found.select(self.schema.names))
        return self._ordered(self._layout.settled(self._combine.run(input=hashed)))

    def _ordered(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        known = rows.column(HASH).to_numpy() if HASH in rows.schema.names else None
        plain = rows.select(self.schema.names)
        return in_slices(
            plain, self._numbers, lambda: self._hash_of(plain) if known is None else known
        )

    def _hash_of(self, rows: pa.RecordBatch) -> UInt64Array:
        hashes: UInt64Array = self._hash.of(rows).to_numpy()
        return hashes


def _first(part: pa.RecordBatch) -> int:
    return int(part.column(SLICE)[0].as_py())


def _last(part: pa.RecordBatch) -> int:
    return int(part.column(SLICE)[-1].as_py())

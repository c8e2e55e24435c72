"""Keep the share of the senders that have passed the end of a row's window.

Rows of windows that are not complete are remembered, sorted by the window's end (`runs`), and with
each end the share that its rows were last shown with. When that changes, and only then, the rows of
the window are withdrawn and shown again. What a row is shown with depends on how far the senders
are at the end of the epoch, which the log tells; so at any place in the log the rows are the same,
whatever the cut. An epoch costs its rows, a look at each window that is not complete, and the rows
of those whose share has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.delta.delta import WEIGHT, Delta, Int64Array
from headwater.delta.watermark import BEFORE_ALL
from headwater.operators.groups import difference, weights_of
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import Runs, joined
from headwater.operators.statement import Engine, empty_batch, plain
from headwater.plan.nodes import Completeness

_END = "__end"
_Shares = npt.NDArray[np.float64]


class CompletenessOperator:
    """Keeps a `Completeness` up to date.

    Args:
        node: What to compute.

    """

    def __init__(self, node: Completeness, engine: Engine) -> None:
        self._node = node
        weight = pa.field(WEIGHT, pa.int64())
        fields = [*plain(node.input.schema), pa.field(_END, pa.int64())]
        self._kept_schema = pa.schema([*fields, weight])
        merged = difference(engine, pa.schema(fields))
        self._kept = Runs(
            self._kept_schema, _END, lambda rows: merged.run(input=rows).cast(self._kept_schema)
        )
        self.schema = pa.schema([*plain(node.schema), weight])
        self._difference = difference(engine, pa.schema([*plain(node.schema)]))
        # The ends of windows with rows that are not complete, and what their rows are shown with.
        self._ends: Int64Array = np.empty(0, dtype=np.int64)
        self._shown: _Shares = np.empty(0)

    def is_due(self, epoch: Epoch) -> bool:
        """Senders move on without a row for the view."""
        return not np.array_equal(self._share(self._ends, epoch), self._shown)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed in the input; return what changed, and what is more complete now."""
        (change,) = inputs
        fresh = self._with_ends(change)
        ends: Int64Array = fresh.column(_END).to_numpy()
        now = self._share(self._ends, epoch)
        moved = np.flatnonzero(now != self._shown)
        parts = [self._told(fresh, self._share(ends, epoch), fresh.column(WEIGHT).to_numpy())]
        for place in moved.tolist():
            end = int(self._ends[place])
            rows = self._kept.between(end, end + 1)
            weights = rows.column(WEIGHT).to_numpy()
            parts.append(self._told(rows, np.full(len(rows), self._shown[place]), -weights))
            parts.append(self._told(rows, np.full(len(rows), now[place]), weights))
        self._keep(fresh, ends, epoch)
        told = joined(parts, self.schema)
        return Delta(self._difference.run(input=told).cast(self.schema) if len(moved) else told)

    def save(self, saver: Saver) -> Any:
        """Hand over the rows of windows that are not complete."""
        return {
            "kept": self._kept.save(saver),
            "ends": self._ends.tolist(),
            "shown": self._shown.tolist(),
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take them back."""
        self._kept.load(manifest["kept"], loader)
        self._ends = np.array(manifest["ends"], dtype=np.int64)
        self._shown = np.array(manifest["shown"], dtype=np.float64)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of windows that are not complete."""
        return self._kept.size()

    def waits_until(self) -> int | None:
        """The end of the first window with rows that is not complete."""
        ends = self._ends
        return int(ends[0]) if len(ends) else None

    def _share(self, ends: Int64Array, epoch: Epoch) -> _Shares:
        shares = [topic.of(ends) for topic in epoch.shares[self._node.sources]]
        return np.min(shares, axis=0)

    def _keep(self, fresh: pa.RecordBatch, ends: Int64Array, epoch: Epoch) -> None:
        """Remember the rows of windows that are not complete, and forget those of the others."""
        complete_us = min(topic.complete_us for topic in epoch.shares[self._node.sources])
        is_open = ends > complete_us
        self._kept.add(fresh.filter(pa.array(is_open)))
        if len(self._ends) and self._ends[0] <= complete_us:
            self._kept.take_below(complete_us + 1)
        known = np.union1d(self._ends, ends[is_open])
        self._ends = known[known > complete_us]
        self._shown = self._share(self._ends, epoch)

    def _with_ends(self, change: Delta) -> pa.RecordBatch:
        """The rows with their weights and the end of their window as a number."""
        rows = change.rows.select(self._node.input.schema.names)
        ends = rows.column(self._node.end).cast(pa.int64()).fill_null(BEFORE_ALL)
        columns = [*rows.columns, ends, pa.array(weights_of(change))]
        return pa.RecordBatch.from_arrays(columns, names=self._kept_schema.names).cast(
            self._kept_schema
        )

    def _told(self, rows: pa.RecordBatch, shares: _Shares, weights: Int64Array) -> pa.RecordBatch:
        """Rows as they are shown with these shares."""
        if not rows.num_rows:
            return empty_batch(self.schema)
        is_null = rows.column(self._node.end).is_null().to_numpy(zero_copy_only=False)
        told = {name: rows.column(name) for name in self._node.schema.names}
        told[self._node.end] = pa.array(shares, mask=is_null)
        told[WEIGHT] = pa.array(weights)
        columns = [told[name] for name in self.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

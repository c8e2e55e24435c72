"""Rows that come and go as time passes.

A row is out before its first moment, and again from its last on. Now is the epoch's recorded time,
so recovery and replay see the same; it never goes back. What waits to come in lies sorted by when
it may, what is in by when it must leave (`runs`), so an epoch costs the rows that move, and a row
that is out for good is forgotten. Between epochs `wakes_at` says when the next row moves: the
engine then runs an epoch though no event has come.

A row that is withdrawn is a row of weight -1 that takes the same way; the two become none when
runs merge, or when they move.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import Runs, joined
from headwater.operators.statement import empty_batch, plain
from headwater.plan.nodes import TemporalFilter
from headwater.state.equality import BoolArray
from headwater.state.run import consolidated, merge, sorted_run


class TemporalOperator:
    """Keeps a `TemporalFilter` up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input, hidden ones included; with weights also a hash over
            all others.

    """

    def __init__(self, node: TemporalFilter, input_schema: pa.Schema) -> None:
        self._node = node
        self._is_weighted = WEIGHT in input_schema.names
        fields = [*plain(node.input.schema)]
        if self._is_weighted:
            fields += [pa.field(HASH, pa.uint64()), pa.field(WEIGHT, pa.int64())]
        self._kept_schema = pa.schema(fields)
        hidden = [] if node.append_only else [WEIGHT]
        hidden += [TICK] if TICK in input_schema.names else []
        self.schema = pa.schema([*plain(node.schema), *(pa.field(n, pa.int64()) for n in hidden)])
        self._coming = self._runs(node.valid_from)
        self._present = self._runs(node.valid_until)
        self._now_us = BEFORE_ALL
        self._nothing = Delta(empty_batch(self.schema))

    def wakes_at(self) -> int | None:
        """When the next row comes or goes, in microseconds; None when none will."""
        waiting = (self._coming, self._present)
        moments = [runs.lowest() for runs in waiting if runs is not None]
        # A row that is in for ever has the last moment that there is.
        return min((m for m in moments if m is not None and m < AFTER_ALL), default=None)

    def is_due(self, epoch: Epoch) -> bool:
        """Whenever time goes on: it must be known though no row moves, so as never to go back."""
        return epoch.time_us > self._now_us

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take what changed; return what came in and what left until now."""
        self._now_us = max(self._now_us, epoch.time_us)
        fresh, moment = inputs[0].rows, self.wakes_at()
        if not fresh.num_rows and (moment is None or moment > self._now_us):
            return self._nothing
        parts = []
        if fresh.num_rows:
            rows = pa.RecordBatch.from_arrays(
                [fresh.column(name) for name in self._kept_schema.names], schema=self._kept_schema
            )
            is_in = self._has_begun(rows)
            here = np.flatnonzero(is_in & self._has_not_ended(rows))
            parts.append((rows.take(pa.array(here)), self._ticks(fresh, here)))
            if self._coming is not None:
                self._coming.add(rows.take(pa.array(np.flatnonzero(~is_in))))
        if self._coming is not None:
            came = self._coming.take_below(self._now_us + 1)
            came = self._netted(came.filter(pa.array(self._has_not_ended(came))))
            parts.append((came, None))
        left = None
        if self._present is not None:
            for rows, _ in parts:
                self._present.add(rows)
            left = self._netted(self._present.take_below(self._now_us + 1))
        return self._moved(parts, left, epoch)

    def save(self, saver: Saver) -> Any:
        """Hand over the rows that wait to come or to go."""
        return {
            "now_us": self._now_us,
            "coming": self._coming.save(saver) if self._coming else None,
            "present": self._present.save(saver) if self._present else None,
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take them back."""
        self._now_us = manifest["now_us"]
        if self._coming:
            self._coming.load(manifest["coming"], loader)
        if self._present:
            self._present.load(manifest["present"], loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of those that wait to come or to go."""
        sizes = [runs.size() for runs in (self._coming, self._present) if runs is not None]
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def _runs(self, column: str | None) -> Runs | None:
        if column is None:
            return None
        return Runs(self._kept_schema, column, self._netted if self._is_weighted else None)

    def _has_begun(self, rows: pa.RecordBatch) -> BoolArray:
        if self._node.valid_from is None:
            return np.ones(rows.num_rows, dtype=bool)
        begun: BoolArray = rows.column(self._node.valid_from).to_numpy() <= self._now_us
        return begun

    def _has_not_ended(self, rows: pa.RecordBatch) -> BoolArray:
        if self._node.valid_until is None:
            return np.ones(rows.num_rows, dtype=bool)
        lasting: BoolArray = rows.column(self._node.valid_until).to_numpy() > self._now_us
        return lasting

    def _ticks(self, fresh: pa.RecordBatch, places: Int64Array) -> Int64Array | None:
        """The places in the log of rows that are in at once."""
        if TICK not in self.schema.names:
            return None
        ticks: Int64Array = fresh.column(TICK).to_numpy()[places]
        return ticks

    def _netted(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Equal rows as one, and without those that cancel out."""
        if not self._is_weighted or rows.num_rows < 2:
            return rows
        names = [n for n in self._kept_schema.names if n not in (HASH, WEIGHT)]
        hashes, weights = (rows.column(name).to_numpy() for name in (HASH, WEIGHT))
        run, _ = sorted_run(hashes, rows.select(names), weights)
        net = consolidated(merge([run]))
        columns = [*net.rows.columns, pa.array(net.hashes), pa.array(net.ones())]
        return pa.RecordBatch.from_arrays(columns, schema=self._kept_schema)

    def _moved(
        self,
        came: Sequence[tuple[pa.RecordBatch, Int64Array | None]],
        left: pa.RecordBatch | None,
        epoch: Epoch,
    ) -> Delta:
        """What came in, then what left, which is withdrawn."""
        parts = [self._shown(rows, ticks, epoch, sign=1) for rows, ticks in came]
        if left is not None:
            parts.append(self._shown(left, None, epoch, sign=-1))
        return Delta(joined(parts, self.schema))

    def _shown(
        self, rows: pa.RecordBatch, ticks: Int64Array | None, epoch: Epoch, *, sign: int
    ) -> pa.RecordBatch:
        """Rows with the output's columns; those that time moves stand at the end of the epoch."""
        columns = {name: rows.column(name) for name in self._node.schema.names}
        ones = np.ones(rows.num_rows, dtype=np.int64)
        weights = rows.column(WEIGHT).to_numpy() if self._is_weighted else ones
        columns[WEIGHT] = pa.array(sign * weights)
        columns[TICK] = pa.array(epoch.tick_last * ones if ticks is None else ticks)
        arrays = [columns[name] for name in self.schema.names]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)

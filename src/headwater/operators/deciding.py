"""What joins in time decide by their frontiers: which rows are late, and which still wait.

A row is late when, at its place in the log, the frontier of its side had passed its time by more
than the lateness. A left row whose answer may still change can wait until the right frontier has
passed its time; what waits is kept in few sorted runs, and comes out at the place in the log where
its wait was over.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.lateness import are_late, late_alone
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import Runs
from headwater.operators.sides import Side
from headwater.plan.nodes import Frontier
from headwater.state.run import times_of

_TIME = "__time"


def in_time(side: Side, time: str, epoch: Epoch, *, frontier: Frontier, lateness_us: int) -> Side:
    """The rows that are not late; those that are go to the epoch's late rows.

    Args:
        side: Rows with ticks, none of whose times is null.

    """
    if not len(side):
        return side
    assert side.ticks is not None, "what decides lateness carries ticks"
    watermarks = epoch.passed(frontier).before(side.ticks)
    late = are_late(times_of(side.rows.column(time)), watermarks, lateness_us)
    if not late.any():
        return side
    missed = side.where(late)
    epoch.late.append(late_alone(missed.rows, missed.weights, watermarks[late]))
    return side.where(~late)


def less_lateness(watermark_us: int, lateness_us: int) -> int:
    """No row in time comes before this any more."""
    return watermark_us if watermark_us in (BEFORE_ALL, AFTER_ALL) else watermark_us - lateness_us


class Waiting:
    """Left rows that wait.

    Args:
        schema: Their visible columns.
        keys: Their key columns.
        time: The column of their time.

    """

    def __init__(self, schema: pa.Schema, keys: tuple[str, ...], time: str) -> None:
        self._names, self._keys, self._time = schema.names, list(keys), time
        kinds = {HASH: pa.uint64(), WEIGHT: pa.int64(), TICK: pa.int64(), _TIME: pa.int64()}
        hidden = [pa.field(name, kind) for name, kind in kinds.items()]
        self._runs = Runs(pa.schema([*schema, *hidden]), _TIME)
        # Rows before this time no longer wait.
        self.closed_us = BEFORE_ALL

    def add(self, side: Side) -> None:
        """Let rows wait."""
        if not len(side):
            return
        ones = np.ones(len(side), dtype=np.int64)
        assert side.ticks is not None, "what decides lateness carries ticks"
        times = times_of(side.rows.column(self._time))
        hidden = [side.hashes, ones if side.weights is None else side.weights, side.ticks, times]
        names = [*self._names, HASH, WEIGHT, TICK, _TIME]
        columns = [*side.rows.columns, *map(pa.array, hidden)]
        self._runs.add(pa.RecordBatch.from_arrays(columns, names))

    def take_below(self, bound_us: int) -> Side:
        """The rows whose wait is over when all before the bound is decided."""
        self.closed_us = max(self.closed_us, bound_us)
        due = self._runs.take_below(self.closed_us)
        hashes, weights, ticks = (due.column(n).to_numpy() for n in (HASH, WEIGHT, TICK))
        return Side(due.select(self._names), due.select(self._keys), hashes, weights, ticks)

    def lowest(self) -> int | None:
        """The first time of a row that waits."""
        return self._runs.lowest()

    def size(self) -> tuple[int, int]:
        """Rows and bytes."""
        return self._runs.size()

    def save(self, saver: Saver) -> Any:
        """Hand the rows over."""
        return {"closed_us": self.closed_us, "rows": self._runs.save(saver)}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the rows back."""
        self.closed_us = manifest["closed_us"]
        self._runs.load(manifest["rows"], loader)

"""The rows that a process is given in an epoch: in the order of the log, or of event time.

In the order of the log each row comes at its own place. In the order of event time a row waits
until the watermark has passed its time, and comes at the place where it did; one that comes behind
the watermark is late, and one without a time is left out. Rows of one time keep the log's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, HIDDEN, TICK, Delta, Int64Array
from headwater.delta.watermark import WatermarkCurve
from headwater.operators.lateness import WATERMARK, times
from headwater.operators.operator import Loader, Saver
from headwater.operators.runs import Runs
from headwater.state.run import times_of

TIME = "__time_us"


@dataclass(frozen=True, slots=True)
class Given:
    """Rows in the order in which the code is given those of a key.

    Args:
        rows: With the hash of their keys.
        places: Where in the log each is given.
        watermarks_us: What time it is before each: timers that are not after it come first.

    """

    rows: pa.RecordBatch
    places: Int64Array
    watermarks_us: Int64Array


def in_log_order(change: Delta, curve: WatermarkCurve) -> Given:
    """The rows as they come."""
    ticks = change.ticks
    assert ticks is not None, "a process needs the places of its rows"
    return Given(change.rows, ticks, curve.before(ticks))


class InTimeOrder:
    """Holds rows until the watermark has passed them.

    Args:
        time: Their event time.
        schema: The columns of the change, hidden ones too.

    """

    def __init__(self, time: str, schema: pa.Schema) -> None:
        self._time = time
        self._schema = schema.append(pa.field(TIME, pa.int64()))
        self._held = Runs(self._schema, TIME)

    def is_due(self, curve: WatermarkCurve) -> bool:
        """Whether the watermark passes a row."""
        first = self._held.lowest()
        return first is not None and first < curve.end_us

    def lowest(self) -> int | None:
        """The first time that the watermark must reach for a row to have passed; None: no rows."""
        first = self._held.lowest()
        return None if first is None else first + 1

    def given(self, change: Delta, curve: WatermarkCurve, late: list[pa.RecordBatch]) -> Given:
        """Take the rows of an epoch in; return those that the watermark has passed."""
        timed = np.flatnonzero(change.rows.column(self._time).is_valid())
        rows = change.rows.take(pa.array(timed))
        us = times_of(rows.column(self._time))
        before = curve.before(rows.column(TICK).to_numpy())
        is_late = us < before
        if is_late.any():
            late.append(_late(rows.filter(pa.array(is_late)), before[is_late]))
        rows = rows.append_column(pa.field(TIME, pa.int64()), pa.array(us))
        self._held.add(rows.filter(pa.array(~is_late)))
        passed = self._held.take_below(curve.end_us)
        us, ticks = passed.column(TIME).to_numpy(), passed.column(TICK).to_numpy()
        order = np.lexsort((ticks, us))
        us = us[order]
        return Given(passed.take(pa.array(order)), curve.tick_of(us + 1), us)

    def save(self, saver: Saver) -> Any:
        """Hand over the rows that wait."""
        return self._held.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the waiting rows back."""
        self._held.load(manifest, loader)

    def size(self) -> tuple[int, int]:
        """Rows and bytes that wait."""
        return self._held.size()


def _late(rows: pa.RecordBatch, watermarks_us: Int64Array) -> pa.RecordBatch:
    names = [name for name in rows.schema.names if name not in (*HIDDEN, HASH)]
    columns = [*rows.select(names).columns, times(watermarks_us, pa.timestamp("us"))]
    return pa.RecordBatch.from_arrays(columns, names=[*names, WATERMARK])

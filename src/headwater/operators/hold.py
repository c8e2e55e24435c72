"""Hold rows until their stretch of event time is over, and give them the place where it ended.

All rows that wait are of the stretch in which the watermark stands now. When it moves on they come
out, and with them those of an epoch's rows whose stretches are over too: each at the place in the
log at which the watermark passed the end of its stretch. So what comes out at one place is the
same whatever the cut into epochs. An epoch costs its own rows; the state is the rows of a stretch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, Delta
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import joined
from headwater.operators.sides import visible_fields
from headwater.operators.statement import empty_batch
from headwater.plan.nodes import Frontier, Hold


class HoldOperator:
    """Keeps a `Hold` up to date.

    Args:
        node: What to compute.
        input_schema: The input's columns, ticks among them, and no weights.

    """

    def __init__(self, node: Hold, input_schema: pa.Schema) -> None:
        assert node.append_only, "a row that is held cannot be withdrawn"
        self._node = node
        self.schema = pa.schema([*visible_fields(input_schema), pa.field(TICK, pa.int64())])
        self._held: list[pa.RecordBatch] = []
        self._stretch = BEFORE_ALL // node.every_us

    def is_due(self, epoch: Epoch) -> bool:
        """Held rows come out when the watermark has moved on."""
        end_us = epoch.closing(Frontier(self._node.sources)).end_us
        return bool(self._held) and end_us // self._node.every_us > self._stretch

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Take the rows of an epoch; return those whose stretch is over."""
        curve = epoch.closing(Frontier(self._node.sources))
        (change,) = inputs
        stretch = curve.end_us // self._node.every_us
        released = []
        if stretch > self._stretch and self._held:
            released.append(self._placed(joined(self._held, self.schema), curve))
            self._held = []
        self._stretch = max(stretch, self._stretch)
        rows = change.rows.select(self.schema.names).cast(self.schema)
        if rows.num_rows:
            ticks = rows.column(TICK).to_numpy()
            is_over = curve.before(ticks) // self._node.every_us < self._stretch
            is_over |= curve.end_us == AFTER_ALL
            released.append(self._placed(rows.filter(pa.array(is_over)), curve))
            if not is_over.all():
                self._held.append(rows.filter(pa.array(~is_over)))
        return Delta(joined(released, self.schema) if released else empty_batch(self.schema))

    def save(self, saver: Saver) -> Any:
        """Hand over what is held."""
        self._held = [joined(self._held, self.schema)] if self._held else []
        return {"stretch": self._stretch, "held": [saver.put(batch) for batch in self._held]}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what is held."""
        self._stretch = manifest["stretch"]
        self._held = [loader.get(name) for name in manifest["held"]]

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are held."""
        return (
            sum(batch.num_rows for batch in self._held),
            sum(batch.nbytes for batch in self._held),
        )

    def waits_until(self) -> int | None:
        """The time that the watermark must pass for what is held to come out."""
        known = self._stretch > BEFORE_ALL // self._node.every_us
        return (self._stretch + 1) * self._node.every_us if self._held and known else None

    def _placed(self, rows: pa.RecordBatch, curve: WatermarkCurve) -> pa.RecordBatch:
        """Rows whose stretch is over, each where that was; in the order of these places.

        A row that came when all was over stands where it came.
        """
        every_us = self._node.every_us
        ticks = rows.column(TICK).to_numpy()
        stretches = curve.before(ticks) // every_us
        last = AFTER_ALL // every_us
        ends = (np.minimum(stretches, last - 1) + 1) * every_us
        firing = np.where(stretches < last, np.maximum(curve.tick_of(ends), ticks), ticks)
        index = rows.schema.get_field_index(TICK)
        moved = rows.set_column(index, self.schema.field(TICK), pa.array(firing))
        if bool((firing[1:] >= firing[:-1]).all()):
            return moved
        return moved.take(pa.array(np.argsort(firing, kind="stable")))

"""Hold changes back, and publish them together when event time has moved on.

What a change takes back of another that is still held cancels it, so that readers see one change
of a row where there were many. How far the watermark has come is known from the log, so a replay
with the same epochs publishes in the same ones. What is held is kept as it came and added up when
it has doubled: an epoch costs its own rows, and the state is as large as the difference between
what is shown and what is true.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from headwater.delta.delta import WEIGHT, Delta
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.groups import difference
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import joined
from headwater.operators.sides import visible_fields
from headwater.operators.statement import Engine, empty_batch
from headwater.plan.frontier import Frontier
from headwater.plan.nodes import Pace

_FEW = 4_096


class PaceOperator:
    """Keeps a `Pace` up to date.

    Args:
        node: What to compute.
        input_schema: The input's columns.

    """

    def __init__(self, node: Pace, input_schema: pa.Schema, engine: Engine) -> None:
        self._node = node
        fields = visible_fields(input_schema)
        weight = [] if node.append_only else [pa.field(WEIGHT, pa.int64())]
        self.schema = pa.schema([*fields, *weight])
        self._difference = None if node.append_only else difference(engine, pa.schema(fields))
        self._held: list[pa.RecordBatch] = []
        self._rows = self._added_up = 0
        self._stretch = BEFORE_ALL // node.every_us

    def is_due(self, epoch: Epoch) -> bool:
        """Held changes come out when the watermark has moved on; that counts without them too."""
        return self._moves_on(epoch)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Hold what changed; return all that is held if the watermark has moved on."""
        (change,) = inputs
        if len(change):
            self._held.append(change.rows.select(self.schema.names).cast(self.schema))
            self._rows += len(change)
        if self._moves_on(epoch):
            self._stretch = self._stretch_of(epoch)
            said, self._held = self._sum(), []
            self._rows = self._added_up = 0
            return Delta(said)
        if self._rows > 2 * self._added_up + _FEW:
            self._held = [self._sum()]
            self._rows = self._added_up = self._held[0].num_rows
        return Delta(empty_batch(self.schema))

    def save(self, saver: Saver) -> Any:
        """Hand over what is held."""
        if self._held:
            self._held = [joined(self._held, self.schema)]
        held = [saver.put(batch) for batch in self._held]
        return {"stretch": self._stretch, "added_up": self._added_up, "held": held}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what is held."""
        self._stretch, self._added_up = manifest["stretch"], manifest["added_up"]
        self._held = [loader.get(name) for name in manifest["held"]]
        self._rows = sum(batch.num_rows for batch in self._held)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are held."""
        return self._rows, sum(batch.nbytes for batch in self._held)

    def waits_until(self) -> int | None:
        """The time that the watermark must pass for what is held to come out."""
        known = self._stretch > BEFORE_ALL // self._node.every_us
        return (self._stretch + 1) * self._node.every_us if self._held and known else None

    def _stretch_of(self, epoch: Epoch) -> int:
        return epoch.closing(Frontier(self._node.sources)).end_us // self._node.every_us

    def _moves_on(self, epoch: Epoch) -> bool:
        is_over = epoch.closing(Frontier(self._node.sources)).end_us == AFTER_ALL
        return is_over or self._stretch_of(epoch) > self._stretch

    def _sum(self) -> pa.RecordBatch:
        """All that is held; of a changelog, what is left of it."""
        held = joined(self._held, self.schema)
        if self._difference is None or not held.num_rows:
            return held
        return self._difference.run(input=held).cast(self.schema)

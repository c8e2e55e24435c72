"""One table at work: the newest row of each key, and the changelog that views read.

A row that is sent to a table withdraws the row of the same key that stood before it in the log. All
views that read the table share this; it is stepped once per epoch. Where no view does, nobody
looks up what a row withdraws.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from headwater.operators.operator import Loader, Saver
from headwater.operators.statement import Engine
from headwater.operators.upsert import UpsertOperator
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.content import Content


class TableRunner:
    """Keeps one table.

    Args:
        is_read: Whether some view reads its changes.
        is_stepwise: Whether some view decides lateness over the table's rows.

    """

    def __init__(
        self, definition: TopicDefinition, engine: Engine, *, is_read: bool, is_stepwise: bool
    ) -> None:
        assert definition.is_table
        self.definition = definition
        self.is_read = is_read
        self._upsert = UpsertOperator(
            definition.schema,
            definition.key,
            engine,
            newest_by=definition.newest_by,
            deleted_by=definition.deleted_by,
            has_ticks=True,
            is_stepwise=is_stepwise,
        )

    def put(self, rows: pa.Table) -> None:
        """Take the rows that were sent, in the log's order, if no view reads the changes."""
        assert not self.is_read
        self._upsert.put(rows)

    def step(self, rows: pa.Table) -> pa.Table:
        """Take the rows that were sent, in the log's order; return how the content changed.

        Args:
            rows: The table's columns and the ticks.

        Returns:
            The same, and the weights.
        """
        return pa.Table.from_batches([self._upsert.step(rows).rows])

    def content(self) -> Content:
        """What the table holds now; cheap."""
        snapshot = self._upsert.snapshot()
        return Content(lambda: snapshot.rows, snapshot.batches, snapshot.find)

    def known(self) -> Iterator[pa.RecordBatch]:
        """What the table holds, and what it knows of keys that were deleted."""
        return self._upsert.snapshot().batches(deleted=True)

    def save(self, saver: Saver) -> Any:
        """A JSON value for `load`."""
        return self._upsert.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back what `save` handed over."""
        self._upsert.load(manifest, loader)

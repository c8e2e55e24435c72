"""One view at work: its dataflow, its published changes, its content, its late and failed rows.

An epoch is computed first (`step`) and shown to readers only after the journal has its record
(`publish`). What is published is kept twice: as the log of changes, which sinks and readers follow
by offset, and, for a view that withdraws rows, as its consolidated content. The content of a view
that never withdraws a row is its log of changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, WEIGHT, Delta, Int64Array
from headwater.log.changes import ChangeLog
from headwater.log.columns import WEIGHT as LOGGED_WEIGHT
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import ViewPlan
from headwater.plan.versions import table_of
from headwater.runtime.content import Content, KeptContent, LogContent


@dataclass(frozen=True, slots=True)
class Stepped:
    """What an epoch changed in a view, not yet published."""

    delta: Delta
    late: tuple[pa.RecordBatch, ...]
    failed: tuple[pa.RecordBatch, ...]


class ViewRunner:
    """Keeps one view.

    Args:
        content: What keeps its rows for readers.
        late: The log of rows that came too late; None when nothing can be late for this view.
        failed: The log of rows that the view's expressions refused.
    """

    def __init__(  # noqa: PLR0913 - its parts, and its logs by keyword
        self,
        plan: ViewPlan,
        dataflow: Dataflow,
        changes: ChangeLog,
        content: LogContent | KeptContent,
        *,
        late: ChangeLog | None,
        failed: ChangeLog,
    ) -> None:
        self.plan = plan
        self.dataflow = dataflow
        self.changes = changes
        self.late = late
        self.failed = failed
        # Failed rows that were not withdrawn.
        self.failed_rows = 0
        self._content = content

    @property
    def name(self) -> str:
        """The view's name."""
        return self.plan.name

    @property
    def inputs(self) -> tuple[str, ...]:
        """The relations that it reads, each once."""
        scans = (node for node in walk(self.plan.root) if isinstance(node, Scan))
        return tuple(dict.fromkeys(table_of(scan.relation) for scan in scans))

    @property
    def is_apart(self) -> bool:
        """Whether an epoch may be published while the next is stepped."""
        return self._content.is_apart

    def step(self, inputs: Mapping[str, pa.Table], epoch: Epoch) -> Stepped:
        """Compute one epoch; nothing is visible yet."""
        epoch.late.clear()
        epoch.failed.clear()
        delta = self._content.hashed(self.dataflow.step(inputs, epoch))
        return Stepped(delta, tuple(epoch.late), tuple(epoch.failed))

    def publish(self, stepped: Stepped, epoch: int) -> None:
        """Make an epoch's rows visible. Called once per epoch, in order, after it is durable."""
        delta = stepped.delta
        if len(delta):
            self.changes.append(delta.visible(), delta.weights, epoch)
            self._content.add(delta)
        if self.late is not None:
            self.late.append(*_gathered(stepped.late, self.late.schema), epoch)
        if stepped.failed:
            rows, weights = _gathered(stepped.failed, self.failed.schema)
            self.failed.append(rows, weights, epoch)
            self.failed_rows += rows.num_rows if weights is None else int(weights.sum())

    def logs(self) -> tuple[ChangeLog, ...]:
        """The logs that the view writes."""
        logs = (self.changes, self.failed)
        return logs if self.late is None else (*logs, self.late)

    def content(self) -> Content:
        """What the view holds now; cheap."""
        return self._content.content()

    def failed_batches(self) -> Iterable[pa.RecordBatch]:
        """The failed rows, without those that were withdrawn."""
        if self.failed_rows == self.failed.next_offset():
            return self.failed.batches()
        standing = _standing(self.failed.read(0, 1 << 62), self.failed.schema)
        batches: list[pa.RecordBatch] = standing.to_batches()
        return batches

    def save(self, saver: Saver) -> dict[str, Any]:
        """A JSON value for `load`."""
        return {
            "fingerprint": self.plan.fingerprint,
            "operators": self.dataflow.save(saver),
            "content": self._content.save(saver),
            "failed_rows": self.failed_rows,
        }

    def log_manifests(self) -> dict[str, Any]:
        """What a checkpoint says of the logs, beside what `save` gives: that is, of their files.

        They may have gone on since `save`, by whole epochs.
        """
        return {
            "changes": self.changes.manifest(),
            "late": None if self.late is None else self.late.manifest(),
            "failed": self.failed.manifest(),
        }

    def load(self, manifest: Mapping[str, Any], loader: Loader) -> None:
        """Take back the state that `save` handed over. The logs are opened by their manifests."""
        self.dataflow.load(manifest["operators"], loader)
        self.failed_rows = manifest.get("failed_rows", 0)
        self._content.load(manifest["content"], loader)


def as_input(delta: Delta, tick_last: int) -> pa.Table:
    """A view's change as the input of a view that reads it: weights stay, each row has a tick.

    Rows that carry no place of their own get the epoch's last.
    """
    rows = delta.visible()
    columns, names = list(rows.columns), list(rows.schema.names)
    if delta.weights is not None:
        columns.append(pa.array(delta.weights))
        names.append(WEIGHT)
    ticks = delta.ticks
    columns.append(
        pa.array(np.full(len(delta), tick_last, dtype=np.int64) if ticks is None else ticks)
    )
    names.append(TICK)
    return pa.Table.from_arrays(columns, names=names)


def _standing(changes: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows that were added and not withdrawn, each as often as it is there."""
    grouped = changes.group_by(schema.names, use_threads=False)
    totals = grouped.aggregate([(LOGGED_WEIGHT, "sum")])
    counts = np.maximum(totals.column(f"{LOGGED_WEIGHT}_sum").to_numpy(), 0)
    places = np.repeat(np.arange(len(counts)), counts)
    return totals.select(schema.names).take(pa.array(places)).cast(schema)


def _gathered(
    found: tuple[pa.RecordBatch, ...], schema: pa.Schema
) -> tuple[pa.RecordBatch, Int64Array | None]:
    """All late or failed rows of an epoch as one batch, with their weights."""
    tables = [pa.Table.from_batches([_conformed(batch, schema)]) for batch in found]
    rows = pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
    batches = rows.to_batches()
    if not batches:
        return pa.RecordBatch.from_pylist([], schema=schema), None
    if not any(WEIGHT in batch.schema.names for batch in found):
        return batches[0], None
    return batches[0], np.concatenate([_weights(batch) for batch in found])


def _weights(batch: pa.RecordBatch) -> Int64Array:
    if WEIGHT in batch.schema.names:
        return np.asarray(batch.column(WEIGHT).to_numpy(), dtype=np.int64)
    return np.ones(batch.num_rows, dtype=np.int64)


def _conformed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the schema's columns; those it lacks are null."""
    arrays = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

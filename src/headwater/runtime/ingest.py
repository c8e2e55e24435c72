"""Take what somebody sent: validate it row by row, append the good, keep the bad with the reason.

A batch is answered with what became of each of its rows: accepted + rejected = sent. Beside what
the schema asks, an event time that lies further ahead of its arrival than the topic allows is
refused: one clock that runs ahead would otherwise move the watermark and make all others late.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.clock import Clock
from headwater.log.rejected import rejected_rows
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.intake import Intake
from headwater.runtime.status import Receipt, Rejection
from headwater.schema.decode import Decoded, RejectedRecord, decode, decode_rows, decode_table
from headwater.schema.duration import format_duration
from headwater.schema.encode import to_ndjson
from headwater.schema.schema import Schema

REJECTIONS_SHOWN = 100

# A list of dicts, an Arrow table or batch, or bytes. Arrow has no types, so this is all that mypy
# can see.
Rows = Any


class Ingest:
    """The door for rows."""

    def __init__(self, intake: Intake, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock

    def send(
        self, topic: TopicDefinition, rows: Rows, *, form: str | None = None, partition: int = 0
    ) -> Receipt:
        """Validate and append; return when all of it is durable.

        Args:
            form: How bytes are to be read: json, ndjson (the default), csv or arrow.

        Raises:
            RecordError: The body as a whole cannot be read.
            StateError: The log cannot be written.
        """
        arrived_us = self._clock.now_us()
        decoded = _guarded(topic, _decode(topic.schema, rows, form), arrived_us)
        offset = self._intake.append(
            topic.name,
            decoded.rows,
            _rejected(decoded.rejected, partition, arrived_us),
            partition=partition,
            arrived_us=arrived_us,
        )
        shown = decoded.rejected[:REJECTIONS_SHOWN]
        return Receipt(
            topic.name,
            decoded.rows.num_rows,
            len(decoded.rejected),
            offset,
            partition,
            tuple(Rejection(r.position, r.reason, r.column) for r in shown),
        )


def _rejected(
    rejected: Sequence[RejectedRecord], partition: int, arrived_us: int
) -> pa.RecordBatch | None:
    if not rejected:
        return None
    return rejected_rows(
        [r.position for r in rejected],
        [r.reason for r in rejected],
        [r.column for r in rejected],
        [r.record for r in rejected],
        arrived_us=arrived_us,
        partition=partition,
    )


def _decode(schema: Schema, rows: Rows, form: str | None) -> Decoded:
    if isinstance(rows, bytes | bytearray | memoryview):
        return decode(form or "ndjson", bytes(rows), schema)
    if isinstance(rows, pa.RecordBatch):
        return decode_table(pa.Table.from_batches([rows]), schema)
    if isinstance(rows, pa.Table):
        return decode_table(rows, schema)
    return decode_rows(list(rows), schema)


def _guarded(topic: TopicDefinition, decoded: Decoded, arrived_us: int) -> Decoded:
    """Move rows with an event time too far ahead to the rejected ones."""
    if topic.event_time is None or not decoded.rows.num_rows:
        return decoded
    times = decoded.rows.column(topic.schema[topic.event_time].name)
    limit_us = arrived_us + topic.future_max_us
    micros = times.cast(pa.timestamp("us", times.type.tz)).cast(pa.int64())
    highest = pc.max(micros).as_py()
    if highest is None or highest <= limit_us:
        return decoded
    is_ahead = np.asarray(pc.fill_null(pc.greater(micros, limit_us), False))
    ahead = decoded.rows.filter(pa.array(is_ahead))
    records = to_ndjson(pa.Table.from_batches([ahead])).splitlines()
    reason = (
        f"is more than {format_duration(topic.future_max_us)} ahead of its arrival (future_max)"
    )
    rejected = tuple(
        RejectedRecord(int(position), f"{topic.event_time} {time} {reason}", topic.event_time, line)
        for position, time, line in zip(
            decoded.positions[is_ahead],
            times.filter(pa.array(is_ahead)).cast("string").to_pylist(),
            records,
            strict=True,
        )
    )
    everything = sorted((*decoded.rejected, *rejected), key=lambda r: r.position)
    return Decoded(
        decoded.rows.filter(pa.array(~is_ahead)),
        decoded.positions[~is_ahead],
        tuple(everything),
    )

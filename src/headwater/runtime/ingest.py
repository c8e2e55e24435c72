"""Take what somebody sent: validate it row by row, append the good, keep the bad with the reason.

A batch is answered with what became of each of its rows: accepted + rejected = sent. One that a
named producer sent before is answered as it was then (`runtime.producers`). Beside what the schema
asks, an event time that lies further ahead of its arrival than the topic allows is refused: one
clock that runs ahead would otherwise move the watermark and make all others late.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.clock import Clock
from headwater.log.rejected import rejected_rows
from headwater.plan.pipeline import TopicDefinition
from headwater.runtime.deliveries import Delivery
from headwater.runtime.intake import Intake, SupersededError
from headwater.runtime.producers import checked
from headwater.runtime.status import Receipt, Rejection
from headwater.schema.decode import Decoded, RejectedRecord, decode, decode_rows, decode_table
from headwater.schema.decode.again import decode_again, with_header
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

    def send(  # noqa: PLR0913 - what is sent, where to, and by whom
        self,
        topic: TopicDefinition,
        rows: Rows,
        *,
        form: str | None = None,
        partition: int = 0,
        producer: str | None = None,
        sequence: int | None = None,
    ) -> Receipt:
        """Validate and append; return when all of it is durable.

        Args:
            form: How bytes are to be read: json, ndjson (the default), csv or arrow.
            producer, sequence: Who sends it, and the number that it gives to this batch.

        Raises:
            DefinitionError: There is no such partition, or the number cannot be.
            RecordError: The body as a whole cannot be read.
            StateError: The log cannot be written.
        """
        who = checked(producer, sequence)
        if who is not None:
            return self.send_numbered(topic, rows, form, partition, who)
        # Rejected rows say it too, so it must be one also where no row is good.
        self._intake.check_partition(topic.name, partition)
        arrived_us = self._clock.now_us()
        given = list(rows) if isinstance(rows, Iterator) else rows

        def append(now: TopicDefinition) -> Receipt:
            decoded = _guarded(now, _decode(now.schema, given, form), arrived_us)
            offset = self._intake.append(
                now.name,
                decoded.rows,
                _rejected(decoded.rejected, partition, arrived_us),
                partition=partition,
                arrived_us=arrived_us,
                version=now.version,
            )
            return _receipt(now.name, decoded, offset, partition)

        return self._fitted(topic, append)

    def _fitted(
        self, topic: TopicDefinition, attempt: Callable[[TopicDefinition], Receipt]
    ) -> Receipt:
        """Take rows with the columns that the topic has now; again, if these change meanwhile."""
        while True:
            with suppress(SupersededError):
                return attempt(self._intake.definition(topic.name))

    def send_numbered(
        self,
        topic: TopicDefinition,
        rows: Rows,
        form: str | None,
        partition: int,
        who: tuple[str, int],
    ) -> Receipt:
        """Send as a producer, by its name and its number for these rows."""
        digest = _digest(rows)
        return self._fitted(
            topic,
            lambda now: self._deliver(now, _decode(now.schema, rows, form), partition, who, digest),
        )

    def send_again(
        self,
        topic: TopicDefinition,
        records: Sequence[bytes | None],
        partition: int,
        who: tuple[str, int],
    ) -> Receipt:
        """Send what was rejected again, as a producer, from the bytes that were kept of it."""
        return self._fitted(
            topic,
            lambda now: self._deliver(now, decode_again(records, now.schema), partition, who, None),
        )

    def _deliver(
        self,
        topic: TopicDefinition,
        decoded: Decoded,
        partition: int,
        who: tuple[str, int],
        digest: int | None,
    ) -> Receipt:
        arrived_us = self._clock.now_us()
        decoded = _guarded(topic, decoded, arrived_us)
        delivery = Delivery(
            *who,
            topic=topic.name,
            partition=partition,
            accepted=decoded.rows.num_rows,
            rejected=len(decoded.rejected),
            offset_first=-1,
            digest=digest,
            arrived_us=arrived_us,
        )
        rejected = _rejected(decoded.rejected, partition, arrived_us)
        taken, is_repeated = self._intake.deliver(delivery, decoded.rows, rejected, topic.version)
        if not is_repeated:
            return _receipt(topic.name, decoded, taken.offset_first, partition)
        return Receipt(
            topic.name,
            taken.accepted,
            taken.rejected,
            taken.offset_first,
            partition,
            duplicate=decoded.count,
        )


def _receipt(topic: str, decoded: Decoded, offset: int, partition: int) -> Receipt:
    shown = decoded.rejected[:REJECTIONS_SHOWN]
    return Receipt(
        topic,
        decoded.rows.num_rows,
        len(decoded.rejected),
        offset,
        partition,
        tuple(Rejection(r.position, r.reason, r.column) for r in shown),
    )


def _digest(rows: Rows) -> int | None:
    """What tells whether the same bytes were sent again; None for what is no bytes."""
    return zlib.crc32(rows) if isinstance(rows, bytes | bytearray | memoryview) else None


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
        body = bytes(rows)
        decoded = decode(form or "ndjson", body, schema)
        return with_header(decoded, body) if form == "csv" else decoded
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

"""Rejected rows: what a topic did not take, with the raw bytes and the reason.

They are a topic of a fixed schema beside the topic, called `<name>$rejected`, with one partition
and offsets and ticks of its own, so nothing else is needed to keep, read and repair them.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type

REJECTED_SCHEMA = Schema(
    (
        Column("position", parse_type("BIGINT"), nullable=False),
        Column("reason", parse_type("VARCHAR"), nullable=False),
        Column("column", parse_type("VARCHAR")),
        Column("record", parse_type("BLOB")),
        Column("arrived", parse_type("TIMESTAMP WITH TIME ZONE")),
        Column("partition", parse_type("INTEGER")),
    )
)


def rejected_name(topic: str) -> str:
    """What the rejected rows of a topic are called."""
    return f"{topic}$rejected"


def rejected_definition(topic: TopicDefinition) -> TopicDefinition:
    """The topic that keeps the rejected rows of `topic`, for as long as its own rows."""
    return TopicDefinition(rejected_name(topic.name), REJECTED_SCHEMA, life=topic.life)


def rejected_rows(  # noqa: PLR0913 - one argument a column
    positions: Sequence[int],
    reasons: Sequence[str],
    columns: Sequence[str | None],
    records: Sequence[bytes | None],
    *,
    arrived_us: int,
    partition: int,
) -> pa.RecordBatch:
    """A batch of rejected rows.

    Args:
        positions: The places of the rows in what was sent, counted from 0.
        reasons: What is wrong with each, with the value.
        columns: The column at fault, or None.
        records: The raw bytes, or None where the sender sent none that are the row's own.
        partition: Where they were sent to.

    """
    count = len(positions)
    values = (positions, reasons, columns, records, [arrived_us] * count, [partition] * count)
    schema = REJECTED_SCHEMA.arrow
    arrays = [pa.array(v, field.type) for v, field in zip(values, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)

"""Every type comes back from hot and from sealed files as it went in."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.plan.pipeline import TopicDefinition
from headwater.schema.schema import Schema
from headwater.schema.types import Column, DataType, parse_type
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk

NOON = dt.datetime(2013, 5, 1, 12, 0, 0)
NESTED = "STRUCT(a BIGINT[], m MAP(VARCHAR, DECIMAL(12,6)), w TIMESTAMP WITH TIME ZONE)"

SQL_VALUES: tuple[tuple[str, list[Any]], ...] = (
    ("BOOLEAN", [True, None, False]),
    ("TINYINT", [-128, None, 127]),
    ("UTINYINT", [0, None, 255]),
    ("UBIGINT", [0, None, 2**64 - 1]),
    ("HUGEINT", [Decimal(10**37), None, Decimal(-1)]),
    ("FLOAT", [0.5, None, float("inf")]),
    ("DOUBLE", [0.1, None, -0.0]),
    ("DECIMAL(38,20)", [Decimal("0.00000000000000000001"), None, Decimal(-5)]),
    ("VARCHAR", ["", None, "naïve ☃"]),
    ("BLOB", [b"", None, b"\x00\xff"]),
    ("DATE", [NOON.date(), None, dt.date(1, 1, 1)]),
    ("TIME", [NOON.time(), None, dt.time(23, 59, 59, 999999)]),
    ("TIMESTAMP", [NOON, None, NOON.replace(microsecond=1)]),
    ("TIMESTAMP_S", [NOON, None, NOON]),
    ("TIMESTAMP_MS", [NOON, None, NOON]),
    ("TIMESTAMP_NS", [NOON, None, NOON]),
    ("TIMESTAMP WITH TIME ZONE", [NOON.replace(tzinfo=dt.UTC), None, None]),
    ("INTERVAL", [pa.MonthDayNano([1, 2, 3]), None, pa.MonthDayNano([0, 0, -1])]),
    ("BIGINT[]", [[], None, [1, None]]),
    (NESTED, [{"a": [1], "m": [("k", Decimal("1.5"))], "w": None}, None, {"a": None}]),
)
ARROW_VALUES: tuple[tuple[pa.DataType, list[Any]], ...] = (
    (pa.dictionary(pa.int8(), pa.string()), ["red", None, "green"]),
    (pa.list_(pa.dictionary(pa.int32(), pa.string())), [["red"], None, ["green", "red"]]),
    (pa.uuid(), [UUID(int=1).bytes, None, UUID(int=2**127).bytes]),
    (pa.opaque(pa.binary(2), "hugeint", "duckdb"), [b"ab", None, b"cd"]),
    (pa.large_string(), ["x", None, "y"]),
    (pa.string_view(), ["x", None, "a string that is too long to be inlined"]),
    (pa.list_(pa.int32(), 2), [[1, 2], None, [3, None]]),
)
TYPES = [parse_type(sql) for sql, _ in SQL_VALUES] + [DataType("?", t) for t, _ in ARROW_VALUES]
VALUES = [values for _, values in SQL_VALUES] + [values for _, values in ARROW_VALUES]


def column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize(("kind", "values"), list(zip(TYPES, VALUES, strict=True)), ids=str)
def test_a_type_survives_its_files_exactly(
    kind: DataType, values: list[Any], is_sealed: bool
) -> None:
    schema = Schema((Column("c", kind), Column("n", parse_type("BIGINT"), nullable=False)))
    definition = TopicDefinition("t", schema)
    blobs = Blobs(FakeDisk(1))
    topic = Topic(definition, blobs, "topics/t", seal_at=SealAt(rows=6))
    # Two chunks in files of their own, whose dictionaries differ.
    halves = [values, list(reversed(values))] if is_sealed else [values]
    batches = [
        pa.record_batch([column(kind.arrow, half), pa.array(range(3))], schema=schema.arrow)
        for half in halves
    ]
    for n, batch in enumerate(batches):
        topic.append(Chunk(0, 3 * n, 3 * n, 0, batch))
        topic.flush()
    assert topic.seal() == is_sealed

    reopened = Topic.open(definition, blobs, "topics/t", topic.manifest())

    found = reopened.read_ticks(0, 99)
    # By value: dictionaries of one file are put together, so their order may change.
    assert [c.rows.to_pylist() for c in found] == [batch.to_pylist() for batch in batches]
    assert all(chunk.rows.schema.equals(schema.arrow) for chunk in found)
    for chunk in found:
        chunk.rows.validate(full=True)


def test_dictionaries_that_differ_from_chunk_to_chunk_share_a_file() -> None:
    kind = pa.dictionary(pa.int32(), pa.string())
    schema = Schema((Column("c", DataType("?", kind)),))
    topic = Topic(TopicDefinition("t", schema), Blobs(FakeDisk(1)), "topics/t")
    for n, word in enumerate(["red", "green", "blue"]):
        batch = pa.record_batch([pa.array([word]).dictionary_encode()], schema=schema.arrow)
        topic.append(Chunk(0, n, n, 0, batch))

    topic.flush()

    words = [chunk.rows.column(0).to_pylist() for chunk in topic.read_ticks(0, 9)]
    assert words == [["red"], ["green"], ["blue"]]

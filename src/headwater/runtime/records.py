"""What the runtime writes into the journal, byte by byte.

Together, in their order, these records decide every answer: recovery reads them and nothing else.
Integers are little-endian; text is UTF-8.

    APPEND   u16 name length, name, u16 partition, i64 first offset, i64 first tick,
             i64 arrival (us), then one Arrow IPC record batch message of the topic's schema
    REJECT   the same, for `name$rejected`; its ticks are its own
    FACT     JSON: {"kind": "advance" | "idle", "topic", "partition", "until_us", "tick", "sender"}
    EPOCH    JSON: {"epoch", "tick_to", "facts_to", "time_us", "sums": {view: [rows, sum]}}
    CONSUMER JSON: {"group", "relation", "version", "positions": [offset] or null}
    SCHEMA   JSON: {"topic", "version"}, a version of its columns (`schema.versions`)
    DELIVERY u32 length of the JSON, u64 length of the APPEND (0 for none), then JSON: {"producer",
             "sequence", "topic", "partition", "accepted", "rejected", "offset_first", "digest",
             "arrived_us"}, then the payload of an APPEND, then that of a REJECT (to the end)
    REPEAT   JSON: {"producer", "sequence", "topic", "partition", "rows", "arrived_us"}

An APPEND is of the last version of the topic's columns that begins at or before its first tick; the
SCHEMA record of that version stands before it, and behind the epochs of all rows before that tick.
A fact stands before the row with its tick: rows from that tick on see it.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import pyarrow as pa

from headwater.schema.schema import Schema
from headwater.schema.versions import Version

_APPEND_TAIL = struct.Struct("<Hqqq")
_NAME_LENGTH = struct.Struct("<H")


class Kind(IntEnum):
    """The kinds of records, as the journal numbers them."""

    APPEND = 1
    REJECT = 2
    FACT = 3
    EPOCH = 4
    CONSUMER = 5
    SCHEMA = 7
    DELIVERY = 8
    REPEAT = 9


@dataclass(frozen=True, slots=True)
class Append:
    """Rows that a topic took.

    Args:
        payload: The batch as an Arrow IPC message.
    """

    topic: str
    partition: int
    offset_first: int
    tick_first: int
    arrived_us: int
    payload: pa.Buffer | memoryview

    def parts(self) -> list[bytes | memoryview | pa.Buffer]:
        """The record's payload, in pieces that are not copied together."""
        name = self.topic.encode()
        head = _NAME_LENGTH.pack(len(name)) + name
        tail = _APPEND_TAIL.pack(
            self.partition, self.offset_first, self.tick_first, self.arrived_us
        )
        return [head + tail, self.payload]

    @staticmethod
    def parse(payload: memoryview) -> Append:
        """Read back what `parts` wrote; the batch is not copied."""
        (length,) = _NAME_LENGTH.unpack_from(payload, 0)
        start = _NAME_LENGTH.size
        name = bytes(payload[start : start + length]).decode()
        numbers = _APPEND_TAIL.unpack_from(payload, start + length)
        rest = payload[start + length + _APPEND_TAIL.size :]
        partition, offset_first, tick_first, arrived_us = numbers
        return Append(name, partition, offset_first, tick_first, arrived_us, rest)

    def rows(self, schema: Schema) -> pa.RecordBatch:
        """The rows, as the topic's schema reads them."""
        return pa.ipc.read_record_batch(pa.py_buffer(self.payload), schema.arrow)


class FactKind(StrEnum):
    """What happened to a topic besides rows."""

    ADVANCE = "advance"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that moves a watermark and is not a row.

    Args:
        topic: The topic.
        partition: The partition that is silent or advances; -1 for all of them, or for a sender.
        until_us: For ADVANCE: no event before this time will come.
        tick: The fact stands before the row with this tick.
        sender: The sender that is silent or advances, in a topic that tells them apart.
    """

    kind: FactKind
    topic: str
    partition: int
    until_us: int
    tick: int
    sender: str | None = None

    def encode(self) -> bytes:
        """The record's payload."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def parse(payload: bytes | memoryview) -> Fact:
        """Read back what `encode` wrote."""
        value: dict[str, Any] = json.loads(bytes(payload))
        return Fact(**{**value, "kind": FactKind(value["kind"])})


@dataclass(frozen=True, slots=True)
class SchemaRecord:
    """The columns of a topic have changed."""

    topic: str
    version: Version

    def encode(self) -> bytes:
        """The record's payload."""
        return json.dumps({"topic": self.topic, "version": self.version.save()}).encode()

    @staticmethod
    def parse(payload: bytes | memoryview) -> SchemaRecord:
        """Read back what `encode` wrote."""
        value: dict[str, Any] = json.loads(bytes(payload))
        return SchemaRecord(value["topic"], Version.load(value["version"]))


# The sum of a view that was paused, and of which the record therefore says nothing.
PAUSED = (-1, 0)


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """An epoch that is computed.

    Args:
        tick_to: The first tick that it did not take in.
        facts_to: How many facts, counted from the log's first, it and the epochs before took in.
        time_us: Its processing time.
        sums: For each view that put rows out: how many, and the sum of their weighted hashes;
            PAUSED for one that was not stepped.
    """

    epoch: int
    tick_to: int
    facts_to: int
    time_us: int
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)

    def encode(self) -> bytes:
        """The record's payload."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def parse(payload: bytes | memoryview) -> EpochRecord:
        """Read back what `encode` wrote."""
        value: dict[str, Any] = json.loads(bytes(payload))
        sums = {name: (rows, total) for name, (rows, total) in value["sums"].items()}
        return EpochRecord(**{**value, "sums": sums})


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a consumer group stands in a relation.

    Args:
        version: The fingerprint of the view whose changes the positions count; empty for a topic.
        positions: For each partition (a view has one) the offset of the first row that the group
            has not confirmed; None once the group was removed.
    """

    group: str
    relation: str
    version: str
    positions: tuple[int, ...] | None

    def encode(self) -> bytes:
        """The record's payload."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def parse(payload: bytes | memoryview) -> Standing:
        """Read back what `encode` wrote."""
        return Standing.load(json.loads(bytes(payload)))

    @staticmethod
    def load(value: dict[str, Any]) -> Standing:
        """The same from a JSON value."""
        positions = value["positions"]
        return Standing(**{**value, "positions": None if positions is None else tuple(positions)})

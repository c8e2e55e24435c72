"""The journal's records of batches that a named producer sent.

A batch is one record: its rows, its rejected rows and its number are there together or not at all,
so a crash leaves no half of it, and no number without its rows. A batch that came again leaves a
record too, because what is counted as a duplicate must be counted after a crash as before it.

The bytes are in the head of `runtime.records`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import pyarrow as pa

from headwater.runtime.records import Append

_LENGTHS = struct.Struct("<IQ")
Part: TypeAlias = bytes | memoryview | pa.Buffer


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch that the log took.

    Args:
        accepted, rejected: Its rows; both may be 0.
        offset_first: The offset of the first accepted row; -1 if none was.
        digest: The CRC-32 of the bytes that were sent; None where rows came as values.

    """

    producer: str
    sequence: int
    topic: str
    partition: int
    accepted: int
    rejected: int
    offset_first: int
    digest: int | None
    arrived_us: int

    def parts(self, rows: Append | None, rejected: Append | None) -> list[Part]:
        """The record's payload, in pieces that are not copied together.

        Args:
            rows: The accepted rows; None where there are none.
            rejected: The rejected ones.

        """
        head = json.dumps(asdict(self)).encode()
        body = rows.parts() if rows is not None else []
        tail = rejected.parts() if rejected is not None else []
        size = sum(memoryview(part).nbytes for part in body)
        return [_LENGTHS.pack(len(head), size) + head, *body, *tail]

    @staticmethod
    def parse(payload: memoryview) -> tuple[Delivery, Append | None, Append | None]:
        """Read back what `parts` wrote: the batch, its rows, its rejected rows; none is copied."""
        length, size = _LENGTHS.unpack_from(payload, 0)
        start = _LENGTHS.size + length
        delivery = Delivery(**json.loads(bytes(payload[_LENGTHS.size : start])))
        rows, rejected = payload[start : start + size], payload[start + size :]
        return delivery, _append(rows), _append(rejected)


@dataclass(frozen=True, slots=True)
class Repeat:
    """A batch that came though the log had it.

    Args:
        rows: How many rows it had.

    """

    producer: str
    sequence: int
    topic: str
    partition: int
    rows: int
    arrived_us: int

    def encode(self) -> bytes:
        """The record's payload."""
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def parse(payload: bytes | memoryview) -> Repeat:
        """Read back what `encode` wrote."""
        value: dict[str, Any] = json.loads(bytes(payload))
        return Repeat(**value)


def _append(payload: memoryview) -> Append | None:
    return Append.parse(payload) if payload.nbytes else None

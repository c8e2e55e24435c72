"""Rows to send, from a file or from stdin, in batches as the HTTP API takes them.

Text is cut at the end of a record and otherwise sent as it is: the server alone decides what a row
is, so that a malformed line is rejected there, with its bytes. A JSON document is one batch.
Parquet and Arrow are sent as Arrow streams.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from headwater.errors import DefinitionError

BATCH_BYTES = 4 << 20
BATCH_ROWS = 50_000
# A quote that is never closed must not make one record of the rest of the file.
RECORD_BYTES_MAX = 16 << 20


class Form(StrEnum):
    """How rows are written down."""

    NDJSON = "ndjson"
    JSON = "json"
    CSV = "csv"
    ARROW = "arrow"
    PARQUET = "parquet"


SUFFIXES = {
    ".ndjson": Form.NDJSON,
    ".jsonl": Form.NDJSON,
    ".json": Form.JSON,
    ".csv": Form.CSV,
    ".arrow": Form.ARROW,
    ".arrows": Form.ARROW,
    ".feather": Form.ARROW,
    ".parquet": Form.PARQUET,
}

CONTENT_TYPES = {
    Form.NDJSON: "application/x-ndjson",
    Form.JSON: "application/json",
    Form.CSV: "text/csv",
    Form.ARROW: "application/vnd.apache.arrow.stream",
    Form.PARQUET: "application/vnd.apache.arrow.stream",
}


@dataclass(frozen=True, slots=True)
class Batch:
    """The body of one request.

    Args:
        taken: How much of the input is in this batch and those before it, in the input's unit:
            bytes, or rows for Parquet and Arrow.

    """

    body: bytes
    taken: int


@dataclass(frozen=True, slots=True)
class Input:
    """What is to be sent.

    Args:
        total: Its size in the unit of `Batch.taken`; None when that cannot be known.

    """

    form: Form
    total: int | None
    batches: Iterator[Batch]


def form_of(file: Path | None, named: Form | None) -> Form:
    """The form of a file: as named, or by its suffix; NDJSON for stdin, if nothing more is known.

    Raises:
        DefinitionError: The suffix is not known.

    """
    if named or file is None:
        return named or Form.NDJSON
    if file.suffix.lower() not in SUFFIXES:
        raise DefinitionError(
            f"the name {file.name} does not say how its rows are written",
            hint=f"give it a suffix ({', '.join(SUFFIXES)}); `headwater send` also takes --format",
        )
    return SUFFIXES[file.suffix.lower()]


@contextmanager
def opened(file: Path | None, named: Form | None) -> Iterator[Input]:
    """What is to be sent from `file`, or from stdin for None or `-`."""
    if file is None or str(file) == "-":
        stdin: Any = sys.stdin.buffer
        # What is no pipe and no terminal (bytes in memory) cannot be looked into.
        yield _input(stdin, named or (_form_of(stdin) if hasattr(stdin, "peek") else Form.NDJSON))
        return
    form = form_of(file, named)
    try:
        source = open(file, "rb")  # noqa: PTH123, SIM115 - closed by the next statement
    except OSError as error:
        raise DefinitionError(
            f"{file} cannot be read: {error.strerror}", hint="name a file with rows, or - for stdin"
        ) from None
    with source:
        yield _input(source, form)


def _form_of(source: Any) -> Form:
    """JSON where the first thing is the bracket of an array, else NDJSON."""
    return Form.JSON if source.peek(1).lstrip().startswith(b"[") else Form.NDJSON


def _input(source: IO[bytes], form: Form) -> Input:
    if form is Form.PARQUET:
        return _parquet(source)
    if form is Form.ARROW:
        return _arrow(source)
    if form is Form.JSON:
        return Input(form, _size(source), _whole(source))
    return Input(form, _size(source), _records(source, has_header=form is Form.CSV))


def _size(source: IO[bytes]) -> int | None:
    """The length of a regular file; None for a pipe."""
    try:
        return os.fstat(source.fileno()).st_size or None
    except (OSError, io.UnsupportedOperation):
        return None


def _whole(source: IO[bytes]) -> Iterator[Batch]:
    body = source.read()
    yield Batch(body, len(body))


def _records(source: IO[bytes], *, has_header: bool) -> Iterator[Batch]:
    """Batches that end where a record ends; with a header, each begins with it.

    A line break inside a quoted CSV field ends no record: a record ends at a line break before
    which the quotes are even in number. NDJSON has no line breaks inside a record.
    """
    header, rest, taken = b"", b"", 0
    while block := _block(source):
        taken += len(block)
        rest += block
        is_quoted = has_header and len(rest) <= RECORD_BYTES_MAX
        end = _last_end(rest) if is_quoted else rest.rfind(b"\n") + 1
        if not end:
            continue
        body, rest = rest[:end], rest[end:]
        if has_header and not header:
            header, body = _split_header(body)
        if body.strip():
            yield Batch(header + body, taken)
    if rest.strip():
        yield Batch(header + rest, taken)


def _block(source: IO[bytes]) -> bytes:
    """What there is to read now, at most `BATCH_BYTES`; empty at the end.

    A pipe gives what its writer has written so far, so that rows do not wait for a batch to fill.
    """
    read_some = getattr(source, "read1", source.read)
    block: bytes = read_some(BATCH_BYTES)
    return block


def _last_end(text: bytes) -> int:
    """The index after the last line break outside quotes; 0 if there is none."""
    end = text.rfind(b"\n") + 1
    quotes = text.count(b'"', 0, end)
    while end and quotes % 2:
        # Up to the quote that opened what `end` is in: no line break after it can be outside.
        opened = text.rfind(b'"', 0, end)
        end = text.rfind(b"\n", 0, opened) + 1
        quotes = text.count(b'"', 0, end) if end else 0
    return end


def _split_header(body: bytes) -> tuple[bytes, bytes]:
    end = body.find(b"\n") + 1
    while end and body.count(b'"', 0, end) % 2:
        end = body.find(b"\n", end) + 1
    return (body[:end], body[end:]) if end else (body, b"")


def _arrow(source: IO[bytes]) -> Input:
    """An Arrow stream or file, in streams of a good size."""
    import pyarrow as pa

    body = source.read()
    is_file = body[:6] == b"ARROW1"
    try:
        rows = (pa.ipc.open_file(body) if is_file else pa.ipc.open_stream(body)).read_all()
    except pa.ArrowInvalid as error:
        raise DefinitionError(f"this is no Arrow stream or file: {error}") from None

    def batches() -> Iterator[Batch]:
        taken = 0
        for batch in rows.to_batches(BATCH_ROWS):
            taken += batch.num_rows
            yield Batch(_stream(batch), taken)

    return Input(Form.ARROW, rows.num_rows, batches())


def _parquet(source: IO[bytes]) -> Input:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        reader = parquet.ParquetFile(source if source.seekable() else io.BytesIO(source.read()))
    except pa.ArrowInvalid as error:
        raise DefinitionError(f"this is no Parquet file: {error}") from None

    def batches() -> Iterator[Batch]:
        taken = 0
        for batch in reader.iter_batches(BATCH_ROWS):
            taken += batch.num_rows
            yield Batch(_stream(batch), taken)

    return Input(Form.PARQUET, reader.metadata.num_rows, batches())


def _stream(batch: object) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:  # type: ignore[attr-defined]
        writer.write_batch(batch)
    body: bytes = sink.getvalue().to_pybytes()
    return body

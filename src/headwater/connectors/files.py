"""Rows to send, from a file or from stdin, in batches as the HTTP API takes them.

Text is cut at the end of a record and otherwise sent as it is: the server alone decides what a row
is, so that a malformed line is rejected there, with its bytes. A JSON document is one batch.
Parquet and Arrow are sent as Arrow streams.

A batch ends at a position of the input, and whoever knows how far an input was sent goes on from
there, however it is cut then. That it is the same input is seen in the last batch that was sent:
its bytes have a digest.
"""

from __future__ import annotations

import io
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from headwater.errors import DefinitionError

BATCH_BYTES = 4 << 20
BATCH_ROWS = 50_000
_PIECE_BYTES = 1 << 20
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
        taken: The position at which it ends: how much of the input is in this batch and those
            before it, in the input's unit: bytes, or rows for Parquet and Arrow.

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


@dataclass(frozen=True, slots=True)
class Sent:
    """How much of an input was sent before.

    Args:
        before: Where the last batch began.
        to: Where it ended.
        digest: The CRC-32 of its body; None where that is not known.

    """

    before: int
    to: int
    digest: int | None

    def check(self, body: bytes) -> None:
        """Refuse an input that has another batch there.

        Raises:
            DefinitionError: It has.

        """
        if zlib.crc32(body) != self.digest:
            raise DefinitionError(
                "this input does not begin with what was sent before under that name",
                hint="give another input another name: --producer NAME",
            )


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
def opened(file: Path | None, named: Form | None, sent: Sent | None = None) -> Iterator[Input]:
    """What is to be sent from `file`, or from stdin for None or `-`.

    Args:
        sent: How much of it was sent before; the batches are those after it.

    Raises:
        DefinitionError: The file cannot be read, or (when its batches are) is another than the one
            of which some was sent.

    """
    if file is None or str(file) == "-":
        stdin: Any = sys.stdin.buffer
        # What is no pipe and no terminal (bytes in memory) cannot be looked into.
        known = named or (_form_of(stdin) if hasattr(stdin, "peek") else Form.NDJSON)
        yield _input(stdin, known, sent)
        return
    form = form_of(file, named)
    try:
        source = open(file, "rb")  # noqa: PTH123, SIM115 - closed by the next statement
    except OSError as error:
        raise DefinitionError(
            f"{file} cannot be read: {error.strerror}", hint="name a file with rows, or - for stdin"
        ) from None
    with source:
        yield _input(source, form, sent)


def write(file: Path, lines: Iterable[bytes]) -> None:
    """Write lines into a file of the user's, in the place of what it had.

    Raises:
        DefinitionError: It cannot be written.

    """
    try:
        with open(file, "wb") as target:  # noqa: PTH123 - the one call that opens a user's file
            target.writelines(line + b"\n" for line in lines)
    except OSError as error:
        raise DefinitionError(
            f"{file} cannot be written: {error.strerror}",
            hint="name a file in a folder that is there",
        ) from None


def _form_of(source: Any) -> Form:
    """JSON where the first thing is the bracket of an array, else NDJSON."""
    return Form.JSON if source.peek(1).lstrip().startswith(b"[") else Form.NDJSON


def _input(source: IO[bytes], form: Form, sent: Sent | None) -> Input:
    if form in (Form.PARQUET, Form.ARROW):
        rows = _parquet(source) if form is Form.PARQUET else _arrow(source)
        return rows if sent is None else replace(rows, batches=_after(rows.batches, sent))
    if form is Form.JSON:
        whole = _whole(source)
        return Input(form, _size(source), whole if sent is None else _after(whole, sent))
    return Input(form, _size(source), _records(source, sent, has_header=form is Form.CSV))


def _after(batches: Iterator[Batch], sent: Sent) -> Iterator[Batch]:
    """The batches after what was sent, where they are always cut the same."""
    body = b""
    for batch in batches:
        if batch.taken >= sent.to:
            body = batch.body if batch.taken == sent.to else b""
            break
    sent.check(body)
    yield from batches


def _size(source: IO[bytes]) -> int | None:
    """The length of a regular file; None for a pipe."""
    try:
        return os.fstat(source.fileno()).st_size or None
    except (OSError, io.UnsupportedOperation):
        return None


def _whole(source: IO[bytes]) -> Iterator[Batch]:
    body = source.read()
    yield Batch(body, len(body))


def _records(source: IO[bytes], sent: Sent | None, *, has_header: bool) -> Iterator[Batch]:
    """Batches that end where a record ends; with a header, each begins with it.

    A line break inside a quoted CSV field ends no record: a record ends at a line break before
    which the quotes are even in number. NDJSON has no line breaks inside a record.
    """
    header, rest, read = b"", b"", 0
    if sent is not None:
        header, read = _skip(source, sent, has_header=has_header), sent.to
    while block := _block(source):
        read += len(block)
        rest += block
        is_quoted = has_header and len(rest) <= RECORD_BYTES_MAX
        end = _last_end(rest) if is_quoted else rest.rfind(b"\n") + 1
        if not end:
            continue
        if has_header and not header:
            header, body = _split_header(rest[:end])
        else:
            body = rest[:end]
        # Blank lines go with what comes next, so that each batch begins where one ended.
        if body.strip():
            rest = rest[end:]
            yield Batch(header + body, read - len(rest))
        elif header:
            rest = body + rest[end:]
    if rest.strip():
        yield Batch(header + rest, read)


def _skip(source: IO[bytes], sent: Sent, *, has_header: bool) -> bytes:
    """Read up to what was not sent yet, and check what was; the header, where there is one."""
    header = _passed(source, sent.before, is_wanted=has_header)
    last = _exactly(source, sent.to - sent.before)
    sent.check(header + last)
    return header or (_split_header(last)[0] if has_header else b"")


def _passed(source: IO[bytes], position: int, *, is_wanted: bool) -> bytes:
    """Go to a position behind the header; the header, if it is wanted and before the position."""
    header, start, at = b"", b"", 0
    while at < position and (block := source.read(min(_PIECE_BYTES, position - at))):
        at += len(block)
        if is_wanted and not header:
            start += block
            header = _split_header(start)[0]
        if source.seekable() and (header or not is_wanted):
            source.seek(position)
            break
    return header


def _exactly(source: IO[bytes], size_bytes: int) -> bytes:
    """So many bytes, or all that there are."""
    parts = []
    while size_bytes > 0 and (block := source.read(min(_PIECE_BYTES, size_bytes))):
        parts.append(block)
        size_bytes -= len(block)
    return b"".join(parts)


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

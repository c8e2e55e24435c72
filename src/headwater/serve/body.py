"""A request's body: what it is and how much of it is taken.

The size is bounded twice, as it arrives and as it inflates, so neither a huge body nor a small
one that inflates to a huge one can fill the memory. Chunks are kept as they come and joined once.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator

from fastapi import Request

from headwater.errors import RecordError
from headwater.serve.failures import RequestError

BODY_BYTES_MAX = 256 * 1024 * 1024

_FORMS = {
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/x-jsonlines": "ndjson",
    "text/csv": "csv",
    "application/vnd.apache.arrow.stream": "arrow",
}
# What clients say when nobody told them what the body is (curl says the first of these).
_SAYS_NOTHING = {
    "application/x-www-form-urlencoded",
    "application/octet-stream",
    "text/plain",
    "",
}
_ARROW_CONTINUATION = b"\xff\xff\xff\xff"
_INFLATE_STEP_BYTES = 1024 * 1024


async def read_body(request: Request, bytes_max: int) -> list[bytes]:
    """The body's chunks, as they came.

    Raises:
        RequestError: 413, the body is larger than `bytes_max`.

    """
    declared = request.headers.get("content-length", "")
    size = int(declared) if declared.isdigit() else 0
    if size > bytes_max:
        if request.headers.get("expect", "").lower() != "100-continue":
            await _discard(request.stream(), bytes_max)
        raise _too_large(bytes_max)
    chunks: list[bytes] = []
    size = 0
    stream = request.stream()
    async for chunk in stream:
        size += len(chunk)
        if size > bytes_max:
            chunks.clear()
            await _discard(stream, bytes_max)
            raise _too_large(bytes_max)
        chunks.append(chunk)
    return chunks


async def _discard(stream: AsyncIterator[bytes], bytes_max: int) -> None:
    """Read on for a while: a client that is cut off while it sends never sees the answer."""
    left = bytes_max
    async for chunk in stream:
        left -= len(chunk)
        if left < 0:
            return


def inflated(chunks: list[bytes], encoding: str, bytes_max: int) -> bytes:
    """The body in one piece, inflated if it was sent compressed.

    Raises:
        RecordError: It is not what its encoding says.
        RequestError: 413, it inflates to more than `bytes_max`; 415, the encoding is not known.

    """
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise RequestError(
            415,
            "unsupported",
            f"a body with Content-Encoding {encoding} cannot be read",
            hint="send it plain or with Content-Encoding: gzip",
        )
    try:
        return _gunzip(body, bytes_max)
    except zlib.error as error:
        raise RecordError(
            f"the body is not gzip: {error}",
            hint="drop the Content-Encoding header, or compress it",
        ) from None


def _gunzip(body: bytes, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while body:  # gzip files may be concatenated
        inflate = zlib.decompressobj(wbits=31)
        while body and not inflate.eof:
            part = inflate.decompress(body, _INFLATE_STEP_BYTES)
            size += len(part)
            if size > bytes_max:
                raise _too_large(bytes_max, "inflates to more than")
            parts.append(part)
            if not part and not inflate.eof and not inflate.unconsumed_tail:
                raise zlib.error("it ends too early")
            body = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
        if not inflate.eof:
            raise zlib.error("it ends too early")
    return b"".join(parts)


def form_of(content_type: str, body: bytes) -> str:
    """Which of `json`, `ndjson`, `csv` and `arrow` the body is.

    Where the content type says nothing, the first bytes decide; they never decide for CSV.

    Raises:
        RecordError: The body is empty.
        RequestError: 415, the content type is not one that is taken, or the bytes are neither.

    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in _FORMS:
        return _FORMS[media_type]
    if media_type not in _SAYS_NOTHING:
        raise _unknown_form(f"a body of type {media_type} cannot be read")
    return _sniffed(body)


def _sniffed(body: bytes) -> str:
    if body.startswith(_ARROW_CONTINUATION):
        return "arrow"
    body = body.removeprefix(b"\xef\xbb\xbf").lstrip() if body[:1] not in b"[{" else body
    if not body:
        raise RecordError("the body is empty", hint='send rows, for example {"a": 1}')
    if body.startswith(b"["):
        return "json"
    if not body.startswith(b"{"):
        raise _unknown_form("nobody said what the body is, and it is not JSON")
    return "ndjson" if _has_a_row_a_line(body) else "json"


def _has_a_row_a_line(body: bytes) -> bool:
    """Is a first line that begins an object also its end? Else one object is spread over lines."""
    line_end = body.find(b"\n")
    if line_end < 0 or body[:line_end].rstrip().endswith(b"}"):
        return True
    # No JSON object continues with a brace; so the first row is malformed and here is the second.
    return body[line_end : line_end + 4096].lstrip().startswith(b"{")


def _unknown_form(message: str) -> RequestError:
    return RequestError(
        415,
        "unsupported",
        message,
        hint="set the header Content-Type to application/json, application/x-ndjson, text/csv or "
        "application/vnd.apache.arrow.stream",
    )


def _too_large(bytes_max: int, verb: str = "is larger than") -> RequestError:
    return RequestError(
        413,
        "too_large",
        f"the body {verb} {bytes_max:,} bytes",
        hint="send it in smaller batches; 1,000 to 100,000 rows each are quick",
    )

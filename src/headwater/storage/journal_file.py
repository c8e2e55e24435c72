"""The bytes of one journal file.

    file      header, then records without gaps; integers are little-endian
    header    8 bytes   magic, "HWJOURNL"
              u32       version of the format
              u32       crc32 of the header, this field taken as zero
              u64       lsn of the first record
    record    u32       crc32 of all that follows, padding included
              u32       length of the payload in bytes
              u64       lsn: records are numbered 0, 1, 2, ... over all files
              u8        kind, the writer's own
              7 bytes   zero
              payload, then zeros up to a multiple of 8 bytes

Headers are 24 bytes and records whole words, so a payload starts at a multiple of 8 in the file,
as Arrow wants its buffers to lie, and a record that stands after damaged bytes can be looked for
at whole words only.

A scan costs one checksum of each byte (2 GB/s) and about 1 us a record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.errors import StateError

VERSION = 1

_MAGIC = b"HWJOURNL"
_FILE_HEADER = struct.Struct("<8sIIQ")
_RECORD_HEADER = struct.Struct("<IIQB7x")
_CHECKSUM = struct.Struct("<I")
_SUFFIX = ".hwj"
_PADDING = tuple(bytes(size) for size in range(8))

HEADER_BYTES = _FILE_HEADER.size
assert _RECORD_HEADER.size == HEADER_BYTES == 24


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies on disk.

    Args:
        payload: A view of the mapped file, which stays mapped as long as the view is held.

    """

    lsn: int
    kind: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Scan:
    """What is whole in a file.

    Args:
        lsn_end: One more than the lsn of the last whole record.
        good_bytes: The length of header and whole records; 0 if the header is not whole.
        sound_at: Where a whole record stands after damaged bytes, or None.

    """

    lsn_end: int
    good_bytes: int
    sound_at: int | None


def name_of(lsn_first: int) -> str:
    """The name of the file whose first record has this lsn."""
    return f"{lsn_first:020d}{_SUFFIX}"


def lsn_of(path: str) -> int | None:
    """The lsn in a file's name, or None when it is not a journal file."""
    name = path.rpartition("/")[2]
    digits = name.removesuffix(_SUFFIX)
    is_ours = name.endswith(_SUFFIX) and len(digits) == 20 and digits.isdecimal()
    return int(digits) if is_ours else None


def file_header(lsn_first: int) -> bytes:
    """The first bytes of a file."""
    blank = _FILE_HEADER.pack(_MAGIC, VERSION, 0, lsn_first)
    return _FILE_HEADER.pack(_MAGIC, VERSION, zlib.crc32(blank), lsn_first)


def record_parts(
    lsn: int, kind: int, payload: Iterable[bytes | memoryview | pa.Buffer]
) -> list[bytes | memoryview | pa.Buffer]:
    """The bytes of a record, in parts; the payload's own are not copied."""
    parts: list[bytes | memoryview | pa.Buffer] = [b"", *payload]
    length = sum(map(len, parts))
    parts.append(_PADDING[-length % 8])
    # The checksum stands before what it covers, so it is computed over a header without it.
    checksum = zlib.crc32(_RECORD_HEADER.pack(0, length, lsn, kind)[4:])
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    parts[0] = _RECORD_HEADER.pack(checksum, length, lsn, kind)
    return parts


def scanned(content: pa.Buffer, lsn_first: int, path: str) -> Scan:
    """Check every byte of a file.

    Args:
        content: The file.
        lsn_first: What the file's name says.
        path: For messages.

    Raises:
        StateError: It is not a journal file, or was written in a newer format.

    """
    view = memoryview(content)
    if not _is_header_whole(view, lsn_first, path):
        return Scan(lsn_first, 0, _next_sound(view, 0, lsn_first))
    at, lsn = HEADER_BYTES, lsn_first
    while record_end := _record_end(view, at, lsn):
        at, lsn = record_end, lsn + 1
    sound_at = _next_sound(view, at, lsn) if at < len(view) else None
    return Scan(lsn, at, sound_at)


def records(content: pa.Buffer, good_bytes: int, lsn_from: int) -> Iterator[Record]:
    """The records of a scanned file with an lsn of at least `lsn_from`, in order."""
    view = memoryview(content)
    at = HEADER_BYTES
    while at < good_bytes:
        _, length, lsn, kind = _RECORD_HEADER.unpack_from(view, at)
        start = at + HEADER_BYTES
        at = start + length + -length % 8
        if lsn >= lsn_from:
            yield Record(lsn, kind, view[start : start + length])


def _is_header_whole(view: memoryview, lsn_first: int, path: str) -> bool:
    if len(view) < HEADER_BYTES:
        return False
    magic, version, _, lsn = _FILE_HEADER.unpack_from(view)
    if magic == _MAGIC and version > VERSION:
        raise StateError(
            f"{path} has format {version}; this Headwater reads formats up to {VERSION}",
            hint="run the newer Headwater that wrote it: pip install --upgrade headwater",
        )
    return lsn == lsn_first and bytes(view[:HEADER_BYTES]) == file_header(lsn_first)


def _record_end(view: memoryview, at: int, lsn: int) -> int:
    """Where a whole record with this lsn ends, or 0 when there is none at this position."""
    if at + HEADER_BYTES > len(view):
        return 0
    checksum, length, lsn_found, _ = _RECORD_HEADER.unpack_from(view, at)
    end: int = at + HEADER_BYTES + length + -length % 8
    if lsn_found != lsn or end > len(view) or zlib.crc32(view[at + 4 : end]) != checksum:
        return 0
    return end


def _next_sound(view: memoryview, at: int, lsn: int) -> int | None:
    """Where the first whole record with an lsn of at least `lsn` stands, from `at` on."""
    at += -at % 8
    words = np.frombuffer(view[at : at + (len(view) - at) // 8 * 8], dtype="<u8")
    # A record's second word is its lsn, and no more records fit than there are headers' bytes.
    plausible = (words >= lsn) & (words <= lsn + len(words) // 3)
    for word in np.flatnonzero(plausible).tolist():
        start = at + (word - 1) * 8
        if word > 0 and _record_end(view, start, int(words[word])):
            return start
    return None

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
              3 bytes   zero
              u32       how many records before it were written with it, and synced once with it;
                        zero in files of version 1, which do not say
              payload, then zeros up to a multiple of 8 bytes

Headers are 24 bytes and records whole words, so a payload starts at a multiple of 8 in the file,
as Arrow wants its buffers to lie, and a record that stands after damaged bytes can be looked for
at whole words only. After the last record there may be zeros: room that was made ahead.

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

VERSION = 2

_MAGIC = b"HWJOURNL"
_FILE_HEADER = struct.Struct("<8sIIQ")
_RECORD_HEADER = struct.Struct("<IIQB3xI")
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
        torn_bytes: How many bytes follow, up to the zeros at the end.
        sound_at: Where a whole record stands after damaged bytes that was written when these had
            been synced, or None.

    """

    lsn_end: int
    good_bytes: int
    torn_bytes: int
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


def file_header(lsn_first: int, version: int = VERSION) -> bytes:
    """The first bytes of a file."""
    blank = _FILE_HEADER.pack(_MAGIC, version, 0, lsn_first)
    return _FILE_HEADER.pack(_MAGIC, version, zlib.crc32(blank), lsn_first)


def record_parts(
    lsn: int, kind: int, payload: Iterable[bytes | memoryview | pa.Buffer], before: int = 0
) -> list[bytes | memoryview | pa.Buffer]:
    """The bytes of a record, in parts; the payload's own are not copied.

    Args:
        before: How many records before it are written, and synced, with it.

    """
    parts: list[bytes | memoryview | pa.Buffer] = [b"", *payload]
    length = sum(map(len, parts))
    parts.append(_PADDING[-length % 8])
    # The checksum stands before what it covers, so it is computed over a header without it.
    checksum = zlib.crc32(_RECORD_HEADER.pack(0, length, lsn, kind, before)[4:])
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    parts[0] = _RECORD_HEADER.pack(checksum, length, lsn, kind, before)
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
    at, lsn = 0, lsn_first
    if _is_header_whole(view, lsn_first, path):
        at = HEADER_BYTES
        while record_end := _record_end(view, at, lsn):
            at, lsn = record_end, lsn + 1
    torn_bytes = _bytes_before_zeros(view[at:])
    return Scan(lsn, at, torn_bytes, _next_sound(view, at, at + torn_bytes, lsn))


def records(content: pa.Buffer, good_bytes: int, lsn_from: int) -> Iterator[Record]:
    """The records of a scanned file with an lsn of at least `lsn_from`, in order."""
    view = memoryview(content)
    at = HEADER_BYTES
    while at < good_bytes:
        _, length, lsn, kind, _ = _RECORD_HEADER.unpack_from(view, at)
        start = at + HEADER_BYTES
        at = start + length + -length % 8
        if lsn >= lsn_from:
            yield Record(lsn, kind, view[start : start + length])


def _is_header_whole(view: memoryview, lsn_first: int, path: str) -> bool:
    if len(view) < HEADER_BYTES:
        return False
    magic, version, checksum, lsn = _FILE_HEADER.unpack_from(view)
    if magic == _MAGIC and version > VERSION:
        # Who knows what a newer version checks: it is left alone in any case.
        fits = checksum == zlib.crc32(_FILE_HEADER.pack(magic, version, 0, lsn))
        raise StateError(
            f"{path} has format {version}; this Headwater reads formats up to {VERSION}"
            + ("" if fits else " (or its header is damaged)"),
            hint="run the newer Headwater that wrote it: pip install --upgrade headwater"
            + ("" if fits else f"; if there is none, restore {path} from a copy"),
        )
    return lsn == lsn_first and bytes(view[:HEADER_BYTES]) == file_header(lsn_first, version)


def _record_end(view: memoryview, at: int, lsn: int) -> int:
    """Where a whole record with this lsn ends, or 0 when there is none at this position."""
    if at + HEADER_BYTES > len(view):
        return 0
    checksum, length, lsn_found, _, _ = _RECORD_HEADER.unpack_from(view, at)
    end: int = at + HEADER_BYTES + length + -length % 8
    if lsn_found != lsn or end > len(view) or zlib.crc32(view[at + 4 : end]) != checksum:
        return 0
    return end


def _bytes_before_zeros(view: memoryview) -> int:
    """The length without the zeros at the end."""
    found = np.flatnonzero(np.frombuffer(view, dtype=np.uint8))
    return int(found[-1]) + 1 if len(found) else 0


def _next_sound(view: memoryview, at: int, end: int, lsn: int) -> int | None:
    """Where a whole record begins, `at` or later, that was written after `lsn` had been synced.

    One that was written together with `lsn` may be whole where that is not: of bytes that are
    written into room that was made ahead a crash may keep any.
    """
    at += -at % 8
    words = np.frombuffer(view[at : at + max(0, end - at) // 8 * 8], dtype="<u8")
    # A record's second word is its lsn, and no more records fit than there are headers' bytes.
    plausible = (words >= lsn) & (words <= lsn + len(words) // 3)
    for word in np.flatnonzero(plausible).tolist():
        start = at + (word - 1) * 8
        found = int(words[word])
        if word > 0 and _record_end(view, start, found):
            before = _RECORD_HEADER.unpack_from(view, start)[-1]
            if found == lsn or found - before > lsn:
                return start
    return None

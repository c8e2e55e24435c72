from __future__ import annotations

import struct
import zlib

import pyarrow as pa
import pytest

from headwater.errors import StateError
from headwater.storage.journal_file import (
    file_header,
    lsn_of,
    name_of,
    record_parts,
    records,
    scanned,
)

PATH = "journal/00000000000000000007.hwj"


def a_file(*payloads: bytes, lsn_first: int = 7) -> bytes:
    parts = [file_header(lsn_first)]
    for lsn, payload in enumerate(payloads, lsn_first):
        parts += record_parts(lsn, 3, [payload])
    return b"".join(parts)


def test_the_bytes_are_those_of_the_page() -> None:
    header = "4857 4a4f 5552 4e4c 0200 0000 a84c 69f2 0700 0000 0000 0000"
    record = "ee09 c8e9 0500 0000 0700 0000 0000 0000 0300 0000 0200 0000 6865 6c6c 6f00 0000"

    written = b"".join([file_header(7), *record_parts(7, 3, [b"hello"], 2)])
    assert written == bytes.fromhex(header + record)


def test_format_1_is_read() -> None:
    header = "4857 4a4f 5552 4e4c 0100 0000 5af8 a1db 0700 0000 0000 0000"
    record = "7197 f305 0500 0000 0700 0000 0000 0000 0300 0000 0000 0000 6865 6c6c 6f00 0000"
    content = pa.py_buffer(bytes.fromhex(header + record))

    assert scanned(content, 7, PATH).good_bytes == content.size
    (found,) = records(content, content.size, 0)
    assert (found.lsn, found.kind, bytes(found.payload)) == (7, 3, b"hello")


def test_a_payload_in_parts_is_the_same_record() -> None:
    parts = [b"he", memoryview(b"l"), pa.py_buffer(b"lo"), b""]

    assert b"".join(record_parts(7, 3, parts)) == b"".join(record_parts(7, 3, [b"hello"]))


def test_every_record_starts_at_a_whole_word() -> None:
    for size in range(20):
        assert sum(map(len, record_parts(1, 1, [bytes(size)]))) % 8 == 0


def test_what_is_written_is_read() -> None:
    payloads = [b"", b"1", b"12345678", bytes(100_000)]
    content = a_file(*payloads)
    scan = scanned(pa.py_buffer(content), 7, PATH)

    assert (scan.lsn_end, scan.good_bytes, scan.sound_at) == (11, len(content), None)
    found = list(records(pa.py_buffer(content), scan.good_bytes, 0))
    assert [(r.lsn, r.kind, bytes(r.payload)) for r in found] == [
        (lsn, 3, payload) for lsn, payload in enumerate(payloads, 7)
    ]
    assert [r.lsn for r in records(pa.py_buffer(content), scan.good_bytes, 9)] == [9, 10]


def test_every_changed_byte_is_found() -> None:
    content = a_file(b"first", b"second", b"third")
    ends = [24, 24 + 32, 24 + 2 * 32, 24 + 3 * 32]
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        if 8 <= at < 12:  # the version
            with pytest.raises(StateError, match="format"):
                scanned(pa.py_buffer(damaged), 7, PATH)
            continue
        scan = scanned(pa.py_buffer(damaged), 7, PATH)
        assert scan.good_bytes == max([0, *(end for end in ends if end <= at)])
        following = [end for end in ends[:-1] if end > at]
        assert scan.sound_at == (following[0] if following else None)


def test_a_file_cut_anywhere_is_whole_up_to_its_last_whole_record() -> None:
    content = a_file(b"first", b"second")
    for size in range(len(content)):
        scan = scanned(pa.py_buffer(content[:size]), 7, PATH)
        assert scan.good_bytes == (0 if size < 24 else 24 if size < 56 else 56)
        assert scan.sound_at is None


def test_zeros_after_the_last_record_are_no_record() -> None:
    content = a_file(b"first")
    scan = scanned(pa.py_buffer(content + bytes(4096)), 7, PATH)

    assert (scan.lsn_end, scan.good_bytes, scan.sound_at) == (8, len(content), None)


def test_an_old_record_behind_the_end_is_no_sound_one() -> None:
    # Bytes of a lower number cannot follow: they are what a payload happens to hold.
    content = a_file(b"first")
    scan = scanned(pa.py_buffer(content + b"".join(record_parts(3, 1, [b"x"]))), 7, PATH)

    assert (scan.lsn_end, scan.good_bytes, scan.sound_at) == (8, len(content), None)


def test_a_record_whose_number_does_not_follow_is_sound_but_not_next() -> None:
    content = a_file(b"first")
    scan = scanned(pa.py_buffer(content + b"".join(record_parts(9, 1, [b"x"]))), 7, PATH)

    assert (scan.lsn_end, scan.good_bytes, scan.sound_at) == (8, len(content), len(content))


def test_a_newer_format_is_refused() -> None:
    newer = struct.pack("<8sIIQ", b"HWJOURNL", 3, zlib.crc32(b"whatever"), 7)

    with pytest.raises(StateError, match="has format 3; this Headwater reads formats up to 2"):
        scanned(pa.py_buffer(newer), 7, PATH)


def test_names_carry_the_first_number() -> None:
    assert name_of(42) == "00000000000000000042.hwj"
    assert lsn_of(f"journal/{name_of(42)}") == 42
    for other in ("journal/x.hwj", "journal/42.hwj", f"journal/{name_of(42)}.bak", "journal/+42"):
        assert lsn_of(other) is None

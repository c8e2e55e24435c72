"""The page of bytes is true: magics, versions, sizes and kinds are those of the code."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest

from headwater.log import manifest, segment
from headwater.log.index import INDEX_KEY, Index
from headwater.runtime import checkpoint
from headwater.runtime.records import Kind
from headwater.storage import blobs, folder, journal_file, sealed, sums

PAGE = (Path(__file__).parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")


def table(head: str) -> list[list[str]]:
    """The rows of the table whose first line has this cell."""
    after = PAGE[PAGE.index(f"| {head} |") :].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in after.split("\n")[2:]
    ]


@pytest.mark.parametrize(
    ("what", "version"),
    [
        ("the folder (`FORMAT`)", folder.FORMAT),
        ("the journal's files", journal_file.VERSION),
        ("a checkpoint's manifest", checkpoint.FORMAT),
        ("the manifest of a log in it", manifest._FORMAT),
        ("the index of a segment", 1),
    ],
)
def test_versions_are_those_of_the_code(what: str, version: int) -> None:
    assert f"| {what} | {version} |" in PAGE


def test_a_journals_header_is_as_in_its_table() -> None:
    header = journal_file.file_header(7)
    rows = table("header of a file")

    assert [(int(r[0]), int(r[1])) for r in rows] == [(0, 8), (8, 4), (12, 4), (16, 8)]
    assert f"magic, `{header[:8].decode()}`" in rows[0][2]
    assert struct.unpack_from("<I", header, 8)[0] == journal_file.VERSION
    assert rows[1][2] == f"version, {journal_file.VERSION}"
    assert struct.unpack_from("<Q", header, 16)[0] == 7
    assert f"The header's {journal_file.HEADER_BYTES} bytes" in PAGE


def test_a_record_is_as_in_its_table() -> None:
    record = b"".join(map(bytes, journal_file.record_parts(7, 3, [b"abc"], 2)))
    rows = table("record")

    places = [(int(r[0]), r[1]) for r in rows]
    assert places == [(0, "4"), (4, "4"), (8, "8"), (16, "1"), (17, "3"), (20, "4"), (24, "length")]
    assert len(record) == journal_file.HEADER_BYTES + 8
    assert struct.unpack_from("<IQB", record, 4) == (3, 7, 3)
    assert struct.unpack_from("<I", record, 20) == (2,)
    assert record[24:] == b"abc" + bytes(5)


def test_kinds_are_those_of_the_code() -> None:
    rows = table("kind | name")

    assert [(int(row[0]), row[1]) for row in rows] == [(kind.value, kind.name) for kind in Kind]


def test_what_seals_a_file_of_state_is_as_in_its_table() -> None:
    content = np.arange(100_000, dtype=np.uint8)
    magic, total, zero = struct.unpack("<8sII", sealed.trailer(memoryview(content)))

    assert f"| n | 8 | magic, `{magic.decode()}` |" in PAGE
    assert (total, zero) == (sums.word_sum(content), 0)
    assert f"in {sums.LANES} lanes" in PAGE
    assert blobs._UNFINISHED in PAGE


def test_a_word_sum_is_what_the_page_says() -> None:
    data = np.random.default_rng(1).integers(0, 256, 3 * 8 * 509 + 100).astype(np.uint8)
    words = data[: 3 * 8 * 509].view("<u8").reshape(3, 509)
    lanes = [sum(int(word) for word in words[:, lane]) % 2**64 for lane in range(509)]
    first = zlib.crc32(b"".join(lane.to_bytes(8, "little") for lane in lanes))

    assert sums.word_sum(data) == zlib.crc32(data[3 * 8 * 509 :].tobytes(), first)


def test_every_field_of_a_manifest_and_of_an_entry_is_named() -> None:
    names = [f.name for f in fields(checkpoint.Manifest)]
    # What few entries have may be left to its docstring.
    names += [f.name for f in fields(segment.Entry) if f.default is MISSING]

    assert [name for name in names if f"`{name}`" not in PAGE] == []
    assert f"`{INDEX_KEY.decode()}`" in PAGE
    stored = sealed.unsealed_json(Index.of([0, 1], [[5]]).encode(), sealed_from=0)
    assert [name for name in stored if f"`{name}`" not in PAGE] == []


def test_limits_are_those_of_the_code() -> None:
    assert re.search(r"up to (\d+) MiB a file", PAGE)[1] == str(  # type: ignore[index]
        checkpoint._CHECKED_BYTES_MAX >> 20
    )
    assert "The newest two are kept" in PAGE
    assert checkpoint.KEPT == 2

"""Contents that carry their checksum say so when a bit of them has changed."""

from __future__ import annotations

import json
from random import Random

import pyarrow as pa
import pytest

from headwater.storage.sealed import sealed_json, trailer, unsealed, unsealed_json

VALUE = {"format": 2, "epoch": 17, "views": {"dear": {"rows": ["état", None, 1.5]}}}


def file_of(content: bytes) -> bytes:
    return content + trailer(pa.py_buffer(content))


def test_an_object_is_read_back() -> None:
    assert unsealed_json(sealed_json(VALUE), sealed_from=2) == VALUE


def test_an_object_of_before_has_no_checksum() -> None:
    value = VALUE | {"format": 1}

    assert unsealed_json(json.dumps(value).encode(), sealed_from=2) == value


def test_each_bit_of_an_object_counts() -> None:
    text = sealed_json(VALUE)
    for place in range(len(text) * 8):
        flipped = bytearray(text)
        flipped[place // 8] ^= 1 << place % 8
        try:
            found = unsealed_json(bytes(flipped), sealed_from=2)
        except ValueError:
            continue
        assert found == VALUE, f"bit {place}"


@pytest.mark.parametrize("size", [0, 1, 100, 5000])
def test_the_content_of_a_file_is_read_back(size: int) -> None:
    content = Random(size).randbytes(size)

    assert unsealed(pa.py_buffer(file_of(content))).to_pybytes() == content


def test_each_bit_of_a_file_counts() -> None:
    file = file_of(Random(1).randbytes(60))
    for place in range(len(file) * 8):
        flipped = bytearray(file)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises(ValueError, match="checksum"):
            unsealed(pa.py_buffer(bytes(flipped)))


@pytest.mark.parametrize("length", [0, 5, 16, 59, 75])
def test_a_file_that_was_cut_is_found(length: int) -> None:
    file = file_of(Random(1).randbytes(60))

    with pytest.raises(ValueError, match=r"it has|checksum"):
        unsealed(pa.py_buffer(file[:length]))


def test_a_file_of_arrow_that_was_written_before_is_read_as_it_is() -> None:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, pa.schema([("n", pa.int64())])) as writer:
        writer.write_batch(pa.record_batch({"n": [1, 2]}))

    assert unsealed(sink.getvalue()).equals(sink.getvalue())

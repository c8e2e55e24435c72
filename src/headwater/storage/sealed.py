"""Contents that carry their own checksum: JSON values, and files of bytes.

    JSON     an object with a key more, `crc32`: that of the object without it, written by Python's
             `json.dumps` with its keys as they stand, UTF-8
    bytes    the content, then 16 bytes: magic "HWSEALED", u32 word sum of the content (see `sums`),
             u32 zero; integers are little-endian

What was written before there were checksums has none, and is read as it is: a JSON object that
knows of them says so by its format, a file of Arrow's ends with Arrow's own magic.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.storage.sums import word_sum

_KEY = "crc32"
_MAGIC = b"HWSEALED"
_TRAILER = struct.Struct("<8sII")
_ARROW_MAGIC = b"ARROW1"


def sealed_json(value: dict[str, Any]) -> bytes:
    """An object as text, with its checksum."""
    return json.dumps(value | {_KEY: _crc(value)}).encode()


def unsealed_json(data: bytes, *, sealed_from: int) -> dict[str, Any]:
    """The object in a text.

    Args:
        sealed_from: Objects of this `format` and above have a checksum.

    Raises:
        ValueError: It is not what was written.

    """
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ValueError(f"it is cut off, or no JSON: {error}" if data else "it is empty") from None
    if not isinstance(value, dict) or type(value.get("format")) is not int:
        raise ValueError("it is no object with a format")
    crc = value.pop(_KEY, None)
    if crc is None and value["format"] < sealed_from:
        return value
    if crc != _crc(value):
        raise ValueError("it does not have the checksum that it was written with")
    return value


def trailer(content: pa.Buffer) -> bytes:
    """What is to follow the content of a file."""
    return _TRAILER.pack(_MAGIC, _sum(content), 0)


def unsealed(file: pa.Buffer, *, is_checked: bool = True) -> pa.Buffer:
    """The content of a file, not copied.

    Args:
        is_checked: Whether its bytes are compared with their checksum: all of them are read then.

    Raises:
        ValueError: It is not what was written.

    """
    size_bytes = file.size - _TRAILER.size
    if size_bytes < 0:
        raise ValueError(f"it has {file.size} bytes only")
    end = bytes(memoryview(file)[size_bytes:])
    if end.endswith(_ARROW_MAGIC):
        return file
    content = file.slice(0, size_bytes)
    if not end.startswith(_MAGIC) or (is_checked and end != trailer(content)):
        raise ValueError("its bytes do not have the checksum that they were written with")
    return content


def _crc(value: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(value).encode())


def _sum(content: pa.Buffer) -> int:
    return word_sum(np.frombuffer(content, dtype=np.uint8))

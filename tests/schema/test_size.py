"""A size means what people mean by it, and what is no size is refused."""

from __future__ import annotations

import pytest

from headwater.errors import DefinitionError
from headwater.schema.size import parse_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("10 GB", 10_000_000_000),
        ("10gb", 10_000_000_000),
        ("2 TiB", 2 << 40),
        ("1.5 KiB", 1536),
        ("7", 7),
        ("1 byte", 1),
        ("12 bytes", 12),
        ("3 kB", 3000),
        (4096, 4096),
        ("1_000 MB", 1_000_000_000),
    ],
)
def test_sizes(text: str | int, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "10 XB", "-1", "0", "1 minute", "0.1", True, 1 << 63])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(DefinitionError, match="size"):
        parse_size(text)

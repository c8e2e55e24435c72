"""An index comes back from its bytes as it was, and dense chunks cost next to nothing."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.log.index import Index
from headwater.storage.sealed import sealed_json, unsealed_json

int64s = st.integers(-(2**63), 2**63 - 1)
columns = st.lists(st.tuples(int64s, int64s), max_size=20)


@given(marks=columns, starts=st.lists(int64s, min_size=21, max_size=21))
def test_an_index_comes_back_from_its_bytes(
    marks: list[tuple[int, int]], starts: list[int]
) -> None:
    index = Index.of(starts[: len(marks) + 1], [[m[0] for m in marks], [m[1] for m in marks]])

    found = Index.decode(index.encode())

    assert len(found) == len(marks)
    assert found.starts.tolist() == index.starts.tolist()
    assert [m.tolist() for m in found.marks] == [m.tolist() for m in index.marks]


def test_chunks_of_one_row_take_a_few_bytes_each() -> None:
    rows = 100_000
    arrivals = np.cumsum(np.random.default_rng(0).integers(0, 200, rows))
    index = Index(np.arange(rows + 1), (np.arange(rows), arrivals))

    assert len(index.encode()) < 2 * rows


def test_another_format_is_refused() -> None:
    value = unsealed_json(Index.of([0, 1], [[5]]).encode(), sealed_from=0)

    with pytest.raises(ValueError, match="format 99"):
        Index.decode(sealed_json({**value, "format": 99}))


def test_an_index_of_before_has_no_checksum() -> None:
    index = Index.of([0, 1], [[5]])
    value = unsealed_json(index.encode(), sealed_from=0)

    assert Index.decode(json.dumps(value).encode()).encode() == index.encode()


def test_no_bit_of_an_index_can_change_unseen() -> None:
    whole = Index.of([0, 3, 4], [[5, 9], [7, 7]]).encode()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        # A changed key of the checksum leaves an index of before, which is as it was.
        with suppress(ValueError):
            assert Index.decode(bytes(changed)).encode() == whole

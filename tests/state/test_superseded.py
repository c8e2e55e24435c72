from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state.superseded import standing

rows = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([None, "a", "b"]), st.integers(0, 3)), max_size=30
)


@settings(max_examples=150, deadline=None)
@given(rows=rows, by_version=st.booleans(), shuffle=st.randoms(use_true_random=False))
def test_a_row_is_replaced_by_the_newest_of_its_key(
    rows: list[Any], by_version: bool, shuffle: Any
) -> None:
    logged = list(enumerate(rows))
    shuffle.shuffle(logged)
    keys = [pa.array([r[n] for _, r in logged], t) for n, t in enumerate([pa.int64(), pa.string()])]
    hashes = np.array([hash(row[:2]) for _, row in logged], np.int64).view(np.uint64)
    versions = np.array([row[2] for _, row in logged], np.int64)
    ticks = np.array([tick for tick, _ in logged], np.int64)

    found = standing(hashes, keys, versions=versions if by_version else None, ticks=ticks)

    newest = {
        key: max((row[2] if by_version else 0, tick) for tick, row in logged if row[:2] == key)[1]
        for key in {row[:2] for row in rows}
    }
    expected = [tick != newest[row[:2]] for tick, row in logged]
    assert found.is_replaced.tolist() == expected
    counts = [sum(row[:2] == other[:2] for other in rows) for _, row in logged]
    assert found.is_alone.tolist() == [count == 1 for count in counts]


def test_where_two_keys_share_a_hash_all_rows_stay() -> None:
    hashes = np.array([5, 5, 5, 7, 7], np.uint64)
    keys = [pa.array([1, 2, 1, 3, 3])]

    found = standing(hashes, keys, versions=None, ticks=np.arange(5))

    assert found.is_replaced.tolist() == [False, False, False, True, False]
    assert not found.is_alone.any()

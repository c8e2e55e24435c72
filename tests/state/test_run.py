from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.state.run import ascending

TOP = 2**64 - 1
near = st.one_of(st.integers(0, 40), st.integers(TOP - 40, TOP), st.integers(0, TOP))


@given(hashes=st.lists(near, max_size=60))
def test_rows_are_sorted_by_hash_and_then_by_place(hashes: list[int]) -> None:
    values = np.array(hashes, dtype=np.uint64)

    assert ascending(values, None).tolist() == np.argsort(values, kind="stable").tolist()


@given(rows=st.lists(st.tuples(near, st.integers(-3, 3)), max_size=60))
def test_with_times_rows_are_sorted_by_hash_time_and_place(rows: list[tuple[int, int]]) -> None:
    hashes = np.array([row[0] for row in rows], dtype=np.uint64)
    times = np.array([row[1] for row in rows], dtype=np.int64)

    expected = sorted(range(len(rows)), key=rows.__getitem__)
    assert ascending(hashes, times).tolist() == expected

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from headwater.state.run import _MANY_PROBES, Run, ascending

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


@given(held=st.lists(near, min_size=1, max_size=9), asked=st.lists(near, max_size=20))
def test_many_probes_find_few_rows(held: list[int], asked: list[int]) -> None:
    hashes = np.sort(np.array(held, dtype=np.uint64))
    empty = pa.RecordBatch.from_arrays([pa.nulls(len(held))], names=["n"])
    # What is asked stands among so many others that the run sifts them.
    probes = np.full(_MANY_PROBES, TOP // 2, dtype=np.uint64)
    probes[: len(asked) + len(held)] = [*asked, *held]

    probing, places = Run(hashes, empty).find(probes).pairs()

    expected = [
        (probe, place)
        for probe, value in enumerate(probes.tolist())
        for place, hashed in enumerate(hashes.tolist())
        if value == hashed
    ]
    assert list(zip(probing.tolist(), places.tolist(), strict=True)) == expected

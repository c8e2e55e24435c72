from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.state.dense import DenseIndex, is_dense

TOP = 2**64 - 1


@given(
    low=st.sampled_from([0, 5, 2**63 - 3, TOP - 20]),
    held=st.lists(st.integers(0, 20), min_size=1, max_size=30),
    probes=st.lists(st.one_of(st.integers(-3, 25), st.integers(0, TOP)), max_size=30),
)
def test_every_place_of_a_number_is_found(low: int, held: list[int], probes: list[int]) -> None:
    codes = np.sort(np.array(held, dtype=np.uint64)) + np.uint64(low)
    sought = np.array([(low + probe) % 2**64 for probe in [*probes, *held]], dtype=np.uint64)

    found = DenseIndex(codes).ranges(sought)

    expected = [
        (probe, place)
        for probe, code in enumerate(sought.tolist())
        for place, other in enumerate(codes.tolist())
        if code == other
    ]
    assert list(zip(*map(np.ndarray.tolist, found.pairs()), strict=True)) == expected
    assert (found.end is None) == (len(set(held)) == len(held))


def test_numbers_with_few_gaps_are_dense_and_those_far_apart_are_not() -> None:
    ids = np.arange(1_000, dtype=np.uint64)

    assert is_dense(ids + np.uint64(7_000))
    assert is_dense(ids * np.uint64(4))
    assert not is_dense(ids * np.uint64(5))
    assert not is_dense(np.array([0, TOP], dtype=np.uint64))

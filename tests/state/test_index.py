from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.state.index import HashIndex, search, search_times, sifted

TOP = 2**64 - 1
hashes = st.lists(
    st.one_of(st.integers(0, 9), st.integers(0, TOP), st.integers(TOP - 9, TOP)), min_size=1
)


def expected(held: np.ndarray, probes: np.ndarray) -> list[tuple[int, int]]:
    return [(p, i) for p, probe in enumerate(probes) for i, h in enumerate(held) if h == probe]


@given(held=hashes, probes=hashes)
def test_every_place_of_a_hash_is_found_both_ways(held: list[int], probes: list[int]) -> None:
    ordered = np.sort(np.array(held, dtype=np.uint64))
    sought = np.array(probes + held, dtype=np.uint64)

    by_index = HashIndex(ordered).ranges(sought).pairs()
    by_search = search(ordered, sought).pairs()

    assert list(zip(*map(np.ndarray.tolist, by_index), strict=True)) == expected(ordered, sought)
    assert list(zip(*map(np.ndarray.tolist, by_search), strict=True)) == expected(ordered, sought)


@pytest.mark.parametrize("bits", [64, 20])
def test_many_hashes_are_found_however_they_are_spread(bits: int) -> None:
    random = np.random.default_rng(bits)
    ordered = np.sort(random.integers(0, 2 ** (bits - 1), 100_000).astype(np.uint64))
    sought = random.permutation(np.concatenate([ordered[::7], ordered[::7] + np.uint64(1)]))

    ranges = HashIndex(ordered).ranges(sought)
    few = search(ordered, sought)

    first = np.searchsorted(ordered, sought)
    end = np.searchsorted(ordered, sought, side="right")
    hits = np.flatnonzero(end > first)
    for found in (ranges, few):
        assert np.array_equal(found.probes, hits)
        assert np.array_equal(found.first, first[hits])
        assert np.array_equal(found.ends(), end[hits])


def test_numbers_in_crowds_are_found_without_a_search_through_them() -> None:
    # Ids of three tenants, each counting on from a number of its own.
    starts = np.array([1, 10**12, 10**18], dtype=np.uint64)
    ordered = np.concatenate([start + np.arange(30_000, dtype=np.uint64) for start in starts])
    sought = np.random.default_rng(3).permutation(np.concatenate([ordered, ordered + 30_000]))

    with patch.object(np, "searchsorted", side_effect=AssertionError("searched")):
        found = HashIndex(ordered).ranges(sought)

    first = np.searchsorted(ordered, sought)
    hits = np.flatnonzero(ordered.take(np.minimum(first, len(ordered) - 1)) == sought)
    assert np.array_equal(found.probes, hits)
    assert np.array_equal(found.first, first[hits])


@given(held=hashes, sought=hashes)
def test_sifting_passes_over_no_hash_that_is_sought(held: list[int], sought: list[int]) -> None:
    all_hashes, wanted = np.array(held, dtype=np.uint64), np.array(sought, dtype=np.uint64)

    near = sifted(all_hashes, wanted)

    assert set(np.flatnonzero(np.isin(all_hashes, wanted))) <= set(near)


def test_sifting_passes_over_nearly_all_others() -> None:
    numbers = np.arange(100_000, dtype=np.uint64)

    assert sifted(numbers, numbers[700:720]).tolist() == list(range(700, 720))
    assert not len(sifted(numbers, numbers[:0]))


@given(
    times=st.lists(st.integers(-5, 5)),
    cuts=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    sought=st.integers(-7, 7),
    after_equal=st.booleans(),
)
def test_a_time_is_found_within_its_range(
    times: list[int], cuts: tuple[int, int], sought: int, after_equal: bool
) -> None:
    first, end = sorted(min(cut, len(times)) for cut in cuts)
    within = np.array(sorted(times[first:end]), dtype=np.int64)
    whole = np.array(times[:first] + within.tolist() + times[end:], dtype=np.int64)

    place = search_times(
        whole, np.array([first]), np.array([end]), np.array([sought]), after_equal=after_equal
    )

    side = "right" if after_equal else "left"
    assert place.tolist() == [first + np.searchsorted(within, sought, side=side)]

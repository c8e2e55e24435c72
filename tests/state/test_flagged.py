from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state.flagged import Flagged
from headwater.testing.checkpoint import MemoryCheckpoint

numbers = st.integers(-3, 12) | st.sampled_from([-(2**62), 2**62, 2**62 + 1])


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(st.dictionaries(numbers, st.integers(1, 7), max_size=8), max_size=12),
    rows_max=st.sampled_from([1 << 20, 5]),
    saved_after=st.integers(0, 12),
)
def test_flags_are_those_of_all_that_was_added(
    parts: list[dict[int, int]], rows_max: int, saved_after: int
) -> None:
    held: dict[int, int] = {}
    flagged = Flagged(rows_max=rows_max)
    for number, part in enumerate(parts):
        keys = np.array(sorted(part), dtype=np.int64)
        flags = np.array([part[int(key)] for key in keys], dtype=np.int32)

        before = flagged.add(keys, flags)

        assert before.tolist() == [held.get(int(key), 0) for key in keys]
        for key, flag in part.items():
            held[key] = held.get(key, 0) | flag
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = flagged.save(checkpoint)
            assert flagged.save(checkpoint) == manifest
            flagged = Flagged(rows_max=rows_max)
            flagged.load(manifest, checkpoint)
    assert flagged.size()[0] >= len(held)


@pytest.mark.parametrize("is_near", [True, False])
def test_many_numbers_lie_in_few_arrays_each_once(is_near: bool) -> None:
    flagged, random = Flagged(), np.random.default_rng(3)
    all_ = np.arange(20_000) if is_near else random.permutation(20_000)
    for first in range(0, 20_000, 100):
        part = np.sort(all_[first : first + 100])
        assert not flagged.add(part, np.ones(100, dtype=np.int32)).any()

    assert flagged.size() == (20_000, 20_000 * 12)
    assert len(flagged._parts) <= 10
    assert flagged.add(np.arange(20_000), np.ones(20_000, dtype=np.int32)).all()


def test_what_is_known_adds_nothing() -> None:
    flagged = Flagged()
    for _ in range(50):
        flagged.add(np.arange(100), np.full(100, 3, dtype=np.int32))

    assert flagged.size()[0] == 100

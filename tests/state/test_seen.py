from __future__ import annotations

import numpy as np
import pytest

from headwater.state.seen import Seen


def spread(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, count, dtype=np.uint64)


@pytest.mark.parametrize("rows", [1, 5_000, 40_000])
def test_what_was_added_passes_and_hardly_anything_else(rows: int) -> None:
    added, others = spread(rows), spread(50_000, seed=2)
    seen = Seen(rows)
    for part in np.array_split(added, 3):
        seen.add(part)

    assert seen.near(added).tolist() == list(range(rows))
    assert len(seen.near(others)) < len(others) // 50


def test_hashes_that_differ_in_their_low_bits_alone_are_told_apart() -> None:
    added, others = np.arange(3, dtype=np.uint64), np.arange(100, 1_100, dtype=np.uint64)
    seen = Seen(1 << 14)
    seen.add(added)

    assert seen.near(added).tolist() == [0, 1, 2]
    assert len(seen.near(others)) < 100


def test_equal_hashes_are_added_together() -> None:
    seen = Seen(8)
    seen.add(np.repeat(spread(2), 3))

    assert seen.near(spread(2)).tolist() == [0, 1]


def test_there_is_room_for_as_many_as_were_asked_for() -> None:
    seen = Seen(5_000)
    seen.add(spread(5_000))
    room = next(rows for rows in range(10_000) if not seen.has_room(rows)) - 1

    assert not Seen(5_000).has_room(room + 5_001)
    seen.add(spread(room))
    assert seen.has_room(0)
    assert not seen.has_room(1)

from __future__ import annotations

import itertools
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest

from headwater.state import spine as spines
from headwater.state.loose import Loose
from headwater.state.run import Merge, Run, cancelled, load_run
from headwater.state.spine import Limits, Spine
from headwater.testing.checkpoint import MemoryCheckpoint

SCHEMA = pa.schema([("n", pa.int64())])
LIMITS = Limits(rows=2_000)


def spine(*, is_coded: bool = False) -> Spine:
    return Spine(lambda merge, _: merge.run(), limits=LIMITS, is_coded=is_coded)


def grown(hashes: np.ndarray, step: int = 300, *, is_coded: bool = False) -> Spine:
    rows = spine(is_coded=is_coded)
    for first in range(0, len(hashes), step):
        part = hashes[first : first + step]
        numbers = pa.array(np.arange(first, first + len(part)))
        rows.add(Loose(part, pa.RecordBatch.from_arrays([numbers], schema=SCHEMA), None))
        rows.runs()
    return rows


def spread(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2**64, count, dtype=np.uint64)


def contents(runs: list[Run]) -> list[tuple[int, int]]:
    return sorted(
        pair
        for run in runs
        for pair in zip(run.hashes.tolist(), run.rows.column("n").to_pylist(), strict=True)
    )


@pytest.mark.parametrize("is_coded", [False, True])
@pytest.mark.parametrize("bits", [64, 20])
def test_no_run_of_a_large_spine_is_large(bits: int, *, is_coded: bool) -> None:
    # Only codes may all begin alike.
    hashes = spread(20_000) >> np.uint64(64 - bits if is_coded else 0)

    rows = grown(hashes, is_coded=is_coded)

    assert max(map(len, rows.runs())) <= LIMITS.rows
    assert rows.size()[0] == len(hashes)
    assert contents(rows.runs()) == sorted(zip(hashes.tolist(), range(20_000), strict=True))


@pytest.mark.parametrize("is_coded", [False, True])
def test_settled_runs_ascend_and_share_no_hash(*, is_coded: bool) -> None:
    rows = grown(np.repeat(spread(3_000), 3), is_coded=is_coded)

    runs = rows.settled()

    ends = [(int(run.hashes[0]), int(run.hashes[-1])) for run in runs]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
    assert len(contents(runs)) == 9_000


@pytest.mark.parametrize("is_coded", [False, True])
@pytest.mark.parametrize("few", [[7], [7, 8], [0, 2**64 - 1]])
def test_keys_that_cannot_be_split_are_held_all_the_same(few: list[int], *, is_coded: bool) -> None:
    hashes = np.resize(np.array(few, dtype=np.uint64), 9_000)

    rows = grown(hashes, is_coded=is_coded)

    assert rows.size()[0] == 9_000
    held = np.concatenate([run.hashes for run in rows.runs()])
    assert np.unique(held).tolist() == few


@pytest.mark.parametrize("is_coded", [False, True])
def test_shards_come_back_from_a_checkpoint(*, is_coded: bool) -> None:
    hashes = spread(20_000) >> np.uint64(40 * is_coded)
    rows, checkpoint = grown(hashes, is_coded=is_coded), MemoryCheckpoint()
    runs = {}

    manifest = rows.save(checkpoint)
    assert manifest["shards"]
    loaded = spine(is_coded=is_coded)

    def load(name: str) -> Run:
        batch = checkpoint.get(name)
        runs[name] = Run(batch.column("__hash").to_numpy(), batch.select(["n"]), name=name)
        return runs[name]

    loaded.load(manifest, load)

    assert contents(loaded.runs()) == contents(rows.runs())
    assert loaded.save(checkpoint) == manifest


def test_a_peek_stays_as_it_was() -> None:
    rows = grown(spread(5_000))
    rows.add(
        Loose(spread(9), pa.RecordBatch.from_arrays([pa.array(range(9))], schema=SCHEMA), None)
    )
    peek = rows.peek()
    before = [contents(runs) for runs in peek.parts()]

    rows.settled()
    for loose in (spread(3_000), spread(50)):
        batch = pa.RecordBatch.from_arrays([pa.array(range(len(loose)))], schema=SCHEMA)
        rows.add(Loose(loose, batch, None))
        rows.settled()

    assert [contents(runs) for runs in peek.parts()] == before
    assert sum(map(len, before)) == 5_009


def test_looks_find_what_a_sorted_spine_has_and_sort_what_was_scanned_often() -> None:
    limits = Limits(piece_rows=500, scan_rows=100)
    hashes = np.random.default_rng(2).integers(0, 300, 5_000).astype(np.uint64) << np.uint64(50)
    pile = Spine(lambda merge, _: merge.run(), limits=limits)
    plain = grown(hashes)
    for first in range(0, len(hashes), 70):
        part = hashes[first : first + 70]
        numbers = pa.array(np.arange(first, first + len(part)))
        pile.add(Loose(part, pa.RecordBatch.from_arrays([numbers], schema=SCHEMA), None))

    waiting = [5_000]
    for asked in (hashes[:3], hashes[100:110], hashes[:1]) * 12:
        before = pile.size()[0]
        found = of_hashes(pile.runs_with(asked), asked)

        assert found == of_hashes(plain.runs(), asked)
        assert pile.size()[0] == before
        waiting.append(sum(len(loose) for loose in pile.peek().loose))
    # Scanned sixteen times over, then sorted a piece at a time, and the last few at once.
    assert waiting[:17] == [5_000] * 17
    assert all(before - 1_100 <= now <= before for before, now in itertools.pairwise(waiting))
    assert waiting[-1] == 0


def of_hashes(runs: list[Run], asked: np.ndarray) -> dict[int, list[int]]:
    """The rows of each hash, in the order in which the runs have them."""
    found: dict[int, list[int]] = {int(one): [] for one in asked}
    for run in runs:
        for one, number in zip(run.hashes.tolist(), run.rows.column("n").to_pylist(), strict=True):
            if one in found:
                found[one].append(number)
    return found


def test_a_pile_survives_a_checkpoint_unsorted() -> None:
    hashes = spread(3_000)
    limits = Limits(piece_rows=500, scan_rows=500)
    pile = Spine(lambda merge, _: merge.run(), limits=limits)
    for first in range(0, len(hashes), 100):
        numbers = pa.array(np.arange(first, first + 100))
        rows = pa.RecordBatch.from_arrays([numbers], schema=SCHEMA)
        pile.add(Loose(hashes[first : first + 100], rows, None))
    checkpoint = MemoryCheckpoint()

    manifest = pile.save(checkpoint)
    again = Spine(lambda merge, _: merge.run(), limits=limits)
    again.load(manifest, lambda name: load_run(name, checkpoint, SCHEMA))

    assert len(manifest["loose"]) >= 6
    assert contents(again.runs()) == contents(pile.runs())


def loose(first: int, stop: int, codes: np.ndarray | None = None) -> Loose:
    """Rows numbered from `first`, whose codes are their numbers unless given."""
    numbers = np.arange(first, stop)
    rows = pa.RecordBatch.from_arrays([pa.array(numbers)], schema=SCHEMA)
    return Loose(numbers.astype(np.uint64) if codes is None else codes, rows, None)


def test_a_look_leaves_rows_of_other_codes_as_they_came() -> None:
    rows = Spine(lambda merge, _: merge.run(), limits=Limits(piece_rows=500), is_coded=True)
    for first in range(0, 5_000, 500):
        rows.add(loose(first, first + 500))

    assert not rows.runs_with(np.arange(5_000, 9_000, dtype=np.uint64))
    assert sum(map(len, rows.peek().loose)) == 5_000

    found = rows.runs_with(np.arange(1_200, 1_900, dtype=np.uint64))

    assert contents(found) == [(n, n) for n in range(1_000, 2_000)]
    assert sum(map(len, rows.peek().loose)) == 4_000


def test_rows_of_a_code_are_found_in_the_order_of_arrival_whatever_is_looked_for() -> None:
    random = np.random.default_rng(5)
    for _ in range(40):
        limits = Limits(piece_rows=40, scan_rows=int(random.integers(1, 60)))
        rows = Spine(lambda merge, _: merge.run(), limits=limits, is_coded=True)
        plain, count = grown(np.zeros(0, dtype=np.uint64)), 0
        for _ in range(30):
            low, size = int(random.integers(0, 50)), int(random.integers(1, 30))
            codes = random.integers(low, low + 12, size).astype(np.uint64)
            rows.add(loose(count, count + size, codes))
            plain.add(loose(count, count + size, codes))
            count += size
            asked = np.unique(random.integers(0, 60, int(random.integers(1, 3))).astype(np.uint64))
            expected = of_hashes(plain.runs(), asked)
            assert of_hashes(rows.runs_with(asked), asked) == expected
            assert rows.size()[0] == count
        assert contents(rows.settled()) == contents(plain.settled())


def test_large_runs_of_codes_that_grow_are_not_merged_again() -> None:
    merged: list[int] = []

    def settle(merge: Merge, _: bool) -> Run:
        merged.append(len(merge))
        return merge.run()

    rows = Spine(settle, is_coded=True)
    with patch.object(spines, "_APART_ROWS_MIN", 1_000):
        for first in range(0, 64_000, 500):
            rows.add(loose(first, first + 500))
            rows.runs()

    assert sum(merged) < 8 * 64_000
    assert len(rows.peek().runs) < 40
    assert contents(rows.runs_with(np.array([700, 1_300], dtype=np.uint64)))[0] == (0, 0)


def test_a_checkpoint_sorts_nothing() -> None:
    rows, checkpoint = spine(), MemoryCheckpoint()
    for first in range(0, 1_000, 10):
        rows.add(loose(first, first + 10, spread(10)))

    with patch.object(spines, "sort", side_effect=AssertionError("sorted")):
        manifest = rows.save(checkpoint)
        again = rows.save(checkpoint)

    assert len(manifest["loose"]) == 1
    assert again == manifest


def test_rows_that_few_others_withdraw_wait_beside_them() -> None:
    rows = Spine(lambda merge, _: merge.run(), limits=Limits(weighted_rows=10, scan_rows=1))
    hashes = spread(300)

    def loose(first: int, stop: int, *, weighted: bool) -> Loose:
        numbers = pa.RecordBatch.from_arrays([pa.array(np.arange(first, stop))], schema=SCHEMA)
        weights = np.full(stop - first, -1) if weighted else None
        return Loose(hashes[first:stop], numbers, weights)

    for first in range(0, 300, 100):
        rows.add(loose(first, first + 2, weighted=True))
        rows.add(loose(first + 2, first + 100, weighted=False))

    assert not rows._runs
    assert sum(part.weights is None for part in rows._loose) == 3
    assert sorted(np.concatenate(rows.hashes())) == sorted(hashes)
    assert contents(rows.runs()) == sorted(zip(hashes.tolist(), range(300), strict=True))


def test_what_a_look_picks_of_waiting_rows_is_settled() -> None:
    rows = Spine(lambda merge, _: cancelled(merge), limits=Limits(scan_rows=1))
    hashes = spread(100)
    numbers = pa.RecordBatch.from_arrays([pa.array(np.arange(100))], schema=SCHEMA)
    rows.add(Loose(hashes, numbers, None))
    rows.add(Loose(hashes[3:4], numbers.slice(3, 1), np.array([-1])))

    (run,) = rows.runs_with(hashes[3:5])

    assert not rows._runs
    assert contents([run]) == [(int(hashes[4]), 4)]

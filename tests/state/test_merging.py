"""Merges beside the epochs: what a spine holds after each step does not depend on the timing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headwater.state import spine as spines
from headwater.state.loose import Loose
from headwater.state.merging import MergeThread
from headwater.state.run import Merge, load_run
from headwater.state.spine import Behind, Limits, Merged, Spine
from headwater.testing.checkpoint import MemoryCheckpoint

SCHEMA = pa.schema([("n", pa.int64())])
# Shards take over at a thousand rows; merges of a hundred are done behind.
LIMITS = Limits(rows=1_000, behind_rows=100)
STEP = 40


class AtOnce:
    """Merges before anybody could wait for it."""

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(call())
        return future


class AtLast(Future[Any]):
    """Merges when it is waited for, and not before."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def result(self, timeout: float | None = None) -> Any:
        return self._call()


class Late:
    def submit(self, call: Callable[[], Any]) -> Future[Any]:
        return AtLast(call)


def even(merge: Merge, _: bool) -> Merged:
    """Leaves out odd numbers that meet others."""
    is_kept = merge.rows.column("n").to_numpy() % 2 == 0
    if merge.order is not None:
        is_kept = is_kept[merge.order]
    return Merged(merge.take(np.flatnonzero(is_kept), None), np.flatnonzero(~is_kept))


class Grown:
    """A spine, how its runs lay after each step, and how many rows were left out by then."""

    def __init__(self) -> None:
        self.left_out = 0
        self.layouts: list[Any] = []
        self._store = MemoryCheckpoint()
        self.spine = self.new_spine()

    def new_spine(self) -> Spine:
        return Spine(
            lambda merge, _: merge.run(),
            limits=LIMITS,
            behind=Behind(lambda: even, self._leave_out),
        )

    def _leave_out(self, some: np.ndarray) -> None:
        self.left_out += len(some)

    def step(self, hashes: np.ndarray, first: int) -> None:
        numbers = pa.array(np.arange(first, first + len(hashes)))
        self.spine.add(Loose(hashes, pa.RecordBatch.from_arrays([numbers], schema=SCHEMA), None))
        runs = self.spine.runs()
        layout = [(len(run), int(run.hashes[0]), int(run.hashes[-1])) for run in runs]
        self.layouts.append((layout, self.left_out))

    def restart(self) -> None:
        manifest = self.spine.save(self._store)
        self.spine = self.new_spine()
        self.spine.load(manifest, lambda name: load_run(name, self._store, SCHEMA))


def grown(rows: int, restarts: set[int]) -> Grown:
    hashes = np.random.default_rng(1).integers(0, 2**64, rows, dtype=np.uint64)
    some = Grown()
    for number, first in enumerate(range(0, rows, STEP)):
        if number in restarts:
            some.restart()
        some.step(hashes[first : first + STEP], first)
    return some


@pytest.mark.parametrize("restarts", [set(), {3, 5, 11, 12, 30, 40, 70, 99}])
def test_runs_are_the_same_whenever_a_merge_is_done(
    restarts: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spines, "MERGES", AtOnce())
    expected = grown(6_000, set())
    assert expected.left_out > 1_000

    for merges in (AtOnce(), Late(), MergeThread()):
        monkeypatch.setattr(spines, "MERGES", merges)
        assert grown(6_000, restarts).layouts == expected.layouts


def test_the_runs_of_a_merge_are_there_until_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Watched(AtLast):
        def result(self, timeout: float | None = None) -> Any:
            asked.append(rows.spine.size()[0])
            return super().result(timeout)

    class Merges:
        def submit(self, call: Callable[[], Any]) -> Future[Any]:
            return Watched(call)

    monkeypatch.setattr(spines, "MERGES", Merges())
    rows = Grown()
    hashes = np.arange(1_000, dtype=np.uint64) << np.uint64(50)
    rows.step(hashes[:80], 0)
    rows.step(hashes[80:120], 80)
    # The merge of 120 rows is due with an eighth of them; nothing is left out before.
    rows.step(hashes[120:130], 120)
    assert (asked, rows.left_out, rows.spine.size()[0]) == ([], 0, 130)

    rows.step(hashes[130:140], 130)

    assert (asked, rows.left_out) == ([140], 60)
    assert [len(run) for run in rows.spine.runs()] == [60, 20]


def test_what_a_merge_raises_is_told_who_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_merge: Merge, _is_oldest: bool) -> Merged:
        raise MemoryError("no room")

    monkeypatch.setattr(spines, "MERGES", MergeThread())
    rows = Grown()
    rows.spine = Spine(lambda merge, _: merge.run(), limits=LIMITS, behind=Behind(lambda: fails))
    hashes = np.arange(200, dtype=np.uint64)
    rows.step(hashes[:80], 0)
    rows.step(hashes[80:160], 80)

    with pytest.raises(MemoryError, match="no room"):
        rows.spine.settled()


def test_a_thread_merges_in_order_and_leaves_out_what_is_cancelled() -> None:
    merges, may_go, order = MergeThread(), threading.Event(), []
    first = merges.submit(may_go.wait)
    second = merges.submit(lambda: order.append("second"))
    third = merges.submit(lambda: order.append("third"))
    assert second.cancel()

    may_go.set()

    assert first.result(60)
    third.result(60)
    assert order == ["third"]

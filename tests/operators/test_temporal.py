"""At every moment the rows are there whose time has come and not gone, whatever the cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import TICK
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import Scan, TemporalFilter
from operators.running import Memory, added, schema, table, zset

ROWS = schema(k="VARCHAR", first="BIGINT", last="BIGINT")
SHOWN = schema(k="VARCHAR")
Row = tuple[str, int, int]


def plan(
    *, first: bool = True, last: bool = True, append_only: bool = True, ticks: bool = False
) -> TemporalFilter:
    scan = Scan("t", ROWS, append_only, ticks)
    return TemporalFilter(scan, "first" if first else None, "last" if last else None, SHOWN)


def rows(*found: Row, weights: Sequence[int] | None = None) -> pa.Table:
    if weights is None:
        return table(ROWS, list(found))
    return table(ROWS, list(found), __weight=list(weights))


def at(time_us: int, number: int = 1, tick_last: int = 0) -> Epoch:
    return Epoch(number, time_us, tick_last, {})


def test_a_row_is_in_from_its_first_moment_until_its_last(engine: Engine) -> None:
    flow = Dataflow(plan(), engine)

    assert zset(flow.step({"t": rows(("a", 10, 20))}, at(9)).rows) == {}
    assert flow.wakes_at() == 10
    assert zset(flow.step({}, at(10)).rows) == {("a",): 1}
    assert flow.wakes_at() == 20
    assert zset(flow.step({}, at(19)).rows) == {}
    assert zset(flow.step({}, at(20)).rows) == {("a",): -1}
    assert flow.wakes_at() is None
    assert flow.state_size() == (0, 0)


def test_a_row_whose_time_has_passed_never_comes(engine: Engine) -> None:
    flow = Dataflow(plan(), engine)

    out = flow.step({"t": rows(("gone", 1, 5), ("here", 5, 6), ("empty", 7, 7))}, at(5))
    later = flow.step({}, at(100))

    assert zset(out.rows) == {("here",): 1}
    assert zset(later.rows) == {("here",): -1}


def test_rows_that_only_come_are_never_withdrawn(engine: Engine) -> None:
    flow = Dataflow(plan(last=False), engine)

    now = flow.step({"t": rows(("a", 1, 0), ("b", 9, 0))}, at(5))
    later = flow.step({}, at(9))

    assert now.weights is None
    assert (zset(now.rows), zset(later.rows)) == ({("a",): 1}, {("b",): 1})
    assert flow.wakes_at() is None


def test_now_never_goes_back(engine: Engine) -> None:
    flow = Dataflow(plan(), engine)
    flow.step({"t": rows(("a", 0, 100))}, at(50))

    out = flow.step({"t": rows(("b", 45, 48), ("c", 45, 60))}, at(40))

    assert zset(out.rows) == {("c",): 1}


def test_a_row_for_ever_wakes_nobody(engine: Engine) -> None:
    flow = Dataflow(plan(), engine)

    flow.step({"t": rows(("a", 0, (1 << 63) - 1))}, at(5))

    assert flow.wakes_at() is None


def test_what_cancels_out_while_it_waits_never_shows(engine: Engine) -> None:
    flow = Dataflow(plan(append_only=False), engine)
    flow.step({"t": rows(("a", 10, 20), ("b", 10, 20), weights=[1, 1])}, at(1))
    flow.step({"t": rows(("a", 10, 20), weights=[-1])}, at(2))

    came = flow.step({}, at(10))
    left = flow.step({}, at(20))

    assert came.rows.column("k").to_pylist() == ["b"]
    assert zset(left.rows) == {("b",): -1}


def test_a_row_stands_at_its_place_and_one_that_time_moves_at_the_end(engine: Engine) -> None:
    flow = Dataflow(plan(ticks=True), engine, has_ticks=True)
    given_rows = rows(("a", 0, 9), ("b", 8, 9)).append_column(TICK, pa.array([3, 4]))

    now = flow.step({"t": given_rows}, at(5, tick_last=4))
    later = flow.step({}, at(8, tick_last=11))

    assert now.rows.column(TICK).to_pylist() == [3]
    assert later.rows.column(TICK).to_pylist() == [11]


moments = st.integers(0, 30)
row_strategy = st.tuples(st.sampled_from("abc"), moments, moments)


@pytest.mark.parametrize(("first", "last"), [(True, True), (True, False), (False, True)])
@given(
    epochs=st.lists(
        st.tuples(
            st.lists(st.tuples(row_strategy, st.sampled_from([1, 1, 2, -1])), max_size=6), moments
        ),
        max_size=6,
    ),
    saved_after=st.integers(0, 6),
    is_weighted=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_after_every_epoch_the_sum_is_what_holds_now(  # noqa: PLR0917 - what is drawn
    engine: Engine,
    first: bool,
    last: bool,
    epochs: list[tuple[list[tuple[Row, int]], int]],
    saved_after: int,
    is_weighted: bool,
) -> None:
    node = plan(first=first, last=last, append_only=not is_weighted)
    flow, now = Dataflow(node, engine), -1
    seen: Counter[Any] = Counter()
    total: Counter[Any] = Counter()
    for number, (drawn, time_us) in enumerate(epochs):
        for row, weight in drawn:
            seen[row] += weight if is_weighted else 1
        weights = [w for _, w in drawn] if is_weighted else None
        change = flow.step(
            {"t": rows(*(r for r, _ in drawn), weights=weights)}, at(time_us, number)
        )
        now = max(now, time_us)
        total = added([total, zset(change.rows)])
        expected: Counter[Any] = Counter()
        for (name, begins, ends), weight in seen.items():
            if (not first or begins <= now) and (not last or ends > now):
                expected[name,] += weight
        assert total == Counter({row: weight for row, weight in expected.items() if weight})
        wakes_at = flow.wakes_at()
        assert wakes_at is None or wakes_at > now
        if number == saved_after:
            memory = Memory()
            manifest = flow.save(memory)
            flow = Dataflow(node, engine)
            flow.load(manifest, memory)


def test_many_rows_wait_in_few_runs(engine: Engine) -> None:
    flow = Dataflow(plan(append_only=False), engine)
    rng = np.random.default_rng(2)
    expected: Counter[Any] = Counter()
    for number in range(60):
        drawn: list[Row] = [
            (f"k{int(k)}", 1_000, 2_000) for k in rng.integers(0, 30, int(rng.integers(1, 20)))
        ]
        weights = [int(w) for w in rng.choice([1, -1], len(drawn))]
        for (name, _, _), weight in zip(drawn, weights, strict=True):
            expected[name,] += weight
        flow.step({"t": rows(*drawn, weights=weights)}, at(number))

    came = flow.step({}, at(1_000))

    assert zset(came.rows) == Counter({row: w for row, w in expected.items() if w})

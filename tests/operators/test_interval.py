from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import Delta
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.interval import IntervalJoinOperator
from headwater.operators.statement import Engine
from headwater.plan.nodes import Join, JoinKind, Scan, Within
from headwater.schema.schema import Schema
from headwater.state import multiset
from headwater.testing.deltas import answer, assert_same, sum_of, with_constant_hash
from operators.running import added, expression, zset
from operators.sided import history, rows_of, stepped
from operators.timelog import (
    LEFT,
    RIGHT,
    Log,
    decision,
    kept_of,
    keys,
    logs,
    moment,
    run,
    schemas_of,
    step,
    weight_of,
)

# Further conditions, with what they say of a left time and value and a right time and value.
CONDITIONS: dict[str | None, Callable[[Any, Any, Any, Any], bool]] = {
    None: lambda t, x, at, y: True,
    "(x = 0) = (y = 'a')": lambda t, x, at, y: (x == 0) == (y == "a"),
    "ts <> at": lambda t, x, at, y: t != at,
}

# From how many rows on those that are outdone are looked for.
thinned = st.sampled_from([2, 64])
times = st.none() | st.integers(-12, 12)
bounds = st.tuples(st.none() | st.integers(-5, 3), st.none() | st.integers(-2, 5)).filter(any)


@pytest.fixture(scope="module", name="engine")
def opened() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def join(
    kind: JoinKind,
    within: Within,
    *,
    keys: int = 1,
    left: Scan = LEFT,
    right: Scan = RIGHT,
    condition: str | None = None,
) -> Join:
    columns = Schema((*left.schema, *right.schema))
    bound = None if condition is None else expression(condition)
    return Join(kind, left, right, ("k",)[:keys], ("rk",)[:keys], columns, within, bound)


def operator(node: Join, engine: Engine, *, ticks: bool = False) -> IntervalJoinOperator:
    sides = [side for side in node.inputs if isinstance(side, Scan)]
    left, right = schemas_of(sides, ticks=ticks)
    return IntervalJoinOperator(node, left, right, engine)


def sql_of(node: Join) -> str:
    assert node.within is not None
    lower, upper = node.within.lower_us, node.within.upper_us
    terms = [f"{a} = {b}" for a, b in zip(node.left_keys, node.right_keys, strict=True)]
    terms += [f"ts >= r.at + to_microseconds({lower})"] if lower is not None else []
    terms += [f"ts <= r.at + to_microseconds({upper})"] if upper is not None else []
    terms += [node.condition.sql("duckdb")] if node.condition is not None else []
    return f"SELECT * FROM l {node.kind} JOIN r ON {' AND '.join(terms)}"


@settings(max_examples=120, deadline=None)
@given(
    left=st.lists(st.tuples(keys, times, st.integers(0, 1)), max_size=16),
    right=st.lists(st.tuples(keys, times, st.sampled_from("ab")), max_size=12),
    kind=st.sampled_from(JoinKind),
    condition=st.sampled_from(list(CONDITIONS)),
    bound=bounds,
    key_count=st.integers(0, 1),
    grows=st.tuples(st.booleans(), st.booleans()),
    epochs=st.integers(1, 7),
    saved_after=st.integers(-1, 6),
    collide=st.booleans(),
    thinned_from=thinned,
    random=st.randoms(use_true_random=False),
)
def test_the_sum_of_changes_is_the_batch_answer(
    *,
    left: list[Any],
    right: list[Any],
    kind: JoinKind,
    condition: str | None,
    bound: tuple[int | None, int | None],
    key_count: int,
    grows: tuple[bool, bool],
    epochs: int,
    saved_after: int,
    collide: bool,
    thinned_from: int,
    random: Random,
    engine: Engine,
) -> None:
    l_scan, r_scan = replace(LEFT, append_only=grows[0]), replace(RIGHT, append_only=grows[1])
    within = Within("ts", "at", *bound)
    node = join(kind, within, keys=key_count, left=l_scan, right=r_scan, condition=condition)
    tables = {
        "l": rows_of(l_scan, [(k, moment(t), x) for k, t, x in left]),
        "r": rows_of(r_scan, [(k, moment(t), y) for k, t, y in right]),
    }
    sides = [
        history(tables["l"], node.left_keys, l_scan, random, epochs=epochs, collide=collide),
        history(tables["r"], node.right_keys, r_scan, random, epochs=epochs, collide=collide),
    ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiset, "_THINNED_MIN", thinned_from)
        outputs = stepped(lambda: operator(node, engine), sides, saved_after=saved_after)

    assert all((out.weights is None) == node.append_only for out in outputs)
    assert_same(sum_of(outputs), answer(sql_of(node), tables))


@settings(max_examples=150, deadline=None)
@given(
    log=logs(),
    kind=st.sampled_from(JoinKind),
    condition=st.sampled_from(list(CONDITIONS)),
    bound=bounds,
    lateness=st.sampled_from([0, 3]),
    behind=st.sampled_from([(0, 0), (2, 0), (1, 3)]),
    final=st.booleans(),
    weighted=st.booleans(),
    collide=st.booleans(),
    cuts=st.lists(st.integers(1, 24), max_size=5) | st.just(range(25)),
    saved_after=st.integers(-1, 4),
    thinned_from=thinned,
)
def test_rows_in_time_are_joined_and_late_rows_are_told(
    *,
    log: Log,
    kind: JoinKind,
    condition: str | None,
    bound: tuple[int | None, int | None],
    lateness: int,
    behind: tuple[int, int],
    final: bool,
    weighted: bool,
    collide: bool,
    cuts: Any,
    saved_after: int,
    thinned_from: int,
    engine: Engine,
) -> None:
    if not weighted:
        log = Log([row for row in log.rows if row[4] > 0])
    decided = decision(final=final, lateness=lateness, behind=behind)
    within = Within("ts", "at", *bound, decided)
    l_scan, r_scan = (replace(s, append_only=not weighted) for s in (LEFT, RIGHT))
    node = join(kind, within, left=l_scan, right=r_scan, condition=condition)

    make = partial(operator, node, engine, ticks=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(multiset, "_THINNED_MIN", thinned_from)
        out, late, made = run(
            make, log, cuts, weighted=weighted, collide=collide, saved_after=saved_after
        )

    is_late = log.late(lateness, behind)
    kept = joined(node, kept_of(log, is_late), CONDITIONS[condition])
    assert added(zset(change.rows) for change in out) == kept
    assert sum(late.values()) == weight_of(log, is_late)
    if kind is JoinKind.INNER:
        assert made.state_size()[0] == 0
    if final and lateness == 0 and not weighted:
        assert all(change.weights is None for change in out)


def joined(node: Join, log: Log, holds: Callable[[Any, Any, Any, Any], bool]) -> Counter[Any]:
    """The join row by row, over rows with weights."""
    assert node.within is not None
    lower, upper = node.within.lower_us, node.within.upper_us
    total: Counter[Any] = Counter()
    matched: Counter[Any] = Counter()
    for is_left, k, t, x, weight in log.rows:
        if not is_left:
            continue
        mine, matches = (k, moment(t), x), 0
        for other_left, rk, at, y, w in log.rows:
            if other_left or k is None or t is None or rk != k or at is None:
                continue
            is_near = (lower is None or t - at >= lower) and (upper is None or t - at <= upper)
            if is_near and holds(t, x, at, y):
                matches += w
                matched[rk, moment(at), y] += weight
                if node.kind.has_both:
                    total[*mine, rk, moment(at), y] += weight * w
        if node.kind in (JoinKind.LEFT, JoinKind.FULL) and not matches:
            total[*mine, None, None, None] += weight
        if node.kind in (JoinKind.SEMI, JoinKind.ANTI):
            total[mine] += weight if (matches > 0) == (node.kind is JoinKind.SEMI) else 0
    for is_left, k, t, x, weight in log.rows if node.kind is JoinKind.FULL else ():
        if not is_left and not matched[k, moment(t), x]:
            total[None, None, None, k, moment(t), x] += weight
    return Counter({row: weight for row, weight in total.items() if weight})


def test_what_nobody_in_time_can_reach_is_forgotten(engine: Engine) -> None:
    within = Within("ts", "at", -2, 5, decision(final=True, lateness=0))
    log = Log([(i % 2 == 0, 1, i, 0 if i % 2 == 0 else "a", 1) for i in range(2000)])
    for kind in JoinKind:
        made = operator(join(kind, within), engine, ticks=True)

        sizes = []
        for first in range(0, 2000, 10):
            step(made, log, first, first + 10)
            sizes.append(made.state_size()[0])

        assert max(sizes) < 100, kind


@pytest.mark.parametrize("kind", [JoinKind.SEMI, JoinKind.ANTI])
@pytest.mark.parametrize(
    ("lower", "upper", "final", "weighted"),
    [
        # The right row is before: of each key the first one is enough.
        (0, None, False, False),
        (0, None, False, True),
        (3, None, True, True),
        # It is after: of each key the last one, and left rows with a match go.
        (None, 0, False, False),
    ],
)
def test_with_a_bound_on_one_side_the_row_of_a_key_that_reaches_farthest_stays(
    kind: JoinKind,
    *,
    lower: int | None,
    upper: int | None,
    final: bool,
    weighted: bool,
    engine: Engine,
) -> None:
    within = Within("ts", "at", lower, upper, decision(final=final, lateness=2))
    sides = (replace(side, append_only=not weighted) for side in (LEFT, RIGHT))
    node = join(kind, within, left=next(sides), right=next(sides))
    log = Log([(i % 2 == 0, i % 3, i, 0 if i % 2 == 0 else "a", 1) for i in range(4000)])
    made, sizes = operator(node, engine, ticks=True), []

    for first in range(0, len(log.rows), 10):
        step(made, log, first, first + 10, weighted=weighted)
        sizes.append(made.state_size()[0])

    assert max(sizes) < 300


@pytest.mark.parametrize("kind", [JoinKind.SEMI, JoinKind.ANTI])
@pytest.mark.parametrize("bound", [(0, None), (None, 0), (-5, 5)])
def test_where_nothing_is_withdrawn_a_row_that_has_a_match_is_forgotten(
    kind: JoinKind, bound: tuple[int | None, int | None], engine: Engine
) -> None:
    node = join(kind, Within("ts", "at", *bound))
    log = Log([(i % 2 == 0, i % 3, i, 0 if i % 2 == 0 else "a", 1) for i in range(4000)])
    made = operator(node, engine)

    for first in range(0, len(log.rows), 10):
        step(made, log, first, first + 10)

    # With both bounds a right row may be what a later left row asks for.
    rights = 2000 if None not in bound else 0
    assert made.state_size()[0] < rights + 300


@pytest.mark.parametrize("kind", JoinKind)
def test_infinite_times_are_compared_as_duckdb_does(kind: JoinKind, engine: Engine) -> None:
    instants = [AFTER_ALL, BEFORE_ALL + 1, 0, 7]
    for lower, upper in ((-1, 1), (2, 3), (None, -2), (3, None)):
        node = join(kind, Within("ts", "at", lower, upper), keys=0)
        tables = {}
        for name, side, time in (("l", LEFT, "ts"), ("r", RIGHT, "at")):
            filled = pa.array(instants, pa.int64()).view(pa.timestamp("us"))
            columns = [pa.nulls(4, f.type) if f.name != time else filled for f in side.schema.arrow]
            tables[name] = pa.Table.from_arrays(columns, schema=side.schema.arrow)
        sides = [[with_constant_hash(Delta(t.to_batches()[0]))] for t in tables.values()]

        outputs = stepped(partial(operator, node, engine), sides)

        assert_same(numbered(sum_of(outputs)), numbered(answer(sql_of(node), tables)))


def numbered(rows: pa.Table) -> pa.Table:
    """The rows with times as numbers: Python has no infinite ones."""
    kinds = [pa.int64() if pa.types.is_timestamp(f.type) else f.type for f in rows.schema]
    return rows.cast(pa.schema(list(zip(rows.schema.names, kinds, strict=True))))

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import TICK, Delta
from headwater.operators.asof import AsofOperator
from headwater.operators.operator import Epoch
from headwater.plan.nodes import AsofJoin, Decision, Scan
from headwater.schema.schema import Schema
from headwater.state import multiset
from headwater.testing.deltas import answer, assert_same, delta, sum_of, text
from operators.running import added, zset
from operators.sided import history, rows_of, scan, stepped
from operators.timelog import (
    LEFT,
    RIGHT,
    Log,
    decision,
    kept_of,
    logs,
    moment,
    run,
    schemas_of,
    step,
    weight_of,
)

KEYED = "SELECT * FROM l ASOF {side} JOIN r ON k = rk AND t {sign} rt"
ALONE = "SELECT * FROM l ASOF {side} JOIN r ON t {sign} rt"
TIMES = {"TIMESTAMP": "TIMESTAMP", "DATE": "DATE", "UBIGINT": "UBIGINT", "INTEGER": "INTEGER"}

keys = st.one_of(st.none(), st.integers(0, 2))
times = st.one_of(st.none(), st.integers(0, 9))
left_rows = st.lists(st.tuples(keys, times, st.integers(0, 2)), max_size=14)
# At most one right row per key and time: which of several counts is not asked of DuckDB.
right_rows = st.lists(
    st.tuples(keys, times, st.integers(0, 99)), max_size=12, unique_by=lambda row: row[:2]
)


def asof(
    left: Scan, right: Scan, *, is_left: bool, is_strict: bool, keyed: bool = True
) -> AsofJoin:
    schema = Schema((*left.schema, *right.schema))
    columns = (("k",), ("rk",)) if keyed else ((), ())
    return AsofJoin(left, right, *columns, "t", "rt", is_left, is_strict, schema)


def operator(node: AsofJoin, *, ticks: bool = False) -> AsofOperator:
    sides = [side for side in node.inputs if isinstance(side, Scan)]
    return AsofOperator(node, *schemas_of(sides, ticks=ticks))


@settings(max_examples=150, deadline=None)
@given(
    left=left_rows,
    right=right_rows,
    shape=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    grows=st.tuples(st.booleans(), st.booleans()),
    kind=st.sampled_from(sorted(TIMES)),
    epochs=st.integers(1, 7),
    saved_after=st.integers(-1, 6),
    collide=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_the_sum_of_changes_is_the_batch_answer(
    *,
    left: list[Any],
    right: list[Any],
    shape: tuple[bool, bool, bool],
    grows: tuple[bool, bool],
    kind: str,
    epochs: int,
    saved_after: int,
    collide: bool,
    random: Random,
) -> None:
    is_left, is_strict, keyed = shape
    if not keyed:
        right = list({row[1]: row for row in right}.values())
    l_scan = scan("l", {"k": "INTEGER", "t": kind, "x": "BIGINT"}, append_only=grows[0])
    r_scan = scan("r", {"rk": "INTEGER", "rt": kind, "y": "BIGINT"}, append_only=grows[1])
    node = asof(l_scan, r_scan, is_left=is_left, is_strict=is_strict, keyed=keyed)
    tables = {"l": rows_of(l_scan, left), "r": rows_of(r_scan, right)}
    sides = [
        history(tables["l"], node.left_keys, l_scan, random, epochs=epochs, collide=collide),
        history(tables["r"], node.right_keys, r_scan, random, epochs=epochs, collide=collide),
    ]

    outputs = stepped(lambda: operator(node), sides, saved_after=saved_after)

    sql = (KEYED if keyed else ALONE).format(
        side="LEFT" if is_left else "", sign=">" if is_strict else ">="
    )
    assert_same(sum_of(outputs), answer(sql, tables))


L = scan("l", {"k": "VARCHAR", "t": "TIMESTAMP"}, append_only=True)
R = scan("r", {"rk": "VARCHAR", "rt": "TIMESTAMP", "rate": "BIGINT"}, append_only=False)
WEATHER = "  rk:VARCHAR rt:TIMESTAMP rate:BIGINT"
NODE = asof(L, R, is_left=True, is_strict=False)


def flights(rows: str) -> Delta:
    return delta("  k:VARCHAR t:TIMESTAMP" + rows, keys=["k"])


def rates(rows: str) -> Delta:
    return delta(WEATHER + rows, keys=["rk"], weighted=True)


def steps(*changes: tuple[str, str]) -> list[str]:
    joined = operator(NODE)
    return [
        text(joined.step([flights(left), rates(right)], Epoch(number, 0, 0, {})))
        for number, (left, right) in enumerate(changes)
    ]


def test_a_right_row_replaces_the_match_of_later_left_rows_up_to_the_next() -> None:
    before = "\n+ a 12:00 1\n+ a 12:30 3"

    outputs = steps(("\n+ a 12:05\n+ a 12:20\n+ a 12:40", before), ("", "\n+ a 12:10 2"))

    assert outputs[1] == ("  k t     rk rt    rate\n- a 12:20 a  12:00 1\n+ a 12:20 a  12:10 2")


def test_a_withdrawn_right_row_gives_its_left_rows_back_to_the_one_before() -> None:
    outputs = steps(("\n+ a 12:20", "\n+ a 12:00 1\n+ a 12:10 2"), ("", "\n- a 12:10 2"))

    assert outputs[1] == ("  k t     rk rt    rate\n- a 12:20 a  12:10 2\n+ a 12:20 a  12:00 1")


def test_a_right_row_that_changes_no_match_says_nothing() -> None:
    outputs = steps(("\n+ a 12:20", "\n+ a 12:00 1"), ("", "\n+ a 12:30 2\n+ b 12:00 7"))

    assert outputs[1] == "  k t rk rt rate"


@pytest.mark.parametrize("cut", range(4))
@pytest.mark.parametrize("order", [(2, 1, 3), (2, 1, 2), (3, 3, 1)])
def test_of_equal_right_times_the_last_to_come_counts(cut: int, order: tuple[int, ...]) -> None:
    rows = [f"\n+ a 12:00 {rate}" for rate in order]
    joined = operator(NODE)

    parts = [("\n+ a 12:20", "".join(rows[:cut])), *(("", row) for row in rows[cut:])]
    outputs = [
        joined.step([flights(left), rates(right)], Epoch(number, 0, 0, {}))
        for number, (left, right) in enumerate(parts)
    ]

    assert sum_of(outputs).column("rate").to_pylist() == [order[-1]]


def test_a_corrected_match_has_the_tick_of_the_right_row() -> None:
    joined = operator(NODE, ticks=True)
    first = [flights("\n+ a 12:20"), rates("")]
    second = [flights(""), rates("\n+ a 12:00 1\n+ a 12:10 1\n+ a 12:30 1")]
    joined.step([ticked(first[0], 5), ticked(first[1])], Epoch(1, 0, 5, {}))

    out = joined.step([ticked(second[0]), ticked(second[1], 6, 7, 8)], Epoch(2, 0, 8, {}))

    assert out.ticks is not None and out.ticks.tolist() == [7, 7]


def ticked(change: Delta, *ticks: int) -> Delta:
    return Delta(change.rows.append_column(TICK, pa.array(ticks, pa.int64())))


def decided(
    chosen: Decision, *, is_left: bool = True, is_strict: bool = False, weighted: bool = False
) -> AsofJoin:
    """The left side's rows of a log with the right side's newest."""
    left, right = (replace(side, append_only=not weighted) for side in (LEFT, RIGHT))
    columns = Schema((*left.schema, *right.schema))
    keys = ("k",), ("rk",)
    return AsofJoin(left, right, *keys, "ts", "at", is_left, is_strict, columns, chosen)


@settings(max_examples=100, deadline=None)
@given(
    log=logs(),
    shape=st.tuples(st.booleans(), st.booleans()),
    lateness=st.sampled_from([0, 3]),
    behind=st.sampled_from([(0, 0), (2, 0), (1, 3)]),
    final=st.booleans(),
    weighted=st.booleans(),
    collide=st.booleans(),
    cuts=st.lists(st.integers(1, 24), max_size=5) | st.just(range(25)),
    saved_after=st.integers(-1, 4),
    few=st.booleans(),
)
def test_rows_in_time_are_matched_and_late_rows_are_told(
    *,
    log: Log,
    shape: tuple[bool, bool],
    lateness: int,
    behind: tuple[int, int],
    final: bool,
    weighted: bool,
    collide: bool,
    cuts: Any,
    saved_after: int,
    few: bool,
) -> None:
    if not weighted:
        log = Log([row for row in log.rows if row[4] > 0])
    chosen = decision(final=final, lateness=lateness, behind=behind)
    node = decided(chosen, is_left=shape[0], is_strict=shape[1], weighted=weighted)

    with pytest.MonkeyPatch.context() as patch:
        # Then right rows are forgotten as soon as they can be.
        patch.setattr(multiset, "_THINNED_MIN", 2 if few else 64)
        out, late, _ = run(
            partial(operator, node, ticks=True),
            log,
            cuts,
            weighted=weighted,
            collide=collide,
            saved_after=saved_after,
        )

    is_late = log.late(lateness, behind)
    assert added(zset(change.rows) for change in out) == matched(node, kept_of(log, is_late))
    assert sum(late.values()) == weight_of(log, is_late)
    if final and lateness == 0 and not weighted:
        assert all(change.weights is None for change in out)


def matched(node: AsofJoin, log: Log) -> Counter[Any]:
    """The join row by row, over rows with weights."""
    total: Counter[Any] = Counter()
    right = [row for row in log.rows if not row[0]]
    for is_left, k, t, x, weight in log.rows:
        if not is_left:
            continue
        best: tuple[Any, ...] | None = None
        for _, rk, at, y, w in right:
            if None in (k, t, rk, at) or rk != k or at > t or (node.is_strict and at == t):
                continue
            standing = sum(r[4] for r in right if r[1:4] == (rk, at, y))
            if w > 0 and standing > 0 and (best is None or at >= best[1]):
                best = (rk, at, y)
        if best is not None:
            total[k, moment(t), x, best[0], moment(best[1]), best[2]] += weight
        elif node.is_left:
            total[k, moment(t), x, None, None, None] += weight
    return Counter({row: weight for row, weight in total.items() if weight})


@pytest.mark.parametrize("lateness", [0, 10])
def test_only_the_newest_version_of_a_key_is_remembered(lateness: int) -> None:
    node = decided(decision(final=True, lateness=lateness))
    log = Log([(i % 2 == 0, i % 3, i, 0 if i % 2 == 0 else "a", 1) for i in range(3000)])
    made = operator(node, ticks=True)

    sizes = []
    for first in range(0, 3000, 10):
        step(made, log, first, first + 10)
        sizes.append(made.state_size()[0])

    assert max(sizes) < 150


def test_a_left_row_waits_for_the_right_watermark() -> None:
    log = Log([(False, 1, 5, "a", 1), (True, 1, 7, 0, 1), (False, 1, 7, "b", 1)])
    log.rows += [(False, 2, 8, "c", 1), (True, 1, 7, 1, 1)]
    made = operator(decided(decision(final=True, lateness=0)), ticks=True)

    outputs = [step(made, log, i, i + 1) for i in range(len(log.rows))]

    assert [len(out) for out in outputs] == [0, 0, 0, 1, 1]
    assert outputs[3].rows.column("y").to_pylist() == ["b"]
    assert outputs[3].ticks is not None and outputs[3].ticks.tolist() == [3]
    assert made.waits_until() is None

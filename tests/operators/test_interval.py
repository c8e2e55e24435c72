from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.interval import IntervalJoinOperator
from headwater.operators.operator import Epoch
from headwater.plan.nodes import Join, JoinKind, Scan, Within
from headwater.schema.schema import Schema
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import answer, assert_same, sum_of, with_constant_hash, with_hash
from operators.running import added, curve_of, zset
from operators.sided import history, rows_of, scan, stepped

LEFT = scan("l", {"k": "INTEGER", "ts": "TIMESTAMP", "x": "BIGINT"}, append_only=True)
RIGHT = scan("r", {"rk": "INTEGER", "at": "TIMESTAMP", "y": "VARCHAR"}, append_only=True)

KINDS = (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI)

keys = st.none() | st.integers(0, 2)
times = st.none() | st.integers(-12, 12)
bounds = st.tuples(st.none() | st.integers(-5, 3), st.none() | st.integers(-2, 5)).filter(any)


def moment(us: int | None) -> datetime | None:
    return None if us is None else datetime(1970, 1, 1) + timedelta(microseconds=us)


def join(
    kind: JoinKind, within: Within, *, keys: int = 1, left: Scan = LEFT, right: Scan = RIGHT
) -> Join:
    columns = Schema((*left.schema, *right.schema))
    return Join(kind, left, right, ("k",)[:keys], ("rk",)[:keys], columns, within)


def operator(node: Join, *, ticks: bool = False) -> IntervalJoinOperator:
    schemas = []
    for side in (node.left, node.right):
        fields = [*side.schema.arrow, pa.field(HASH, pa.uint64())]
        if not side.append_only:
            fields.append(pa.field(WEIGHT, pa.int64()))
        if ticks:
            fields.append(pa.field(TICK, pa.int64()))
        schemas.append(pa.schema(fields))
    return IntervalJoinOperator(node, *schemas)


def sql_of(node: Join) -> str:
    assert node.within is not None
    lower, upper = node.within.lower_us, node.within.upper_us
    terms = [f"{a} = {b}" for a, b in zip(node.left_keys, node.right_keys, strict=True)]
    terms += [f"ts >= r.at + to_microseconds({lower})"] if lower is not None else []
    terms += [f"ts <= r.at + to_microseconds({upper})"] if upper is not None else []
    return f"SELECT * FROM l {node.kind} JOIN r ON {' AND '.join(terms)}"


@settings(max_examples=120, deadline=None)
@given(
    left=st.lists(st.tuples(keys, times, st.integers(0, 1)), max_size=16),
    right=st.lists(st.tuples(keys, times, st.sampled_from("ab")), max_size=12),
    kind=st.sampled_from(KINDS),
    bound=bounds,
    key_count=st.integers(0, 1),
    grows=st.tuples(st.booleans(), st.booleans()),
    epochs=st.integers(1, 7),
    saved_after=st.integers(-1, 6),
    collide=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_the_sum_of_changes_is_the_batch_answer(
    *,
    left: list[Any],
    right: list[Any],
    kind: JoinKind,
    bound: tuple[int | None, int | None],
    key_count: int,
    grows: tuple[bool, bool],
    epochs: int,
    saved_after: int,
    collide: bool,
    random: Random,
) -> None:
    l_scan, r_scan = replace(LEFT, append_only=grows[0]), replace(RIGHT, append_only=grows[1])
    node = join(kind, Within("ts", "at", *bound), keys=key_count, left=l_scan, right=r_scan)
    tables = {
        "l": rows_of(l_scan, [(k, moment(t), x) for k, t, x in left]),
        "r": rows_of(r_scan, [(k, moment(t), y) for k, t, y in right]),
    }
    sides = [
        history(tables["l"], node.left_keys, l_scan, random, epochs=epochs, collide=collide),
        history(tables["r"], node.right_keys, r_scan, random, epochs=epochs, collide=collide),
    ]

    outputs = stepped(lambda: operator(node), sides, saved_after=saved_after)

    assert all((out.weights is None) == node.append_only for out in outputs)
    assert_same(sum_of(outputs), answer(sql_of(node), tables))


@dataclass
class Log:
    """Rows of both sides in one order: (is left, key, time, value, weight)."""

    rows: list[tuple[bool, int | None, int | None, Any, int]]

    def times(self, *, is_left: bool) -> list[int | None]:
        """What moves the watermark of a side, at each place of the log."""
        return [row[2] if row[0] is is_left else None for row in self.rows]

    def late(self, lateness: int) -> list[bool]:
        """Row by row: which are behind their side's watermark by more than the lateness."""
        high = {True: -(10**9), False: -(10**9)}
        found = []
        for is_left, _, t, _, _ in self.rows:
            found.append(t is not None and t < high[is_left] - lateness)
            high[is_left] = max(high[is_left], high[is_left] if t is None else t)
        return found

    def side(self, *, is_left: bool, first: int, stop: int, weighted: bool, collide: bool) -> Delta:
        node = LEFT if is_left else RIGHT
        places = [i for i in range(first, stop) if self.rows[i][0] is is_left]
        rows = [(self.rows[i][1], moment(self.rows[i][2]), self.rows[i][3]) for i in places]
        table = rows_of(node, rows).combine_chunks()
        batch = table.to_batches()[0] if rows else pa.RecordBatch.from_pylist([], table.schema)
        key = ["k" if is_left else "rk"]
        change = with_constant_hash(Delta(batch)) if collide else with_hash(Delta(batch), key)
        columns = change.rows
        if weighted:
            weights = pa.array([self.rows[i][4] for i in places], pa.int64())
            columns = columns.append_column(WEIGHT, weights)
        return Delta(columns.append_column(TICK, pa.array(places, pa.int64())))


def run(
    node: Join,
    log: Log,
    cuts: Sequence[int],
    *,
    weighted: bool = False,
    collide: bool = False,
    saved_after: int = -1,
) -> tuple[list[Delta], Counter[Any], IntervalJoinOperator]:
    """What comes out, epoch by epoch; the last one lets the watermarks pass everything."""
    made, out, late = operator(node, ticks=True), [], []
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(log.rows)}), len(log.rows)]
    for number, (first, stop) in enumerate(zip(bounds, [*bounds[1:], None], strict=True)):
        end = len(log.rows) if stop is None else stop
        curves = {
            (name,): curve_of(log.times(is_left=is_left), first, end)
            for name, is_left in (("l", True), ("r", False))
        }
        if stop is None:
            last = np.array([end]), np.array([AFTER_ALL])
            curves = {name: WatermarkCurve(c.end_us, *last) for name, c in curves.items()}
        epoch = Epoch(number, 0, end - 1, curves)
        sides = [
            log.side(is_left=is_left, first=first, stop=end, weighted=weighted, collide=collide)
            for is_left in (True, False)
        ]
        out.append(made.step(sides, epoch))
        late += [zset(batch) for batch in epoch.late]
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = made.save(checkpoint)
            made = operator(node, ticks=True)
            made.load(manifest, checkpoint)
    return out, added(late), made


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Rows nearly in the order of time, so that most are in time; some are withdrawn later."""
    rows: list[Any] = []
    clock = 0
    for _ in range(draw(st.integers(0, 25))):
        clock += draw(st.integers(0, 3))
        if rows and draw(st.integers(0, 5)) == 0:
            live = [r for r in rows if rows.count(r) > rows.count((*r[:4], -r[4])) and r[4] > 0]
            if live:
                rows.append((*draw(st.sampled_from(live))[:4], -1))
                continue
        is_left = draw(st.booleans())
        t = None if draw(st.integers(0, 9)) == 0 else clock - draw(st.integers(0, 6))
        value = draw(st.integers(0, 1)) if is_left else draw(st.sampled_from("ab"))
        rows.append((is_left, draw(keys), t, value, 1))
    return Log(rows)


@settings(max_examples=150, deadline=None)
@given(
    log=logs(),
    kind=st.sampled_from(KINDS),
    bound=bounds,
    lateness=st.sampled_from([0, 3]),
    final=st.booleans(),
    weighted=st.booleans(),
    collide=st.booleans(),
    cuts=st.lists(st.integers(1, 24), max_size=5) | st.just(range(25)),
    saved_after=st.integers(-1, 4),
)
def test_rows_in_time_are_joined_and_late_rows_are_told(
    *,
    log: Log,
    kind: JoinKind,
    bound: tuple[int | None, int | None],
    lateness: int,
    final: bool,
    weighted: bool,
    collide: bool,
    cuts: Any,
    saved_after: int,
) -> None:
    if not weighted:
        log = Log([row for row in log.rows if row[4] > 0])
    within = Within("ts", "at", *bound, final, lateness, ("l",), ("r",))
    l_scan, r_scan = (replace(s, append_only=not weighted) for s in (LEFT, RIGHT))
    node = join(kind, within, left=l_scan, right=r_scan)

    out, late, made = run(
        node, log, cuts, weighted=weighted, collide=collide, saved_after=saved_after
    )

    is_late = log.late(lateness)
    kept = Log([row for row, late_row in zip(log.rows, is_late, strict=True) if not late_row])
    assert added(zset(change.rows) for change in out) == joined(node, kept)
    assert sum(late.values()) == sum(r[4] for r, b in zip(log.rows, is_late, strict=True) if b)
    if kind is JoinKind.INNER:
        assert made.state_size()[0] == 0
    if final and lateness == 0 and not weighted:
        assert all(change.weights is None for change in out)


def joined(node: Join, log: Log) -> Counter[Any]:
    """The join row by row, over rows with weights."""
    assert node.within is not None
    lower, upper = node.within.lower_us, node.within.upper_us
    total: Counter[Any] = Counter()
    for is_left, k, t, x, weight in log.rows:
        if not is_left:
            continue
        mine, matches = (k, moment(t), x), 0
        for other_left, rk, at, y, w in log.rows:
            if other_left or k is None or t is None or rk != k or at is None:
                continue
            if (lower is None or t - at >= lower) and (upper is None or t - at <= upper):
                matches += w
                if node.kind in (JoinKind.INNER, JoinKind.LEFT):
                    total[*mine, rk, moment(at), y] += weight * w
        if node.kind is JoinKind.LEFT and not matches:
            total[*mine, None, None, None] += weight
        if node.kind in (JoinKind.SEMI, JoinKind.ANTI):
            total[mine] += weight if (matches > 0) == (node.kind is JoinKind.SEMI) else 0
    return Counter({row: weight for row, weight in total.items() if weight})


def test_what_nobody_in_time_can_reach_is_forgotten() -> None:
    within = Within("ts", "at", -2, 5, True, 0, ("l",), ("r",))
    log = Log([(i % 2 == 0, 1, i, 0 if i % 2 == 0 else "a", 1) for i in range(2000)])
    for kind in JoinKind:
        made = operator(join(kind, within), ticks=True)

        sizes = []
        for first in range(0, 2000, 10):
            step(made, log, first, first + 10)
            sizes.append(made.state_size()[0])

        assert max(sizes) < 100, kind


def step(made: IntervalJoinOperator, log: Log, first: int, stop: int) -> Delta:
    curves = {
        (name,): curve_of(log.times(is_left=is_left), first, stop)
        for name, is_left in (("l", True), ("r", False))
    }
    sides = [
        log.side(is_left=is_left, first=first, stop=stop, weighted=False, collide=False)
        for is_left in (True, False)
    ]
    return made.step(sides, Epoch(first, 0, stop - 1, curves))


@pytest.mark.parametrize("kind", KINDS)
def test_infinite_times_are_compared_as_duckdb_does(kind: JoinKind) -> None:
    instants = [AFTER_ALL, BEFORE_ALL + 1, 0, 7]
    for lower, upper in ((-1, 1), (2, 3), (None, -2), (3, None)):
        node = join(kind, Within("ts", "at", lower, upper), keys=0)
        tables = {}
        for name, side, time in (("l", LEFT, "ts"), ("r", RIGHT, "at")):
            filled = pa.array(instants, pa.int64()).view(pa.timestamp("us"))
            columns = [pa.nulls(4, f.type) if f.name != time else filled for f in side.schema.arrow]
            tables[name] = pa.Table.from_arrays(columns, schema=side.schema.arrow)
        sides = [[with_constant_hash(Delta(t.to_batches()[0]))] for t in tables.values()]

        outputs = stepped(partial(operator, node), sides)

        assert_same(numbered(sum_of(outputs)), numbered(answer(sql_of(node), tables)))


def numbered(rows: pa.Table) -> pa.Table:
    """The rows with times as numbers: Python has no infinite ones."""
    kinds = [pa.int64() if pa.types.is_timestamp(f.type) else f.type for f in rows.schema]
    return rows.cast(pa.schema(list(zip(rows.schema.names, kinds, strict=True))))

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.operators.asof import AsofOperator
from headwater.operators.operator import Epoch
from headwater.plan.nodes import AsofJoin, Scan
from headwater.schema.schema import Schema
from headwater.testing.deltas import answer, assert_same, delta, sum_of, text
from operators.sided import history, rows_of, scan, stepped

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
    schemas = []
    for side in (node.left, node.right):
        fields = [*side.schema.arrow, pa.field(HASH, pa.uint64())]
        if not side.append_only:
            fields.append(pa.field(WEIGHT, pa.int64()))
        if ticks:
            fields.append(pa.field(TICK, pa.int64()))
        schemas.append(pa.schema(fields))
    return AsofOperator(node, *schemas)


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

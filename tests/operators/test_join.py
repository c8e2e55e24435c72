from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.operators.join import JoinOperator
from headwater.operators.operator import Epoch
from headwater.plan.nodes import Join, JoinKind, Scan
from headwater.schema.schema import Schema
from headwater.testing.deltas import answer, assert_same, delta, sum_of, text, with_hash
from operators.sided import history, rows_of, scan, stepped

SQL = {
    JoinKind.INNER: "SELECT * FROM l JOIN r ON k = rk AND s = rs",
    JoinKind.LEFT: "SELECT * FROM l LEFT JOIN r ON k = rk AND s = rs",
    JoinKind.SEMI: "SELECT * FROM l SEMI JOIN r ON k = rk AND s = rs",
    JoinKind.ANTI: "SELECT * FROM l ANTI JOIN r ON k = rk AND s = rs",
}

numbers = st.one_of(st.none(), st.integers(0, 3))
words = st.sampled_from([None, "", "a", "b"])
left_rows = st.lists(st.tuples(numbers, words, st.integers(0, 2)), max_size=14)
right_rows = st.lists(st.tuples(numbers, words, st.floats(0, 1, width=16)), max_size=10)


def join(kind: JoinKind, left: Scan, right: Scan, keys: int = 2) -> Join:
    columns = (*left.schema, *right.schema)
    names = left.schema.names[:keys], right.schema.names[:keys]
    return Join(kind, left, right, *names, Schema(columns))


def operator(node: Join, *, ticks: bool = False) -> JoinOperator:
    schemas = []
    for side in (node.left, node.right):
        fields = [*side.schema.arrow, pa.field(HASH, pa.uint64())]
        if not side.append_only:
            fields.append(pa.field(WEIGHT, pa.int64()))
        if ticks:
            fields.append(pa.field(TICK, pa.int64()))
        schemas.append(pa.schema(fields))
    return JoinOperator(node, *schemas)


@settings(max_examples=120, deadline=None)
@given(
    left=left_rows,
    right=right_rows,
    kind=st.sampled_from(JoinKind),
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
    grows: tuple[bool, bool],
    epochs: int,
    saved_after: int,
    collide: bool,
    random: Random,
) -> None:
    l_scan = scan("l", {"k": "INTEGER", "s": "VARCHAR", "x": "BIGINT"}, append_only=grows[0])
    r_scan = scan("r", {"rk": "INTEGER", "rs": "VARCHAR", "y": "DOUBLE"}, append_only=grows[1])
    node = join(kind, l_scan, r_scan)
    tables = {"l": rows_of(l_scan, left), "r": rows_of(r_scan, right)}
    sides = [
        history(tables["l"], node.left_keys, l_scan, random, epochs=epochs, collide=collide),
        history(tables["r"], node.right_keys, r_scan, random, epochs=epochs, collide=collide),
    ]

    outputs = stepped(lambda: operator(node), sides, saved_after=saved_after)

    assert all((out.weights is None) == node.append_only for out in outputs)
    assert_same(sum_of(outputs), answer(SQL[kind], tables))


@pytest.mark.parametrize("kind", JoinKind)
def test_keys_of_floats_and_nested_values_are_equal_as_duckdb_has_it(kind: JoinKind) -> None:
    types = {"k": "DOUBLE", "s": "STRUCT(a INTEGER, b DOUBLE[])"}
    l_scan = scan("l", types, append_only=True)
    r_scan = scan("r", {"rk": "DOUBLE", "rs": types["s"]}, append_only=True)
    nan = float("nan")
    values = [{"a": 1, "b": [nan, None]}, {"a": None, "b": [-0.0]}, {"a": None, "b": None}, None]
    others = [{"a": 1, "b": [nan, None]}, {"a": None, "b": [0.0]}, {"a": None, "b": None}, None]
    left = rows_of(l_scan, [(n, v) for n in (0.0, nan, 2.0, None) for v in values])
    right = rows_of(r_scan, [(n, v) for n in (-0.0, nan, 2.5, None) for v in others])
    node = join(kind, l_scan, r_scan)
    sides = [
        [with_hash(Delta(table.to_batches()[0]), keys)]
        for table, keys in ((left, node.left_keys), (right, node.right_keys))
    ]

    outputs = stepped(lambda: operator(node), sides)

    assert_same(sum_of(outputs), answer(SQL[kind], {"l": left, "r": right}))


def left_join() -> JoinOperator:
    l_scan = scan("l", {"ad": "BIGINT", "n": "BIGINT"}, append_only=True)
    r_scan = scan("r", {"id": "BIGINT", "name": "VARCHAR"}, append_only=False)
    return operator(join(JoinKind.LEFT, l_scan, r_scan, keys=1))


def clicks(rows: str) -> Delta:
    return delta("  ad:BIGINT n:BIGINT" + rows, keys=["ad"])


def names(rows: str) -> Delta:
    return delta("  id:BIGINT name:VARCHAR" + rows, keys=["id"], weighted=True)


def test_the_first_match_of_a_left_row_withdraws_its_nulls() -> None:
    joined = left_join()
    joined.step([clicks("\n+ 1 5"), names("")], Epoch(1, 0, 0, {}))

    out = joined.step([clicks(""), names("\n+ 1 shoes")], Epoch(2, 0, 0, {}))

    assert text(out) == "  ad n id   name\n+ 1  5 1    shoes\n- 1  5 null null"


def test_a_renamed_right_row_replaces_its_pairs_without_showing_nulls() -> None:
    joined = left_join()
    joined.step([clicks("\n+ 1 5"), names("\n+ 1 shoes")], Epoch(1, 0, 0, {}))

    out = joined.step([clicks(""), names("\n- 1 shoes\n+ 1 boots")], Epoch(2, 0, 0, {}))

    assert text(out) == "  ad n id name\n- 1  5 1  shoes\n+ 1  5 1  boots"


def ticked(change: Delta, *ticks: int) -> Delta:
    return Delta(change.rows.append_column(TICK, pa.array(ticks, pa.int64())))


def test_a_pair_has_the_tick_of_its_side_that_changed_last() -> None:
    l_scan = scan("l", {"ad": "BIGINT", "n": "BIGINT"}, append_only=True)
    r_scan = scan("r", {"id": "BIGINT", "name": "VARCHAR"}, append_only=False)
    joined = operator(join(JoinKind.INNER, l_scan, r_scan, keys=1), ticks=True)

    both = [ticked(clicks("\n+ 1 5\n+ 1 6"), 3, 9), ticked(names("\n+ 1 shoes"), 7)]
    first = joined.step(both, Epoch(1, 0, 9, {}))
    later = [ticked(clicks("\n+ 1 8"), 12), ticked(names("\n+ 1 boots"), 11)]
    second = joined.step(later, Epoch(2, 0, 12, {}))

    assert first.ticks is not None and sorted(first.ticks) == [7, 9]
    assert second.ticks is not None
    shown = zip(second.rows.column("n").to_pylist(), second.ticks.tolist(), strict=True)
    assert sorted(shown) == [(5, 11), (6, 11), (8, 12), (8, 12)]


def test_a_left_row_without_a_key_needs_no_state() -> None:
    joined = left_join()

    out = joined.step([clicks("\n+ null 5"), names("")], Epoch(1, 0, 0, {}))

    assert text(out) == "  ad   n id   name\n+ null 5 null null"
    assert joined.state_size()[0] == 0

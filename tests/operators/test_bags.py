from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.operators import bags

quick = settings(max_examples=60, deadline=None)
groups_of = st.integers(1, 5)
far = st.sampled_from([-(2**63), -1, 0, 1, 2, 2**63 - 1])
near = st.integers(-3, 3)
counts = st.sampled_from([-2, -1, 1, 2])


def lists(rows: Any, kind: pa.DataType) -> bags.Lists:
    values = [None if row is None else [value for value, _ in row] for row in rows]
    numbers = [None if row is None else [count for _, count in row] for row in rows]
    return pa.array(values, pa.list_(kind)), pa.array(numbers, pa.list_(pa.int64()))


@quick
@given(data=st.data(), kind=st.sampled_from(["near", "far", "text"]), groups=groups_of)
def test_counts_add_up_by_group_and_value(data: Any, kind: str, groups: int) -> None:
    value = {"near": near, "far": far, "text": st.sampled_from(["", "a", "ä", "b"])}[kind]
    arrow = pa.string() if kind == "text" else pa.int64()
    row = st.none() | st.lists(st.tuples(value, counts), max_size=6)
    parts = data.draw(st.lists(st.lists(row, min_size=groups, max_size=groups), min_size=1))

    values, numbers = bags.counted([lists(part, arrow) for part in parts], arrow)

    for group, (found, often) in enumerate(
        zip(values.to_pylist(), numbers.to_pylist(), strict=True)
    ):
        expected: Counter[Any] = Counter()
        for part in parts:
            for each, count in part[group] or ():
                expected[each] += count
        left = sorted((each, count) for each, count in expected.items() if count)
        assert list(zip(found, often, strict=True)) == left


def test_a_list_without_counts_counts_each_value_once() -> None:
    values = pa.array([[2, 1, 2], None, []], pa.list_(pa.int32()))

    found = bags.counted([(values, pa.nulls(3, pa.list_(pa.int64())))], pa.int32())

    assert [column.to_pylist() for column in found] == [[[1, 2], [], []], [[1, 2], [], []]]


@quick
@given(
    rows=st.lists(st.lists(near, max_size=12), min_size=1, max_size=4),
    fraction=st.decimals(0, 1, places=3) | st.sampled_from([Decimal("0.0"), Decimal("1.0")]),
)
def test_a_quantile_is_the_one_that_duckdb_picks(rows: Any, fraction: Decimal) -> None:
    ones = lists([[(value, 1) for value in row] for row in rows], pa.int64())
    values, numbers = bags.counted([ones], pa.int64())

    found = bags.quantiles(values, numbers, str(fraction))

    with duckdb.connect(":memory:") as connection:
        for row, value in zip(rows, found.to_pylist(), strict=True):
            query = f"SELECT quantile_disc(x, {fraction}) FROM (SELECT unnest($1::BIGINT[]) AS x)"
            assert connection.execute(query, [row]).fetchone() == (value,)

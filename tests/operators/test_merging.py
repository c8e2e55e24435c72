"""Partial results merged by sorting are those that DuckDB merges, or are left to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH
from headwater.operators import render
from headwater.operators.layout import START, layout
from headwater.operators.merging import can_merge, merged
from headwater.operators.statement import Engine, Statement
from headwater.plan.nodes import Aggregate, Merge, Partial, Scan
from operators.running import schema

ROWS = schema(k="VARCHAR", x="INTEGER", f="DOUBLE")
SHOWN = schema(k="VARCHAR", n="BIGINT", total="HUGEINT", low="INTEGER", high="INTEGER")
PARTIALS = (
    Partial("n", Merge.COUNT, None),
    Partial("total", Merge.SUM, "x"),
    Partial("low", Merge.MIN, "x"),
    Partial("high", Merge.MAX, "x"),
)
NODE = Aggregate(Scan("t", ROWS, append_only=True), ("k",), PARTIALS, SHOWN)
row = st.tuples(
    st.sampled_from([None, "a"]),
    st.integers(0, 1),
    st.integers(0, 5),
    st.integers(-9, 9),
    st.integers(-5, 5),
    st.integers(-5, 5),
    st.integers(0, 20),
)


def partials(rows: list[Any], kinds: pa.Schema, hashes: Any) -> pa.RecordBatch:
    values = {
        "k": [r[0] for r in rows],
        START: [r[1] for r in rows],
        "__n": [r[2] for r in rows],
        "__v1": [r[3] for r in rows],
        "__c1": [r[2] for r in rows],
        "__v2": [r[4] for r in rows],
        "__v3": [r[5] for r in rows],
        "__tick": [r[6] for r in rows],
        HASH: hashes,
    }
    arrays = [pa.array(values[field.name], field.type) for field in kinds]
    return pa.RecordBatch.from_arrays(arrays, schema=kinds)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(row, min_size=1, max_size=25),
    odd=st.sampled_from([*[None] * 8, (2**61, 0), (-(2**61), 0), (10**30, 0), (0, None)]),
    has_ticks=st.booleans(),
    collide=st.sampled_from([False, False, False, True]),
)
def test_they_are_merged_as_duckdb_merges_them(
    engine: Engine, *, rows: list[Any], odd: Any, has_ticks: bool, collide: bool
) -> None:
    if odd is not None:
        rows = [*rows, ("a", 0, 1, *odd, 0, 0)]
    made = layout(NODE, is_weighted=False, has_ticks=has_ticks)
    assert can_merge(made)
    kinds = made.carried(START)
    groups = {(r[0], r[1]): n for n, r in enumerate(rows)}
    hashes = np.array(
        [0 if collide else groups[r[0], r[1]] * 0x9E3779B97F4A7C15 % 2**64 for r in rows],
        dtype=np.uint64,
    )
    given_rows = partials(rows, kinds, hashes)

    found = merged(given_rows, hashes, made, ["k", START])

    shares = collide and len(groups) > 1
    if found is None:
        assert odd is not None or shares
        return
    assert not shares
    statement = Statement(
        engine, made.combined(render.INPUT, (START,)), {render.INPUT: kinds}, is_ordered=False
    )
    expected = statement.run(input=given_rows)
    assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.to_pylist()))
    ordered = found.column(HASH).to_pylist()
    assert ordered == sorted(ordered)


def test_floats_are_left_to_duckdb() -> None:
    shown = schema(k="VARCHAR", total="DOUBLE")
    node = Aggregate(
        Scan("t", ROWS, append_only=True), ("k",), (Partial("total", Merge.SUM, "f"),), shown
    )

    assert not can_merge(layout(node, is_weighted=False, has_ticks=False))

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import Delta
from headwater.operators.statement import Engine
from headwater.operators.upsert import UpsertOperator
from operators.running import Memory, added, frozen, schema, table, zset

ROWS = schema(a="BIGINT", b="VARCHAR", v="DOUBLE", tags="VARCHAR[]")
KEYS = ("a", "b")

rows_of = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["x", "y"]),
        st.sampled_from([None, 1.0, float("nan")]),
        st.sampled_from([None, [], ["p"]]),
    ),
    max_size=25,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=rows_of,
    cuts=st.lists(st.integers(1, 25), max_size=6),
    saved_after=st.none() | st.integers(0, 3),
)
def test_the_changes_add_up_to_the_newest_row_of_each_key(
    engine: Engine, rows: Any, cuts: Any, saved_after: Any
) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine)
    bounds = [0, *sorted({cut for cut in cuts if cut < len(rows)}), len(rows)]
    total = []
    for number, first in enumerate(bounds[:-1]):
        here = table(ROWS, rows[first : bounds[number + 1]])
        total.append(zset(upsert.step(here).rows))
        if saved_after == number:
            memory = Memory()
            manifest = upsert.save(memory)
            upsert = UpsertOperator(ROWS, KEYS, engine)
            upsert.load(manifest, memory)

    newest = {row[:2]: row for row in rows}
    assert added(total) == zset(table(ROWS, list(newest.values())))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=rows_of, cuts=st.lists(st.integers(1, 25), max_size=6))
def test_stepwise_what_comes_out_does_not_depend_on_the_cut(
    engine: Engine, rows: Any, cuts: Any
) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine, has_ticks=True, is_stepwise=True)
    alone = UpsertOperator(ROWS, KEYS, engine, has_ticks=True)
    log = table(ROWS, rows, __tick=range(len(rows)))
    bounds = [0, *sorted({cut for cut in cuts if cut < len(rows)}), len(rows)]

    cut = [upsert.step(log.slice(low, high - low)) for low, high in itertools.pairwise(bounds)]
    by_row = [alone.step(log.slice(place, 1)) for place in range(len(rows))]

    def said(changes: list[Delta]) -> list[Any]:
        return [frozen(row) for change in changes for row in change.rows.to_pylist()]

    assert said(cut) == said(by_row)


def test_a_row_that_says_what_is_known_changes_nothing(engine: Engine) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine)
    row = table(ROWS, [(1, "x", float("nan"), ["p", None])])
    upsert.step(row)

    assert len(upsert.step(row)) == 0


def test_a_withdrawn_row_stands_before_the_one_in_its_place(engine: Engine) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine, has_ticks=True)
    upsert.step(table(ROWS, [(1, "x", 1.0, None), (2, "x", 1.0, None)], __tick=[5, 6]))

    out = upsert.step(table(ROWS, [(2, "x", 2.0, None), (1, "x", 2.0, None)], __tick=[7, 8]))

    changes = [(r["a"], r["v"], r["__weight"], r["__tick"]) for r in out.rows.to_pylist()]
    assert changes == [(2, 1.0, -1, 7), (2, 2.0, 1, 7), (1, 1.0, -1, 8), (1, 2.0, 1, 8)]


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_table_in_chunks_is_one_log(engine: Engine, chunks: int) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine)
    part = [table(ROWS, [(1, "x", float(n), None)]) for n in range(chunks)]

    out = upsert.step(pa.concat_tables(part))

    assert out.rows.column("v").to_pylist() == [float(chunks - 1)]

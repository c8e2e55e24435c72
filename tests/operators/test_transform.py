"""A transform over changing rows is the function over the rows that are left."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import DefinitionError
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import Scan, Transform
from headwater.plan.python import PythonStep, StepKind
from operators.running import Outcome, changelog, run, schema, table

ROWS = schema(k="VARCHAR", v="BIGINT")
MADE = schema(v="BIGINT", k="VARCHAR")


def repeated(rows: pa.RecordBatch) -> pa.Table:
    """Each row as often as its value says; values of 9 are refused, nulls are dropped."""
    values = rows.column("v").to_pylist()
    if 9 in values:
        raise ValueError("nine")
    places = [i for i, v in enumerate(values) for _ in range(v or 0)]
    return pa.table(
        {"k": rows.column("k").take(pa.array(places, pa.int64())), "v": pa.array([1] * len(places))}
    )


def transform(call: Callable[..., Any], log: Any, weights: Any = None, **how: Any) -> Outcome:
    hidden = {} if weights is None else {"__weight": weights}
    plan = Transform(Scan("t", ROWS, append_only=weights is None), "made", "", MADE)
    step = PythonStep(StepKind.TRANSFORM, call, MADE)
    with Engine(steps={"made": step}) as engine:
        return run(engine, plan, table(ROWS, log, **hidden), **how)


steps_of = st.lists(
    st.tuples(
        st.tuples(st.sampled_from(["a", None]), st.sampled_from([None, 0, 1, 3, 9])),
        st.booleans(),
    ),
    max_size=20,
)


@settings(max_examples=40, deadline=None)
@given(steps=steps_of, cuts=st.lists(st.integers(1, 20), max_size=5))
def test_it_is_the_function_over_the_rows_that_are_left(steps: Any, cuts: Any) -> None:
    log, weights, live = changelog(steps)

    outcome = transform(repeated, log, weights, cuts=cuts)

    expected = Counter({(1, k): 0 for k, _ in live})
    for k, v in live:
        expected[(1, k)] += v if v not in (None, 9) else 0
    assert outcome.total == +expected
    signs = Counter[str]()
    for batch in outcome.failed:
        for row in batch.to_pylist():
            signs[row["reason"]] += row.get("__weight", 1)
    nines = sum(v == 9 for _, v in live)
    assert +signs == +Counter({"transform made raised ValueError: nine": nines})


@pytest.mark.parametrize("cuts", [(), range(7)])
def test_rows_that_are_only_added_carry_no_weights(cuts: Any) -> None:
    outcome = transform(repeated, [("a", 2), ("b", 9), ("c", 1)], cuts=cuts)

    assert outcome.total == Counter({(1, "a"): 2, (1, "c"): 1})
    assert all(change.weights is None for change in outcome.changes)
    assert [row["record"] for b in outcome.failed for row in b.to_pylist()] == ['{"k":"b","v":9}']


def test_the_function_is_not_asked_of_no_rows() -> None:
    def touchy(rows: pa.RecordBatch) -> pa.RecordBatch:
        assert rows.num_rows
        return pa.record_batch({"k": rows.column("k"), "v": pc.cast(rows.column("v"), pa.int8())})

    assert transform(touchy, [("a", 2)], cuts=[1]).total == Counter({(2, "a"): 1})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda rows: 7, "transform made returned int, not rows"),
        (lambda rows: rows.select(["k"]), "transform made returned the columns k"),
        (
            lambda rows: pa.table({"k": rows["k"], "v": rows["k"]}),
            "transform made, column v, returned string, and BIGINT was declared",
        ),
    ],
)
def test_rows_of_other_columns_are_the_function_s_fault(made: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        transform(made, [("a", 1)])


def placed(call: Callable[..., Any], rows: Any, weights: Any, cuts: Any = ()) -> list[Any]:
    """All that a transform that says `_row` puts out, with weights and places."""
    hidden = {"__weight": weights, "__tick": range(len(rows))}
    scan = Scan("t", ROWS, append_only=False, ticks=True)
    plan = Transform(scan, "made", "", MADE, placed=True)
    step = PythonStep(StepKind.TRANSFORM, call, MADE, event_time="at")
    with Engine(steps={"made": step}) as engine:
        flow, found = Dataflow(plan, engine, has_ticks=True), []
        data = table(ROWS, rows, **hidden)
        bounds = [0, *sorted({c for c in cuts if c < len(rows)}), len(rows)]
        for first, stop in itertools.pairwise(bounds):
            epoch = Epoch(0, 0, stop, {})
            rows_out = flow.step({"t": data.slice(first, stop - first)}, epoch).rows
            found += rows_out.select(["v", "k", "__weight", "__tick"]).to_pylist()
        return [tuple(row.values()) for row in found]


def counted(rows: pa.RecordBatch) -> pa.Table:
    """Each row as often as its value says, the last row first."""
    of = [i for i, v in enumerate(rows.column("v").to_pylist()) for _ in range(v)][::-1]
    at = pa.array(of, pa.int64())
    return pa.table({"k": rows["k"].take(at), "v": rows["v"].take(at), "_row": at})


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3)), max_size=12),
    cuts=st.lists(st.integers(1, 12), max_size=5),
)
def test_rows_that_say_what_they_are_made_of_have_its_place_and_weight(
    rows: Any, cuts: Any
) -> None:
    weights = [1 if i % 3 else -1 for i in range(len(rows))]

    found = placed(counted, rows, weights, cuts)

    assert found == [
        (v, k, weights[tick], tick) for tick, (k, v) in enumerate(rows) for _ in range(v)
    ]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda rows: rows, "it is to return v, k, _row"),
        (lambda rows: rows.append_column("_row", pa.array([1])), "is no row of the 1 it was given"),
        (lambda rows: rows.append_column("_row", pa.array([-1])), "is no row of the 1"),
        (lambda rows: rows.append_column("_row", pa.array([None], pa.int8())), "is no row of the"),
    ],
)
def test_a_row_that_is_none_is_the_function_s_fault(made: Any, message: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        placed(made, [("a", 1)], [1])

    assert message in str(raised.value)

from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.operators import meeting
from headwater.operators.distinct import DistinctOperator
from headwater.operators.operator import Epoch
from headwater.plan.nodes import Distinct, Scan
from headwater.testing.deltas import answer, assert_same, delta, sum_of, text
from operators.sided import history, rows_of, scan, stepped

TYPES = {"a": "INTEGER", "b": "VARCHAR", "c": "DOUBLE[]"}

rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 2)),
        st.sampled_from([None, "", "x"]),
        st.sampled_from([None, [], [None], [0.5], [float("nan"), 1.0]]),
    ),
    max_size=16,
)


def operator(source: Scan, *, ticks: bool = False) -> DistinctOperator:
    fields = [*source.schema.arrow, pa.field(HASH, pa.uint64())]
    if not source.append_only:
        fields.append(pa.field(WEIGHT, pa.int64()))
    if ticks:
        fields.append(pa.field(TICK, pa.int64()))
    return DistinctOperator(Distinct(source, source.schema), pa.schema(fields))


@settings(max_examples=100, deadline=None)
@given(
    rows=rows,
    append_only=st.booleans(),
    epochs=st.integers(1, 7),
    saved_after=st.integers(-1, 6),
    collide=st.booleans(),
    meets=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_the_sum_of_changes_is_the_batch_answer(
    *,
    rows: list[Any],
    append_only: bool,
    epochs: int,
    saved_after: int,
    collide: bool,
    meets: bool,
    random: Random,
) -> None:
    source = scan("t", TYPES, append_only=append_only)
    table = rows_of(source, rows)
    names = source.schema.names
    changes = history(table, names, source, random, epochs=epochs, collide=collide)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meeting, "ROWS_MIN", 1 if meets else 1 << 40)
        patch.setattr(meeting, "BITS_MAX", 2)
        outputs = stepped(lambda: operator(source), [changes], saved_after=saved_after)

    assert all((out.weights is None) == append_only for out in outputs)
    assert_same(sum_of(outputs), answer("SELECT DISTINCT * FROM t", {"t": table}))


def users(rows: str) -> Delta:
    return delta("  user:VARCHAR" + rows, keys=["user"], weighted=True)


def test_a_row_leaves_with_the_last_of_its_kind() -> None:
    distinct = operator(scan("t", {"user": "VARCHAR"}, append_only=False))
    changes = ["\n+ ann\n+ ann\n+ bob", "\n- ann", "\n- ann\n+ bob"]

    outputs = [distinct.step([users(rows)], Epoch(n, 0, 0, {})) for n, rows in enumerate(changes)]

    assert [text(out) for out in outputs] == ["  user\n+ ann\n+ bob", "  user", "  user\n- ann"]


def test_a_row_that_comes_and_goes_in_one_epoch_is_never_seen() -> None:
    distinct = operator(scan("t", {"user": "VARCHAR"}, append_only=False))

    out = distinct.step([users("\n+ ann\n- ann")], Epoch(1, 0, 0, {}))

    assert text(out) == "  user"
    assert distinct.state_size()[0] == 0


def test_a_row_has_the_tick_of_its_first_arrival() -> None:
    distinct = operator(scan("t", {"user": "VARCHAR"}, append_only=True), ticks=True)
    change = delta("  user:VARCHAR\n+ bob\n+ ann\n+ bob", keys=["user"])
    ticked = Delta(change.rows.append_column(TICK, pa.array([4, 5, 6], pa.int64())))

    out = distinct.step([ticked], Epoch(1, 0, 6, {}))

    assert text(out) == "  user\n+ bob\n+ ann"
    assert out.ticks is not None and out.ticks.tolist() == [4, 5]

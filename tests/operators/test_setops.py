from __future__ import annotations

from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.operators.operator import Epoch
from headwater.operators.setops import SetOperator
from headwater.plan.nodes import Scan, SetOperation, SetRule
from headwater.testing.deltas import answer, assert_same, delta, sum_of, text
from operators.sided import history, rows_of, scan, stepped

TYPES = {"a": "INTEGER", "b": "VARCHAR", "c": "DOUBLE[]"}
EPOCH = Epoch(1, 0, 0, {})

rows = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 2)),
        st.sampled_from([None, "", "x"]),
        st.sampled_from([None, [], [0.5, float("nan")]]),
    ),
    max_size=14,
)


def operator(rule: SetRule, *sources: Scan, ticks: bool = False) -> SetOperator:
    schemas = []
    for source in sources:
        fields = [*source.schema.arrow, pa.field(HASH, pa.uint64())]
        fields += [] if source.append_only else [pa.field(WEIGHT, pa.int64())]
        fields += [pa.field(TICK, pa.int64())] if ticks else []
        schemas.append(pa.schema(fields))
    left, right = sources
    return SetOperator(SetOperation(rule, left, right, left.schema), schemas)


@settings(max_examples=100, deadline=None)
@given(
    rule=st.sampled_from(SetRule),
    left=rows,
    right=rows,
    grows=st.tuples(st.booleans(), st.booleans()),
    epochs=st.integers(1, 7),
    saved_after=st.integers(-1, 6),
    collide=st.booleans(),
    random=st.randoms(use_true_random=False),
)
def test_the_sum_of_changes_is_the_batch_answer(
    *,
    rule: SetRule,
    left: list[Any],
    right: list[Any],
    grows: tuple[bool, bool],
    epochs: int,
    saved_after: int,
    collide: bool,
    random: Random,
) -> None:
    sources = [scan(n, TYPES, append_only=g) for n, g in zip(("l", "r"), grows, strict=True)]
    tables = [rows_of(source, some) for source, some in zip(sources, (left, right), strict=True)]
    changes = [
        history(table, source.schema.names, source, random, epochs=epochs, collide=collide)
        for table, source in zip(tables, sources, strict=True)
    ]

    outputs = stepped(lambda: operator(rule, *sources), changes, saved_after=saved_after)

    only_adds = all(grows) and rule in (SetRule.INTERSECT, SetRule.INTERSECT_ALL)
    assert all((out.weights is None) == only_adds for out in outputs)
    expected = answer(f"FROM l {rule} FROM r", {"l": tables[0], "r": tables[1]})
    assert_same(sum_of(outputs), expected)


def users(rows: str) -> Delta:
    return delta("  user:VARCHAR" + rows, keys=["user"], weighted=True)


NOTHING = users("")


def both() -> tuple[Scan, Scan]:
    return (
        scan("l", {"user": "VARCHAR"}, append_only=False),
        scan("r", {"user": "VARCHAR"}, append_only=False),
    )


@pytest.mark.parametrize("rule", SetRule)
def test_a_count_that_changes_nothing_is_not_published(rule: SetRule) -> None:
    kept = operator(rule, *both())
    kept.step([users("\n+ ann\n+ ann\n+ ann"), users("\n+ ann")], EPOCH)

    out = kept.step([users("\n+ ann"), users("\n+ ann")], EPOCH)

    expected = "  user\n+ ann" if rule is SetRule.INTERSECT_ALL else "  user"
    assert text(out) == expected


def test_a_row_on_the_right_takes_one_away_and_gives_it_back() -> None:
    kept = operator(SetRule.EXCEPT_ALL, *both())

    outputs = [
        kept.step([users("\n+ ann\n+ ann\n+ bob"), NOTHING], EPOCH),
        kept.step([NOTHING, users("\n+ ann")], EPOCH),
        kept.step([NOTHING, users("\n- ann\n+ bob")], EPOCH),
    ]

    assert [text(out) for out in outputs] == [
        "  user\n+ ann\n+ ann\n+ bob",
        "  user\n- ann",
        "  user\n+ ann\n- bob",
    ]


def test_a_row_that_no_side_has_any_more_is_forgotten() -> None:
    kept = operator(SetRule.INTERSECT, *both())
    kept.step([users("\n+ ann"), users("\n+ ann")], EPOCH)

    kept.step([users("\n- ann"), users("\n- ann")], EPOCH)

    # The mark of a row that is gone waits for the next merge.
    assert kept._known.all().num_rows == 0


def test_a_row_has_the_tick_of_its_last_change() -> None:
    sources = [scan(n, {"user": "VARCHAR"}, append_only=True) for n in ("l", "r")]
    kept = operator(SetRule.INTERSECT, *sources, ticks=True)
    change = delta("  user:VARCHAR\n+ bob\n+ ann", keys=["user"])
    sides = [
        Delta(change.rows.append_column(TICK, pa.array(ticks, pa.int64())))
        for ticks in ([1, 2], [4, 3])
    ]

    out = kept.step(sides, EPOCH)

    assert text(out) == "  user\n+ bob\n+ ann"
    assert out.ticks is not None and out.ticks.tolist() == [4, 3]

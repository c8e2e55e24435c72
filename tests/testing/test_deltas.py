from __future__ import annotations

from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import WEIGHT, Delta
from headwater.testing.deltas import answer, assert_same, cut, delta, sum_of, text, with_hash

SHOWN = "  user    n    at\n+ ann     1    12:00:05\n- bob lee null 12:00\n- bob lee null 12:00"


def test_a_delta_reads_as_it_was_written() -> None:
    quoted = SHOWN.replace("bob lee", "'bob lee'")

    assert text(delta(quoted)) == SHOWN


def test_types_are_given_or_seen_from_the_values() -> None:
    change = delta(
        "  a b c d e:UINTEGER f\n+ 1 1.5 true 12:00 7 x\n+ null null null null null null"
    )

    kinds = [pa.int64(), pa.float64(), pa.bool_(), pa.timestamp("us"), pa.uint32(), pa.string()]
    assert change.rows.schema.types == kinds
    assert change.rows.slice(1).to_pylist() == [dict.fromkeys("abcdef")]


def test_a_weight_of_two_is_two_lines() -> None:
    rows = pa.record_batch({"n": pa.array([7]), WEIGHT: pa.array([-2])})

    assert text(Delta(rows)) == "  n\n- 7\n- 7"


def test_hashes_are_those_of_duckdb() -> None:
    change = with_hash(delta("  a b\n+ 1 x\n+ null y"), ["b", "a"])

    says = answer("SELECT hash(b, a) AS h FROM t", {"t": pa.table(change.visible())})
    assert sorted(change.hashes.tolist()) == says.column("h").to_pylist()


@settings(deadline=None, max_examples=50)
@given(
    numbers=st.lists(st.one_of(st.none(), st.integers(0, 3))),
    epochs=st.integers(1, 6),
    withdrawn=st.one_of(st.none(), st.floats(0, 2)),
    random=st.randoms(use_true_random=False),
)
def test_cuts_add_up_to_the_table_and_never_go_below_nothing(
    numbers: list[int | None], epochs: int, withdrawn: float | None, random: Random
) -> None:
    table = pa.table({"n": pa.array(numbers, pa.int64())})

    changes = cut(table, random, epochs=epochs, withdrawn=withdrawn)

    assert len(changes) == epochs
    for stop in range(1, epochs + 1):
        sum_of(changes[:stop])
    assert_same(sum_of(changes), table)


@pytest.mark.parametrize(
    "other", [[1.0, 2.0], [1.0, 2.0, 2.0], [1.0, 2.0, None], [1.0, 2.0, 3.0001]]
)
def test_tables_that_differ_are_not_the_same(other: list[float | None]) -> None:
    with pytest.raises(AssertionError):
        assert_same(pa.table({"x": [3.0, 1.0, 2.0]}), pa.table({"x": other}))


def test_floats_may_differ_in_the_last_bits() -> None:
    nan = float("nan")
    ours = pa.table({"k": ["a", "b"], "x": [0.1 + 0.2, nan]})

    assert_same(ours, pa.table({"k": ["b", "a"], "x": [nan, 0.3]}))


def test_what_is_withdrawn_too_often_is_found() -> None:
    with pytest.raises(AssertionError, match="too often"):
        sum_of([delta("  n\n+ 1\n- 2")])

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.operators.runs import RUNS_MAX, Runs
from operators.running import Memory

ROWS = pa.schema([("t", pa.int64()), ("id", pa.int64())])


def rows_of(pairs: list[tuple[int, int]]) -> pa.RecordBatch:
    columns = [pa.array([pair[i] for pair in pairs], pa.int64()) for i in (0, 1)]
    return pa.RecordBatch.from_arrays(columns, schema=ROWS)


def pairs_of(rows: pa.RecordBatch) -> list[tuple[int, int]]:
    return sorted(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def counts_of_runs(runs: Runs, value: int) -> int:
    """In how many runs a value stands."""
    return sum(value in run.rows.column("t").to_pylist() for run in runs._runs)


actions = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(-9, 9), max_size=4)),
        st.tuples(st.just("take"), st.integers(-10, 10)),
        st.tuples(st.just("look"), st.tuples(st.integers(-10, 10), st.integers(-10, 10))),
        st.tuples(st.just("save"), st.none()),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(actions)
def test_runs_answer_as_a_plain_list_does(steps: Any) -> None:
    runs, known, memory, number = Runs(ROWS, "t"), [], Memory(), 0
    for action, value in steps:
        if action == "add":
            added = [(t, number + i) for i, t in enumerate(value)]
            number += len(added)
            known += added
            runs.add(rows_of(added))
        elif action == "take":
            assert pairs_of(runs.take_below(value)) == sorted(p for p in known if p[0] < value)
            known = [pair for pair in known if pair[0] >= value]
        elif action == "look":
            first, stop = value
            expected = sorted(p for p in known if first <= p[0] < stop)
            assert pairs_of(runs.between(first, max(first, stop))) == expected
            alone, shared = runs.apart(first, max(first, stop))
            parts = [{t for t, _ in pairs_of(part)} for part in alone]
            rest = pairs_of(shared) if shared is not None else []
            assert sorted([*rest, *(pair for part in alone for pair in pairs_of(part))]) == expected
            assert len(set().union(*parts)) == sum(map(len, parts))
            assert all(counts_of_runs(runs, t) > 1 for t, _ in rest)
            assert not set().union(*parts) & {t for t, _ in rest}
        else:
            manifest = runs.save(memory)
            runs = Runs(ROWS, "t")
            runs.load(manifest, memory)
        assert runs.size()[0] == len(known)


def test_a_second_checkpoint_writes_only_what_is_new() -> None:
    runs, memory = Runs(ROWS, "t"), Memory()
    runs.add(rows_of([(1, 1), (2, 2)]))
    runs.save(memory)
    runs.take_below(2)
    runs.add(rows_of([(3, 3)]))

    manifest = runs.save(memory)

    assert len(memory.batches) == 2
    assert manifest == [["batch-0", 1], ["batch-1", 0]]


def test_many_small_runs_become_few() -> None:
    runs, memory = Runs(ROWS, "t"), Memory()
    for number in range(500):
        runs.add(rows_of([(number % 7, number)]))

    assert len(runs.save(memory)) <= RUNS_MAX + 1
    assert runs.size()[0] == 500

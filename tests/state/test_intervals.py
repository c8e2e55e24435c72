"""Intervals against a dictionary, with keys that share a hash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state.intervals import Intervals, Stretches
from headwater.state.spine import Limits
from operators.running import Memory

SCHEMA = pa.schema([("k", pa.string()), ("a", pa.int64()), ("b", pa.int64()), ("v", pa.int64())])
KEYS = [None, "x", "y"]


def new() -> Intervals:
    return Intervals(SCHEMA, ["k"], "a", "b", limits=Limits(rows=16))


def hashes_of(keys: list[Any]) -> Any:
    """ "x" and "y" share a hash."""
    return np.array([1 if key is None else 1 << 60 for key in keys], dtype=np.uint64)


def put(intervals: Intervals, rows: list[tuple[Any, int, int, int]], gone: list[bool]) -> None:
    columns = [pa.array([row[i] for row in rows], f.type) for i, f in enumerate(SCHEMA)]
    batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    intervals.put(batch, hashes_of([row[0] for row in rows]), np.array(gone, dtype=np.bool_))


def near(intervals: Intervals, sought: list[tuple[Any, int, int]], distance: int) -> list[Any]:
    keys = [key for key, _, _ in sought]
    stretches = Stretches(
        pa.RecordBatch.from_arrays([pa.array(keys, pa.string())], names=["k"]),
        hashes_of(keys),
        np.array([first for _, first, _ in sought], dtype=np.int64),
        np.array([last for _, _, last in sought], dtype=np.int64),
    )
    rows, hashes = intervals.near(stretches, distance)
    assert hashes.tolist() == hashes_of(rows.column("k").to_pylist()).tolist()
    return [tuple(row.values()) for row in rows.to_pylist()]


# Intervals are [30 n, 30 n + length]: whatever comes and goes, they are 21 apart, as sessions are
# a gap apart.
steps = st.lists(
    st.tuples(st.sampled_from(KEYS), st.integers(0, 12), st.integers(0, 9), st.booleans()),
    max_size=40,
)


@settings(max_examples=80, deadline=None)
@given(
    steps=steps,
    sought=st.lists(
        st.tuples(st.sampled_from(KEYS), st.integers(-10, 420), st.integers(0, 60)),
        min_size=1,
        max_size=4,
    ),
    distance=st.integers(1, 21),
    is_saved=st.booleans(),
)
def test_what_is_near_is_found_and_nothing_else(
    steps: Any, sought: Any, distance: int, is_saved: bool
) -> None:
    intervals, known = new(), {}
    for version, (key, n, length, is_gone) in enumerate(steps):
        row = (key, 30 * n, 30 * n + length, version)
        put(intervals, [row], [is_gone])
        if is_gone:
            known.pop((key, 30 * n), None)
        else:
            known[(key, 30 * n)] = row
        if version % 7 == 0:
            near(intervals, [(key, 0, 500)], 1)
    if is_saved:
        memory = Memory()
        manifest = intervals.save(memory)
        intervals = new()
        intervals.load(manifest, memory)
    stretches = [(key, first, first + length) for key, first, length in sought]

    found = near(intervals, stretches, distance)

    expected = {
        row
        for row in known.values()
        for key, first, last in stretches
        if row[0] == key and row[2] > first - distance and row[1] < last + distance
    }
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_look_up_does_not_read_the_history_of_its_key() -> None:
    intervals = new()
    for n in range(300):
        put(intervals, [("x", 10 * n, 10 * n + 1, n)], [False])
    runs = intervals._spine.runs()
    assert sum(len(run) for run in runs) == 300

    found = near(intervals, [("x", 2995, 2995)], 6)

    assert found == [("x", 2990, 2991, 299)]

"""Spans against a second computation, place by place in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.operators.places import FIRST, LAST
from headwater.operators.spans import Spans, beyond, rows_in, united
from headwater.state.run import Run, sorted_run

quick = settings(max_examples=150, deadline=None)
HASHES = st.integers(1, 3)
PLACES = st.integers(-6, 6)
SCHEMA = pa.schema([pa.field("x", pa.int64())])


def run_of(rows: Sequence[tuple[int, int, int, int]]) -> Run:
    """Rows of (hash, place, x, weight) as a run."""
    hashes = np.array([h for h, _, _, _ in rows], np.uint64)
    batch = pa.RecordBatch.from_pydict({"x": [x for _, _, x, _ in rows]}, schema=SCHEMA)
    weights = np.array([w for _, _, _, w in rows], np.int64)
    times = np.array([p for _, p, _, _ in rows], np.int64)
    return sorted_run(hashes, batch, weights, times)[0]


@st.composite
def histories(draw: Any) -> tuple[list[Run], list[tuple[int, int]]]:
    """Runs in which some rows of the first are withdrawn by later ones, and what is left."""
    rows = draw(st.lists(st.tuples(HASHES, PLACES), min_size=1, max_size=25))
    gone = draw(st.sets(st.integers(0, len(rows) - 1)))
    stops = sorted(draw(st.lists(st.integers(0, len(gone)), max_size=2)))
    taken_back = [(*rows[i], i, -1) for i in sorted(gone)]
    parts = [[(*row, i, 1) for i, row in enumerate(rows)]]
    for start, stop in zip([0, *stops], [*stops, len(gone)], strict=True):
        parts.append(taken_back[start:stop])
    left = [row for i, row in enumerate(rows) if i not in gone]
    return [run_of(part) for part in parts if part], left


@quick
@given(
    history=histories(),
    probes=st.lists(st.tuples(HASHES, PLACES), min_size=1, max_size=6),
    count=st.integers(1, 4),
    is_forward=st.booleans(),
)
def test_so_many_rows_that_were_not_withdrawn_stand_up_to_the_bound(
    history: tuple[list[Run], list[tuple[int, int]]],
    probes: list[tuple[int, int]],
    count: int,
    *,
    is_forward: bool,
) -> None:
    runs, left = history
    hashes = np.array([h for h, _ in probes], np.uint64)
    places = np.array([p for _, p in probes], np.int64)

    bounds = beyond(runs, hashes, places, count, is_forward=is_forward)

    for (h, p), bound in zip(probes, bounds.tolist(), strict=True):
        low, high = (p + 1, bound) if is_forward else (bound, p - 1)
        standing = sum(low <= place <= high for other, place in left if other == h)
        assert standing >= count or bound == (LAST if is_forward else FIRST)


@quick
@given(spans=st.lists(st.tuples(HASHES, PLACES, st.integers(0, 8)), max_size=12))
def test_united_spans_hold_the_same_places_and_share_none(
    spans: list[tuple[int, int, int]],
) -> None:
    hashes = np.array([h for h, _, _ in spans], np.uint64)
    low = np.array([p for _, p, _ in spans], np.int64)
    high = low + np.array([length for _, _, length in spans], np.int64)

    found = united(hashes, low, high)

    def held(h: Any, low: Any, high: Any) -> list[tuple[int, int]]:
        return [
            (int(key), place)
            for key, first, last in zip(h, low, high, strict=True)
            for place in range(int(first), int(last) + 1)
        ]

    places = held(found.hashes, found.low, found.high)
    assert len(set(places)) == len(places)
    assert set(places) == set(held(hashes, low, high))


@quick
@given(history=histories(), low=PLACES, length=st.integers(0, 6))
def test_rows_of_a_span_are_those_that_were_not_withdrawn(
    history: tuple[list[Run], list[tuple[int, int]]], low: int, length: int
) -> None:
    runs, left = history
    spans = Spans(np.array([2], np.uint64), np.array([low]), np.array([low + length]))

    found = rows_in(runs, spans, SCHEMA)

    assert found.times is not None
    standing = np.repeat(found.times, found.ones()).tolist()
    assert sorted(standing) == sorted(p for h, p in left if h == 2 and low <= p <= low + length)
    assert spans.locate(found.hashes, found.times).tolist() == [0] * len(found)

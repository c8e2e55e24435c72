from __future__ import annotations

import itertools

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.log.adjacent import adjacent

BATCH = pa.record_batch(
    {
        "n": pa.array([1, None, 3, 4, None, 6, 7, 8, 9, 10]),
        "text": pa.array(["a", "bc", None, "", "e", "f", "ghi", "j", None, "k"]),
        "ok": pa.array([True, None, False] * 3 + [True]),
        "whole": pa.array(range(10)),
    }
)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 10), max_size=5), start=st.integers(0, 4))
def test_slices_of_one_batch_are_one_again(cuts: list[int], start: int) -> None:
    bounds = sorted({start, 10, *(cut for cut in cuts if cut > start)})
    parts = [BATCH.slice(a, b - a) for a, b in itertools.pairwise(bounds)]

    (whole,) = adjacent(parts)

    assert whole.equals(BATCH.slice(start))
    assert whole.column("text").buffers()[2].address == BATCH.column("text").buffers()[2].address


def test_what_does_not_follow_stays_apart() -> None:
    other = pa.RecordBatch.from_pylist(BATCH.to_pylist(), schema=BATCH.schema)
    cases = (
        [BATCH.slice(0, 3), BATCH.slice(4, 2)],
        [BATCH.slice(5, 3), BATCH.slice(0, 5)],
        [BATCH.slice(0, 5), other.slice(5, 5)],
    )
    for parts in cases:
        found = adjacent(parts)
        assert [batch.to_pylist() for batch in found] == [part.to_pylist() for part in parts]


def test_lists_and_dictionaries_are_left_as_they_are() -> None:
    for column in (pa.array([[1], [2, 3], []]), pa.array(["a", "b", "a"]).dictionary_encode()):
        batch = pa.record_batch({"c": column})
        parts = [batch.slice(0, 1), batch.slice(1, 2)]

        assert [part.to_pylist() for part in adjacent(parts)] == [p.to_pylist() for p in parts]


def test_nothing_and_rows_without_columns() -> None:
    assert adjacent([]) == []
    assert len(adjacent([BATCH.select([]), BATCH.select([])])) == 2

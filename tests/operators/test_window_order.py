from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH
from headwater.operators import window_order
from headwater.operators.layout import SLICE
from headwater.operators.window_order import by_slice, in_slices

WIDTH_US = 7


@pytest.fixture(autouse=True, scope="module")
def _packs_few() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_order, "_PACKED_MIN", 1)
        yield


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-3, 3) | st.integers(-(1 << 40), 1 << 40),
            st.integers(0, 3) | st.integers(0, (1 << 64) - 1),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_rows_are_in_the_order_of_slices_and_then_of_hashes(rows: list[tuple[int, int]]) -> None:
    slices = pa.array([number * WIDTH_US for number, _ in rows], pa.int64())
    hashes = pa.array([hash_ for _, hash_ in rows], pa.uint64())
    batch = pa.RecordBatch.from_arrays([slices, hashes], names=[SLICE, HASH])

    ordered = by_slice(batch, WIDTH_US)

    found = list(zip(*(ordered.column(name).to_pylist() for name in (SLICE, HASH)), strict=True))
    assert found == sorted((number * WIDTH_US, hash_) for number, hash_ in rows)


def test_many_rows_are_ordered_as_few_are() -> None:
    rng = np.random.default_rng(1)
    slices = rng.integers(0, 50, 20_000) * WIDTH_US
    hashes = rng.integers(0, 1 << 63, 20_000, dtype=np.uint64)
    batch = pa.RecordBatch.from_arrays([pa.array(slices), pa.array(hashes)], names=[SLICE, HASH])

    order = np.lexsort((hashes, slices))

    assert by_slice(batch, WIDTH_US).equals(batch.take(pa.array(order)))


wide = st.integers(-(1 << 63), (1 << 63) - 1) | st.sampled_from([-(1 << 63), (1 << 63) - 1])


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.sets(
        st.tuples(
            st.integers(-3, 3) | st.integers(-(1 << 40), 1 << 40),
            st.none() | st.integers(-2, 2) | wide,
            st.none() | st.integers(-2, 2),
            st.integers(0, 3) | st.integers(0, (1 << 64) - 1),
        ),
        max_size=40,
    )
)
def test_rows_of_a_slice_are_in_the_order_of_numbers_before_hashes(rows: set[Any]) -> None:
    given_rows = list(rows)
    slices = pa.array([number * WIDTH_US for number, *_ in given_rows], pa.int64())
    first, second = (pa.array([row[at] for row in given_rows], pa.int64()) for at in (1, 2))
    hashes = np.array([row[3] for row in given_rows], dtype=np.uint64)
    columns = [slices, first, second.cast(pa.int32()), pa.array(hashes)]
    batch = pa.RecordBatch.from_arrays(columns, names=[SLICE, "a", "b", HASH])

    ordered = in_slices(batch, ["a", "b"], lambda: hashes)

    least = -(1 << 63)
    found = list(zip(*(column.to_pylist() for column in ordered.columns), strict=True))
    expected = [(number * WIDTH_US, *rest) for number, *rest in given_rows]
    assert found == sorted(
        expected,
        key=lambda r: (
            r[0],
            least if r[1] is None else r[1],
            least if r[2] is None else r[2],
            r[3],
        ),
    )

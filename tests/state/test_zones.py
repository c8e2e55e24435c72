from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state import zones
from headwater.state.multiset import Multiset
from headwater.state.spine import Limits, Loose
from headwater.state.zones import Near, Zones, bounds_of, has_zones, near_all, zones_of
from headwater.testing.checkpoint import MemoryCheckpoint

SCHEMA = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us"))])
numbers = st.none() | st.integers(-30, 30)


@pytest.mark.parametrize("kind", [pa.int64(), pa.int8(), pa.timestamp("us"), pa.date32()])
@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(numbers, min_size=1, max_size=40),
    low=st.integers(-35, 35),
    width=st.integers(-2, 20),
    block_rows=st.sampled_from([1, 3, 64]),
)
def test_what_is_near_lies_in_a_block_that_is_looked_at(
    kind: pa.DataType, values: list[Any], low: int, width: int, block_rows: int
) -> None:
    column = pa.array(values, pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)
    near = Near("x", low, low + width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zones, "BLOCK_ROWS", block_rows)
        found = near_all([(zones_of(column), near)], len(values))

    looked_at = {place for first, stop in found for place in range(first, stop)}
    sought = {at for at, v in enumerate(values) if v is not None and low <= v <= near.high}
    assert sought <= looked_at <= set(range(len(values)))
    if block_rows == 1 and None not in values:
        assert looked_at == sought
    known = [value for value in values if value is not None]
    if known:
        assert bounds_of(column) == (min(known), max(known))


def test_a_column_of_nulls_has_no_bounds() -> None:
    low, high = bounds_of(pa.nulls(3, pa.int64()))

    assert low > high


def test_rows_must_be_near_in_every_respect() -> None:
    blocks = [Zones(np.array(low), np.array(low) + 9) for low in ([0, 10, 20, 30], [0, 0, 0, 50])]

    found = near_all([(blocks[0], Near("x", 12, 99)), (blocks[1], Near("y", 0, 40))], 30_000)

    assert found == [(zones.BLOCK_ROWS, 3 * zones.BLOCK_ROWS)]
    assert not has_zones(pa.uint64()) and not has_zones(pa.float64())


def inserted(rows: Multiset, first: int, count: int) -> None:
    keys = pa.array(np.arange(first, first + count) % 7)
    times = pa.array(np.arange(first, first + count)).cast(pa.timestamp("us"))
    batch = pa.RecordBatch.from_arrays([keys, times], schema=SCHEMA)
    rows.insert_rows(batch, hashes_of(keys), None)


def hashes_of(keys: pa.Array) -> Any:
    return keys.to_numpy().astype(np.uint64) << np.uint64(60)


def test_a_look_for_a_stretch_of_time_scans_no_more_than_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(zones, "BLOCK_ROWS", 50)
    rows = Multiset(SCHEMA, ["k"], limits=Limits(piece_rows=500, scan_rows=100))
    for first in range(0, 3_000, 100):
        inserted(rows, first, 100)
    keys = pa.RecordBatch.from_arrays([pa.array([3])], ["k"])

    for _ in range(100):
        near = [Near("t", 1_020, 1_080)]
        found = rows.probe(keys, hashes_of(keys.column(0)), near=near)

        times = found.rows.column("t").cast(pa.int64()).to_pylist()
        wanted = [time for time in range(1_020, 1_081) if time % 7 == 3]
        assert set(wanted) <= set(times) <= set(range(1_000, 1_100))
    # Sixteen looks at everything would have sorted what waits.
    assert len(rows._spine.peek().loose) > 3


def test_sorted_rows_that_are_far_off_are_not_found() -> None:
    rows = Multiset(SCHEMA, ["k"])
    inserted(rows, 0, 100)
    keys = pa.RecordBatch.from_arrays([pa.array([3])], ["k"])
    hashes = hashes_of(keys.column(0))

    assert len(rows.probe(keys, hashes, near=[Near("t", 100, 200)])) == 0
    assert len(rows.probe(keys, hashes, near=[Near("t", 99, 200)])) == 14


def test_waiting_rows_are_forgotten_piece_by_piece_and_stay_unsorted() -> None:
    limits = Limits(piece_rows=500, scan_rows=100)
    rows = Multiset(SCHEMA, ["k"], closing="t", limits=limits)
    sizes = []
    for first in range(0, 10_000, 100):
        inserted(rows, first, 100)
        rows.forget_below(first - 300)
        sizes.append(rows.size()[0])
        loose: tuple[Loose, ...] = rows._spine.peek().loose
        assert sum(map(len, loose)) == sizes[-1]

    assert max(sizes) <= 1_500
    checkpoint = MemoryCheckpoint()
    again = Multiset(SCHEMA, ["k"], closing="t", limits=limits)
    again.load(rows.save(checkpoint), checkpoint)
    again.forget_below(10_000)
    assert again.size()[0] == 0

"""Single values of large arrays: found like any, and asked for ahead without harm."""

from __future__ import annotations

import decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state.mapped import place_of, row_stretches, will_need


def expected_place(numbers: np.ndarray, sought: int) -> int:
    places = np.flatnonzero(numbers == numbers.dtype.type(sought))
    return int(places[0]) if len(places) else -1


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30_000),
    st.sampled_from(["even", "crowded", "steps", "equal"]),
    st.integers(0, 2**32),
)
def test_a_number_is_found_however_numbers_are_spread(rows: int, shape: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    if shape == "even":
        numbers = random.integers(0, 2**64, rows, dtype=np.uint64)
    elif shape == "crowded":
        numbers = (random.random(rows) ** 40 * 2**63).astype(np.uint64)
    elif shape == "steps":
        numbers = random.integers(0, 9, rows, dtype=np.uint64) << np.uint64(60)
    else:
        numbers = np.full(rows, 2**64 - 1, dtype=np.uint64)
    numbers.sort()
    probes = [*random.choice(numbers, 20).tolist(), 0, 2**64 - 1, int(numbers[0]), 2**63]
    for sought in [*probes, *(min(probe + 1, 2**64 - 1) for probe in probes)]:
        assert place_of(numbers, sought) == expected_place(numbers, sought)


@pytest.mark.parametrize("first", [-(2**62), 5])
def test_places_are_found_too(first: int) -> None:
    numbers = np.arange(10_000, dtype=np.int64) * 3 + first

    assert [place_of(numbers, first + n) for n in (-1, 0, 1, 3, 29_997, 29_998)] == [
        *(-1, 0, -1, 1, 9_999, -1)
    ]


def test_what_is_asked_for_ahead_is_what_is_then_read(tmp_path: Path) -> None:
    rows = 50_000
    written = pa.record_batch(
        {
            "n": pa.array(range(rows), pa.int64()),
            "small": pa.array([n % 100 if n % 7 else None for n in range(rows)], pa.int16()),
            "is_odd": pa.array([n % 2 == 1 for n in range(rows)]),
            "text": pa.array([f"row {n:08}" for n in range(rows)]),
            "price": pa.array([decimal.Decimal(n) for n in range(rows)], pa.decimal128(12, 2)),
            "list": pa.array([[n] for n in range(rows)]),
            "nothing": pa.nulls(rows),
        }
    )
    path = tmp_path / "rows.arrow"
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, written.schema) as writer:
        writer.write_batch(written)
    mapped = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0).slice(1_000)

    for at in (0, 1, 777, mapped.num_rows - 1):
        stretches = row_stretches(mapped, at)
        will_need(stretches)
        # The text's own bytes are among them, as all are of one length.
        _, _, data = mapped.column("text").buffers()
        wanted = data.address + (1_000 + at) * len("row 00000000")
        assert any(first <= wanted < first + size + 4096 for first, size in stretches)
        assert mapped.slice(at, 1).to_pylist() == written.slice(1_000 + at, 1).to_pylist()

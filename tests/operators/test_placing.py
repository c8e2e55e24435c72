"""Rows are placed as DuckDB's rank() places them, whatever their hashes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.operators import meeting, placing
from headwater.operators.placing import Placing
from headwater.plan.nodes import Order
from operators.running import answer

quick = settings(max_examples=150, deadline=None)
floats = st.sampled_from([0.0, -0.0, 1.5, -2.5, float("inf"), float("-inf"), float("nan")])
rows_of = st.lists(st.tuples(st.integers(0, 5), floats, st.integers(-3, 3)), min_size=1)


def hashes_of(keys: Any, bits: int) -> Any:
    """A hash of so many bits, in the high ones: few of them let keys meet, or share a hash."""
    mixed = np.asarray(keys).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return mixed >> np.uint64(64 - bits) << np.uint64(64 - bits)


@quick
@given(
    rows=rows_of,
    stop=st.integers(1, 4),
    first=st.sampled_from("fn"),
    descending=st.booleans(),
    meets=st.booleans(),
    halved=st.booleans(),
)
def test_rows_before_a_place_are_those_of_that_rank(
    *, rows: Any, stop: int, first: str, descending: bool, meets: bool, halved: bool
) -> None:
    second = "n" if first == "f" else "f"
    batch = pa.record_batch(
        [pa.array(column) for column in zip(*rows, strict=True)], names=["p", "f", "n"]
    )
    orders = (Order(first, descending), Order(second))
    with pytest.MonkeyPatch.context() as patch:
        if meets:
            patch.setattr(meeting, "ROWS_MIN", 1)
            patch.setattr(meeting, "BITS_MAX", 2)
            # One sort by key and value, where they are small numbers.
            patch.setattr(placing, "_ROWS_MIN", 1)
        if halved:
            patch.setattr(placing, "_HALVED_ROWS_MIN", 1)
        placed = Placing(["p"], orders).placed(batch, hashes_of(batch.column("p"), 40), stop)

    assert placed is not None
    found = batch.take(pa.array(placed.rows))
    table = pa.Table.from_batches([batch])
    way = "DESC" if descending else "ASC"
    wanted = answer(
        f"""SELECT * FROM t QUALIFY
            rank() OVER (PARTITION BY p ORDER BY {first} {way}, {second}) <= {stop}""",
        t=table,
    )
    assert answer("FROM t", t=pa.Table.from_batches([found])) == wanted
    ties = answer(
        "SELECT p, f, n, count(*) AS c FROM t GROUP BY ALL HAVING c > 1",
        t=pa.Table.from_batches([found]),
    )
    assert placed.has_ties == bool(ties)
    assert len(placed.firsts) == len(set(found.column("p").to_pylist()))
    for number, row in enumerate(placed.firsts.tolist()):
        own = placed.of_partitions(np.array([number]))
        keys = found.column("p").to_numpy()
        assert sorted(own) == sorted(placed.rows[keys == batch.column("p")[row].as_py()])
    ordered, same = placed.gathered(len(rows))
    assert ordered.tolist() == sorted(placed.rows)
    assert ordered[same.rows].tolist() == placed.rows.tolist()


def test_partitions_that_share_a_hash_are_not_placed_by_numbers() -> None:
    batch = pa.record_batch([pa.array([1, 2]), pa.array([5, 6])], names=["p", "v"])
    same = np.zeros(2, dtype=np.uint64)

    assert Placing(["p"], (Order("v"),)).placed(batch, same, 2) is None
    assert Placing([], (Order("v"),)).placed(batch, same, 2) is not None


@pytest.mark.parametrize(
    "column", [pa.array([1, None]), pa.array(["a", "b"]), pa.array([True, False])]
)
def test_nulls_and_text_are_left_to_duckdb(column: pa.Array) -> None:
    batch = pa.record_batch([pa.array([1, 1]), column], names=["p", "v"])

    assert Placing(["p"], (Order("v"),)).placed(batch, np.zeros(2, dtype=np.uint64), 1) is None


def test_numbers_far_apart_are_ordered_too() -> None:
    values = [2**63 - 1, -(2**63), 0, 5, -1]
    batch = pa.record_batch([pa.array(values)], names=["v"])

    placed = Placing([], (Order("v"),)).placed(batch, np.zeros(5, dtype=np.uint64), 5)

    assert placed is not None
    assert [values[row] for row in placed.rows] == sorted(values)

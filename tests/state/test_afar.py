"""Rows that lie elsewhere read as if they had been gathered."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state.afar import Afar, Stretch, Unread, whole
from headwater.state.gather import taken_apart

THERE = pa.schema([("n", pa.int64()), ("text", pa.string())])
SHOWN = pa.schema([("a", pa.string()), ("b", pa.int64()), ("weight", pa.int64())])
slow = settings(max_examples=60, deadline=None)
sizes_of = st.lists(st.integers(0, 6), min_size=1, max_size=4)


def batches_of(sizes: list[int]) -> list[pa.RecordBatch]:
    """Batches of rows that are numbered from one batch to the next."""
    starts = np.cumsum([0, *sizes]).tolist()
    numbers = [pa.array(range(a, a + n), pa.int64()) for a, n in zip(starts, sizes, strict=False)]
    columns = [[some, pa.array([f"#{n}" for n in some.to_pylist()])] for some in numbers]
    return [pa.RecordBatch.from_arrays(pair, schema=THERE) for pair in columns]


def drawn(data: st.DataObject, count: int, *, rows: int | None = None) -> np.ndarray:
    """Places of so many rows, in any order."""
    place = st.integers(0, max(count - 1, 0))
    low, high = (0, 12) if rows is None else (rows, rows)
    listed = data.draw(st.lists(place, min_size=low, max_size=high)) if count else []
    return np.array(listed, dtype=np.int64)


@slow
@given(sizes=sizes_of, data=st.data())
def test_a_column_is_that_of_the_places(sizes: list[int], data: st.DataObject) -> None:
    places = drawn(data, sum(sizes))
    rows = Afar(batches_of(sizes), places)
    some = drawn(data, len(places))

    assert rows.columns(["n"])[0].to_pylist() == places.tolist()
    texts, numbers = rows.columns(["text", "n"])
    assert texts.to_pylist() == [f"#{n}" for n in places.tolist()]
    assert numbers.to_pylist() == places.tolist()
    assert rows.at(some).columns(["n"])[0].to_pylist() == places[some].tolist()


def test_all_rows_are_not_copied() -> None:
    (batch,) = batches_of([3])
    rows = Afar([batch], None)

    (column,) = rows.columns(["n"])

    assert len(rows) == 3
    assert column.buffers()[1].address == batch.column("n").buffers()[1].address
    assert rows.at(np.array([2, 0])).columns(["n"])[0].to_pylist() == [2, 0]
    several = Afar(batches_of([2, 1]), None)
    assert len(several) == 3
    assert several.columns(["n"])[0].to_pylist() == [0, 1, 2]


@slow
@given(lengths=st.lists(st.integers(0, 5), max_size=4), sizes=sizes_of, data=st.data())
def test_rows_of_two_sides_are_passed_on_as_a_table_is(
    lengths: list[int], sizes: list[int], data: st.DataObject
) -> None:
    if not sum(sizes):
        lengths = []
    stretches, expected, weight = [], [], 0
    for length in lengths:
        left, right = (drawn(data, sum(sizes), rows=length) for _ in range(2))
        lies = {
            "a": (Afar(batches_of(sizes), left), "text"),
            "b": (Afar(batches_of(sizes), right), "n"),
        }
        weights = list(range(weight, weight + length))
        stretches.append(Stretch(length, lies, {"weight": pa.array(weights, pa.int64())}))
        texts = [f"#{n}" for n in left.tolist()]
        expected += zip(texts, right.tolist(), weights, strict=True)
        weight += length
    rows = Unread(SHOWN, stretches)
    table = pa.Table.from_pylist(
        [dict(zip(SHOWN.names, row, strict=True)) for row in expected], SHOWN
    )
    places = np.sort(drawn(data, len(expected)))

    assert rows.num_rows == len(expected)
    assert taken_apart(rows, places).equals(table.take(pa.array(places)))
    assert whole(rows).equals(table)
    assert rows.column("b").equals(table.column("b"))
    assert rows.column(0).equals(table.column(0))
    assert whole(rows.select(["weight", "a"])).equals(table.select(["weight", "a"]))
    renamed = pa.schema([("x", pa.int64()), ("y", pa.int64()), ("hash", pa.int64())])
    near = pa.array(range(100, 100 + len(expected)), pa.int64())
    chosen = rows.chosen({"x": "weight", "y": "b"}, renamed, {"hash": near})
    columns = [table.column("weight"), table.column("b"), pa.chunked_array([near])]
    assert whole(chosen).equals(pa.Table.from_arrays(columns, schema=renamed))


def test_it_is_known_where_columns_lie_together() -> None:
    one, other = (Afar(batches_of([3]), np.array([2, 2, 0])) for _ in range(2))
    lies = {"a": (one, "text"), "b": (one, "n"), "c": (other, "n")}
    rows = Stretch(3, lies, {"weight": pa.array([1, 1, 1])})

    assert rows.origin(["b", "a"]) == (one, ["n", "text"])
    assert rows.origin(["b", "c"]) is None
    assert rows.origin(["b", "weight"]) is None
    assert rows.origin([]) is None

"""Folding gives what has come of each key, however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import DefinitionError
from headwater.runtime import newest
from headwater.runtime.newest import fold

KEYS = st.sampled_from([None, "a", "b", "c", "d"])


def topic(rows: list[tuple[Any, int]]) -> pa.Table:
    return pa.table(
        {
            "k": pa.array([k for k, _ in rows], pa.string()),
            "v": pa.array([v for _, v in rows], pa.int64()),
            "_offset": pa.array(np.arange(len(rows))),
        }
    )


def changes(epochs: list[dict[Any, int | None]]) -> pa.Table:
    """The changes of a view in which each epoch sets some keys, or (None) removes them."""
    held: dict[Any, int] = {}
    rows: list[tuple[Any, int, int, int]] = []
    for epoch, sets in enumerate(epochs, 1):
        for key, value in sets.items():
            # Half of the time the new row stands before the one that it replaces.
            added = [] if value is None else [(key, value, 1, epoch)]
            gone = [(key, held[key], -1, epoch)] if key in held else []
            rows += added + gone if epoch % 2 else gone + added
            if value is None:
                held.pop(key, None)
            else:
                held[key] = value
    columns = list(zip(*rows, strict=True)) or [[], [], [], []]
    kinds = (pa.string(), pa.int64(), pa.int64(), pa.int64())
    arrays = [pa.array(c, kind) for c, kind in zip(columns, kinds, strict=True)]
    offsets = pa.array(np.arange(len(rows)))
    return pa.table([*arrays, offsets], names=["k", "v", "_weight", "_epoch", "_offset"])


def reader(table: pa.Table) -> Callable[[int, int], pa.Table]:
    """Reads as logs do: at least so many rows, and whole epochs."""

    def read(offset: int, rows_max: int) -> pa.Table:
        end = min(offset + rows_max, table.num_rows)
        if "_epoch" in table.schema.names and offset < end:
            epochs = table.column("_epoch").to_numpy()
            end = int(np.searchsorted(epochs, epochs[end - 1], side="right"))
        return table.slice(offset, max(0, end - offset))

    return read


def folded(table: pa.Table, rows_max: int, position: int = 0) -> list[pa.Table]:
    """All folds until the end."""
    found = []
    while position < table.num_rows:
        part = fold(reader(table), position, table.num_rows, key=("k",), rows_max=rows_max)
        assert part.position > position
        keys = part.rows.column("k").to_pylist()
        assert len(keys) == len(set(keys))
        found.append(part.rows)
        position = part.position
    return found


@settings(deadline=None, max_examples=80)
@given(
    rows=st.lists(st.tuples(KEYS, st.integers(0, 9)), min_size=1, max_size=40),
    rows_max=st.integers(1, 6),
    stretch=st.integers(1, 12),
)
def test_of_a_topic_the_last_row_of_each_key_counts(
    rows: list[tuple[Any, int]], rows_max: int, stretch: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newest, "STRETCH_ROWS", stretch)
        parts = folded(topic(rows), rows_max)

    assert all(part.num_rows <= rows_max for part in parts)
    held: dict[Any, int] = {}
    for part in parts:
        held |= {row["k"]: row["v"] for row in part.to_pylist()}
    assert held == dict(rows)


def test_with_room_for_all_keys_each_is_given_once() -> None:
    rows = [(str(n % 3), n) for n in range(1000)]

    (part,) = folded(topic(rows), 3)

    assert part.column("v").to_pylist() == [997, 998, 999]


@settings(deadline=None, max_examples=120)
@given(
    epochs=st.lists(
        st.dictionaries(KEYS, st.none() | st.integers(0, 9), min_size=1), min_size=1, max_size=12
    ),
    rows_max=st.integers(1, 6),
    stretch=st.integers(1, 12),
    again=st.integers(0, 40),
)
def test_of_a_view_what_is_there_now_and_what_went(
    epochs: list[dict[Any, int | None]], rows_max: int, stretch: int, again: int
) -> None:
    table = changes(epochs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newest, "STRETCH_ROWS", stretch)
        parts = folded(table, rows_max)
        # Somebody was given all up to some place before, did not confirm it, and begins again.
        before = fold(reader(table), 0, min(again, table.num_rows), key=("k",), rows_max=99)

    held: dict[Any, int] = {}
    for part in [before.rows, *parts]:
        for row in part.to_pylist():
            assert row["_weight"] in (1, -1)
            if row["_weight"] > 0:
                held[row["k"]] = row["v"]
            else:
                held.pop(row["k"], None)
    now: dict[Any, int | None] = {}
    for sets in epochs:
        now |= sets
    assert held == {key: value for key, value in now.items() if value is not None}


def test_an_epoch_is_given_whole_even_if_it_has_more_keys() -> None:
    table = changes([{"a": 1, "b": 2, "c": 3}, {"d": 4}])

    parts = folded(table, 2)

    assert [part.num_rows for part in parts] == [3, 1]


def test_without_key_columns_there_is_one_row() -> None:
    table = changes([{"a": 1}, {"a": 2}, {"a": 3}])

    part = fold(reader(table), 0, table.num_rows, key=(), rows_max=5)

    assert part.rows.column("v").to_pylist() == [3]


def test_rows_are_not_told_apart_by_what_cannot_be_compared() -> None:
    table = pa.table({"k": pa.array([[1], [2]]), "_offset": pa.array([0, 1])})

    with pytest.raises(DefinitionError, match="told apart by k"):
        fold(reader(table), 0, 2, key=("k",), rows_max=5)

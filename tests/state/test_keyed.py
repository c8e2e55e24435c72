"""Rows that a key tells apart: what is there is what came last and did not go."""

from __future__ import annotations

from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, Delta
from headwater.state import checkpoint, keyed
from headwater.state.keyed import Keyed
from headwater.state.spine import Limits
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import with_constant_hash, with_hash

SCHEMA = pa.schema(
    [("k", pa.int64()), ("s", pa.string()), ("by", pa.int32()), ("text", pa.string())]
)
SOUGHT = [None, 0, 1, 2]
Row = tuple[int | None, str | None, int | None, str]
Model = dict[tuple[int | None, str | None], Row]

keys = st.tuples(st.sampled_from([None, 0, 1, 2]), st.sampled_from([None, "a"]))
# A row for the key, or none from now on.
step = st.tuples(keys, st.none() | st.tuples(st.sampled_from(SOUGHT), st.sampled_from("xy")))
epoch = st.tuples(st.lists(step, max_size=8), st.booleans())


def changes(held: Model, steps: list[Any]) -> tuple[list[Row], list[int]]:
    """Each step as rows that go and come; the model is taken along."""
    rows: list[Row] = []
    weights: list[int] = []
    for key, values in steps:
        if key in held:
            rows.append(held.pop(key))
            weights.append(-1)
        if values is not None:
            held[key] = (*key, *values)
            rows.append(held[key])
            weights.append(1)
    return rows, weights


def batch(rows: list[Row]) -> pa.RecordBatch:
    columns = [pa.array([row[n] for row in rows], f.type) for n, f in enumerate(SCHEMA)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def hashes(rows: pa.RecordBatch, names: list[str], collide: bool) -> np.ndarray:
    delta = Delta(rows)
    made = with_constant_hash(delta) if collide else with_hash(delta, names)
    return made.rows.column(HASH).to_numpy()


def found(kept: Keyed, sought: list[int | None], collide: bool) -> list[list[Row]]:
    """The rows of each."""
    probing = pa.record_batch({"other": pa.array(sought, pa.int32())})
    what = kept.find(probing, hashes(probing, ["other"], collide))
    rows = pa.RecordBatch.from_arrays(what.rows.columns(SCHEMA.names), schema=SCHEMA)
    listed = [tuple(row.values()) for row in rows.to_pylist()]
    assert what.probes.tolist() == sorted(what.probes.tolist())
    return [
        [row for row, probe in zip(listed, what.probes.tolist(), strict=True) if probe == n]
        for n in range(len(sought))
    ]


@settings(max_examples=60, deadline=None)
@given(
    epochs=st.lists(epoch, min_size=1, max_size=10),
    collide=st.tuples(st.booleans(), st.booleans()),
    saves=st.sets(st.integers(0, 9)),
    loads=st.sets(st.integers(0, 9)),
    looks=st.sets(st.integers(0, 9)),
    limits=st.sampled_from([Limits(), Limits(rows=6), Limits(behind_rows=2)]),
    waiting_max=st.sampled_from([1, 5, 1 << 20]),
    random=st.randoms(use_true_random=False),
)
def test_a_key_has_the_row_that_came_last_whatever_waits_or_is_stored(
    *,
    epochs: list[tuple[list[Any], bool]],
    collide: tuple[bool, bool],
    saves: set[int],
    loads: set[int],
    looks: set[int],
    limits: Limits,
    waiting_max: int,
    random: Random,
) -> None:
    """Also where rows come and go within an epoch, in any order."""

    def made() -> Keyed:
        return Keyed(SCHEMA, ["s", "k"], ["by"], limits=limits)

    kept, held, store, snapshots = made(), Model(), MemoryCheckpoint(), []
    with (
        patch.object(keyed, "_WAITING_MAX", waiting_max),
        patch.object(checkpoint, "MAPPED_BYTES_MIN", 1),
    ):
        for number, (steps, is_shuffled) in enumerate(epochs):
            rows, weights = changes(held, steps)
            order = random.sample(range(len(rows)), len(rows)) if is_shuffled else range(len(rows))
            come = batch([rows[n] for n in order])
            kept.insert_rows(
                come,
                np.array([weights[n] for n in order], dtype=np.int64),
                hashes(come, ["k", "s"], collide[0]),
                hashes(come, ["by"], collide[1]),
            )
            if number in saves | loads:
                manifest = kept.save(store)
            if number in loads:
                kept = made()
                kept.load(manifest, store)
            if number in looks:
                check(kept, held, collide[1])
            snapshots.append((kept.snapshot(), sorted(held.values(), key=str)))
        check(kept, held, collide[1])
        for snapshot, then in snapshots:
            assert (
                sorted(map(tuple, map(dict.values, snapshot.table().to_pylist())), key=str) == then
            )
            assert snapshot.rows == len(then)


def check(kept: Keyed, held: Model, collide: bool) -> None:
    sought = [*SOUGHT, 1, 7]
    expected = [sorted((r for r in held.values() if r[2] == by), key=str) for by in sought]
    assert [sorted(rows, key=str) for rows in found(kept, sought, collide)] == expected


def test_rows_are_found_in_the_order_of_their_arrival() -> None:
    kept = Keyed(SCHEMA, ["k"], ["by"])
    rows: list[Row] = [(3, "a", 1, "x"), (1, "b", 1, "x"), (2, "c", 1, "x")]
    for row in rows:
        one = batch([row])
        kept.insert_rows(one, None, hashes(one, ["k"], False), hashes(one, ["by"], False))

    assert found(kept, [1], False) == [rows]
    names = [tuple(row.values()) for row in kept.snapshot().table().to_pylist()]
    assert names == rows


def test_what_was_replaced_is_let_go() -> None:
    kept, numbers = Keyed(SCHEMA, ["k"]), np.arange(1000)
    with patch.object(keyed, "_WAITING_MAX", 1):
        for version in range(20):
            rows = pa.RecordBatch.from_arrays(
                [numbers, [str(version)] * 1000, np.ones(1000, np.int32), ["text" * 20] * 1000],
                schema=SCHEMA,
            )
            if version == 0:
                first = rows
                kept.insert_rows(rows, None, hashes(rows, ["k"], False))
                size = kept.size()
                continue
            both = pa.concat_batches([first, rows])
            kept.insert_rows(both, np.repeat([-1, 1], 1000), hashes(both, ["k"], False))
            first = rows

    assert kept.snapshot().rows == 1000
    assert kept.size()[0] <= 3 * size[0]
    assert kept.size()[1] <= 3 * size[1]


def test_a_row_that_is_there_twice_is_a_bug() -> None:
    kept, rows = Keyed(SCHEMA, ["k"]), batch([(1, "a", 1, "x")] * 2 + [(2, "a", 1, "x")])

    with pytest.raises(AssertionError):
        kept.insert_rows(rows, np.array([1, 1, -1]), hashes(rows, ["k"], False))

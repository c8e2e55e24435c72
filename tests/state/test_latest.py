from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import Delta
from headwater.state.latest import Latest
from headwater.state.spine import Limits
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import delta, with_constant_hash, with_hash

SCHEMA = pa.schema([("k", pa.int64()), ("s", pa.string()), ("n", pa.int64())])
KEYS = ["s", "k"]

key = st.tuples(st.one_of(st.none(), st.integers(0, 3)), st.sampled_from([None, "a", "b"]))
# Puts of a few keys each; a value of None removes the key.
puts = st.lists(
    st.dictionaries(key, st.one_of(st.none(), st.integers(0, 99)), max_size=6),
    min_size=1,
    max_size=10,
)
EVERY = [(k, s) for k in (None, 0, 1, 2, 3) for s in (None, "a", "b")]


def rows_of(values: dict[Any, Any], collide: bool) -> Delta:
    columns = [
        pa.array([k for k, _ in values], pa.int64()),
        pa.array([s for _, s in values], pa.string()),
        pa.array(list(values.values()), pa.int64()),
    ]
    rows = Delta(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
    return with_constant_hash(rows) if collide else with_hash(rows, KEYS)


@settings(max_examples=60, deadline=None)
@given(
    puts=puts,
    collide=st.booleans(),
    saved_after=st.integers(0, 9),
    looks=st.sets(st.integers(0, 9)),
    limits=st.sampled_from([Limits(), Limits(rows=6), Limits(rows=40, behind_rows=2)]),
)
def test_the_newest_row_of_a_key_is_found(
    puts: list[dict[Any, Any]], collide: bool, saved_after: int, looks: set[int], limits: Limits
) -> None:
    held: dict[Any, int] = {}
    latest = Latest(SCHEMA, KEYS, limits=limits)
    every = rows_of(dict.fromkeys(EVERY), collide)
    for number, put in enumerate(puts):
        change = rows_of(put, collide)
        removed = np.array([value is None for value in put.values()], dtype=np.bool_)
        latest.put(change.rows, change.hashes, removed)
        held |= {name: value for name, value in put.items() if value is not None}
        held = {name: value for name, value in held.items() if put.get(name, value) is not None}
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = latest.save(checkpoint)
            latest = Latest(SCHEMA, KEYS, limits=limits)
            latest.load(manifest, checkpoint)
        if number in looks:
            found = latest.find(every.rows.select(KEYS), every.hashes)
            assert found.mask.tolist() == [name in held for name in EVERY]
            assert found.rows.column("n").to_pylist() == [held.get(name) for name in EVERY]
    snapshot = latest.snapshot()
    assert snapshot.rows == len(held)
    for rows in (snapshot.table(), latest.all()):
        assert {(r["k"], r["s"]): r["n"] for r in rows.to_pylist()} == held
    assert latest.size()[0] == len(held)


def test_without_keys_there_is_one_row() -> None:
    latest = Latest(pa.schema([("n", pa.int64())]), [])
    hashes = np.zeros(1, dtype=np.uint64)
    nothing = pa.RecordBatch.from_arrays([], names=[])

    missing = latest.find(nothing, hashes)
    latest.put(pa.record_batch({"n": pa.array([1])}), hashes)
    latest.put(pa.record_batch({"n": pa.array([2])}), hashes)
    found = latest.find(nothing, hashes)

    assert missing.mask.tolist() == [False] and missing.rows.to_pydict() == {"n": [None]}
    assert found.mask.tolist() == [True] and found.rows.to_pydict() == {"n": [2]}


def windows(start: int, stop: int) -> Delta:
    lines = "\n".join(f"+ {n} {n * n}" for n in range(start, stop))
    return delta(f"  w:BIGINT n:BIGINT\n{lines}", keys=["w"])


def test_what_is_below_the_bound_does_not_pile_up() -> None:
    latest = Latest(pa.schema([("w", pa.int64()), ("n", pa.int64())]), ["w"])
    for start in range(0, 4000, 10):
        change = windows(start, start + 10)
        latest.put(change.rows, change.hashes)
        latest.forget_below("w", start - 20)
        assert latest.find(change.visible().select(["w"]), change.hashes).mask.all()

    assert latest.size()[0] < 200
    assert set(latest.all().column("w").to_pylist()) == set(range(3970, 4000))


def test_only_by_a_key_can_rows_be_forgotten() -> None:
    latest = Latest(pa.schema([("w", pa.int64()), ("n", pa.int64())]), ["w"])

    with pytest.raises(AssertionError, match="n is no key"):
        latest.forget_below("n", 5)

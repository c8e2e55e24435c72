from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import Delta
from headwater.state import checkpoint, newest, pile
from headwater.state.latest import Latest
from headwater.state.newest import Newest
from headwater.state.spine import Limits
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import with_constant_hash, with_hash

SCHEMA = pa.schema([("k", pa.int64()), ("s", pa.string()), ("n", pa.int64()), ("v", pa.int64())])
KEYS = ["s", "k"]
EVERY = [(k, s) for k in (None, 0, 1, 2, 3) for s in (None, "a", "b")]

row = st.tuples(
    st.one_of(st.none(), st.integers(0, 3)),
    st.sampled_from([None, "a", "b"]),
    st.integers(0, 99),
    st.one_of(st.none(), st.integers(0, 4)),
    st.sampled_from([False, False, True]),
)
puts = st.lists(st.lists(row, max_size=12), min_size=1, max_size=10)


def rows_of(rows: list[Any], collide: bool) -> Delta:
    columns = [pa.array([line[n] for line in rows], field.type) for n, field in enumerate(SCHEMA)]
    made = Delta(pa.RecordBatch.from_arrays(columns, schema=SCHEMA))
    return with_constant_hash(made) if collide else with_hash(made, KEYS)


def newest_of(rows: list[Any], by_version: bool) -> dict[Any, Any]:
    held: dict[Any, Any] = {}
    for k, s, n, v, gone in rows:
        before = held.get((k, s))
        version = -1 if v is None else v
        if before is None or not by_version or version >= before[1]:
            held[k, s] = (n, version, gone)
    return {key: row[:2] for key, row in held.items() if not row[2]}


def as_held(rows: Any) -> dict[Any, Any]:
    found = [((r["k"], r["s"]), (r["n"], -1 if r["v"] is None else r["v"])) for r in rows]
    assert len({key for key, _ in found}) == len(found), "a key is there twice"
    return dict(found)


@settings(max_examples=120, deadline=None)
@given(
    puts=puts,
    collide=st.booleans(),
    by_version=st.booleans(),
    saves=st.sets(st.integers(0, 9)),
    loads=st.sets(st.integers(0, 9)),
    looks=st.sets(st.integers(0, 9)),
    limits=st.sampled_from([Limits(), Limits(rows=6), Limits(rows=40, behind_rows=2)]),
    waiting_max=st.sampled_from([1, 7, 1 << 20]),
)
def test_the_newest_row_of_a_key_is_found_whatever_waits_or_is_stored(  # noqa: PLR0917
    puts: list[list[Any]],
    collide: bool,
    by_version: bool,
    saves: set[int],
    loads: set[int],
    looks: set[int],
    limits: Limits,
    waiting_max: int,
) -> None:
    newest_by = "v" if by_version else None
    held = Newest(SCHEMA, KEYS, newest_by=newest_by, has_deletions=True, limits=limits)
    every, store = rows_of([(k, s, 0, 0) for k, s in EVERY], collide), MemoryCheckpoint()
    come: list[Any] = []
    before = newest._WAITING_MAX, checkpoint.MAPPED_BYTES_MIN
    newest._WAITING_MAX = waiting_max
    try:
        for number, put in enumerate(puts):
            change = rows_of(put, collide)
            held.put(change.visible(), change.hashes, np.array([row[4] for row in put], np.bool_))
            come += put
            if number in saves:
                manifest = held.save(store)
                if number in loads:
                    held = Newest(
                        SCHEMA, KEYS, newest_by=newest_by, has_deletions=True, limits=limits
                    )
                    held.load(manifest, store)
            expected = newest_of(come, by_version)
            snapshot = held.snapshot()
            if number in looks:
                for found in (
                    snapshot.find(every.rows.select(KEYS), every.hashes),
                    held.find(every.rows.select(KEYS), every.hashes),
                ):
                    assert found.mask.tolist() == [name in expected for name in EVERY]
                    rows = [r for r in found.rows.to_pylist() if r["n"] is not None]
                    assert as_held(rows) == expected
            assert snapshot.rows == len(expected)
            assert as_held(snapshot.table().to_pylist()) == expected
    finally:
        newest._WAITING_MAX, _ = before


def overwritten(rounds: int, keys: int) -> Newest:
    held = Newest(SCHEMA, ["k"])
    for number in range(rounds):
        rows = rows_of([(k, "a", number, 0) for k in range(keys)], False)
        hashes = np.arange(keys, dtype=np.uint64) << np.uint64(50)
        held.put(rows.visible(), hashes)
        held.find(rows.rows.select(["k"]).slice(0, 1), hashes[:1])
    return held


def test_what_was_overwritten_is_let_go() -> None:
    held = overwritten(rounds=50, keys=200)

    rows, size_bytes = held.size()
    assert rows < 3 * 200
    assert size_bytes < 3 * overwritten(rounds=1, keys=200).size()[1]


def test_of_deleted_keys_nothing_is_left_where_nothing_older_can_come() -> None:
    held = Newest(SCHEMA, ["k"], has_deletions=True)
    rows = rows_of([(k, "a", 0, 0) for k in range(200)], False)
    for gone in (False, True):
        held.put(rows.visible(), rows.hashes, np.full(200, gone))
        held.find(rows.rows.select(["k"]).slice(0, 1), rows.hashes[:1])

    assert held._spine.size()[0] == 0
    assert held.snapshot().rows == 0


def test_what_was_given_up_is_known_after_a_load() -> None:
    held, store = overwritten(rounds=3, keys=200), MemoryCheckpoint()
    again = Newest(SCHEMA, ["k"])
    again.load(held.save(store), store)

    before = [None if p.given_up is None else p.given_up.tolist() for p in held._pile._pieces]
    after = [None if p.given_up is None else p.given_up.tolist() for p in again._pile._pieces]
    assert before == after


def test_what_is_stored_is_mapped_from_the_next_checkpoint_on(monkeypatch: Any) -> None:
    monkeypatch.setattr(pile, "MAPPED_BYTES_MIN", 1)
    monkeypatch.setattr("headwater.state.run.MAPPED_BYTES_MIN", 1)
    held, store = overwritten(rounds=1, keys=200), MemoryCheckpoint()

    first = held.save(store)
    second = held.save(store)

    assert first["pile"]["pieces"] == second["pile"]["pieces"] and first["spine"] == second["spine"]
    (run,), (piece,) = held._spine.runs(), held._pile._pieces
    assert run.is_mapped and piece.is_mapped
    assert not run.hashes.flags.writeable
    assert as_held(held.snapshot().table().to_pylist()) == {(k, "a"): (0, 0) for k in range(200)}


def test_a_table_of_before_is_taken_over() -> None:
    old, store = Latest(SCHEMA, KEYS), MemoryCheckpoint()
    for n in range(3):
        change = rows_of([(k, "a", n, 0) for k in range(n, 5)], False)
        old.put(change.visible(), change.hashes)
    held = Newest(SCHEMA, KEYS)

    held.load(old.save(store), store)

    assert as_held(held.snapshot().table().to_pylist()) == {
        (0, "a"): (0, 0), (1, "a"): (1, 0), **{(k, "a"): (2, 0) for k in (2, 3, 4)}
    }  # fmt: skip

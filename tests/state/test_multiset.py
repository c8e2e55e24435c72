from __future__ import annotations

from collections import Counter
from random import Random
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, WEIGHT, Delta
from headwater.state.codes import codes_of
from headwater.state.multiset import Multiset
from headwater.state.spine import Limits
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import (
    assert_same,
    cut,
    delta,
    sum_of,
    with_constant_hash,
    with_hash,
)

SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.string()), ("x", pa.float64())])

entries = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(0, 3)),
        st.sampled_from([None, "a", "b"]),
        st.sampled_from([None, 0.0, 1.5, float("nan")]),
        st.sampled_from([-2, -1, 1, 1, 2]),
    ),
    max_size=8,
)


def batch(rows: list[Any], keys: list[str], *, weighted: bool, collide: bool) -> Delta:
    columns = [pa.array([row[i] for row in rows], f.type) for i, f in enumerate(SCHEMA)]
    made = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    if weighted:
        made = made.append_column(WEIGHT, pa.array([row[3] for row in rows], pa.int64()))
    return with_constant_hash(Delta(made)) if collide else with_hash(Delta(made), keys)


def shown(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(repr(row[name]) for name in SCHEMA.names)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(entries, min_size=1, max_size=8),
    keys=st.sampled_from([[], ["k"], ["v", "k"], ["k", "v", "x"]]),
    weighted=st.booleans(),
    collide=st.booleans(),
    saved_after=st.integers(0, 7),
    limits=st.sampled_from([Limits(), Limits(rows=6), Limits(rows=40, behind_rows=2)]),
    merges_equal=st.booleans(),
)
def test_probes_find_what_was_inserted_under_an_equal_key(
    *,
    parts: list[list[Any]],
    keys: list[str],
    weighted: bool,
    collide: bool,
    saved_after: int,
    limits: Limits,
    merges_equal: bool,
) -> None:
    held: Counter[Any] = Counter()
    rows = Multiset(SCHEMA, keys, merges_equal=merges_equal, limits=limits)
    for number, part in enumerate(parts):
        change = batch(part, keys, weighted=weighted, collide=collide)
        rows.insert(change)
        for entry in part:
            row = tuple(map(repr, entry[:3]))
            held[row] += entry[3] if weighted else 1
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = rows.save(checkpoint)
            rows = Multiset(SCHEMA, keys, merges_equal=merges_equal, limits=limits)
            rows.load(manifest, checkpoint)
        found = rows.probe(change.rows.select(keys), change.hashes)
        totals: Counter[Any] = Counter()
        for probe, row, weight in zip(
            found.probes.tolist(), found.rows.to_pylist(), found.weights.tolist(), strict=True
        ):
            totals[probe, shown(row)] += weight
        places = [SCHEMA.get_field_index(key) for key in keys]
        expected = Counter(
            {
                (probe, row): weight
                for probe, entry in enumerate(part)
                for row, weight in held.items()
                if weight and all(row[i] == repr(entry[i]) for i in places)
            }
        )
        assert found.probes.tolist() == sorted(found.probes.tolist())
        assert {key: weight for key, weight in totals.items() if weight} == expected
    everything = rows.all().rows.to_pylist()
    summed: Counter[Any] = Counter()
    for row in everything:
        summed[shown(row)] += row[WEIGHT]
    assert summed == Counter({row: weight for row, weight in held.items() if weight})
    if weighted and merges_equal:
        assert len(everything) == len(summed)


coded = st.lists(
    st.tuples(st.integers(-3, 9), st.sampled_from(["a", "b"]), st.none(), st.sampled_from([-1, 1])),
    max_size=9,
)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(coded, min_size=1, max_size=8),
    weighted=st.booleans(),
    saved_after=st.integers(0, 7),
    limits=st.sampled_from(
        [
            Limits(),
            Limits(rows=6),
            Limits(rows=40, behind_rows=2),
            Limits(piece_rows=5, scan_rows=1),
        ]
    ),
    looks=st.lists(st.lists(st.integers(-4, 10), max_size=3, unique=True), min_size=8, max_size=8),
)
def test_probes_by_code_find_what_was_inserted_in_order_of_arrival(
    *,
    parts: list[list[Any]],
    weighted: bool,
    saved_after: int,
    limits: Limits,
    looks: list[list[int]],
) -> None:
    held: list[Any] = []
    rows = Multiset(SCHEMA, ["k"], is_coded=True, limits=limits)
    for number, (part, look) in enumerate(zip(parts, looks, strict=False)):
        change = batch(part, ["k"], weighted=weighted, collide=False).rows
        weights = change.column(WEIGHT).to_numpy() if weighted else None
        rows.insert_rows(change.select(SCHEMA.names), codes_of(change.column("k")), weights)
        held += part
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = rows.save(checkpoint)
            rows = Multiset(SCHEMA, ["k"], is_coded=True, limits=limits)
            rows.load(manifest, checkpoint)
        keys = pa.record_batch({"probe": pa.array(look, pa.int64())})

        found = rows.probe(keys, codes_of(keys.column(0)))

        for probe, key in enumerate(look):
            mine = np.flatnonzero(found.probes == probe)
            seen = found.rows.take(pa.array(mine))
            assert set(seen.column("k").to_pylist()) <= {key}
            values = seen.column("v").to_pylist()
            wanted = [entry for entry in held if entry[0] == key]
            if not weighted:
                assert values == [entry[1] for entry in wanted]
            for value in "ab":
                total = sum(entry[3] for entry in wanted if entry[1] == value)
                count = sum(entry[1] == value for entry in wanted)
                of_value = [n for n, v in zip(mine, values, strict=True) if v == value]
                assert found.weights[of_value].sum() == (total if weighted else count)


@settings(max_examples=40, deadline=None)
@given(
    rows=entries,
    epochs=st.integers(1, 6),
    random=st.randoms(use_true_random=False),
    limits=st.sampled_from([Limits(), Limits(rows=6), Limits(rows=40, behind_rows=2)]),
)
def test_a_snapshot_shows_each_row_as_often_as_it_is_there(
    rows: list[Any], epochs: int, random: Random, limits: Limits
) -> None:
    columns = [pa.array([row[i] for row in rows], f.type) for i, f in enumerate(SCHEMA)]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    held = Multiset(SCHEMA, SCHEMA.names, limits=limits)
    changes = cut(table, random, epochs=epochs, withdrawn=1.0)
    seen = []
    for number, change in enumerate(changes):
        held.insert(with_hash(change, SCHEMA.names))
        seen.append((held.snapshot(), sum_of(changes[: number + 1])))
        if number % 2:
            held.all()

    for snapshot, expected in seen:
        assert snapshot.rows == expected.num_rows
        assert_same(snapshot.table(), expected)


def test_rows_of_a_key_are_found_in_the_order_of_their_arrival() -> None:
    rows = Multiset(pa.schema([("k", pa.int64()), ("n", pa.int64())]), ["k"])
    for n in range(40):
        rows.insert(delta(f"  k n\n+ {n % 2} {n}\n+ {n % 3} {n + 100}", keys=["k"]))
        rows.runs()

    key = delta("  k\n+ 1", keys=["k"])
    found = rows.probe(key.visible(), key.hashes).rows.column("n").to_pylist()

    assert found == [
        m
        for n in range(40)
        for m in ([n] if n % 2 == 1 else []) + ([n + 100] if n % 3 == 1 else [])
    ]


def test_a_null_finds_a_null_only_where_it_is_asked_to() -> None:
    rows = Multiset(pa.schema([("k", pa.int64())]), ["k"])
    key = delta("  k:BIGINT\n+ null\n+ 1", keys=["k"])
    rows.insert(key)

    assert rows.probe(key.visible(), key.hashes).probes.tolist() == [0, 1]
    assert rows.probe(key.visible(), key.hashes, null_equal=False).probes.tolist() == [1]


def test_what_is_found_may_be_read_later() -> None:
    rows = Multiset(pa.schema([("k", pa.int64()), ("n", pa.int64())]), ["k"])
    rows.insert(delta("  k n\n+ 1 5", keys=["k"]))
    key = delta("  k\n+ 1", keys=["k"])

    found = rows.find(key.visible(), key.hashes)

    assert found.probes.tolist() == [0]
    assert found.weights is None
    rows.insert(delta("  k n\n- 1 5", keys=["k"]))
    assert found.rows.columns(["n"])[0].to_pylist() == [5]
    both = rows.find(key.visible(), key.hashes)
    total = len(both) if both.weights is None else int(both.weights.sum())
    assert total == 0


def test_few_runs_hold_many_small_inserts() -> None:
    rows = Multiset(pa.schema([("k", pa.int64())]), ["k"])
    for n in range(500):
        hashes = pa.array(np.array([n * 0x9E3779B97F4A7C15 % 2**64], dtype=np.uint64))
        rows.insert(Delta(pa.record_batch({"k": pa.array([n]), HASH: hashes})))
        assert len(rows.runs()) <= 9

    assert sum(len(run) for run in rows.runs()) == 500


def test_what_is_withdrawn_is_let_go_of_although_nobody_looks() -> None:
    rows = Multiset(pa.schema([("k", pa.int64())]), ["k"], limits=Limits(weighted_rows=100))
    for n in range(500):
        hashes = pa.array(np.array([n * 0x9E3779B97F4A7C15 % 2**64] * 2, dtype=np.uint64))
        columns = {"k": pa.array([n, n]), HASH: hashes, WEIGHT: pa.array([1, -1])}
        rows.insert(Delta(pa.record_batch(columns)))
        assert rows.size()[0] <= 102

    assert rows.snapshot().rows == 0


def test_a_run_that_did_not_change_is_kept_and_not_put_again() -> None:
    rows, checkpoint = Multiset(pa.schema([("k", pa.int64())]), ["k"]), MemoryCheckpoint()
    many = "\n".join(f"+ {n}" for n in range(100))
    rows.insert(delta(f"  k\n{many}", keys=["k"]))
    first = rows.save(checkpoint)

    rows.insert(delta("  k\n+ 7", keys=["k"]))
    second = rows.save(checkpoint)
    loaded = Multiset(pa.schema([("k", pa.int64())]), ["k"])
    loaded.load(second, checkpoint)
    loaded.save(checkpoint)

    assert checkpoint.kept[0] in str(first)
    assert len(checkpoint.kept) == 3
    assert loaded.snapshot().rows == 101


def test_a_snapshot_is_read_by_another_thread_while_rows_are_inserted() -> None:
    rows = Multiset(SCHEMA, ["k"])
    part = [(n % 5, "a", [1.5][0], 1) for n in range(50)]
    change = batch(part, ["k"], weighted=True, collide=True)
    rows.insert(change)
    snapshot, tables = rows.snapshot(), []
    reader = Thread(target=lambda: tables.extend(snapshot.table() for _ in range(5)))
    reader.start()
    for _ in range(20):
        rows.insert(change)
        rows.all()
    reader.join()

    assert [table.num_rows for table in tables] == [50] * 5


def test_more_withdrawn_than_added_is_our_own_bug() -> None:
    rows = Multiset(pa.schema([("k", pa.int64())]), ["k"])
    rows.insert(delta("  k\n- 1", keys=["k"]))

    with pytest.raises(AssertionError, match="withdrawn"):
        rows.snapshot().table()

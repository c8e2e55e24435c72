from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import WEIGHT, Delta
from headwater.state import piled
from headwater.state.piled import Piled
from headwater.state.spine import Limits
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import (
    assert_same,
    cut,
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


@pytest.fixture(autouse=True)
def _forgets_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piled, "_GARBAGE_MIN", 3)
    monkeypatch.setattr(piled, "_SEEN_ROWS_MIN", 1)


def batch(rows: list[Any], keys: list[str], *, weighted: bool, collide: bool) -> Delta:
    columns = [pa.array([row[i] for row in rows], f.type) for i, f in enumerate(SCHEMA)]
    made = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    if weighted:
        made = made.append_column(WEIGHT, pa.array([row[3] for row in rows], pa.int64()))
    return with_constant_hash(Delta(made)) if collide else with_hash(Delta(made), keys)


def distinct(rows: list[Any], keys: list[str]) -> list[Any]:
    """The rows that are the first of their key."""
    places = [SCHEMA.get_field_index(key) for key in keys]
    return list({tuple(repr(row[i]) for i in places): row for row in rows}.values())


def shown(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(repr(row[name]) for name in SCHEMA.names)


@settings(max_examples=80, deadline=None)
@given(
    parts=st.lists(entries, min_size=1, max_size=8),
    keys=st.sampled_from([[], ["k"], ["v", "k"], ["k", "v", "x"]]),
    weighted=st.booleans(),
    collide=st.booleans(),
    saved_after=st.integers(0, 7),
    limits=st.sampled_from(
        [
            Limits(),
            Limits(rows=6),
            Limits(rows=40, behind_rows=2),
            Limits(weighted_rows=3, scan_rows=2),
        ]
    ),
)
def test_probes_find_what_was_inserted_under_an_equal_key(
    *,
    parts: list[list[Any]],
    keys: list[str],
    weighted: bool,
    collide: bool,
    saved_after: int,
    limits: Limits,
) -> None:
    held: Counter[Any] = Counter()
    rows = Piled(SCHEMA, keys, beside=["x"], limits=limits)
    for number, part in enumerate(parts):
        rows.insert(batch(part, keys, weighted=weighted, collide=collide))
        for entry in part:
            held[tuple(map(repr, entry[:3]))] += entry[3] if weighted else 1
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = rows.save(checkpoint)
            rows = Piled(SCHEMA, keys, beside=["x"], limits=limits)
            rows.load(manifest, checkpoint)
        asked = distinct(part, keys)
        probing = batch(asked, keys, weighted=False, collide=collide)
        near = rows.near(probing.hashes).tolist()
        found = rows.probe(probing.rows.select(keys), probing.hashes)
        totals: Counter[Any] = Counter()
        for probe, row, weight in zip(
            found.probes.tolist(), found.rows.to_pylist(), found.weights.tolist(), strict=True
        ):
            totals[probe, shown(row)] += weight
        places = [SCHEMA.get_field_index(key) for key in keys]
        expected = Counter(
            {
                (probe, row): weight
                for probe, entry in enumerate(asked)
                for row, weight in held.items()
                if weight and all(row[i] == repr(entry[i]) for i in places)
            }
        )
        assert found.probes.tolist() == sorted(found.probes.tolist())
        assert {key: weight for key, weight in totals.items() if weight} == expected
        # A key whose rows have met what withdraws them need not be near.
        assert near == sorted(set(near))
        assert {probe for probe, _ in expected} <= set(near)


@settings(max_examples=60, deadline=None)
@given(
    rows=entries,
    epochs=st.integers(1, 6),
    random=st.randoms(use_true_random=False),
    limits=st.sampled_from(
        [Limits(), Limits(rows=6), Limits(rows=40, behind_rows=2), Limits(weighted_rows=3)]
    ),
    collide=st.booleans(),
)
def test_a_snapshot_shows_each_row_as_often_as_it_is_there(
    *, rows: list[Any], epochs: int, random: Random, limits: Limits, collide: bool
) -> None:
    columns = [pa.array([row[i] for row in rows], f.type) for i, f in enumerate(SCHEMA)]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    held = Piled(SCHEMA, (), limits=limits)
    changes = cut(table, random, epochs=epochs, withdrawn=1.0)
    seen = []
    for number, change in enumerate(changes):
        hashed = with_constant_hash(change) if collide else with_hash(change, SCHEMA.names)
        held.insert(hashed)
        seen.append((held.snapshot(), sum_of(changes[: number + 1])))

    for snapshot, expected in seen:
        assert snapshot.rows == expected.num_rows
        assert_same(snapshot.table(), expected)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=60),
    saved_after=st.integers(0, 60),
)
def test_rows_that_are_withdrawn_where_they_were_found_are_gone(
    steps: list[tuple[int, bool]], saved_after: int
) -> None:
    schema = pa.schema([("k", pa.int64()), ("n", pa.int64())])
    rows, held = Piled(schema, ["k"], beside=["n"]), dict[int, list[int]]()
    for number, (key, comes) in enumerate(steps):
        one = pa.RecordBatch.from_pylist([{"k": key, "n": number}], schema=schema)
        change = with_hash(Delta(one), ["k"])
        if comes:
            rows.insert(change)
            held.setdefault(key, []).append(number)
        found = rows.find(one.select(["k"]), change.hashes)
        assert found.rows.column("n").to_pylist() == held.get(key, [])
        assert rows.take(found.places).column("n").to_pylist() == held.get(key, [])
        if not comes and len(found):
            hashes = np.repeat(change.hashes, len(found))
            rows.withdraw(found.rows, found.places, hashes)
            held[key] = []
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = rows.save(checkpoint)
            rows = Piled(schema, ["k"], beside=["n"])
            rows.load(manifest, checkpoint)

    everything = rows.snapshot().table().column("n").to_pylist()
    assert everything == sorted(n for numbers in held.values() for n in numbers)


def test_rows_that_were_withdrawn_are_forgotten() -> None:
    schema = pa.schema([("n", pa.int64()), ("text", pa.string())])
    rows = Piled(schema, ())
    for number in range(200):
        columns = [pa.array([number // 2]), pa.array(["x" * 100])]
        one = Delta(pa.RecordBatch.from_arrays(columns, schema=schema))
        hashed = with_hash(one, schema.names)
        weights = np.array([-1 if number % 2 else 1])
        rows.insert_rows(hashed.visible(), hashed.hashes, weights)

    assert len(rows._pile) < 10
    assert rows.size()[1] < 10_000


def test_keys_that_were_never_there_are_known_to_be_missing() -> None:
    schema = pa.schema([("k", pa.int64())])
    rows = Piled(schema, ["k"])

    def keyed(first: int, stop: int) -> Delta:
        one = pa.RecordBatch.from_arrays([pa.array(np.arange(first, stop))], schema=schema)
        return with_hash(Delta(one), ["k"])

    for turn in range(20):
        # The filter is full after some turns, and made anew.
        rows.insert(keyed(turn * 400, turn * 400 + 400))
        here, missing = keyed(0, turn * 400 + 400), keyed(10_000, 11_000)
        assert len(rows.near(here.hashes)) == len(here)
        assert len(rows.near(missing.hashes)) < 50
        if turn == 10:
            checkpoint = MemoryCheckpoint()
            manifest = rows.save(checkpoint)
            rows = Piled(schema, ["k"])
            rows.load(manifest, checkpoint)


def test_many_rows_that_come_with_few_that_go_are_not_sorted() -> None:
    schema = pa.schema([("n", pa.int64())])
    rows = Piled(schema, (), limits=Limits(weighted_rows=4))
    numbers = np.arange(20)
    for first in (0, 20):
        one = pa.RecordBatch.from_arrays([pa.array(numbers + first)], schema=schema)
        hashed = with_hash(Delta(one), ["n"])
        weights = np.ones(20, dtype=np.int64)
        if first:
            # The last one that came takes place 3 back.
            one = pa.RecordBatch.from_arrays([pa.array([*range(20, 39), 3])], schema=schema)
            hashed, weights[-1] = with_hash(Delta(one), ["n"]), -1
        rows.insert_rows(hashed.visible(), hashed.hashes, weights if first else None)

    assert not rows._spine._runs
    assert rows.snapshot().rows == 38
    assert rows.snapshot().table().column("n").to_pylist() == [n for n in range(39) if n != 3]

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.state import gather
from headwater.state.pile import Pile
from headwater.testing.checkpoint import MemoryCheckpoint

SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string())])


def numbered(first: int, rows: int) -> pa.RecordBatch:
    numbers = range(first, first + rows)
    return pa.RecordBatch.from_pylist([{"n": n, "text": str(n)} for n in numbers], schema=SCHEMA)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=40),
    forgotten=st.sets(st.integers(0, 1600)),
    forgets_after=st.integers(0, 40),
    saved_after=st.integers(0, 40),
    asked=st.lists(st.integers(0, 1600), max_size=20),
)
def test_a_row_is_found_at_its_place_whatever_was_joined_forgotten_or_saved(
    *,
    sizes: list[int],
    forgotten: set[int],
    forgets_after: int,
    saved_after: int,
    asked: list[int],
) -> None:
    pile, held, count = Pile(SCHEMA), set[int](), 0
    for number, size in enumerate(sizes):
        places = pile.add(numbered(count, size))
        assert places.tolist() == list(range(count, count + size))
        held |= set(places.tolist())
        count += size
        if number == forgets_after:
            held -= forgotten
            pile.keep(np.array(sorted(held), dtype=np.int64))
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = pile.save(checkpoint)
            pile = Pile(SCHEMA)
            pile.load(manifest, checkpoint)

    sought = [place for place in asked if place in held]
    assert pile.take(np.array(sought, dtype=np.int64)).column("n").to_pylist() == sought
    everything = np.array(sorted(held), dtype=np.int64)
    assert pile.take(everything).column("text").to_pylist() == list(map(str, sorted(held)))


def test_rows_that_nobody_holds_are_forgotten() -> None:
    pile = Pile(SCHEMA)
    for number in range(20):
        pile.add(numbered(number * 100, 100))

    pile.keep(np.arange(0, 2000, 50))

    assert len(pile) == 40
    assert pile.take(np.array([1950, 50])).column("n").to_pylist() == [1950, 50]


def test_there_are_few_batches_however_many_were_added() -> None:
    pile = Pile(SCHEMA)
    for number in range(600):
        pile.add(numbered(number, 1 + number % 5))

    assert len(pile.peek()._pieces) < 30


def test_a_peek_stays_as_it_was() -> None:
    pile = Pile(SCHEMA)
    pile.add(numbered(0, 10))
    peek = pile.peek()

    pile.keep(np.array([3]))
    pile.add(numbered(10, 10))

    assert peek.take(np.arange(10)).column("n").to_pylist() == list(range(10))


def test_a_save_hands_over_what_is_new_alone() -> None:
    pile, checkpoint = Pile(SCHEMA), MemoryCheckpoint()
    pile.add(numbered(0, 100))
    pile.save(checkpoint)
    pile.add(numbered(100, 10))

    pile.save(checkpoint)

    assert checkpoint.kept == ["state/0"]
    assert checkpoint.get("state/1").num_rows == 10


def test_many_rows_are_gathered_by_two_as_by_one() -> None:
    rows = gather._HALVED_ROWS_MIN
    batch = pa.RecordBatch.from_pydict(
        {"a": np.arange(rows), "b": np.arange(rows).astype(str), "c": np.arange(rows) % 3}
    )
    places = np.random.default_rng(1).permutation(rows)

    assert gather.taken(batch, places).equals(batch.take(pa.array(places)))

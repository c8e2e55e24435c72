"""The rows of a view are those of its log, whichever of the two keeps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import headwater as hw  # isort: skip - before numpy, whose sort it chooses
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, WEIGHT, Delta
from headwater.log.changes import ChangeLog
from headwater.operators.feed import KeyHash
from headwater.operators.own_key import OwnKey
from headwater.operators.statement import Engine, plain
from headwater.plan.unique import keys_by_name
from headwater.runtime import content as module
from headwater.runtime.content import Content, KeptContent, content_of
from headwater.schema.ddl import parse_columns
from headwater.state.keyed import Keyed
from headwater.storage.blobs import Blobs
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.disk import FakeDisk

SCHEMA = parse_columns("name VARCHAR, n BIGINT").schema
rows_of = st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 3)), max_size=6)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as opened:
        yield opened


def delta_of(rows: Sequence[tuple[str | None, int]], weights: Sequence[int]) -> Delta:
    arrays = [
        pa.array([row[i] for row in rows], field.type) for i, field in enumerate(SCHEMA.arrow)
    ]
    batch = pa.RecordBatch.from_arrays(arrays, schema=plain(SCHEMA))
    return Delta(batch.append_column(WEIGHT, pa.array(weights, pa.int64())))


def held(content: Content) -> Counter[tuple[str | None, int]]:
    found = Counter(
        (row["name"], row["n"]) for batch in content.batches() for row in batch.to_pylist()
    )
    assert content.count() == found.total()
    return found


def kept_in(changes: ChangeLog, engine: Engine, own: OwnKey | None = None) -> KeptContent:
    """A content of a log that holds nothing yet."""

    def another(engine: Engine) -> KeptContent:
        again = None if own is None else OwnKey(own.names, SCHEMA, engine)
        return kept_in(changes, engine, again)

    hashes = KeyHash(list(SCHEMA.names), SCHEMA, engine)
    return KeptContent(SCHEMA, changes, hashes, own, another=another)


# More of a row is withdrawn in one epoch than is added: the rest meets rows of a larger run later.
@example(
    epochs=[
        ([("a", 1), ("a", 0), ("a", 0), ("a", 0), ("a", 1)], 0, False),
        ([("a", 0)] * 5, 2, True),
        ([("a", 0)], 2, True),
    ],
    ahead=1,
    small=0,
    garbage=2,
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    epochs=st.lists(st.tuples(rows_of, st.integers(0, 2), st.booleans()), max_size=8),
    ahead=st.integers(1, 4),
    small=st.integers(0, 4),
    garbage=st.integers(0, 4),
)
def test_holds_what_was_added_and_not_withdrawn(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    epochs: list[tuple[list[tuple[str | None, int]], int, bool]],
    ahead: int,
    small: int,
    garbage: int,
) -> None:
    """Through withdrawals, restarts, and whatever part of the log was hashed ahead or forgotten."""
    monkeypatch.setattr(module, "_AHEAD_ROWS", ahead)
    monkeypatch.setattr(module, "_SMALL_ROWS", small)
    monkeypatch.setattr("headwater.state.piled._GARBAGE_MIN", garbage)
    changes = ChangeLog("v", SCHEMA, Blobs(FakeDisk(1)), "views/v")
    kept = kept_in(changes, engine)
    store = MemoryCheckpoint()
    expected: Counter[tuple[str | None, int]] = Counter()
    earlier: list[tuple[Content, Counter[tuple[str | None, int]]]] = []
    for number, (rows, withdrawn, restarts) in enumerate(epochs, 1):
        gone = list(expected.elements())[:withdrawn]
        weights = [1] * len(rows) + [-1] * len(gone)
        if weights:
            delta = kept.hashed(delta_of([*rows, *gone], weights))
            changes.append(delta.visible(), delta.weights, number)
            kept.add(delta)
        expected.update(rows)
        expected.subtract(gone)
        assert held(kept.content()) == +expected
        earlier.append((kept.content(), +expected))
        if restarts:
            manifest = kept.save(store)
            kept = kept_in(changes, engine)
            kept.load(manifest, store)
            assert held(kept.content()) == +expected
    for content, then in earlier:
        assert held(content) == then


def test_rows_are_hashed_only_when_one_is_withdrawn(engine: Engine) -> None:
    changes = ChangeLog("v", SCHEMA, Blobs(FakeDisk(1)), "views/v")
    kept = kept_in(changes, engine)
    adds = kept.hashed(delta_of([("a", 1)], [1]))
    assert HASH not in adds.rows.schema.names
    changes.append(adds.visible(), adds.weights, 1)
    kept.add(adds)
    assert not kept.is_apart
    withdraws = kept.hashed(delta_of([("a", 1)], [-1]))
    assert HASH in withdraws.rows.schema.names
    changes.append(withdraws.visible(), withdraws.weights, 2)
    kept.add(withdraws)
    assert kept.is_apart
    assert HASH in kept.hashed(delta_of([("b", 2)], [1])).rows.schema.names
    assert held(kept.content()) == Counter()


def test_a_long_log_is_hashed_over_many_epochs_once_a_row_is_withdrawn(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AHEAD_ROWS", 10)
    changes = ChangeLog("v", SCHEMA, Blobs(FakeDisk(1)), "views/v")
    kept, store, behind = kept_in(changes, engine), MemoryCheckpoint(), 0
    rows = [("a", n) for n in range(100)]
    monkeypatch.setattr(module, "_SMALL_ROWS", 0)
    for epoch in range(1, 30):
        delta = delta_of(rows, [1] * 100) if epoch == 1 else delta_of([("a", epoch)] * 2, [-1, 1])
        delta = kept.hashed(delta)
        # The checksum of an epoch that is recorded must not tell how far the log has been read.
        assert (HASH in delta.rows.schema.names) == (epoch > 1)
        changes.append(delta.visible(), delta.weights, epoch)
        before = kept._ready
        kept.add(delta)
        assert kept._ready - before <= 11
        assert held(kept.content()) == Counter(rows)
        behind += not kept.is_apart
        if epoch == 5:
            manifest = kept.save(store)
            kept = kept_in(changes, engine)
            kept.load(manifest, store)

    # The hundred rows, and two more with each epoch, ten at a time.
    assert behind == 13
    assert kept.is_apart


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(behind=st.integers(1, 6), epochs=st.lists(rows_of, max_size=6))
def test_rows_by_their_own_key_are_the_same_while_the_log_is_read(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    behind: int,
    epochs: list[list[tuple[str | None, int]]],
) -> None:
    monkeypatch.setattr(module, "_AHEAD_ROWS", behind)
    monkeypatch.setattr(module, "_SMALL_ROWS", 0)
    changes = ChangeLog("v", SCHEMA, Blobs(FakeDisk(1)), "views/v")
    kept = kept_in(changes, engine, OwnKey(["n"], SCHEMA, engine))
    expected = {n: (None, n) for n in range(4, 30)}
    first = delta_of([*expected.values()], [1] * len(expected))
    changes.append(first.visible(), first.weights, 1)
    kept.add(kept.hashed(first))
    for epoch, rows in enumerate(epochs, 2):
        new = {row[1]: row for row in rows}
        gone = [expected[key] for key in new if key in expected]
        delta = delta_of([*gone, *new.values()], [-1] * len(gone) + [1] * len(new))
        expected |= new
        if len(delta):
            delta = kept.hashed(delta)
            changes.append(delta.visible(), delta.weights, epoch)
            kept.add(delta)
        assert held(kept.content()) == Counter(expected.values())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    epochs=st.lists(st.tuples(rows_of, st.booleans()), max_size=8),
    is_coded=st.booleans(),
    older=st.integers(0, 4),
    small=st.integers(0, 4),
)
def test_a_row_takes_the_place_of_that_with_its_key(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    epochs: list[tuple[list[tuple[str | None, int]], bool]],
    is_coded: bool,
    older: int,
    small: int,
) -> None:
    """Also in a content that was kept by whole rows before, for the first epochs."""
    monkeypatch.setattr(module, "_SMALL_ROWS", small)
    changes = ChangeLog("v", SCHEMA, Blobs(FakeDisk(1)), "views/v")
    at = 1 if is_coded else 0
    own = OwnKey([SCHEMA.names[at]], SCHEMA, engine)
    kept = kept_in(changes, engine, own if not older else None)
    store, expected = MemoryCheckpoint(), dict[object, tuple[str | None, int]]()
    for number, (rows, restarts) in enumerate(epochs, 1):
        new = {row[at]: row for row in rows}
        gone = [expected[key] for key in new if key in expected]
        delta = delta_of([*gone, *new.values()], [-1] * len(gone) + [1] * len(new))
        expected |= new
        if number == older or restarts:
            manifest = kept.save(store)
            kept = kept_in(changes, engine, own if number >= older else None)
            kept.load(manifest, store)
        if len(delta):
            delta = kept.hashed(delta)
            assert delta.visible().schema.names == list(SCHEMA.names)
            changes.append(delta.visible(), delta.weights, number)
            kept.add(delta)
        assert held(kept.content()) == Counter(expected.values())


def test_what_tells_the_rows_of_a_join_of_tables_apart_keeps_them(engine: Engine) -> None:
    app = hw.App("kept")
    app.table("offers", "id BIGINT, shop BIGINT, price BIGINT", key="id")
    app.table("shops", "shop BIGINT, name VARCHAR", key="shop")
    app.view("joined", "SELECT id, price, name FROM offers JOIN shops USING (shop)")
    app.view("lost", "SELECT price, name FROM offers JOIN shops USING (shop)")
    app.view("counts", "SELECT shop, count(*) AS n FROM offers GROUP BY shop")
    compiled = app.compile()
    relations = keys_by_name(compiled.pipeline.topics, compiled.plans)
    changes = ChangeLog("v", SCHEMA, Blobs(FakeDisk(1)), "views/v")

    kept = {
        plan.name: content_of(plan, changes, engine, has_hash=False, relations=relations)
        for plan in compiled.plans
    }

    by_key = {name for name, one in kept.items() if isinstance(one._rows, Keyed)}
    assert by_key == {"joined"}

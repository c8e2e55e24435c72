from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import Delta
from headwater.operators.statement import Engine
from headwater.operators.upsert import UpsertOperator
from operators.running import Memory, added, frozen, schema, table, zset

ROWS = schema(a="BIGINT", b="VARCHAR", v="DOUBLE", tags="VARCHAR[]")
KEYS = ("a", "b")

rows_of = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["x", "y"]),
        st.sampled_from([None, 1.0, float("nan")]),
        st.sampled_from([None, [], ["p"]]),
    ),
    max_size=25,
)


def pieces(cuts: list[int], rows: list[Any]) -> list[tuple[int, int]]:
    """From where to where each piece of the rows goes, when they are cut at these places."""
    places = sorted({cut for cut in cuts if cut < len(rows)})
    return [*itertools.pairwise([0, *places, len(rows)])]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=rows_of,
    cuts=st.lists(st.integers(1, 25), max_size=6),
    saved_after=st.none() | st.integers(0, 3),
)
def test_the_changes_add_up_to_the_newest_row_of_each_key(
    engine: Engine, rows: Any, cuts: Any, saved_after: Any
) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine)
    total = []
    for number, (low, high) in enumerate(pieces(cuts, rows)):
        here = table(ROWS, rows[low:high])
        total.append(zset(upsert.step(here).rows))
        if saved_after == number:
            memory = Memory()
            manifest = upsert.save(memory)
            upsert = UpsertOperator(ROWS, KEYS, engine)
            upsert.load(manifest, memory)

    newest = {row[:2]: row for row in rows}
    assert added(total) == zset(table(ROWS, list(newest.values())))


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=rows_of, cuts=st.lists(st.integers(1, 25), max_size=6))
def test_stepwise_what_comes_out_does_not_depend_on_the_cut(
    engine: Engine, rows: Any, cuts: Any
) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine, has_ticks=True, is_stepwise=True)
    alone = UpsertOperator(ROWS, KEYS, engine, has_ticks=True)
    log = table(ROWS, rows, __tick=range(len(rows)))

    cut = [upsert.step(log.slice(low, high - low)) for low, high in pieces(cuts, rows)]
    by_row = [alone.step(log.slice(place, 1)) for place in range(len(rows))]

    def said(changes: list[Delta]) -> list[Any]:
        return [frozen(row) for change in changes for row in change.rows.to_pylist()]

    assert said(cut) == said(by_row)


VERSIONED = schema(a="BIGINT", v="INTEGER", n="BIGINT")


def versioned(rows: Any, **hidden: Any) -> pa.Table:
    return table(VERSIONED, rows, **hidden)


def newest_of(rows: Any) -> dict[int, Any]:
    """The row with the highest version of each key, the last of equal ones."""
    held: dict[int, Any] = {}
    for row in rows:
        before = held.get(row[0])
        if before is None or before[1] is None or (row[1] is not None and row[1] >= before[1]):
            held[row[0]] = row
    return held


versions = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.integers(-2, 3), st.integers(0, 9)), max_size=25
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=versions, cuts=st.lists(st.integers(1, 25), max_size=6), unread=st.booleans())
def test_the_newest_version_wins_in_any_order(
    engine: Engine, rows: Any, cuts: Any, unread: bool
) -> None:
    upsert = UpsertOperator(VERSIONED, ("a",), engine, newest_by="v")
    total = []
    for low, high in pieces(cuts, rows):
        if unread:
            upsert.put(versioned(rows[low:high]))
        else:
            total.append(zset(upsert.step(versioned(rows[low:high])).rows))

    expected = zset(versioned(list(newest_of(rows).values())))
    assert zset(upsert.snapshot().table()) == expected
    assert unread or added(total) == expected


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=versions, cuts=st.lists(st.integers(1, 25), max_size=6))
def test_stepwise_versions_come_out_alike_however_cut(engine: Engine, rows: Any, cuts: Any) -> None:
    upsert = UpsertOperator(
        VERSIONED, ("a",), engine, newest_by="v", has_ticks=True, is_stepwise=True
    )
    alone = UpsertOperator(VERSIONED, ("a",), engine, newest_by="v", has_ticks=True)
    log = versioned(rows, __tick=range(len(rows)))

    cut = [upsert.step(log.slice(low, high - low)) for low, high in pieces(cuts, rows)]
    by_row = [alone.step(log.slice(place, 1)) for place in range(len(rows))]

    def said(changes: list[Delta]) -> list[Any]:
        return [frozen(row) for change in changes for row in change.rows.to_pylist()]

    assert said(cut) == said(by_row)


DELETABLE = schema(a="BIGINT", v="INTEGER", gone="BOOLEAN")
deletions = st.lists(
    st.tuples(
        st.integers(0, 2), st.none() | st.integers(0, 3), st.sampled_from([None, False, True])
    ),
    max_size=25,
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=deletions,
    cuts=st.lists(st.integers(1, 25), max_size=6),
    newest_by=st.sampled_from([None, "v"]),
    unread=st.booleans(),
)
def test_a_deleted_key_is_gone_until_a_newer_row_comes(
    engine: Engine, rows: Any, cuts: Any, newest_by: str | None, unread: bool
) -> None:
    upsert = UpsertOperator(DELETABLE, ("a",), engine, newest_by=newest_by, deleted_by="gone")
    total = []
    for low, high in pieces(cuts, rows):
        here = table(DELETABLE, rows[low:high])
        if unread:
            upsert.put(here)
        else:
            total.append(zset(upsert.step(here).rows))

    newest = newest_of(rows) if newest_by else {row[0]: row for row in rows}
    expected = zset(table(DELETABLE, [row for row in newest.values() if not row[2]]))
    assert zset(upsert.snapshot().table()) == expected
    assert upsert.snapshot().rows == sum(expected.values())
    assert unread or added(total) == expected


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=deletions,
    cuts=st.lists(st.integers(1, 25), max_size=6),
    newest_by=st.sampled_from([None, "v"]),
)
def test_stepwise_deletions_come_out_alike_however_cut(
    engine: Engine, rows: Any, cuts: Any, newest_by: str | None
) -> None:
    upsert, alone = (
        UpsertOperator(
            DELETABLE,
            ("a",),
            engine,
            newest_by=newest_by,
            deleted_by="gone",
            has_ticks=True,
            is_stepwise=stepwise,
        )
        for stepwise in (True, False)
    )
    log = table(DELETABLE, rows, __tick=range(len(rows)))

    cut = [upsert.step(log.slice(low, high - low)) for low, high in pieces(cuts, rows)]
    by_row = [alone.step(log.slice(place, 1)) for place in range(len(rows))]

    def said(changes: list[Delta]) -> list[Any]:
        return [frozen(row) for change in changes for row in change.rows.to_pylist()]

    assert said(cut) == said(by_row)


def test_a_deletion_withdraws_the_row_and_says_nothing_more(engine: Engine) -> None:
    upsert = UpsertOperator(DELETABLE, ("a",), engine, deleted_by="gone")
    upsert.step(table(DELETABLE, [(1, 5, False)]))

    out = upsert.step(table(DELETABLE, [(1, None, True), (2, None, True)]))

    found = [(r["a"], r["v"], r["__weight"]) for r in out.rows.to_pylist()]
    assert found == [(1, 5, -1)]
    assert not len(upsert.step(table(DELETABLE, [(1, None, True)])))


def test_what_was_put_unread_is_found_when_it_is_read(engine: Engine) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine)
    upsert.put(table(ROWS, [(1, "x", 1.0, None), (1, "x", 2.0, None)]))

    out = upsert.step(table(ROWS, [(1, "x", 3.0, None)]))

    assert [(r["v"], r["__weight"]) for r in out.rows.to_pylist()] == [(2.0, -1), (3.0, 1)]


def test_a_row_that_says_what_is_known_changes_nothing(engine: Engine) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine)
    row = table(ROWS, [(1, "x", float("nan"), ["p", None])])
    upsert.step(row)

    assert len(upsert.step(row)) == 0


def test_a_withdrawn_row_stands_before_the_one_in_its_place(engine: Engine) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine, has_ticks=True)
    upsert.step(table(ROWS, [(1, "x", 1.0, None), (2, "x", 1.0, None)], __tick=[5, 6]))

    out = upsert.step(table(ROWS, [(2, "x", 2.0, None), (1, "x", 2.0, None)], __tick=[7, 8]))

    changes = [(r["a"], r["v"], r["__weight"], r["__tick"]) for r in out.rows.to_pylist()]
    assert changes == [(2, 1.0, -1, 7), (2, 2.0, 1, 7), (1, 1.0, -1, 8), (1, 2.0, 1, 8)]


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_table_in_chunks_is_one_log(engine: Engine, chunks: int) -> None:
    upsert = UpsertOperator(ROWS, KEYS, engine)
    part = [table(ROWS, [(1, "x", float(n), None)]) for n in range(chunks)]

    out = upsert.step(pa.concat_tables(part))

    assert out.rows.column("v").to_pylist() == [float(chunks - 1)]

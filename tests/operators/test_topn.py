from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import Delta
from headwater.operators.statement import Engine
from headwater.operators.topn import TopNOperator
from headwater.plan.nodes import Order, Place, Scan, TopN
from operators.running import answer, changelog, run, schema, table

ROWS = schema(p="VARCHAR", v="DOUBLE", w="INTEGER")
NUMBERED = schema(p="VARCHAR", v="DOUBLE", w="INTEGER", place="BIGINT")
TIES = "p ASC NULLS LAST, v ASC NULLS LAST, w ASC NULLS LAST"
quick = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

values = st.tuples(
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, 0.0, 1.0, 2.5, float("nan"), float("-inf")]),
    st.none() | st.integers(0, 2),
)
cuts_of = st.lists(st.integers(1, 25), max_size=6)


@pytest.fixture(autouse=True, scope="module")
def _forgetful() -> Iterator[None]:
    """Piles forget after a few rows, as they do after many."""
    with pytest.MonkeyPatch.context() as early:
        early.setattr("headwater.state.piled._GARBAGE_MIN", 2)
        # Keys that are not there are left out, and rows placed on two cores, as where many come.
        early.setattr("headwater.state.piled._SEEN_ROWS_MIN", 1)
        early.setattr("headwater.operators.placing._HALVED_ROWS_MIN", 6)
        yield


def in_pieces(rows: pa.Table) -> pa.Table:
    """The same, in batches of three rows."""
    batches = [rows.slice(first, 3) for first in range(0, rows.num_rows, 3)]
    return pa.concat_tables([rows.slice(0, 0), *batches])


@quick
@given(
    steps=st.lists(st.tuples(values, st.booleans()), max_size=25),
    cuts=cuts_of,
    limit=st.integers(1, 4),
    offset=st.integers(0, 2),
    is_descending=st.booleans(),
    number=st.sampled_from([None, "place"]),
    partition=st.sampled_from([(), ("p",)]),
    append_only=st.booleans(),
    saved_after=st.none() | st.integers(0, 3),
)
def test_the_first_rows_are_what_a_batch_query_answers(
    engine: Engine,
    *,
    steps: Any,
    cuts: Any,
    limit: int,
    offset: int,
    is_descending: bool,
    number: str | None,
    partition: tuple[str, ...],
    append_only: bool,
    saved_after: int | None,
) -> None:
    log, weights, live = changelog([(row, gone and not append_only) for row, gone in steps])
    data = in_pieces(table(ROWS, log) if append_only else table(ROWS, log, __weight=weights))
    shown = NUMBERED if number else ROWS
    scan = Scan("t", ROWS, append_only)
    plan = TopN(scan, partition, (Order("v", is_descending),), limit, offset, number, shown)

    outcome = run(engine, plan, data, cuts=cuts, saved_after=saved_after)

    by = "PARTITION BY p" if partition else ""
    order = f"v {'DESC' if is_descending else 'ASC'} NULLS LAST, {TIES}"
    expected = f"""
        SELECT p, v, w {", place" if number else ""}
        FROM (SELECT *, row_number() OVER ({by} ORDER BY {order}) AS place FROM t)
        WHERE place > {offset} AND place <= {offset + limit}
    """
    assert outcome.total == answer(expected, t=table(ROWS, live))


@quick
@given(
    steps=st.lists(st.tuples(values, st.booleans()), max_size=25),
    cuts=cuts_of,
    limit=st.integers(1, 4),
    is_descending=st.booleans(),
    number=st.sampled_from([None, "place"]),
    partition=st.sampled_from([(), ("p",)]),
    append_only=st.booleans(),
    place=st.sampled_from([Place.RANK, Place.DENSE_RANK]),
    saved_after=st.none() | st.integers(0, 3),
)
def test_the_rows_of_the_first_ranks_are_what_a_batch_query_answers(
    engine: Engine,
    *,
    steps: Any,
    cuts: Any,
    limit: int,
    is_descending: bool,
    number: str | None,
    partition: tuple[str, ...],
    append_only: bool,
    place: Place,
    saved_after: int | None,
) -> None:
    log, weights, live = changelog([(row, gone and not append_only) for row, gone in steps])
    data = in_pieces(table(ROWS, log) if append_only else table(ROWS, log, __weight=weights))
    shown = NUMBERED if number else ROWS
    scan = Scan("t", ROWS, append_only)
    plan = TopN(scan, partition, (Order("v", is_descending),), limit, 0, number, shown, place)

    outcome = run(engine, plan, data, cuts=cuts, saved_after=saved_after)

    by = "PARTITION BY p" if partition else ""
    order = f"v {'DESC' if is_descending else 'ASC'} NULLS LAST"
    expected = f"""
        SELECT p, v, w {", place" if number else ""}
        FROM (SELECT *, {place}() OVER ({by} ORDER BY {order}) AS place FROM t)
        WHERE place <= {limit}
    """
    assert outcome.total == answer(expected, t=table(ROWS, live))


def test_append_only_rows_below_the_first_ranks_are_forgotten(engine: Engine) -> None:
    rows = [("a", float(n // 2), n) for n in range(200)]
    scan, order = Scan("t", ROWS, append_only=True), (Order("v", True),)
    plan = TopN(scan, ("p",), order, 3, 0, None, ROWS, Place.DENSE_RANK)

    outcome = run(engine, plan, table(ROWS, rows), cuts=range(0, 200, 10))

    assert outcome.total == {("a", float(n // 2), n): 1 for n in range(194, 200)}
    assert outcome.flow is not None
    assert outcome.flow.state_size()[0] <= 30


def test_append_only_rows_that_are_pushed_out_are_forgotten(engine: Engine) -> None:
    rows = [("a", float(n), 0) for n in range(200)]
    plan = TopN(Scan("t", ROWS, append_only=True), ("p",), (Order("v", True),), 3, 0, None, ROWS)

    outcome = run(engine, plan, table(ROWS, rows), cuts=range(0, 200, 10))

    assert outcome.flow is not None
    assert outcome.flow.state_size()[0] <= 20


def test_without_an_order_the_whole_row_decides(engine: Engine) -> None:
    plan = TopN(Scan("t", ROWS, append_only=True), (), (), 1, 0, None, ROWS)

    outcome = run(engine, plan, table(ROWS, [("b", 1.0, 1), ("a", 2.0, 2), ("a", 1.0, 3)]))

    assert list(outcome.total) == [("a", 1.0, 3)]


WHOLE = schema(p="BIGINT", v="BIGINT", moment="TIMESTAMP", note="VARCHAR")
WHOLE_NUMBERED = schema(p="BIGINT", v="BIGINT", moment="TIMESTAMP", note="VARCHAR", place="BIGINT")
whole_values = st.tuples(
    st.integers(0, 3), st.integers(-2, 12), st.integers(0, 20), st.sampled_from(["x", "y"])
)


@quick
@given(
    rows=st.lists(whole_values, max_size=40),
    cuts=st.lists(st.integers(1, 39), max_size=6),
    limit=st.integers(1, 4),
    offset=st.integers(0, 2),
    descending=st.tuples(st.booleans(), st.booleans()),
    number=st.sampled_from([None, "place"]),
    partition=st.sampled_from([(), ("p",), ("p", "note")]),
    saved_after=st.none() | st.integers(0, 3),
)
def test_rows_that_numbers_order_are_placed_as_in_batch(
    engine: Engine,
    *,
    rows: Any,
    cuts: Any,
    limit: int,
    offset: int,
    descending: tuple[bool, bool],
    number: str | None,
    partition: tuple[str, ...],
    saved_after: int | None,
) -> None:
    data = in_pieces(table(WHOLE, rows))
    shown = WHOLE_NUMBERED if number else WHOLE
    orders = tuple(
        Order(c, is_desc) for c, is_desc in zip(("v", "moment"), descending, strict=True)
    )
    plan = TopN(Scan("t", WHOLE, True), partition, orders, limit, offset, number, shown)

    outcome = run(engine, plan, data, cuts=cuts, saved_after=saved_after)

    by = f"PARTITION BY {', '.join(partition)}" if partition else ""
    asked = ", ".join(f"{o.column} {'DESC' if o.is_descending else 'ASC'}" for o in orders)
    expected = f"""
        SELECT p, v, moment, note {", place" if number else ""}
        FROM (
            SELECT *, row_number() OVER ({by} ORDER BY {asked}, p, v, moment, note) AS place FROM t
        )
        WHERE place > {offset} AND place <= {offset + limit}
    """
    assert outcome.total == answer(expected, t=data)


def _only_of_nothing(ranked: Callable[..., Delta]) -> Callable[..., Delta]:
    """What ranks by DuckDB, where numbers can do all that there is to do."""

    def checked(operator: TopNOperator, change: Delta) -> Delta:
        assert not len(change)
        return ranked(operator, change)

    return checked


@pytest.mark.parametrize("number", [None, "place"])
@pytest.mark.parametrize("limit", [1, 3])
def test_partitions_that_meet_known_rows_and_others_are_placed_together(
    engine: Engine, *, limit: int, number: str | None
) -> None:
    random = np.random.default_rng(limit)
    # Each epoch has partitions of its own, and some of the epochs before it; no two rows are tied.
    keys = np.arange(400) // 8 + random.integers(0, 12, 400)
    rows = [
        (int(key), int(value), nth % 30, "x")
        for nth, (key, value) in enumerate(zip(keys, random.permutation(400), strict=True))
    ]
    data = in_pieces(table(WHOLE, rows))
    shown = WHOLE_NUMBERED if number else WHOLE
    orders = (Order("v", True), Order("moment"))
    plan = TopN(Scan("t", WHOLE, True), ("p",), orders, limit, 0, number, shown)

    with patch.object(TopNOperator, "_ranked", _only_of_nothing(TopNOperator._ranked)):
        outcome = run(engine, plan, data, cuts=range(50, 400, 50), saved_after=4)

    expected = f"""
        SELECT p, v, moment, note {", place" if number else ""}
        FROM (SELECT *, row_number() OVER (PARTITION BY p ORDER BY v DESC) AS place FROM t)
        WHERE place <= {limit}
    """
    assert outcome.total == answer(expected, t=data)

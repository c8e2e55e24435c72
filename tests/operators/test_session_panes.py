"""Firings of sessions: where in the log they stand, and how long sessions are remembered."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import TICK
from headwater.operators.statement import Engine
from headwater.plan.nodes import (
    GroupWindow,
    Merge,
    Partial,
    Scan,
    SessionPanes,
    WindowKind,
    WindowSpec,
)
from operators.running import SOURCES, Outcome, run, schema, table

ROWS = schema(k="VARCHAR", x="INTEGER", ts="TIMESTAMP")
SHOWN = schema(k="VARCHAR", start="TIMESTAMP", stop="TIMESTAMP", n="BIGINT", total="HUGEINT")
GAP = 5


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine() as opened:
        yield opened


def plan(*, lateness: int | None, every: int | None, is_accumulating: bool) -> SessionPanes:
    spec = WindowSpec(WindowKind.SESSION, "ts", GAP, GAP, keys=("k",))
    window = GroupWindow(spec, "start", "stop", every is None, lateness, SOURCES)
    partials = (Partial("n", Merge.COUNT, None), Partial("total", Merge.SUM, "x"))
    scan = Scan("t", ROWS, append_only=True, ticks=True)
    return SessionPanes(scan, ("k",), partials, window, SHOWN, is_accumulating, every)


def placed(outcome: Outcome) -> Counter[Any]:
    """What came out, with the places in the log."""
    found: Counter[Any] = Counter()
    for change in outcome.changes:
        assert change.rows.column(TICK).to_pylist() == sorted(change.rows.column(TICK).to_pylist())
        found.update(tuple(row.items()) for row in change.rows.to_pylist())
    return found


def stepped(engine: Engine, node: SessionPanes, rows: list[Any], **how: Any) -> Outcome:
    # A microsecond stands for a second.
    given = table(ROWS, rows, **{TICK: range(len(rows))})
    return run(engine, node, given, times_us=[row[2] for row in rows], has_ticks=True, **how)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 3), st.integers(0, 40)), max_size=25
    ),
    lateness=st.sampled_from([0, 7, 100]),
    every=st.sampled_from([None, None, 6]),
    is_accumulating=st.booleans(),
    cuts=st.lists(st.integers(1, 25), max_size=6) | st.just(range(25)),
    saved_after=st.none() | st.integers(0, 3),
)
def test_firings_stand_at_the_same_places_for_any_cut(
    engine: Engine,
    *,
    rows: Any,
    lateness: int,
    every: int | None,
    is_accumulating: bool,
    cuts: Any,
    saved_after: Any,
) -> None:
    node = plan(lateness=lateness, every=every, is_accumulating=is_accumulating)

    whole = stepped(engine, node, rows)
    cut = stepped(engine, node, rows, cuts=cuts, saved_after=saved_after)

    assert placed(cut) == placed(whole)
    assert cut.late_rows == whole.late_rows


@pytest.mark.parametrize("every", [None, 6])
def test_a_session_that_no_row_can_join_is_forgotten(engine: Engine, every: int | None) -> None:
    rows = [("a", 1, 10 * at) for at in range(50)]
    bounded = plan(lateness=3, every=every, is_accumulating=True)

    outcome = stepped(engine, bounded, rows, cuts=range(0, 50, 5), is_ended=False)

    assert outcome.flow is not None
    assert 0 < outcome.flow.state_size()[0] < 20
    unbounded = plan(lateness=None, every=6, is_accumulating=True)
    kept = stepped(engine, unbounded, rows, cuts=range(0, 50, 5), is_ended=False)
    assert kept.flow is not None
    assert kept.flow.state_size()[0] >= 49

"""Sessions against a second computation, row by row in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.islands import running_max
from headwater.operators.statement import Engine
from headwater.plan.nodes import (
    Aggregate,
    GroupWindow,
    Merge,
    Node,
    Partial,
    Scan,
    WindowKind,
    Windows,
    WindowSpec,
)
from operators.running import SOURCES, changelog, run, schema, table

ROWS = schema(k="VARCHAR", x="INTEGER", ts="TIMESTAMP")
SHOWN = schema(k="VARCHAR", x="INTEGER", ts="TIMESTAMP", start="TIMESTAMP", stop="TIMESTAMP")
GROUPS = schema(
    k="VARCHAR", start="TIMESTAMP", stop="TIMESTAMP", n="BIGINT", total="HUGEINT", top="INTEGER"
)
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# A microsecond stands for a second, around 1970, so that every bound is met exactly.
seconds = st.integers(-20, 40) | st.none()
rows_of = st.lists(
    st.tuples(st.sampled_from([None, "ann", "bob"]), st.none() | st.integers(-3, 3), seconds),
    max_size=25,
)
cuts_of = st.lists(st.integers(1, 25), max_size=6) | st.just(range(25))
gaps = st.sampled_from([1, 3, 7, 20])
hows = st.sampled_from([(False, None), (False, 0), (False, 5), (True, 0), (True, 5), (True, 100)])


def spec_of(gap: int, *, keyed: bool = True) -> WindowSpec:
    return WindowSpec(WindowKind.SESSION, "ts", gap, gap, keys=("k",) if keyed else ())


def rows_plan(
    gap: int,
    *,
    final: bool = False,
    lateness: int | None = None,
    append_only: bool = True,
    keyed: bool = True,
) -> Node:
    scan = Scan("t", ROWS, append_only, ticks=lateness is not None)
    spec = spec_of(gap, keyed=keyed)
    return Windows(scan, spec, "start", "stop", SHOWN, final, lateness, SOURCES)


def totals_plan(
    gap: int, *, final: bool = False, lateness: int | None = None, keyed: bool = True
) -> Node:
    window = GroupWindow(spec_of(gap, keyed=keyed), "start", "stop", final, lateness, SOURCES)
    scan = Scan("t", ROWS, append_only=True, ticks=lateness is not None)
    partials = (
        Partial("n", Merge.COUNT, None),
        Partial("total", Merge.SUM, "x"),
        Partial("top", Merge.MAX, "x"),
    )
    keys = ("k",) if keyed else ()
    return Aggregate(scan, keys, partials, GROUPS.select(GROUPS.names[not keyed :]), window)


def moment(us: int | None) -> datetime | None:
    return None if us is None else datetime(1970, 1, 1) + timedelta(microseconds=us)


def in_time(rows: Sequence[Any], gap: int, lateness: int | None) -> tuple[list[Any], Counter[Any]]:
    """The rows that are in time, the late ones as they are told, at the watermark's highest."""
    watermark: int | None = None
    kept, late = [], Counter[Any]()
    for k, x, t in rows:
        if t is None:
            continue
        if lateness is not None and watermark is not None and t + gap + lateness <= watermark:
            late[(k, x, moment(t), moment(t), moment(t + gap), moment(watermark))] += 1
        else:
            kept.append((k, x, t))
        watermark = t if watermark is None else max(watermark, t)
    return kept, late


def sessions_of(rows: Sequence[Any], gap: int, *, keyed: bool = True) -> list[list[Any]]:
    """The rows by session."""
    sessions: list[list[Any]] = []
    last: dict[Any, list[Any]] = {}
    for row in sorted(rows, key=lambda r: r[2]):
        key = row[0] if keyed else None
        if key in last and row[2] - last[key][-1][2] < gap:
            last[key].append(row)
        else:
            last[key] = [row]
            sessions.append(last[key])
    return sessions


def shown_rows(
    rows: Sequence[Any], gap: int, until: int | None = None, *, keyed: bool = True
) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for session in sessions_of(rows, gap, keyed=keyed):
        start, end = session[0][2], session[-1][2] + gap
        if until is None or end <= until:
            found.update((k, x, moment(t), moment(start), moment(end)) for k, x, t in session)
    return found


def shown_totals(
    rows: Sequence[Any], gap: int, until: int | None = None, *, keyed: bool = True
) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for session in sessions_of(rows, gap, keyed=keyed):
        start, end = session[0][2], session[-1][2] + gap
        xs = [x for _, x, _ in session if x is not None]
        if until is None or end <= until:
            group = (moment(start), moment(end), len(session), sum(xs) if xs else None)
            key = session[0][:1] if keyed else ()
            found[(*key, *group, max(xs, default=None))] += 1
    return found


def data_of(rows: Sequence[Any], **hidden: Any) -> Any:
    made = [(k, x, moment(t)) for k, x, t in rows]
    return table(ROWS, made, **hidden)


@quick
@given(
    rows=rows_of,
    gap=gaps,
    cuts=cuts_of,
    how=hows,
    keyed=st.booleans(),
    is_ended=st.booleans(),
    saved_after=st.none() | st.integers(0, 3),
)
@pytest.mark.parametrize("is_fused", [False, True])
def test_sessions_and_late_rows_do_not_depend_on_the_cut(
    engine: Engine,
    *,
    rows: Any,
    gap: int,
    cuts: Any,
    how: Any,
    keyed: bool,
    is_ended: bool,
    saved_after: Any,
    is_fused: bool,
) -> None:
    final, lateness = how
    make = totals_plan if is_fused else rows_plan
    plan = make(gap, final=final, lateness=lateness, keyed=keyed)
    times = [t for _, _, t in rows]

    outcome = run(
        engine,
        plan,
        data_of(rows, __tick=range(len(rows))),
        cuts=cuts,
        times_us=times,
        is_ended=is_ended,
        saved_after=saved_after,
    )

    kept, late = in_time(rows, gap, lateness)
    highest = max((t for t in times if t is not None), default=-(10**6))
    until = highest if final and not is_ended else None
    expected = shown_totals if is_fused else shown_rows
    assert outcome.total == expected(kept, gap, until, keyed=keyed)
    assert outcome.late_rows == late


@quick
@given(
    steps=st.lists(
        st.tuples(
            st.tuples(st.sampled_from(["ann", "bob"]), st.none() | st.integers(0, 1), seconds),
            st.booleans(),
        ),
        max_size=25,
    ),
    gap=gaps,
    cuts=cuts_of,
    final=st.booleans(),
    is_ended=st.booleans(),
    saved_after=st.none() | st.integers(0, 3),
)
def test_a_withdrawn_row_splits_its_session(
    engine: Engine,
    *,
    steps: Any,
    gap: int,
    cuts: Any,
    final: bool,
    is_ended: bool,
    saved_after: Any,
) -> None:
    log, weights, live = changelog(steps)
    plan = rows_plan(gap, final=final, lateness=1000 if final else None, append_only=False)
    times = [t for _, _, t in log]

    outcome = run(
        engine,
        plan,
        data_of(log, __weight=weights, __tick=range(len(log))),
        cuts=cuts,
        times_us=times,
        is_ended=is_ended,
        saved_after=saved_after,
    )

    highest = max((t for t in times if t is not None), default=-(10**6))
    until = highest if final and not is_ended else None
    kept = [row for row in live if row[2] is not None]
    assert outcome.total == shown_rows(kept, gap, until)


def changes_of(outcome: Any) -> list[list[tuple[int, int, int]]]:
    """Per epoch the sessions that changed: weight, start and end."""

    def us(time: datetime) -> int:
        return (time - datetime(1970, 1, 1)) // timedelta(microseconds=1)

    return [
        [(r["__weight"], us(r["start"]), us(r["stop"])) for r in change.rows.to_pylist()]
        for change in outcome.changes
    ]


def test_a_session_that_grows_is_withdrawn_and_said_again(engine: Engine) -> None:
    rows = [("ann", 1, 0), ("ann", 1, 5), ("ann", 1, 15), ("ann", 1, 14)]

    outcome = run(engine, totals_plan(10), data_of(rows), cuts=range(4), is_ended=False)

    assert changes_of(outcome) == [
        [(1, 0, 10)],
        [(-1, 0, 10), (1, 0, 15)],
        # A window does not hold its end: a gap after its last row a new session begins.
        [(1, 15, 25)],
        [(-1, 0, 15), (-1, 15, 25), (1, 0, 25)],
    ]


def test_what_readers_see_already_is_not_said_again(engine: Engine) -> None:
    rows = [("ann", 1, 0), ("ann", 1, 5), ("ann", 1, 3)]

    outcome = run(engine, rows_plan(10), data_of(rows), cuts=range(3), is_ended=False)

    assert changes_of(outcome)[2] == [(1, 0, 15)]


def test_an_open_session_that_is_published_when_final_says_nothing(engine: Engine) -> None:
    rows = [("ann", 1, 0), ("ann", 1, 5), ("bob", 1, 14), ("bob", 1, 15)]

    outcome = run(
        engine,
        totals_plan(10, final=True, lateness=0),
        data_of(rows, __tick=range(4)),
        cuts=range(4),
        times_us=[t for _, _, t in rows],
        is_ended=False,
    )

    assert changes_of(outcome) == [[], [], [], [(1, 0, 15)]]


def test_a_row_in_time_may_still_reach_a_session_that_was_published(engine: Engine) -> None:
    rows = [("ann", 1, 0), ("bob", 1, 12), ("ann", 1, 4), ("bob", 1, 14)]

    outcome = run(
        engine,
        totals_plan(10, final=True, lateness=0),
        data_of(rows, __tick=range(4)),
        cuts=range(4),
        times_us=[t for _, _, t in rows],
        is_ended=False,
    )

    assert changes_of(outcome) == [[], [(1, 0, 10)], [(-1, 0, 10)], [(1, 0, 14)]]
    assert not outcome.late


@pytest.mark.parametrize("is_fused", [False, True])
@pytest.mark.parametrize(("final", "lateness"), [(True, 0), (True, 5), (False, 5)])
def test_what_no_row_can_reach_is_forgotten(
    engine: Engine, *, is_fused: bool, final: bool, lateness: int
) -> None:
    rows = [("ann", 1, 20 * n) for n in range(400)]
    make = totals_plan if is_fused else rows_plan

    outcome = run(
        engine,
        make(10, final=final, lateness=lateness),
        data_of(rows, __tick=range(400)),
        cuts=range(400),
        times_us=[t for _, _, t in rows],
        is_ended=False,
    )

    assert outcome.flow is not None
    # Rows and what takes them out meet when runs are merged.
    assert outcome.flow.state_size()[0] <= 60


def test_a_running_maximum_stays_within_its_key() -> None:
    keys = np.array([0, 0, 0, 1, 1, 2])
    values = np.array([5, 2, 9, 1, 0, -(2**62)])

    assert running_max(keys, values).tolist() == [5, 5, 9, 1, 1, -(2**62)]

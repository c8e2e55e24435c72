"""Firings, against a reading of the log row by row."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.statement import Engine
from headwater.plan.nodes import (
    Hold,
    Merge,
    Node,
    Panes,
    Partial,
    Scan,
    WindowKind,
    Windows,
    WindowSpec,
)
from operators.running import SOURCES, run, schema, table
from operators.test_gate import moment
from operators.test_windowed import windows_of

ROWS = schema(k="VARCHAR", x="INTEGER", ts="TIMESTAMP")
WINDOWED = schema(k="VARCHAR", x="INTEGER", ts="TIMESTAMP", start="TIMESTAMP", stop="TIMESTAMP")
PARTIALS = (
    Partial("n", Merge.COUNT, None),
    Partial("total", Merge.SUM, "x"),
    Partial("least", Merge.MIN, "x"),
    Partial("middle", Merge.QUANTILE, "x", "0.5"),
)
RESULTS = {"n": "BIGINT", "total": "DECIMAL(38, 0)", "least": "INTEGER", "middle": "INTEGER"}
NOWHERE = -(10**9)

rows_of = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", None]), st.integers(-3, 3) | st.none(), st.integers(-20, 40)
    ),
    max_size=25,
)


def computed(values: list[int | None]) -> tuple[Any, ...]:
    known = sorted(value for value in values if value is not None)
    if not known:
        return (len(values), None, None, None)
    return (len(values), sum(known), known[0], known[(len(known) - 1) // 2])


def firings_of(
    rows: list[Any], *, every: int | None, spec: Any, lateness: int
) -> dict[Any, dict[Any, list[int | None]]]:
    """For each group its firings, in order, and the values that each takes in."""
    found: dict[Any, dict[Any, list[int | None]]] = defaultdict(lambda: defaultdict(list))
    watermark = NOWHERE
    for place, (k, x, t) in enumerate(rows):
        if every is not None:
            found[(k,)][watermark // every].append(x)
        else:
            for start, end in windows_of(t, spec):
                if end + lateness > watermark:
                    firing = -1 if watermark < end else place
                    found[(k, moment(start), moment(end))][firing].append(x)
        watermark = max(watermark, t)
    return found


def said(firings: Any, *, is_accumulating: bool) -> Counter[Any]:
    rows: Counter[Any] = Counter()
    for group, by_firing in firings.items():
        so_far: list[int | None] = []
        for firing in sorted(by_firing):
            so_far += by_firing[firing]
            rows[(*group, *computed(so_far if is_accumulating else by_firing[firing]))] += 1
    return rows


def plan_of(every: int | None, spec: Any, lateness: int, *, is_accumulating: bool) -> Node:
    scan = Scan("t", ROWS, append_only=True, ticks=True)
    if every is not None:
        shown = schema(k="VARCHAR", **RESULTS)
        held = Hold(scan, every, SOURCES, ROWS)
        return Panes(held, ("k",), PARTIALS, shown, is_accumulating)
    size, slide, offset = spec
    windows = WindowSpec(WindowKind.HOP, "ts", size, slide, offset)
    rows = Windows(
        scan, windows, "start", "stop", WINDOWED, final=True, lateness_us=lateness, sources=SOURCES
    )
    shown = schema(k="VARCHAR", start="TIMESTAMP", stop="TIMESTAMP", **RESULTS)
    bound = "stop" if is_accumulating else None
    return Panes(
        rows,
        ("k", "start", "stop"),
        PARTIALS,
        shown,
        is_accumulating,
        bound=bound,
        lateness_us=lateness,
        sources=SOURCES,
    )


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=rows_of,
    every=st.sampled_from([None, None, 7]),
    spec=st.sampled_from([(10, 10, 0), (10, 3, 1)]),
    lateness=st.sampled_from([3, 15]),
    is_accumulating=st.booleans(),
    cuts=st.lists(st.integers(1, 25), max_size=6) | st.just(range(25)),
    saved_after=st.none() | st.integers(0, 4),
)
def test_each_firing_says_what_the_log_before_it_tells(
    engine: Engine,
    *,
    rows: Any,
    every: int | None,
    spec: Any,
    lateness: int,
    is_accumulating: bool,
    cuts: Any,
    saved_after: Any,
) -> None:
    values = [(k, x, moment(t)) for k, x, t in rows]
    plan = plan_of(every, spec, lateness, is_accumulating=is_accumulating)

    outcome = run(
        engine,
        plan,
        table(ROWS, values, __tick=list(range(len(rows)))),
        cuts=cuts,
        times_us=[t for _, _, t in rows],
        saved_after=saved_after,
    )

    firings = firings_of(rows, every=every, spec=spec, lateness=lateness)
    assert outcome.total == said(firings, is_accumulating=is_accumulating)
    assert "__weight" not in outcome.changes[0].rows.schema.names


def test_the_total_of_a_window_goes_when_no_row_can_correct_it(engine: Engine) -> None:
    rows = [("a", 1, moment(t)) for t in range(0, 40_000, 5)]
    plan = plan_of(None, (10, 10, 0), 3, is_accumulating=True)

    outcome = run(
        engine,
        plan,
        table(ROWS, rows, __tick=list(range(len(rows)))),
        cuts=range(0, 8_000, 100),
        times_us=list(range(0, 40_000, 5)),
    )

    assert len(outcome.total) == 4_000
    assert outcome.flow is not None
    assert outcome.flow.state_size()[0] < 100


def test_rows_that_wait_for_the_end_of_a_stretch_are_the_state(engine: Engine) -> None:
    rows = [("a", 1, moment(t)) for t in (1, 5, 12, 13)]

    outcome = run(
        engine,
        plan_of(10, None, 0, is_accumulating=False),
        table(ROWS, rows, __tick=[0, 1, 2, 3]),
        cuts=range(4),
        times_us=[1, 5, 12, 13],
        is_ended=False,
    )

    counts = [change.rows.column("n").to_pylist() for change in outcome.changes]
    assert counts == [[1], [], [2], []]
    assert outcome.flow is not None
    assert [at for _, at, _ in outcome.flow.waits()] == [20]
    assert outcome.flow.state_size()[0] == 1

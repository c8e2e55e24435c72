"""Windows against a second computation, row by row in Python, that knows nothing of slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.watermark import BEFORE_ALL
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import (
    Aggregate,
    GroupWindow,
    Map,
    Merge,
    Partial,
    Scan,
    WindowKind,
    WindowSpec,
)
from operators.running import (
    SECOND_US,
    SOURCES,
    changelog,
    curve_of,
    expression,
    run,
    schema,
    table,
)

ROWS = schema(k="VARCHAR", x="INTEGER", ts="TIMESTAMP")
SHOWN = schema(
    k="VARCHAR",
    start="TIMESTAMP",
    stop="TIMESTAMP",
    n="BIGINT",
    total="HUGEINT",
    middle="INTEGER",
    top="INTEGER",
)
EPOCH_START = datetime(1970, 1, 1)
quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# A second is a microsecond here, so that every bound is met exactly; around 1970, so that the
# arithmetic meets negative times.
UNIT_US = 1
seconds = st.integers(-20, 30) | st.none()
rows_of = st.lists(
    st.tuples(st.sampled_from([None, "ann", "bob"]), st.none() | st.integers(-3, 3), seconds),
    max_size=25,
)
cuts_of = st.lists(st.integers(1, 25), max_size=6) | st.just(range(25))
specs = st.sampled_from([(10, 10, 0), (10, 10, 3), (10, 2, 0), (10, 4, 1), (7, 3, 0), (4, 10, 2)])
# With a negative slide windows cumulate, by steps of so much.
cumulating = st.sampled_from([(10, -2, 0), (9, -3, 4), (10, -10, 1)])


def plan_of(
    spec: tuple[int, int, int],
    *,
    final: bool,
    lateness: int | None,
    append_only: bool = True,
    zone: bool = False,
) -> Aggregate:
    size, slide, offset = (part * UNIT_US for part in spec)
    kind = WindowKind.TUMBLE if size == slide else WindowKind.HOP
    kind, slide = (WindowKind.CUMULATE, -slide) if slide < 0 else (kind, slide)
    lateness_us = None if lateness is None else lateness * UNIT_US
    window = GroupWindow(
        WindowSpec(kind, "ts", size, slide, offset), "start", "stop", final, lateness_us, SOURCES
    )
    below = Scan("t", ROWS, append_only, ticks=lateness is not None)
    partials = [Partial("n", Merge.COUNT, None), Partial("total", Merge.SUM, "x")]
    partials.append(Partial("middle", Merge.QUANTILE, "x", "0.5"))
    shown = SHOWN.names if append_only else SHOWN.names[:-1]
    if append_only:
        partials.append(Partial("top", Merge.MAX, "x"))
    return Aggregate(below, ("k",), tuple(partials), SHOWN.select(shown), window)


def moment(seconds_after: int | None) -> datetime | None:
    return None if seconds_after is None else EPOCH_START + timedelta(microseconds=seconds_after)


def windows_of(t: int, spec: tuple[int, int, int]) -> list[tuple[int, int]]:
    size, slide, offset = spec
    if slide < 0:
        start = (t - offset) // size * size + offset
        return [(start, e) for e in range(t + 1, start + size + 1) if (e - start) % slide == 0]
    starts = [s for s in range(t - size + 1, t + 1) if (s - offset) % slide == 0]
    return [(start, start + size) for start in starts]


def computed(
    rows: Sequence[Any], spec: tuple[int, int, int], lateness: int | None
) -> tuple[Counter[Any], Counter[Any]]:
    """The groups, and the late rows with their windows and watermarks."""
    watermark: int | None = None
    groups: dict[Any, list[Any]] = {}
    late: Counter[Any] = Counter()
    for k, x, t in rows:
        for start, end in windows_of(t, spec) if t is not None else ():
            if lateness is not None and watermark is not None and end + lateness <= watermark:
                late[(k, x, moment(t), moment(start), moment(end), moment(watermark))] += 1
            else:
                groups.setdefault((k, moment(start), moment(end)), []).append(x)
        if t is not None:
            watermark = t if watermark is None else max(watermark, t)
    shown: Counter[Any] = Counter()
    for group, xs in groups.items():
        known = [x for x in xs if x is not None]
        middle = sorted(known)[(len(known) - 1) // 2] if known else None
        total = sum(known) if known else None
        shown[(*group, len(xs), total, middle, max(known, default=None))] += 1
    return shown, late


def data_of(rows: Sequence[Any]) -> Any:
    made = [(k, x, moment(t)) for k, x, t in rows]
    return table(ROWS, made, __tick=range(len(rows)))


def times_of(rows: Sequence[Any]) -> list[int | None]:
    return [None if t is None else t * UNIT_US for _, _, t in rows]


@quick
@given(
    rows=rows_of,
    spec=specs | cumulating,
    cuts=cuts_of,
    how=st.sampled_from([(False, None), (False, 0), (False, 5), (True, 0), (True, 5), (True, 100)]),
    saved_after=st.none() | st.integers(0, 3),
)
def test_windows_and_late_rows_do_not_depend_on_the_cut(
    engine: Engine, *, rows: Any, spec: Any, cuts: Any, how: Any, saved_after: Any
) -> None:
    final, lateness = how
    plan = plan_of(spec, final=final, lateness=lateness)

    outcome = run(
        engine,
        plan,
        data_of(rows),
        cuts=cuts,
        times_us=times_of(rows),
        is_ended=final,
        saved_after=saved_after,
    )

    groups, late = computed(rows, spec, lateness)
    assert outcome.total == groups
    assert outcome.late_rows == late


@quick
@given(
    steps=st.lists(
        st.tuples(
            st.tuples(st.sampled_from(["ann", "bob"]), st.none() | st.integers(-3, 3), seconds),
            st.booleans(),
        ),
        max_size=25,
    ),
    spec=specs | cumulating,
    cuts=cuts_of,
    final=st.booleans(),
)
def test_rows_can_be_withdrawn_from_their_windows(
    engine: Engine, steps: Any, spec: Any, cuts: Any, final: bool
) -> None:
    log, weights, live = changelog(steps)
    plan = plan_of(spec, final=final, lateness=1000 if final else None, append_only=False)
    made = [(k, x, moment(t)) for k, x, t in log]
    data = table(ROWS, made, __weight=weights, __tick=range(len(log)))

    outcome = run(
        engine,
        plan,
        data if final else data.drop_columns("__tick"),
        cuts=cuts,
        times_us=times_of(log),
    )

    groups, _ = computed(live, spec, None)
    assert outcome.total == Counter({group[:-1]: n for group, n in groups.items()})


def test_a_window_comes_out_when_the_watermark_passes_its_end(engine: Engine) -> None:
    flow = Dataflow(plan_of((10, 10, 0), final=True, lateness=0), engine)
    rows = [("ann", 1, 3), ("ann", 2, 9), ("ann", 4, 10)]
    published = []
    for tick in range(3):
        epoch = Epoch(tick, 0, tick, {SOURCES: curve_of(times_of(rows), tick, tick + 1)})
        published.append(len(flow.step({"t": data_of(rows).slice(tick, 1)}, epoch)))

    assert published == [0, 0, 1]


def test_a_final_window_without_lateness_is_append_only(engine: Engine) -> None:
    plan = plan_of((10, 10, 0), final=True, lateness=0)

    outcome = run(engine, plan, data_of([("ann", 1, 3)]), times_us=[3 * UNIT_US])

    assert all("__weight" not in change.rows.schema.names for change in outcome.changes)


def test_a_row_within_the_lateness_corrects_its_window(engine: Engine) -> None:
    rows = [("ann", 1, 3), ("ann", 2, 12), ("ann", 4, 5)]

    outcome = run(
        engine,
        plan_of((10, 10, 0), final=True, lateness=5),
        data_of(rows),
        cuts=[1, 2],
        times_us=times_of(rows),
        is_ended=False,
    )

    changes = [[(r["n"], r["__weight"]) for r in c.rows.to_pylist()] for c in outcome.changes]
    assert changes == [[], [(1, 1)], [(1, -1), (2, 1)]]
    assert not outcome.late


def test_a_row_right_behind_the_one_that_closed_its_window_is_late(engine: Engine) -> None:
    rows = [("ann", 1, 10), ("ann", 2, 3)]

    outcome = run(
        engine,
        plan_of((10, 10, 0), final=True, lateness=0),
        data_of(rows),
        times_us=times_of(rows),
    )

    assert sum(outcome.late_rows.values()) == 1
    assert [row[3] for row in outcome.total] == [1]


@pytest.mark.parametrize(("final", "lateness"), [(True, 0), (True, 5), (False, 5)])
def test_what_the_watermark_has_passed_is_forgotten(
    engine: Engine, final: bool, lateness: int
) -> None:
    rows = [("ann", 1, 10 * n) for n in range(60)]

    outcome = run(
        engine,
        plan_of((10, 2, 0), final=final, lateness=lateness),
        data_of(rows),
        cuts=range(60),
        times_us=times_of(rows),
        is_ended=False,
    )

    # There were 300 windows. What may go goes when runs are merged.
    assert outcome.flow is not None
    assert outcome.flow.state_size()[0] <= 60


def test_many_epochs_of_one_window_keep_few_rows(engine: Engine) -> None:
    rows = [("ann", 1, n % 7) for n in range(200)]

    outcome = run(
        engine,
        plan_of((1000, 1000, 0), final=True, lateness=0),
        data_of(rows),
        cuts=range(200),
        times_us=times_of(rows),
        is_ended=False,
    )

    assert outcome.flow is not None
    assert outcome.flow.state_size()[0] <= 30


def test_a_derived_row_stands_where_its_window_closed(engine: Engine) -> None:
    plan = plan_of((10, 10, 0), final=True, lateness=0)
    flow = Dataflow(plan, engine, has_ticks=True)
    rows = [("ann", 1, 3), ("ann", 2, 9), ("ann", 4, 10), ("ann", 4, 25)]
    epoch = Epoch(0, 0, 3, {SOURCES: curve_of(times_of(rows), 0, 4)})

    out = flow.step({"t": data_of(rows)}, epoch)

    assert sorted((r["n"], r["__tick"]) for r in out.rows.to_pylist()) == [(1, 3), (2, 2)]


def test_zoned_times_make_zoned_windows(engine: Engine) -> None:
    rows = schema(ts="TIMESTAMP WITH TIME ZONE")
    window = GroupWindow(
        WindowSpec(WindowKind.TUMBLE, "ts", 10 * SECOND_US, 10 * SECOND_US), "start", "stop"
    )
    zoned = "TIMESTAMP WITH TIME ZONE"
    plan = Aggregate(
        Scan("t", rows, append_only=True),
        (),
        (Partial("n", Merge.COUNT, None),),
        schema(start=zoned, stop=zoned, n="BIGINT"),
        window,
    )

    outcome = run(engine, plan, table(rows, [(datetime(1969, 12, 31, 23, 59, 55, tzinfo=UTC),)]))

    start, stop, n = next(iter(outcome.total))
    assert (start, stop, n) == (
        datetime(1969, 12, 31, 23, 59, 50, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        1,
    )


def test_the_map_below_is_part_of_the_aggregate(engine: Engine) -> None:
    plan = plan_of((10, 10, 0), final=False, lateness=None)
    doubled = Map(
        plan.input,
        (("k", expression("k")), ("x", expression("x * 2")), ("ts", expression("ts"))),
        expression("x > 1"),
        ROWS,
    )
    plan = Aggregate(doubled, plan.keys, plan.partials, plan.schema, plan.window)

    outcome = run(engine, plan, data_of([("ann", 1, 1), ("ann", 2, 2), ("ann", 3, 3)]))

    assert [row[3:] for row in outcome.total] == [(2, 10, 4, 6)]


def test_before_the_first_event_nothing_is_late(engine: Engine) -> None:
    rows = [("ann", 1, -20)]
    assert curve_of(times_of(rows), 0, 1).start_us == BEFORE_ALL

    outcome = run(
        engine,
        plan_of((10, 2, 0), final=True, lateness=0),
        data_of(rows),
        times_us=times_of(rows),
    )

    assert not outcome.late

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.statement import Engine
from headwater.plan.nodes import Scan, WindowKind, Windows, WindowSpec
from operators.running import SOURCES, run, schema, table
from operators.test_windowed import windows_of

ROWS = schema(k="VARCHAR", ts="TIMESTAMP")
SHOWN = schema(k="VARCHAR", ts="TIMESTAMP", start="TIMESTAMP", stop="TIMESTAMP")

rows_of = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(-20, 30) | st.none()))
# With a negative slide windows cumulate, by steps of so much.
specs = st.sampled_from([(10, 10, 0), (10, 2, 3), (7, 3, 0), (4, 10, 2), (10, -2, 3)])


def moment(us: int | None) -> datetime | None:
    return None if us is None else datetime(1970, 1, 1) + timedelta(microseconds=us)


def computed(
    rows: Sequence[Any], spec: tuple[int, int, int], lateness: int
) -> tuple[Counter[Any], Counter[Any]]:
    """Row by row: what is in time for its windows, and what is late for them."""
    watermark = -(10**9)
    in_time: Counter[Any] = Counter()
    late: Counter[Any] = Counter()
    for k, t in rows:
        if t is None:
            continue
        for start, end in windows_of(t, spec):
            row = (k, moment(t), moment(start), moment(end))
            if end + lateness <= watermark:
                late[(*row, moment(watermark))] += 1
            else:
                in_time[row] += 1
        watermark = max(watermark, t)
    return in_time, late


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rows=rows_of,
    spec=specs,
    lateness=st.sampled_from([0, 3]),
    final=st.booleans(),
    cuts=st.lists(st.integers(1, 12), max_size=5) | st.just(range(30)),
    saved_after=st.none() | st.integers(0, 3),
)
def test_rows_in_time_come_out_and_late_rows_are_told(
    engine: Engine, *, rows: Any, spec: Any, lateness: int, final: bool, cuts: Any, saved_after: Any
) -> None:
    size, slide, offset = spec
    kind = WindowKind.TUMBLE if size == slide else WindowKind.HOP
    kind, slide = (WindowKind.CUMULATE, -slide) if slide < 0 else (kind, slide)
    scan = Scan("t", ROWS, append_only=True, ticks=True)
    windows = WindowSpec(kind, "ts", size, slide, offset)
    plan = Windows(scan, windows, "start", "stop", SHOWN, final, lateness, SOURCES)
    data = table(ROWS, [(k, moment(t)) for k, t in rows], __tick=range(len(rows)))

    outcome = run(
        engine,
        plan,
        data,
        cuts=cuts,
        times_us=[t for _, t in rows],
        is_ended=final,
        saved_after=saved_after,
    )

    in_time, late = computed(rows, spec, lateness)
    assert outcome.total == in_time
    assert outcome.late_rows == late


def test_a_row_waits_for_the_end_of_its_window(engine: Engine) -> None:
    rows = [("a", 3), ("b", 12), ("c", 4)]
    scan = Scan("t", ROWS, append_only=True, ticks=True)
    spec = WindowSpec(WindowKind.TUMBLE, "ts", 10, 10)
    plan = Windows(scan, spec, "start", "stop", SHOWN, True, 5, SOURCES)
    data = table(ROWS, [(k, moment(t)) for k, t in rows], __tick=range(3))

    outcome = run(engine, plan, data, cuts=[1, 2], times_us=[t for _, t in rows], is_ended=False)

    shown = [change.rows.column("k").to_pylist() for change in outcome.changes]
    assert shown == [[], ["a"], ["c"]]

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.statement import Engine
from headwater.plan.nodes import Pace, Scan
from operators.running import SOURCES, changelog, run, schema, table, zset

ROWS = schema(k="VARCHAR", x="INTEGER")
rows_of = st.tuples(st.sampled_from([None, "a", "b"]), st.integers(0, 2))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=st.lists(st.tuples(rows_of, st.booleans()), max_size=25),
    times=st.lists(st.integers(-10, 30), min_size=25, max_size=25),
    cuts=st.lists(st.integers(1, 25), max_size=6) | st.just(range(25)),
    append_only=st.booleans(),
    saved_after=st.none() | st.integers(0, 3),
)
def test_what_was_held_adds_up_to_the_input(
    engine: Engine, *, steps: Any, times: Any, cuts: Any, append_only: bool, saved_after: Any
) -> None:
    log, weights, live = changelog([(row, gone and not append_only) for row, gone in steps])
    data = table(ROWS, log) if append_only else table(ROWS, log, __weight=weights)
    plan = Pace(Scan("t", ROWS, append_only), 10, SOURCES, ROWS)

    outcome = run(
        engine,
        plan,
        data,
        cuts=cuts,
        times_us=times[: len(log)],
        saved_after=saved_after,
    )

    assert outcome.total == Counter(live)
    assert outcome.flow is not None
    assert outcome.flow.state_size() == (0, 0)
    for change in outcome.changes:
        # Of a row there is one change at most in one publication.
        assert append_only or len(change) == len(zset(change.rows))


def test_changes_come_out_when_a_stretch_is_over(engine: Engine) -> None:
    rows = [("a", 1), ("a", 2), ("b", 3), ("b", 4), ("c", 5)]
    plan = Pace(Scan("t", ROWS, append_only=True), 10, SOURCES, ROWS)

    outcome = run(
        engine,
        plan,
        table(ROWS, rows),
        cuts=range(5),
        times_us=[1, 5, 9, 10, 12],
        is_ended=False,
    )

    assert [c.rows.column("x").to_pylist() for c in outcome.changes] == [[1], [], [], [2, 3, 4], []]
    assert outcome.flow is not None
    assert outcome.flow.waits() == [(plan, 20, None)]

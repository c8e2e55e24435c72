"""The share that rows are shown with, against a second computation after every epoch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.watermark import Shares
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import Completeness, Scan
from operators.running import SOURCES, Memory, added, changelog, schema, table, zset
from operators.test_gate import moment

ROWS = schema(k="VARCHAR", stop="TIMESTAMP", x="INTEGER")
SHOWN = schema(k="VARCHAR", stop="DOUBLE", x="INTEGER")

row_of = st.tuples(
    st.sampled_from(["a", None]), st.sampled_from([10, 20, 30, None]), st.integers(0, 1)
)
# How far two senders move on, and a third of another topic.
moves = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 15))
epochs_of = st.lists(
    st.tuples(st.lists(st.tuples(row_of, st.booleans()), max_size=4), moves), max_size=8
)


def share(end: int | None, lows: list[int], other: int) -> float | None:
    if end is None:
        return None
    return min(sum(low >= end for low in lows) / len(lows), float(other >= end))


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    epochs=epochs_of,
    append_only=st.booleans(),
    saved_after=st.none() | st.integers(0, 4),
)
def test_rows_are_shown_with_the_share_of_the_moment(
    engine: Engine, *, epochs: Any, append_only: bool, saved_after: Any
) -> None:
    plan = Completeness(Scan("t", ROWS, append_only), "stop", SOURCES, SHOWN)
    flow, total = Dataflow(plan, engine), Counter[Any]()
    steps: list[Any] = []
    lows, other = [0, 0], 0
    for number, (new, (first, second, third)) in enumerate(epochs):
        before = len(changelog(steps)[0])
        steps += [(row, gone and not append_only) for row, gone in new]
        log, weights, live = changelog(steps)
        lows, other = [lows[0] + first, lows[1] + second], other + third
        values = [(k, moment(end), x) for k, end, x in log[before:]]
        hidden = {} if append_only else {"__weight": weights[before:]}
        shares = (
            Shares(np.sort(np.array(lows)), min(lows)),
            Shares(np.array([other]), other),
        )
        epoch = Epoch(number, 0, number, {}, shares={SOURCES: shares})

        change = flow.step({"t": table(ROWS, values, **hidden)}, epoch)

        total = added([total, zset(change.rows)])
        assert total == Counter((k, share(end, lows, other), x) for k, end, x in live)
        if saved_after == number:
            memory = Memory()
            manifest = flow.save(memory)
            flow = Dataflow(plan, engine)
            flow.load(manifest, memory)
    if min([*lows, other]) >= 30:
        assert flow.state_size()[0] == 0

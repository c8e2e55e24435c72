from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import Recompute, Scan
from operators.running import added, answer, changelog, query, run, schema, table, zset

ROWS = schema(k="VARCHAR", v="DOUBLE", tags="VARCHAR[]")
MEDIANS = schema(k="VARCHAR", middle="DOUBLE", n="BIGINT", tags="VARCHAR[]")
PER_KEY = """
    SELECT k, median(v) AS middle, count(DISTINCT v) AS n, max(tags) AS tags FROM t GROUP BY k
"""
WHOLE = "SELECT median(v) AS middle, count(DISTINCT k) AS n FROM t"
EPOCH = Epoch(1, 0, 0, {})
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

values = st.tuples(
    st.sampled_from([None, "a", "b"]),
    st.sampled_from([None, 0.0, 1.0, 2.5, float("nan")]),
    st.sampled_from([None, [], ["x"], ["x", None]]),
)
cuts_of = st.lists(st.integers(1, 25), max_size=6)


def plan_of(text: str, keys: tuple[str, ...], columns: Any, append_only: bool) -> Recompute:
    scan = Scan("t", ROWS, append_only)
    return Recompute((scan,), ("t",), (keys,), query(text), columns, "because")


@quick
@given(
    steps=st.lists(st.tuples(values, st.booleans()), max_size=25),
    cuts=cuts_of,
    append_only=st.booleans(),
    is_keyed=st.booleans(),
    saved_after=st.none() | st.integers(0, 3),
)
def test_any_query_is_what_a_batch_query_answers(
    engine: Engine, *, steps: Any, cuts: Any, append_only: bool, is_keyed: bool, saved_after: Any
) -> None:
    log, weights, live = changelog([(row, gone and not append_only) for row, gone in steps])
    data = table(ROWS, log) if append_only else table(ROWS, log, __weight=weights)
    text = PER_KEY if is_keyed else WHOLE
    keys, columns = (("k",), MEDIANS) if is_keyed else ((), schema(middle="DOUBLE", n="BIGINT"))

    outcome = run(
        engine, plan_of(text, keys, columns, append_only), data, cuts=cuts, saved_after=saved_after
    )

    assert outcome.total == answer(text, t=table(ROWS, live))


@quick
@given(
    left=st.lists(st.tuples(values, st.booleans()), max_size=12),
    right=st.lists(st.tuples(values, st.booleans()), max_size=12),
    epochs=st.integers(1, 4),
)
def test_several_inputs_share_their_groups(
    engine: Engine, left: Any, right: Any, epochs: int
) -> None:
    other = schema(name="VARCHAR", v="DOUBLE", tags="VARCHAR[]")
    text = "SELECT a.k, a.v, b.tags FROM a JOIN b ON a.k = b.name AND a.v < b.v"
    plan = Recompute(
        (Scan("a", ROWS, False), Scan("b", other, False)),
        ("a", "b"),
        (("k",), ("name",)),
        query(text),
        schema(k="VARCHAR", v="DOUBLE", tags="VARCHAR[]"),
        "because",
    )
    logs = {"a": (ROWS, *changelog(left)), "b": (other, *changelog(right))}
    flow, total = Dataflow(plan, engine), []
    for epoch in range(epochs):
        here = {}
        for name, (columns, log, weights, _) in logs.items():
            part = slice(len(log) * epoch // epochs, len(log) * (epoch + 1) // epochs)
            here[name] = table(columns, log[part], __weight=weights[part])
        total.append(zset(flow.step(here, EPOCH).rows))

    live = {name: table(columns, rows) for name, (columns, _, _, rows) in logs.items()}
    assert added(total) == answer(text, **live)


def test_only_touched_groups_are_published(engine: Engine) -> None:
    flow = Dataflow(plan_of(PER_KEY, ("k",), MEDIANS, True), engine)
    flow.step({"t": table(ROWS, [("a", 1.0, None), ("b", 2.0, None)])}, EPOCH)

    out = flow.step({"t": table(ROWS, [("b", 4.0, None)])}, EPOCH)

    changes = [(r["k"], r["middle"], r["__weight"]) for r in out.rows.to_pylist()]
    assert changes == [("b", 2.0, -1), ("b", 3.0, 1)]


def test_a_name_that_the_query_defines_again_is_its_own(engine: Engine) -> None:
    text = "WITH t AS (SELECT 7 AS x) SELECT x FROM t"
    plan = replace(plan_of(text, (), schema(x="INTEGER"), True))

    outcome = run(engine, plan, table(ROWS, [("a", 1.0, None)]))

    assert outcome.total == {(7,): 1}


def test_a_query_may_read_its_input_twice(engine: Engine) -> None:
    text = "SELECT count(*) AS n FROM t AS a, t AS b"
    rows = [("a", 1.0, None)] * 3

    outcome = run(engine, plan_of(text, (), schema(n="BIGINT"), True), table(ROWS, rows), cuts=[1])

    assert outcome.total == {(9,): 1}

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import StateError
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import (
    Aggregate,
    AsofJoin,
    Distinct,
    Join,
    JoinKind,
    Map,
    Merge,
    Node,
    Partial,
    Scan,
    Union,
    WindowKind,
    Windows,
    WindowSpec,
)
from operators.running import (
    Memory,
    added,
    answer,
    changelog,
    expression,
    run,
    schema,
    table,
    zset,
)

ROWS = schema(k="VARCHAR", x="INTEGER", u="UUID")
UUIDS = ["00000000-0000-0000-0000-00000000000a", "10000000-0000-0000-0000-00000000000b"]
EPOCH = Epoch(1, 0, 9, {})
values = st.tuples(
    st.sampled_from([None, "a", "b"]), st.none() | st.integers(0, 3), st.sampled_from(UUIDS)
)


def scan(append_only: bool = True, name: str = "t") -> Scan:
    return Scan(name, ROWS, append_only)


def doubled(node: Node) -> Map:
    projections = (
        ("k", expression("upper(k)")),
        ("x", expression("x * 2")),
        ("u", expression("u")),
    )
    return Map(node, projections, expression("x > 0"), ROWS)


def test_a_stretch_of_maps_is_one_pass(engine: Engine) -> None:
    flow = Dataflow(doubled(doubled(scan())), engine)

    out = flow.step({"t": table(ROWS, [("a", 1, UUIDS[0]), ("b", 0, UUIDS[0])])}, EPOCH)

    assert zset(out.rows) == {("A", 4, UUIDS[0]): 1}
    assert out.rows.schema.names == ["k", "x", "u", "__hash"]


def test_weights_pass_through_and_the_hash_covers_the_visible_columns(engine: Engine) -> None:
    flow = Dataflow(doubled(scan(append_only=False)), engine)
    row = ("a", 1, UUIDS[0])

    out = flow.step({"t": table(ROWS, [row, row], __weight=[1, -1])}, EPOCH)

    assert out.weights is not None
    assert out.weights.tolist() == [1, -1]
    sql = f"SELECT hash('A', 2::INTEGER, '{UUIDS[0]}'::UUID)"
    assert set(out.hashes.tolist()) == {duckdb.sql(sql).fetchall()[0][0]}


def test_a_relation_that_is_not_there_has_not_changed(engine: Engine) -> None:
    flow = Dataflow(doubled(scan()), engine)

    for inputs in ({}, {"t": table(ROWS, [])}, {"other": table(ROWS, [])}):
        out = flow.step(inputs, EPOCH)
        assert len(out) == 0
        assert out.rows.schema == flow.schema


def test_rows_are_counted_also_where_no_column_is_read(engine: Engine) -> None:
    nothing = Scan("t", schema(), append_only=True)
    plan = Aggregate(nothing, (), (Partial("n", Merge.COUNT, None),), schema(n="BIGINT"))
    flow = Dataflow(plan, engine)
    flow.step({}, EPOCH)

    out = flow.step({"t": table(ROWS, [("a", 1, UUIDS[0])] * 3)}, EPOCH)

    assert zset(out.rows) == {(0,): -1, (3,): 1}


def test_a_hopping_window_without_a_bound_repeats_its_rows(engine: Engine) -> None:
    rows = schema(ts="TIMESTAMP")
    shown = schema(ts="TIMESTAMP", a="TIMESTAMP", b="TIMESTAMP")
    spec = WindowSpec(WindowKind.HOP, "ts", 10_000_000, 5_000_000)
    windows = Windows(Scan("t", rows, append_only=True), spec, "a", "b", shown)

    outcome = run(engine, windows, table(rows, [(-1,), (7_000_000,), (None,)]))

    seconds = sorted((a.timestamp() - ts.timestamp()) for ts, a, _ in outcome.total)
    assert len(seconds) == 4
    assert all(-10 < s <= 0 for s in seconds)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    left=st.lists(st.tuples(values, st.booleans()), max_size=12),
    right=st.lists(st.tuples(values, st.booleans()), max_size=12),
    epochs=st.integers(1, 4),
    saved_after=st.none() | st.integers(0, 3),
)
def test_operators_on_operators_are_what_a_batch_query_answers(
    engine: Engine, left: Any, right: Any, epochs: int, saved_after: Any
) -> None:
    plan = deep_plan()
    flow, total = Dataflow(plan, engine), []
    logs = {"a": changelog(left), "b": changelog(right)}
    for epoch in range(epochs):
        here = {}
        for name, (log, weights, _) in logs.items():
            part = slice(len(log) * epoch // epochs, len(log) * (epoch + 1) // epochs)
            here[name] = table(ROWS, log[part], __weight=weights[part])
        total.append(zset(flow.step(here, EPOCH).rows))
        if saved_after == epoch:
            memory = Memory()
            manifest = flow.save(memory)
            flow = Dataflow(plan, engine)
            flow.load(manifest, memory)

    expected = """
        WITH rows_of_both AS (SELECT k, x, u FROM a UNION ALL SELECT DISTINCT k, x, u FROM b),
             typed AS (SELECT k, x, u::UUID AS u FROM rows_of_both),
             counts AS (SELECT u, count(*) AS n, sum(x) AS s FROM typed GROUP BY u)
        SELECT a.k, a.x, a.u, counts.n, counts.s FROM a JOIN counts ON a.u::UUID = counts.u
    """
    live = {name: table(ROWS, rows) for name, (_, _, rows) in logs.items()}
    assert added(total) == answer(expected, **live)


def deep_plan() -> Node:
    """A join of a relation with counts over a union of it and a distinct one."""
    a, b = scan(append_only=False, name="a"), scan(append_only=False, name="b")
    both = Union((a, Distinct(b, ROWS)), ROWS)
    partials = (Partial("n", Merge.COUNT, None), Partial("s", Merge.SUM, "x"))
    counts = Aggregate(both, ("u",), partials, schema(u="UUID", n="BIGINT", s="HUGEINT"))
    renamed = Map(
        counts,
        (("v", expression("u")), ("n", expression("n")), ("s", expression("s"))),
        None,
        schema(v="UUID", n="BIGINT", s="HUGEINT"),
    )
    wide = schema(k="VARCHAR", x="INTEGER", u="UUID", v="UUID", n="BIGINT", s="HUGEINT")
    joined = Join(JoinKind.INNER, a, renamed, ("u",), ("v",), wide)
    kept = ("k", "x", "u", "n", "s")
    return Map(joined, tuple((c, expression(c)) for c in kept), None, wide.select(kept))


def test_an_asof_join_runs_in_a_dataflow(engine: Engine) -> None:
    trades, quotes = schema(k="VARCHAR", t="BIGINT"), schema(q="VARCHAR", s="BIGINT", p="INTEGER")
    shown = schema(k="VARCHAR", t="BIGINT", q="VARCHAR", s="BIGINT", p="INTEGER")
    left, right = Scan("l", trades, append_only=True), Scan("r", quotes, append_only=True)
    plan = AsofJoin(left, right, ("k",), ("q",), "t", "s", True, False, shown)
    flow = Dataflow(plan, engine)

    first = flow.step({"l": table(trades, [("a", 5)])}, EPOCH)
    second = flow.step({"r": table(quotes, [("a", 3, 7), ("a", 6, 8)])}, EPOCH)

    total = added([zset(first.rows), zset(second.rows)])
    assert total == {("a", 5, "a", 3, 7): 1}


def test_ticks_are_given_to_who_asks_also_where_an_operator_has_none(engine: Engine) -> None:
    ticked = Scan("t", ROWS, append_only=True, ticks=True)
    rows = table(ROWS, [("a", 1, UUIDS[0]), ("a", 2, UUIDS[0])], __tick=[3, 4])
    for plan, ticks in ((doubled(ticked), [3, 4]), (Distinct(doubled(scan()), ROWS), [9, 9])):
        out = Dataflow(plan, engine, has_ticks=True).step({"t": rows}, EPOCH)
        assert out.ticks is not None
        assert out.ticks.tolist() == ticks


def test_the_same_node_twice_is_computed_once(engine: Engine) -> None:
    counts = Aggregate(
        scan(), ("k",), (Partial("n", Merge.COUNT, None),), schema(k="VARCHAR", n="BIGINT")
    )
    flow = Dataflow(Union((counts, counts), counts.schema), engine)

    flow.step({"t": table(ROWS, [("a", 1, UUIDS[0]), ("b", 1, UUIDS[0])])}, EPOCH)

    assert flow.state_size()[0] == 2


def test_state_of_another_plan_is_refused(engine: Engine) -> None:
    memory = Memory()
    manifest = Dataflow(deep_plan(), engine).save(memory)

    with pytest.raises(StateError, match="operators"):
        Dataflow(doubled(scan()), engine).load(manifest, memory)


def test_inputs_in_chunks_are_taken_as_they_are(engine: Engine) -> None:
    parts = [table(ROWS, [("a", n, UUIDS[0])]) for n in range(1, 4)]

    out = Dataflow(doubled(scan()), engine).step({"t": pa.concat_tables(parts)}, EPOCH)

    assert out.rows.column("x").to_pylist() == [2, 4, 6]

from __future__ import annotations

from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import Scan, Union
from operators.running import schema, table, zset

ROWS = schema(k="VARCHAR")
EPOCH = Epoch(1, 0, 0, {})


def test_append_only_inputs_make_an_append_only_union(engine: Engine) -> None:
    plan = Union((Scan("a", ROWS, append_only=True), Scan("b", ROWS, append_only=True)), ROWS)

    out = Dataflow(plan, engine).step({"a": table(ROWS, [("x",)]), "b": table(ROWS, [])}, EPOCH)

    assert out.weights is None
    assert zset(out.rows) == {("x",): 1}


def test_rows_of_an_append_only_input_weigh_one_beside_withdrawals(engine: Engine) -> None:
    plan = Union((Scan("a", ROWS, append_only=True), Scan("b", ROWS, append_only=False)), ROWS)
    inputs = {"a": table(ROWS, [("x",), ("y",)]), "b": table(ROWS, [("x",)], __weight=[-1])}

    out = Dataflow(plan, engine).step(inputs, EPOCH)

    assert out.rows.column("k").to_pylist() == ["x", "y", "x"]
    assert out.weights is not None
    assert out.weights.tolist() == [1, 1, -1]


def test_a_relation_may_be_read_twice(engine: Engine) -> None:
    scan = Scan("a", ROWS, append_only=True)
    plan = Union((scan, Scan("a", ROWS, append_only=True)), ROWS)

    out = Dataflow(plan, engine).step({"a": table(ROWS, [("x",)])}, EPOCH)

    assert zset(out.rows) == {("x",): 2}

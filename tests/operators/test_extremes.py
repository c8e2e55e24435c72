from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators import ends
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.order_numbers import order_numbers
from headwater.operators.statement import Engine
from headwater.plan.nodes import Aggregate, Merge, Partial, Scan
from headwater.schema.types import parse_type
from operators.running import answer, changelog, run, schema, table

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
EPOCH = Epoch(1, 0, 0, {})
VALUES: dict[str, list[Any]] = {
    "BIGINT": [-(2**63), -1, 0, 7, 2**63 - 1],
    "UBIGINT": [0, 1, 2**63, 2**64 - 1],
    "HUGEINT": [Decimal(-(2**100)), Decimal(-1), Decimal(3), Decimal(2**63), Decimal(2**100)],
    "DECIMAL(38,6)": [Decimal("-1.5"), Decimal(0), Decimal("1E+20"), Decimal("1.2E+20")],
    "DOUBLE": [float("-inf"), -2.5, -0.0, 0.0, 1e-300, 3.0, float("inf"), float("nan")],
    "FLOAT": [-1.5, 0.0, 2.0, float("nan")],
    "VARCHAR": ["", "a", "a\0", "ä", "https://a", "https://b", "https://b/1", "https://bb"],
    "BLOB": [b"", b"\x00", b"\xff\xff", b"12345678", b"123456789"],
    "BOOLEAN": [True, False],
    "DATE": [date(1969, 12, 31), date(2024, 2, 29), date(2024, 3, 1)],
    "TIME": [time(0, 0), time(12, 0, 1), time(23, 59, 59)],
    "TIMESTAMP": [datetime(1969, 1, 1), datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 1)],
    "UUID": [
        "00000000-0000-0000-0000-000000000001",
        "7fffffff-0000-0000-0000-000000000001",
        "80000000-0000-0000-0000-000000000001",
        "ffffffff-0000-0000-0000-000000000000",
    ],
}


@pytest.mark.parametrize("kind", VALUES)
def test_numbers_are_in_the_order_of_the_values(kind: str) -> None:
    values = pa.array(VALUES[kind], parse_type(kind).arrow)
    numbers = order_numbers(values)
    with duckdb.connect(":memory:") as connection:
        connection.register("t", pa.table({"v": values, "n": numbers}))
        order = f"SELECT n FROM t ORDER BY CAST(v AS {kind})"
        found = connection.sql(order).to_arrow_table().column("n").to_numpy()

    assert (found[1:] >= found[:-1]).all()
    assert len(set(numbers)) > 1


def plan_of(kind: str, by: tuple[str, ...]) -> Aggregate:
    rows = schema(k="VARCHAR", v=kind)
    partials = (Partial("low", Merge.MIN, "v"), Partial("high", Merge.MAX, "v"))
    shown = schema(**dict.fromkeys(by, "VARCHAR"), low=kind, high=kind)
    return Aggregate(Scan("t", rows, append_only=False), by, partials, shown)


@quick
@given(data=st.data(), kind=st.sampled_from(list(VALUES)), by=st.sampled_from([("k",), ()]))
def test_the_extremes_are_those_of_the_rows_that_are_left(
    engine: Engine, data: st.DataObject, kind: str, by: tuple[str, ...]
) -> None:
    values = st.none() | st.sampled_from(VALUES[kind])
    rows = st.tuples(st.sampled_from([None, "", "ann"]), values)
    steps = data.draw(st.lists(st.tuples(rows, st.booleans()), max_size=40))
    cuts = data.draw(st.lists(st.integers(1, 39), max_size=8))
    saved_after = data.draw(st.none() | st.integers(0, 4))
    log, weights, live = changelog(steps)
    plan = plan_of(kind, by)
    rows_schema = plan.input.schema

    outcome = run(
        engine, plan, table(rows_schema, log, __weight=weights), cuts=cuts, saved_after=saved_after
    )

    extremes = f"min(CAST(v AS {kind})) AS low, max(CAST(v AS {kind})) AS high FROM t"
    expected = f"SELECT k, {extremes} GROUP BY k" if by else f"SELECT {extremes}"
    assert outcome.total == answer(expected, t=table(rows_schema, live))


@quick
@given(
    values=st.lists(st.integers(0, 60), min_size=20, max_size=80),
    withdrawn=st.lists(st.integers(0, 200), max_size=80),
    cuts=st.lists(st.integers(1, 150), max_size=12),
    same_beginning=st.booleans(),
)
def test_many_withdrawn_values_are_passed_over(
    engine: Engine, values: Any, withdrawn: Any, cuts: Any, *, same_beginning: bool
) -> None:
    texts = [("x" * 8 if same_beginning else "") + f"{value:03}" for value in values]
    live = sorted(texts)
    log, weights = [("ann", text) for text in texts], [1] * len(texts)
    for at in withdrawn:
        # From both ends, so that the extremes go most of the time.
        if live:
            log.append(("ann", live.pop(0 if at % 2 else -1)))
            weights.append(-1)
    plan = plan_of("VARCHAR", ("k",))

    outcome = run(engine, plan, table(plan.input.schema, log, __weight=weights), cuts=cuts)

    expected = {("ann", live[0], live[-1]): 1} if live else {}
    assert outcome.total == expected


def test_a_value_in_between_reads_nothing_and_changes_nothing(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("BIGINT", ("k",))
    flow = Dataflow(plan, engine)
    rows = plan.input.schema
    flow.step({"t": table(rows, [("ann", 1), ("ann", 9)], __weight=[1, 1])}, EPOCH)

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(ends, "_read", refused)
    out = flow.step({"t": table(rows, [("ann", 5), ("ann", 5)], __weight=[1, -1])}, EPOCH)

    assert len(out) == 0


def test_a_lost_extreme_reads_a_few_values_and_not_the_group(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of("BIGINT", ())
    flow = Dataflow(plan, engine)
    rows = plan.input.schema
    many = [("ann", n) for n in range(5000)]
    flow.step({"t": table(rows, many, __weight=[1] * 5000)}, EPOCH)
    read: list[int] = []
    whole = ends._read

    def counted(*args: Any, **kwargs: Any) -> Any:
        found = whole(*args, **kwargs)
        read.append(len(found.places))
        return found

    monkeypatch.setattr(ends, "_read", counted)
    out = flow.step({"t": table(rows, [("ann", 0)], __weight=[-1])}, EPOCH)

    assert out.rows.column("low").to_pylist() == [0, 1]
    assert sum(read) < 20


def test_a_second_lowest_value_takes_the_place_of_the_lowest(engine: Engine) -> None:
    plan = plan_of("BIGINT", ("k",))
    flow = Dataflow(plan, engine)
    rows = plan.input.schema
    flow.step({"t": table(rows, [("ann", 1), ("ann", 4), ("bob", 2)], __weight=[1] * 3)}, EPOCH)

    out = flow.step({"t": table(rows, [("ann", 1)], __weight=[-1])}, EPOCH)

    weighted = [(r["k"], r["low"], r["high"], r["__weight"]) for r in out.rows.to_pylist()]
    assert weighted == [("ann", 1, 4, -1), ("ann", 4, 4, 1)]

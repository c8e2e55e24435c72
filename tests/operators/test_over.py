from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from headwater.delta.delta import HASH, Delta
from headwater.delta.watermark import WatermarkCurve
from headwater.operators.operator import Epoch
from headwater.operators.over import OverOperator
from headwater.operators.places import places
from headwater.operators.statement import Engine
from headwater.plan.nodes import Order, Over, OverCall, Reach, Scan
from headwater.schema.schema import Schema
from operators.running import answer, changelog, query, run, schema, table, zset

ROWS = schema(p="VARCHAR", t="TIMESTAMP", v="DOUBLE", w="INTEGER", s="VARCHAR")
NOON = datetime(2024, 5, 1, 12)
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def row_of(random: Random) -> tuple[Any, ...]:
    return (
        random.choice([None, "a", "b"]),
        random.choice([None, *(NOON + timedelta(seconds=n) for n in range(12))]),
        random.choice([None, -0.5, 0.0, -0.0, 1.0, 2.5, float("nan"), float("inf")]),
        random.choice([None, -2, -1, 0, 1, 2]),
        random.choice([None, "", "abcdefgh1", "abcdefgh2", "é"]),
    )


ORDERS = {
    "t": (Order("t"),),
    "t DESC NULLS FIRST": (Order("t", is_descending=True, nulls_first=True),),
    "v": (Order("v"),),
    "v DESC": (Order("v", is_descending=True),),
    "w, s": (Order("w"), Order("s")),
    "s": (Order("s"),),
}
RUNNING = {
    "row_number()": "BIGINT",
    "rank()": "BIGINT",
    "dense_rank()": "BIGINT",
    "count(v)": "BIGINT",
    "count(*)": "BIGINT",
    "sum(w)": "HUGEINT",
    "min(v)": "DOUBLE",
    "max(s)": "VARCHAR",
    "first_value(w)": "INTEGER",
    "first_value(s IGNORE NULLS)": "VARCHAR",
    "last_value(w IGNORE NULLS)": "INTEGER",
}
SLIDING = {
    "lag(w)": ("INTEGER", Reach(rows_before=1)),
    "lag(s, 2, p)": ("VARCHAR", Reach(rows_before=2)),
    "lead(t, 3)": ("TIMESTAMP", Reach(rows_after=3)),
}
FRAMED = {
    "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW": Reach(rows_before=2),
    "ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING": Reach(rows_before=1, rows_after=2),
    "ROWS BETWEEN 3 PRECEDING AND 2 PRECEDING": Reach(rows_before=3),
    "RANGE BETWEEN INTERVAL 2 SECONDS PRECEDING AND CURRENT ROW": Reach(values_before=2_000_000),
    "RANGE BETWEEN INTERVAL 1 SECOND PRECEDING AND INTERVAL 1 SECOND FOLLOWING": Reach(
        values_before=1_000_000, values_after=1_000_000
    ),
}
TOTAL = (exp.RowNumber, exp.Lag, exp.Lead, exp.FirstValue, exp.LastValue)
TIES = "p NULLS LAST, t NULLS LAST, v NULLS LAST, w NULLS LAST, s NULLS LAST"


def call(name: str, text: str, reach: Reach | None, frame: str = "") -> OverCall:
    window = query(f"SELECT {text} OVER (ORDER BY t {frame})").selects[0]
    function = window.this
    inner = function.this if isinstance(function, exp.IgnoreNulls) else function
    is_total = isinstance(inner, TOTAL) or frame.startswith("ROWS")
    function = function.transform(
        lambda n: (
            exp.column(exp.to_identifier(n.name, quoted=True)) if isinstance(n, exp.Column) else n
        )
    )
    return OverCall(name, function, window.args.get("spec"), is_total, reach)


def over(
    scan: Scan, partition: tuple[str, ...], order: str, calls: dict[OverCall, str]
) -> tuple[Over, str]:
    """The node, and the query that it stands for."""
    added = schema(**{c.name: kind for c, kind in calls.items()})
    node = Over(
        scan,
        partition,
        ORDERS[order],
        ("p", "t", "v", "w", "s"),
        tuple(calls),
        Schema((*ROWS.columns, *added.columns)),
    )
    by = f"PARTITION BY {', '.join(partition)}" if partition else ""
    asked = ", ".join(o if "NULLS" in o else f"{o} NULLS LAST" for o in order.split(", "))
    texts = []
    for c in calls:
        ties = f", {TIES}" if c.is_total else ""
        spec = c.spec.sql("duckdb") if c.spec is not None else ""
        texts.append(
            f"{c.function.sql('duckdb')} OVER ({by} ORDER BY {asked}{ties} {spec}) AS {c.name}"
        )
    return node, f"SELECT *, {', '.join(texts)} FROM t"


AGGREGATES = {"count(*)": "BIGINT", "min(w)": "INTEGER", "max(v)": "DOUBLE", "sum(w)": "HUGEINT"}


@st.composite
def calls_of(draw: Any) -> tuple[str, dict[OverCall, str]]:
    """An order, and functions that share their kind of frame, or do not."""
    order = draw(st.sampled_from([*ORDERS, "t", "t DESC NULLS FIRST"]))
    kind = draw(st.sampled_from(["running", "sliding", "framed", "running", "framed", "mixed"]))
    chosen: list[tuple[str, Reach | None, str, str]] = []
    if kind in ("running", "mixed"):
        for text in draw(st.permutations(sorted(RUNNING)))[: 6 if kind == "running" else 1]:
            is_rows = "rank" not in text and draw(st.booleans())
            frame = "ROWS UNBOUNDED PRECEDING" if is_rows else ""
            chosen.append((text, None, frame, RUNNING[text]))
    if kind in ("sliding", "mixed"):
        text = draw(st.sampled_from(sorted(SLIDING)))
        chosen.append((text, SLIDING[text][1], "", SLIDING[text][0]))
    if kind in ("framed", "mixed"):
        is_timed = order.startswith("t")
        frame = draw(st.sampled_from([f for f in sorted(FRAMED) if is_timed or "ROWS" in f]))
        chosen += [(text, FRAMED[frame], frame, AGGREGATES[text]) for text in AGGREGATES]
    return order, {
        call(f"r{number}", text, reach, frame): type_name
        for number, (text, reach, frame, type_name) in enumerate(chosen)
    }


@quick
@given(
    seed=st.integers(0, 10**6),
    chosen=calls_of(),
    partition=st.sampled_from([(), ("p",), ("p", "w")]),
    often=st.sampled_from([0.0, 0.2, 0.45]),
    saved_after=st.none() | st.integers(0, 4),
)
def test_results_are_what_a_batch_query_answers(
    engine: Engine,
    *,
    seed: int,
    chosen: tuple[str, dict[OverCall, str]],
    partition: tuple[str, ...],
    often: float,
    saved_after: int | None,
) -> None:
    random = Random(seed)
    # One large epoch, then small ones: what these change lies in runs of its own.
    count = random.choice([2, 30, 80, 120])
    steps = [(row_of(random), random.random() < often) for _ in range(count)]
    cuts = random.sample(range(count * 2 // 3, count), min(count // 4, 9))
    log, weights, live = changelog(steps)
    append_only = not often
    data = table(ROWS, log) if append_only else table(ROWS, log, __weight=weights)
    order, calls = chosen
    node, text = over(Scan("t", ROWS, append_only), partition, order, calls)

    outcome = run(engine, node, data, cuts=cuts, saved_after=saved_after)

    assert outcome.total == answer(text, t=table(ROWS, live))


def test_partitions_that_share_a_hash_are_kept_apart(engine: Engine) -> None:
    rows = [("ab"[n % 2], NOON + timedelta(seconds=n % 7), n / 2, n, "") for n in range(30)]
    calls = {
        call("r0", "lag(w)", Reach(rows_before=1)): "INTEGER",
        call("r1", "sum(w)", None): "HUGEINT",
    }
    node, text = over(Scan("t", ROWS, append_only=True), ("p",), "t", calls)
    operator = OverOperator(node, engine)
    batches = table(ROWS, rows).to_batches()[0]
    alike = batches.append_column(pa.field(HASH, pa.uint64()), pa.array(np.zeros(30, np.uint64)))
    curve = WatermarkCurve(0, np.array([], np.int64), np.array([], np.int64))

    total = zset(batches.slice(0, 0))
    for first in range(0, 30, 7):
        epoch = Epoch(first, 0, first, {("t",): curve})
        for row, weight in zset(operator.step([Delta(alike.slice(first, 7))], epoch).rows).items():
            total[row] += weight

    assert {r: w for r, w in total.items() if w} == dict(answer(text, t=table(ROWS, rows)))


def test_rows_in_order_withdraw_nothing_and_cost_only_themselves(engine: Engine) -> None:
    rows = [("a", NOON + timedelta(seconds=n), n / 3, n, "") for n in range(400)]
    calls = {
        call("r0", "sum(v)", None): "DOUBLE",
        call("r1", "lag(w)", Reach(rows_before=1)): "INTEGER",
        call("r2", "rank()", None): "BIGINT",
    }
    node, _ = over(Scan("t", ROWS, append_only=True), ("p",), "t", calls)

    outcome = run(engine, node, table(ROWS, rows), cuts=range(0, 400, 10))

    assert [len(change) for change in outcome.changes] == [10] * 40 + [0]


def test_a_row_between_others_concerns_only_its_neighbours(engine: Engine) -> None:
    rows = [("a", NOON + timedelta(seconds=2 * n), 0.0, n, "") for n in range(100)]
    late = ("a", NOON + timedelta(seconds=101), 0.0, -1, "")
    calls = {
        call("r0", "lag(w)", Reach(rows_before=1)): "INTEGER",
        call("r1", "lead(w)", Reach(rows_after=1)): "INTEGER",
    }
    node, _ = over(Scan("t", ROWS, append_only=True), ("p",), "t", calls)

    outcome = run(engine, node, table(ROWS, [*rows, late]), cuts=[100])

    changed = {(row[3], row[5], row[6]): w for row, w in zset(outcome.changes[1].rows).items()}
    assert changed == {
        (50, 49, 51): -1,
        (50, 49, -1): 1,
        (-1, 50, 51): 1,
        (51, 50, 52): -1,
        (51, -1, 52): 1,
    }


def test_what_is_withdrawn_is_what_was_said_to_the_last_bit(engine: Engine) -> None:
    generator = np.random.default_rng(1)
    values = generator.normal(size=300) * 10.0 ** generator.integers(-9, 9, 300)
    seconds = generator.permutation(300)
    rows = [
        ("a", NOON + timedelta(seconds=int(s)), float(v), 0, "")
        for s, v in zip(seconds, values, strict=True)
    ]
    calls = {
        call("r0", "sum(v)", None): "DOUBLE",
        call("r1", "avg(v)", Reach(rows_before=9), "ROWS BETWEEN 9 PRECEDING AND CURRENT ROW"): (
            "DOUBLE"
        ),
    }
    node, _ = over(Scan("t", ROWS, append_only=True), (), "t", calls)

    outcome = run(engine, node, table(ROWS, rows), cuts=range(0, 300, 7))

    assert all(weight == 1 for weight in outcome.total.values())
    assert len(outcome.total) == 300


NUMBERS = [None, -(2**62), -1, 0, 1, 2**62]
VALUES: dict[str, list[Any]] = {
    "BIGINT": NUMBERS,
    "UBIGINT": [None, 0, 1, 2**63, 2**64 - 1],
    "HUGEINT": [None, -(2**100), -(2**63), -5, 0, 2**63, 2**100],
    "DECIMAL(12, 2)": [None, Decimal("-3.50"), Decimal("0.00"), Decimal("0.01")],
    "DOUBLE": [None, float("-inf"), -1.5, -0.0, 0.0, 1e-300, float("inf"), float("nan")],
    "FLOAT": [None, -1.5, 0.0, 2.5, float("nan")],
    "VARCHAR": [None, "", "a", "abcdefgh", "abcdefghi", "abd", "z", "é", "日本"],
    "BLOB": [None, b"", b"\x00", b"\x7f", b"\xff"],
    "BOOLEAN": [None, False, True],
    "DATE": [None, NOON.date(), (NOON + timedelta(days=1)).date()],
    "TIME": [None, NOON.time(), (NOON + timedelta(seconds=1)).time()],
    "TIMESTAMPTZ": [None, NOON, NOON + timedelta(microseconds=1)],
    "BIGINT[]": [None, [], [1], [1, 2]],
}


@pytest.mark.parametrize("kind", sorted(VALUES))
@pytest.mark.parametrize("is_descending", [False, True])
@pytest.mark.parametrize("nulls_first", [False, True])
def test_places_never_decrease_along_the_order(
    engine: Engine, kind: str, *, is_descending: bool, nulls_first: bool
) -> None:
    columns = schema(x=kind)
    rows = table(columns, [(value,) for value in VALUES[kind]])
    direction = "DESC" if is_descending else "ASC"
    nulls = "FIRST" if nulls_first else "LAST"
    asked = f"SELECT row_number() OVER () AS i FROM t ORDER BY x {direction} NULLS {nulls}"

    found = places(rows.column("x").combine_chunks(), Order("x", is_descending, nulls_first))

    with duckdb.connect() as connection:
        connection.register("t", rows)
        order = connection.sql(asked).fetchnumpy()["i"] - 1
    assert (np.diff(found[order].astype(object)) >= 0).all()

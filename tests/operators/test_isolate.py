"""Rows that an expression refuses are left out and told; the rest is as if they had not come."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.errors import RecordError
from headwater.operators.isolate import run_isolating
from headwater.operators.statement import PARALLEL_ROWS_MIN, Engine, Statement
from headwater.plan.nodes import (
    Aggregate,
    Distinct,
    GroupWindow,
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
    SOURCES,
    Outcome,
    added,
    changelog,
    expression,
    query,
    run,
    schema,
    table,
    zset,
)

ROWS = schema(k="VARCHAR", v="VARCHAR", ts="TIMESTAMP")
READ = schema(k="VARCHAR", x="TINYINT", ts="TIMESTAMP")
# A cast of these fails, or the doubling after it does.
BAD = ("", "abc", "64", "99", "1e9")
COUNTS = (Partial("n", Merge.COUNT, None), Partial("s", Merge.SUM, "x"))
START = datetime(1970, 1, 1)


def read(scan: Scan, *, refuses: bool) -> Map:
    """The rows with `v` as a number; with `refuses` it fails over bad ones, else it drops them."""
    cast = "CAST(v AS TINYINT)" if refuses else "TRY(CAST(v AS TINYINT))"
    double = "x + x" if refuses else "TRY(x + x)"
    small = schema(k="VARCHAR", v="VARCHAR", x="TINYINT", ts="TIMESTAMP")
    as_they_are = [(name, expression(name)) for name in ("k", "v", "ts")]
    number = Map(scan, (*as_they_are, ("x", expression(cast))), None, small)
    doubled = (("k", expression("k")), ("x", expression(double)), ("ts", expression("ts")))
    kept = None if refuses else expression("v IS NULL OR TRY(x + x) IS NOT NULL")
    return Map(number, doubled, kept, READ)


def feed(rows: Node) -> Node:
    return rows


def grouped(rows: Node) -> Node:
    return Aggregate(rows, ("k",), COUNTS, schema(k="VARCHAR", n="BIGINT", s="HUGEINT"))


def whole(rows: Node) -> Node:
    return Aggregate(rows, (), COUNTS, schema(n="BIGINT", s="HUGEINT"))


def united(rows: Node) -> Node:
    return Union((Distinct(rows, READ), rows), READ)


def joined(rows: Node) -> Node:
    both = schema(k="VARCHAR", x="TINYINT", ts="TIMESTAMP", k2="VARCHAR", n="BIGINT", s="HUGEINT")
    names = (("k2", expression("k")), ("n", expression("n")), ("s", expression("s")))
    counts = Map(grouped(rows), names, None, both.select(("k2", "n", "s")))
    return Join(JoinKind.INNER, rows, counts, ("k",), ("k2",), both)


def windowed(rows: Node) -> Node:
    spec = WindowSpec(WindowKind.HOP, "ts", 10, 5)
    window = GroupWindow(spec, "start", "stop", True, 3, SOURCES)
    shown = schema(k="VARCHAR", start="TIMESTAMP", stop="TIMESTAMP", n="BIGINT", s="HUGEINT")
    return Aggregate(rows, ("k",), COUNTS, shown, window)


def gated(rows: Node) -> Node:
    spec = WindowSpec(WindowKind.TUMBLE, "ts", 10, 10)
    shown = schema(k="VARCHAR", x="TINYINT", ts="TIMESTAMP", start="TIMESTAMP", stop="TIMESTAMP")
    return Windows(rows, spec, "start", "stop", shown, True, 0, SOURCES)


rows_of = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([None, "1", "-2", "63", *BAD]),
        st.integers(-20, 30),
    ),
    max_size=25,
)
cuts_of = st.lists(st.integers(1, 25), max_size=6) | st.just(range(25))
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize(
    ("above", "places"),
    [(feed, 1), (grouped, 1), (whole, 1), (united, 2), (joined, 2), (windowed, 1), (gated, 1)],
)
@quick
@given(rows=rows_of, cuts=cuts_of, saved_after=st.none() | st.integers(0, 3))
def test_the_rest_is_what_it_is_without_the_refused_rows(
    engine: Engine, above: Any, places: int, *, rows: Any, cuts: Any, saved_after: Any
) -> None:
    refusing, dropping = (
        run_of(engine, above, rows, refuses, cuts=cuts, saved_after=saved_after)
        for refuses in (True, False)
    )

    assert refusing.total == dropping.total
    assert refusing.late_rows == dropping.late_rows
    assert not dropping.failed
    told = Counter(json.loads(record)["v"] for _, record in refused(refusing).elements())
    assert told == Counter({v: n * places for v, n in Counter(bad(rows)).items()})


@quick
@given(steps=st.lists(st.tuples(rows_of.map(lambda r: r[:1]), st.booleans())), cuts=cuts_of)
def test_a_withdrawal_of_a_refused_row_is_refused_too(
    engine: Engine, steps: Any, cuts: Any
) -> None:
    log, weights, live = changelog([(row[0], gone) for row, gone in steps if row])
    data = table(ROWS, [(k, v, moment(t)) for k, v, t in log], __weight=weights)
    plan = grouped(read(Scan("t", ROWS, append_only=False), refuses=True))

    outcome = run(engine, plan, data, cuts=cuts)

    good: dict[str, list[int | None]] = {}
    for k, v, _ in live:
        if v not in BAD:
            good.setdefault(k, []).append(None if v is None else 2 * int(v))
    expected = Counter({(k, len(xs), total(xs)): 1 for k, xs in good.items()})
    assert outcome.total == expected
    told = Counter(json.loads(record)["v"] for _, record in refused(outcome).elements())
    assert told == Counter(bad(live))


def test_a_refused_row_is_told_with_its_reason_and_its_columns(engine: Engine) -> None:
    outcome = run_of(engine, feed, [("a\u2028b", "abc", 1), ("b", "7", 2), ("c", "99", 3)], True)

    assert list(refused(outcome)) == [
        (
            "Conversion Error: Could not convert string 'abc' to INT8 when casting from source "
            "column v",
            '{"k":"a\u2028b","v":"abc","ts":"1970-01-01T00:00:00.000001"}',
        ),
        (
            "Out of Range Error: Overflow in addition of INT8 (99 + 99)!",
            '{"k":"c","v":"99","ts":"1970-01-01T00:00:00.000003"}',
        ),
    ]


def test_a_refused_row_is_found_among_many(engine: Engine) -> None:
    rows = PARALLEL_ROWS_MIN * 2
    values = ["1"] * rows
    values[3] = values[rows - 1] = "x"
    data = pa.table({"v": values})
    statement = cast_statement(engine, 'SELECT CAST("v" AS INTEGER) AS v FROM input')
    failed: list[pa.RecordBatch] = []

    answer, good = run_isolating(statement, data, failed)

    assert answer.num_rows == good.num_rows == rows - 2
    assert [batch.num_rows for batch in failed] == [2]


def test_what_no_row_gives_alone_is_raised(engine: Engine) -> None:
    data = pa.table({"v": ["9" * 38, "9" * 38]})
    sums = 'SELECT sum(CAST("v" AS DECIMAL(38, 0))) AS v FROM input'
    statement = cast_statement(engine, sums)
    failed: list[pa.RecordBatch] = []

    with pytest.raises(RecordError, match="Overflow"):
        run_isolating(statement, data, failed)

    assert not failed


def run_of(engine: Engine, above: Any, rows: Sequence[Any], refuses: bool, **how: Any) -> Outcome:
    """Run a plan over rows of key, text and time, whose times move the watermark."""
    scan = Scan("t", ROWS, append_only=True, ticks=above in (windowed, gated))
    data = table(ROWS, [(k, v, moment(t)) for k, v, t in rows], __tick=range(len(rows)))
    times = [t for _, _, t in rows]
    return run(engine, above(read(scan, refuses=refuses)), data, times_us=times, **how)


def cast_statement(engine: Engine, sql: str) -> Statement:
    inputs = {"input": pa.schema([("v", pa.string())])}
    return Statement(engine, query(sql), inputs, is_ordered=False)


def refused(outcome: Outcome) -> Counter[Any]:
    return added(zset(batch) for batch in outcome.failed)


def bad(rows: Sequence[Any]) -> list[str]:
    return [v for _, v, _ in rows if v in BAD]


def total(xs: Sequence[int | None]) -> int | None:
    known = [x for x in xs if x is not None]
    return sum(known) if known else None


def moment(us: int) -> datetime:
    return START + timedelta(microseconds=us)

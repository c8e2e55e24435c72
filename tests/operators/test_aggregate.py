from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import Aggregate, Merge, Partial, Scan
from operators.running import answer, changelog, run, schema, table

ROWS = schema(k="VARCHAR", i="BIGINT", d="DECIMAL(12,3)", f="DOUBLE", s="VARCHAR")
EPOCH = Epoch(1, 0, 0, {})
quick = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

keys = st.sampled_from([None, "", "ann", "bob"])
ints = st.none() | st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)])
decimals = st.none() | st.sampled_from([Decimal("0.001"), Decimal("-999999999.999"), Decimal(5)])
# Sums of these are exact, so that the answer does not depend on the order of addition.
floats = st.none() | st.sampled_from([0.0, 0.5, -2.0, 1024.0, float("inf"), float("nan")])
texts = st.none() | st.sampled_from(["a", "b", "ä", ""])
rows_of = st.lists(st.tuples(keys, ints, decimals, floats, texts), max_size=30)
cuts_of = st.lists(st.integers(1, 30), max_size=6)


def plan_of(keys: tuple[str, ...], *partials: tuple[str, Merge, str | None, str]) -> Aggregate:
    columns = {key: str(ROWS[key].type) for key in keys} | {name: t for name, _, _, t in partials}
    made = tuple(
        Partial(name, merge, argument, "0.25" if merge is Merge.QUANTILE else None)
        for name, merge, argument, _ in partials
    )
    return Aggregate(Scan("t", ROWS, append_only=True), keys, made, schema(**columns))


MERGEABLE = (
    ("n", Merge.COUNT, None, "BIGINT"),
    ("n_i", Merge.COUNT, "i", "BIGINT"),
    ("sum_i", Merge.SUM, "i", "HUGEINT"),
    ("sum_d", Merge.SUM, "d", "DECIMAL(38,3)"),
    ("sum_f", Merge.SUM, "f", "DOUBLE"),
    ("min_s", Merge.MIN, "s", "VARCHAR"),
    ("max_s", Merge.MAX, "s", "VARCHAR"),
    ("min_f", Merge.MIN, "f", "DOUBLE"),
    ("max_f", Merge.MAX, "f", "DOUBLE"),
    ("bits_i", Merge.BIT_OR, "i", "BIGINT"),
)
SELECT = """
    count(*), count(i), sum(i), sum(d), sum(f), min(s), max(s), min(f), max(f), bit_or(i) FROM t
"""


BY_VALUE = (
    ("n", Merge.COUNT, None, "BIGINT"),
    ("low_i", Merge.QUANTILE, "i", "BIGINT"),
    ("many_i", Merge.DISTINCT, "i", "BIGINT"),
    ("each_i", Merge.HISTOGRAM, "i", "MAP(BIGINT, UBIGINT)"),
    ("each_s", Merge.HISTOGRAM, "s", "MAP(VARCHAR, UBIGINT)"),
    ("sum_d", Merge.SUM, "d", "DECIMAL(38,3)"),
)
SELECT_BY_VALUE = """
    count(*), quantile_disc(i, 0.25), count(DISTINCT i), histogram(i), histogram(s), sum(d) FROM t
"""


@quick
@given(
    steps=st.lists(st.tuples(st.tuples(keys, ints, decimals, texts), st.booleans()), max_size=30),
    cuts=cuts_of,
    saved_after=st.none() | st.integers(0, 3),
    by=st.sampled_from([("k",), ()]),
)
def test_what_is_read_off_counts_by_value_is_that_of_the_rows_that_are_left(
    engine: Engine, steps: Any, cuts: Any, saved_after: Any, by: Any
) -> None:
    rows = [((k, i, d, None, s), gone) for (k, i, d, s), gone in steps]
    log, weights, live = changelog(rows)
    plan = replace(plan_of(by, *BY_VALUE), input=Scan("t", ROWS, append_only=False))
    data = table(ROWS, log, __weight=weights)

    outcome = run(engine, plan, data, cuts=cuts, saved_after=saved_after)

    named = ", ".join(by)
    expected = f"SELECT {named + ',' if by else ''} {SELECT_BY_VALUE}"
    expected += f" GROUP BY {named}" if by else ""
    assert outcome.total == answer(expected, t=table(ROWS, live))


def test_a_quantile_that_stays_the_same_is_not_published_again(engine: Engine) -> None:
    flow = Dataflow(plan_of(("k",), BY_VALUE[1]), engine)
    flow.step({"t": table(ROWS, [("ann", 7, None, None, None)])}, EPOCH)

    out = flow.step({"t": table(ROWS, [("ann", 9, None, None, None)])}, EPOCH)

    assert len(out) == 0


@quick
@given(rows=rows_of, cuts=cuts_of, saved_after=st.none() | st.integers(0, 3))
def test_groups_are_what_a_batch_query_answers(
    engine: Engine, rows: Any, cuts: Any, saved_after: Any
) -> None:
    data = table(ROWS, rows)

    outcome = run(engine, plan_of(("k",), *MERGEABLE), data, cuts=cuts, saved_after=saved_after)

    assert outcome.total == answer(f"SELECT k, {SELECT} GROUP BY k", t=data)


@quick
@given(rows=rows_of, cuts=cuts_of, saved_after=st.none() | st.integers(0, 3))
def test_without_keys_there_is_one_row_also_over_nothing(
    engine: Engine, rows: Any, cuts: Any, saved_after: Any
) -> None:
    data = table(ROWS, rows)

    outcome = run(engine, plan_of((), *MERGEABLE), data, cuts=cuts, saved_after=saved_after)

    assert outcome.total == answer(f"SELECT {SELECT}", t=data)


@quick
@given(
    steps=st.lists(st.tuples(st.tuples(keys, ints, decimals), st.booleans()), max_size=30),
    cuts=cuts_of,
    saved_after=st.none() | st.integers(0, 3),
)
def test_rows_can_be_withdrawn(engine: Engine, steps: Any, cuts: Any, saved_after: Any) -> None:
    log, weights, live = changelog([((*row, None, None), gone) for row, gone in steps])
    plan = plan_of(("k",), *MERGEABLE[:4])
    plan = replace(plan, input=Scan("t", ROWS, append_only=False))
    data = table(ROWS, log, __weight=weights)

    outcome = run(engine, plan, data, cuts=cuts, saved_after=saved_after)

    expected = "SELECT k, count(*), count(i), sum(i), sum(d) FROM t GROUP BY k"
    assert outcome.total == answer(expected, t=table(ROWS, live))


@quick
@given(
    steps=st.lists(st.tuples(keys, st.sampled_from(["i", "s"]), ints, texts), max_size=20),
    cuts=cuts_of,
    saved_after=st.none() | st.integers(0, 3),
    by=st.sampled_from([("k",), ()]),
)
def test_results_are_brought_together_in_one_row(
    engine: Engine, steps: Any, cuts: Any, saved_after: Any, by: Any
) -> None:
    log, weights, now = [], [], {}
    for k, name, i, s in steps:
        key = (k if by else None, name)
        if key in now:
            log.append(now.pop(key))
            weights.append(-1)
        if i is not None:
            now[key] = (key[0], i if name == "i" else None, None, None, s if name == "s" else None)
            log.append(now[key])
            weights.append(1)
    only = (("of_i", Merge.ONLY, "i", "BIGINT"), ("of_s", Merge.ONLY, "s", "VARCHAR"))
    plan = replace(plan_of(by, *only), input=Scan("t", ROWS, append_only=False))

    outcome = run(
        engine, plan, table(ROWS, log, __weight=weights), cuts=cuts, saved_after=saved_after
    )

    expected = "SELECT any_value(i), any_value(s) FROM t"
    if by:
        expected = "SELECT k, any_value(i), any_value(s) FROM t GROUP BY k"
    assert outcome.total == answer(expected, t=table(ROWS, list(now.values())))


def test_bits_that_are_set_already_change_nothing(engine: Engine) -> None:
    flow = Dataflow(plan_of(("k",), MERGEABLE[-1]), engine)
    flow.step({"t": table(ROWS, [("ann", 6, None, None, None)])}, EPOCH)

    out = flow.step({"t": table(ROWS, [("ann", 2, None, None, None)])}, EPOCH)

    assert len(out) == 0


def test_a_second_row_retracts_the_first_count(engine: Engine) -> None:
    flow = Dataflow(plan_of(("k",), MERGEABLE[0]), engine)
    flow.step({"t": table(ROWS, [("ann", 1, None, None, None)])}, EPOCH)

    out = flow.step({"t": table(ROWS, [("ann", 2, None, None, None)])}, EPOCH)

    weighted = [(row["k"], row["n"], row["__weight"]) for row in out.rows.to_pylist()]
    assert weighted == [("ann", 1, -1), ("ann", 2, 1)]


def test_a_group_whose_total_stays_the_same_is_not_published_again(engine: Engine) -> None:
    flow = Dataflow(plan_of(("k",), MERGEABLE[2]), engine)
    flow.step({"t": table(ROWS, [("ann", 7, None, None, None)])}, EPOCH)

    out = flow.step({"t": table(ROWS, [("ann", 0, None, None, None)])}, EPOCH)

    assert len(out) == 0


def test_a_sum_of_integers_leaves_64_bits_exactly(engine: Engine) -> None:
    largest = 2**63 - 1
    flow = Dataflow(plan_of(("k",), MERGEABLE[2]), engine)
    for _ in range(3):
        out = flow.step({"t": table(ROWS, [("ann", largest, None, None, None)])}, EPOCH)

    assert out.rows.column("sum_i").to_pylist() == [2 * largest, 3 * largest]


def test_float_sums_retract_the_bits_that_were_published(engine: Engine) -> None:
    flow = Dataflow(plan_of(("k",), MERGEABLE[4]), engine)
    published: list[float] = []
    for value in (0.1, 0.2, 0.3, 1e300, -1e300):
        out = flow.step({"t": table(ROWS, [("ann", None, None, value, None)])}, EPOCH)
        rows = out.rows.to_pylist()
        if published:
            assert rows[0]["sum_f"] == published[-1]
        published.append(rows[-1]["sum_f"])

    assert published[2] == 0.1 + 0.2 + 0.3

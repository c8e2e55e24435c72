"""Counting says what DuckDB says, bit by bit, or leaves the rows to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import TICK, WEIGHT
from headwater.delta.watermark import WatermarkCurve
from headwater.operators import axes as axes_module
from headwater.operators import calendar, render
from headwater.operators import counted as counted_module
from headwater.operators import counting as module
from headwater.operators.counting import Counting, counting
from headwater.operators.layout import ROWS as ROWS_COUNT
from headwater.operators.layout import layout
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine, Statement
from headwater.operators.window_order import by_slice, in_slices
from headwater.operators.windowed import WindowedOperator, partial_statement
from headwater.plan.nodes import (
    Aggregate,
    GroupWindow,
    Map,
    Merge,
    Node,
    Partial,
    Scan,
    WindowKind,
    WindowSpec,
)
from operators.running import SOURCES, expression, schema, table

ROWS = schema(k="INTEGER", u="UTINYINT", d="DATE", x="BIGINT", ts="TIMESTAMP")
SHOWN = schema(
    k="INTEGER",
    u="UTINYINT",
    d="DATE",
    start="TIMESTAMP",
    stop="TIMESTAMP",
    n="BIGINT",
    total="HUGEINT",
    some="BIGINT",
)
BEGIN = datetime(1970, 1, 1)
PARTIALS = (
    Partial("n", Merge.COUNT, None),
    Partial("total", Merge.SUM, "x"),
    Partial("some", Merge.COUNT, "x"),
)
slow = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# Cells for each row: dense; as many as the keys of each slice span; sorted.
shares = st.sampled_from([1_000_000, 3, 0])
keys_of = st.lists(st.sampled_from(["k", "u", "d"]), min_size=1, max_size=3, unique=True)
row = st.tuples(
    st.integers(-(2**31), -(2**31) + 2) | st.integers(-3, 3),
    st.integers(0, 255),
    st.integers(-2, 2).map(lambda day: date(1970, 1, 1) + timedelta(days=day)),
    st.integers(-5, 5) | st.sampled_from([2**40, -(2**40), 2**62]),
    st.integers(-20, 40).map(lambda us: BEGIN + timedelta(microseconds=us)),
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches are counted too, in blocks of a few rows."""
    monkeypatch.setattr(module, "_ROWS_MIN", 1)
    monkeypatch.setattr(axes_module, "_BLOCK_ROWS", 3)
    monkeypatch.setattr(module, "_CELLS_MAX_SHARE", 1_000_000)


def node_of(
    keys: list[str], spec: WindowSpec, *, final: bool = False, lateness: int | None = None
) -> Aggregate:
    window = GroupWindow(spec, "start", "stop", final, lateness, SOURCES)
    shown = [name for name in SHOWN.names if name not in {"k", "u", "d"} - set(keys)]
    below = Scan("t", ROWS, append_only=True, ticks=lateness is not None)
    return Aggregate(below, tuple(keys), PARTIALS, SHOWN.select(shown), window)


def spec_of(size: int, slide: int, offset: int) -> WindowSpec:
    kind = WindowKind.TUMBLE if size == slide else WindowKind.HOP
    return WindowSpec(kind, "ts", size, slide, offset)


def counter_of(node: Aggregate, given: pa.Table, engine: Engine) -> tuple[Counting, Any]:
    hidden = given.schema.names
    made = layout(node, is_weighted=WEIGHT in hidden, has_ticks=TICK in hidden)
    counter = counting(node, made, engine)
    assert counter is not None
    return counter, partial_statement(node, made, given.schema, engine)


@slow
@given(
    rows=st.lists(row, min_size=1, max_size=30),
    keys=keys_of,
    spec=st.sampled_from([(10, 10, 0), (10, 4, 1), (7, 7, 3)]),
    weighted=st.booleans(),
    ticked=st.booleans(),
    share=shares,
    data=st.data(),
)
def test_counts_as_duckdb_groups(
    engine: Engine,
    *,
    share: int,
    rows: list[Any],
    keys: list[str],
    spec: tuple[int, int, int],
    weighted: bool,
    ticked: bool,
    data: st.DataObject,
) -> None:
    hidden = {}
    if weighted:
        weight = st.integers(-2, 2)
        hidden[WEIGHT] = [data.draw(weight) for _ in rows]
    if ticked:
        hidden[TICK] = data.draw(st.permutations(range(len(rows))))
    given_rows = table(ROWS, rows, **hidden)
    cut = data.draw(st.integers(0, len(rows)))
    chunked = pa.concat_tables([given_rows.slice(0, cut), given_rows.slice(cut)])
    node = node_of(keys, spec_of(*spec), lateness=5 if ticked else None)
    counter, statement = counter_of(node, given_rows, engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS_MAX_SHARE", share)
        counted = counter.partials(chunked, has_ticks=ticked)
    if counted is None:
        assert max(abs(r[3]) for r in rows) * len(rows) * 2 >= 2**53
        return
    expected = statement.run(input=given_rows)
    assert by_slice(counted, 1).to_pylist() == by_slice(expected, 1).to_pylist()
    assert counted.schema.equals(expected.schema)


@slow
@given(
    rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60)), min_size=1, max_size=40),
    is_ordered=st.booleans(),
    share=shares,
)
def test_rows_alone_are_counted_as_duckdb_does(
    engine: Engine, *, rows: list[Any], is_ordered: bool, share: int
) -> None:
    """Keys that grow with time span little in a slice of it."""
    rows = sorted(rows, key=lambda r: r[1]) if is_ordered else rows
    day = date(1970, 1, 1)
    made = [(10 * us + k, 0, day, 0, BEGIN + timedelta(microseconds=us)) for k, us in rows]
    given_rows = table(ROWS, made)
    node = replace(node_of(["k"], spec_of(10, 10, 0)), partials=PARTIALS[:1])
    counter, statement = counter_of(node, given_rows, engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS_MAX_SHARE", share)
        counted = counter.partials(given_rows, has_ticks=False)

    assert counted is not None
    assert counted.equals(in_slices(counted, ["k"], list))
    expected = by_slice(statement.run(input=given_rows), 1)
    assert by_slice(counted, 1).to_pylist() == expected.to_pylist()


@slow
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 25)), min_size=1, max_size=30
    ),
    keys=st.permutations(["k", "name"]) | st.just(["name"]),
    differs=st.booleans(),
    share=shares,
)
def test_texts_that_another_key_tells_need_not_be_few(
    engine: Engine, *, rows: list[Any], keys: list[str], differs: bool, share: int
) -> None:
    """Where it does not, DuckDB groups them."""
    named = [(k, f"{other if differs else k}", us) for k, other, us in rows]
    day = date(1970, 1, 1)
    made = [
        (k, 0, day, k - us, BEGIN + timedelta(microseconds=us), name, None) for k, name, us in named
    ]
    given_rows = table(MORE, made)
    base = Scan("t", MORE, append_only=True)
    window = GroupWindow(spec_of(10, 10, 0), "start", "stop", True, None, SOURCES)
    shown = {key: KEYS[key][0] for key in keys} | {"start": "TIMESTAMP", "stop": "TIMESTAMP"}
    shown |= {"n": "BIGINT", "total": "HUGEINT"}
    node = Aggregate(base, tuple(keys), PARTIALS[:2], schema(**shown), window)
    counter, statement = counter_of(node, given_rows, engine)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS_MAX_SHARE", share)
        patch.setattr(module, "SAMPLE_ROWS", 7)
        patch.setattr(counted_module, "_SAMPLE_MAX", 0)
        counted = counter.partials(given_rows, has_ticks=False)

    tells = len({(k, us // 10) for k, _, us in named})
    if counted is None:
        assert "k" not in keys or tells < len({(k, name, us // 10) for k, name, us in named})
        return
    assert "k" in keys
    expected = by_slice(statement.run(input=given_rows), 1)
    assert by_slice(counted, 1).to_pylist() == expected.to_pylist()


def test_cells_that_have_no_number_are_left_to_duckdb(engine: Engine) -> None:
    fine = (date(1970, 1, 1), 3, BEGIN)
    rows = table(ROWS, [(-(2**31), 0, *fine), (2**31 - 1, 255, *fine)])
    node = node_of(["k", "u"], spec_of(10, 10, 0))
    counter, _ = counter_of(node, rows, engine)
    for bits, is_counted in ((40, False), (41, True)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_CELLS_MAX_SHARE", 0)
            patch.setattr(module, "_NUMBERS_MAX", 1 << bits)
            counted = counter.partials(rows, has_ticks=False)
        assert (counted is not None) is is_counted


@pytest.mark.parametrize(
    ("column", "value"),
    [("k", None), ("x", None), ("ts", None), ("x", 2**61), ("ts", "infinity")],
)
def test_leaves_what_does_not_suit(engine: Engine, column: str, value: Any) -> None:
    fine = (1, 2, date(1970, 1, 1), 3, BEGIN)
    rows = table(ROWS, [fine] * 8)
    index = rows.schema.get_field_index(column)
    kind = rows.schema.field(index).type
    values = rows.column(index).to_pylist()
    if value == "infinity":
        odd = pa.array([2**63 - 1], pa.int64()).view(kind)
    else:
        odd = pa.array([value], kind)
    changed = pa.chunked_array([pa.array(values[1:], kind), odd])
    rows = rows.set_column(index, rows.schema.field(index), changed)
    counter, _ = counter_of(node_of(["k"], spec_of(10, 10, 0)), rows, engine)
    assert counter.partials(rows, has_ticks=False) is None


MORE = schema(
    k="INTEGER", u="UTINYINT", d="DATE", x="BIGINT", ts="TIMESTAMP", name="VARCHAR", f="DOUBLE"
)
# What groups may be told apart by; two of these say the same of several times.
KEYS = {
    "hour": ("VARCHAR", "strftime(ts, '%Y-%m-%d %H')"),
    "minute": ("VARCHAR", "strftime(ts, '%M')"),
    "date": ("DATE", "CAST(ts AS DATE)"),
    "of_day": ("BIGINT", "hour(ts)"),
    "start": ("TIMESTAMP", "date_trunc('minute', ts)"),
    "name": ("VARCHAR", "name"),
    "k": ("INTEGER", "k"),
}
FEW = "CASE WHEN x < 3 AND u >= 10 THEN 1 END"
NOT_NEAR = "CASE WHEN NOT (x BETWEEN -1 AND 1) THEN x END"
BITS = (
    "CAST(1 + CASE WHEN x < 2 THEN 2 ELSE 0 END + CASE WHEN u > 300 OR k = 1 THEN 4 ELSE 0 END "
    "AS INTEGER)"
)
MEASURES = {
    "few": ("INTEGER", FEW, Merge.COUNT, "BIGINT"),
    "x": ("BIGINT", "x", Merge.SUM, "HUGEINT"),
    "far": ("BIGINT", NOT_NEAR, Merge.SUM, "HUGEINT"),
    "least": ("BIGINT", "x", Merge.MIN, "BIGINT"),
    "far_most": ("BIGINT", NOT_NEAR, Merge.MAX, "BIGINT"),
    "last": ("TIMESTAMP", "ts", Merge.MAX, "TIMESTAMP"),
    "first_day": ("DATE", "CASE WHEN x = 0 THEN d END", Merge.MIN, "DATE"),
    "clock": ("VARCHAR", "strftime(ts, '%H:%M')", Merge.MAX, "VARCHAR"),
    "least_clock": (
        "VARCHAR", "CASE WHEN x > 0 THEN strftime(ts, '%M') END", Merge.MIN, "VARCHAR"
    ),
    "bits": ("INTEGER", BITS, Merge.BIT_OR, "INTEGER"),
}  # fmt: skip


def computed(
    keys: list[str], measures: list[str], condition: str | None, base: Node | None = None
) -> Aggregate:
    """An aggregate of what a map computes."""
    below = base or Scan("t", MORE, append_only=True)
    items = {key: KEYS[key][1] for key in keys} | {f"a_{m}": MEASURES[m][1] for m in measures}
    kinds = {key: KEYS[key][0] for key in keys} | {f"a_{m}": MEASURES[m][0] for m in measures}
    where = None if condition is None else expression(condition)
    projections = tuple((name, expression(text)) for name, text in items.items())
    rows = Map(below, projections, where, schema(**kinds))
    partials = [Partial("n", Merge.COUNT, None)]
    partials += [Partial(m, MEASURES[m][2], f"a_{m}") for m in measures]
    shown = {key: KEYS[key][0] for key in keys} | {"n": "BIGINT"}
    shown |= {m: MEASURES[m][3] for m in measures}
    return Aggregate(rows, tuple(keys), tuple(partials), schema(**shown))


def shown_rows(batch: pa.RecordBatch | pa.Table) -> list[Any]:
    return sorted(batch.to_pylist(), key=repr)


@slow
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-1, 2),
            st.integers(0, 20),
            st.integers(-2, 2).map(lambda day: date(1970, 1, 1) + timedelta(days=day)),
            st.integers(-5, 5),
            st.integers(-9_000, 9_000).map(lambda s: BEGIN + timedelta(seconds=s)),
            st.sampled_from(["", "a", "é", "zz"]),
            st.none() | st.just(0.5),
        ),
        min_size=1,
        max_size=25,
    ),
    keys=st.lists(st.sampled_from(sorted(KEYS)), max_size=3, unique=True),
    measures=st.lists(st.sampled_from(sorted(MEASURES)), max_size=5, unique=True),
    condition=st.sampled_from([None, "NOT u IS NULL", "x <> 4 OR k > u", "x <> 4 AND -1 <= x"]),
    cut=st.integers(0, 25),
    share=shares,
)
def test_counts_what_a_map_computes(
    engine: Engine,
    *,
    share: int,
    rows: list[Any],
    keys: list[str],
    measures: list[str],
    condition: str | None,
    cut: int,
) -> None:
    node = computed(keys, measures, condition)
    given_rows = table(MORE, rows)
    given_rows = pa.concat_tables([given_rows.slice(0, cut), given_rows.slice(cut)])
    made = layout(node, is_weighted=False, has_ticks=False)
    counter = counting(node, made, engine)
    assert counter is not None
    query = made.partial(render.stretch(node.input, []))
    statement = Statement(engine, query, {render.INPUT: given_rows.schema}, is_ordered=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS_MAX_SHARE", share)
        counted = counter.partials(given_rows, has_ticks=False)

    if counted is None:
        # None of the rows is in.
        counts = statement.run(input=given_rows).column(ROWS_COUNT).to_pylist()
        assert condition is not None and not sum(counts)
    else:
        assert shown_rows(counted) == shown_rows(statement.run(input=given_rows))


@pytest.mark.parametrize(
    ("key", "measure", "condition"),
    [
        ("f", None, None),
        ("strftime(ts, '%f')", None, None),
        ("strftime(ts, name)", None, None),
        ("upper(name)", None, None),
        ("k", ("BIGINT", "x + 1", Merge.SUM, "HUGEINT"), None),
        ("k", ("DOUBLE", "f", Merge.MIN, "DOUBLE"), None),
        ("k", ("INTEGER", "CASE WHEN x < 1 THEN 1 ELSE 2 END", Merge.COUNT, "BIGINT"), None),
        ("k", ("INTEGER", "CASE WHEN x < 1.5 THEN 1 END", Merge.COUNT, "BIGINT"), None),
        ("k", ("INTEGER", "CAST(k + 1 AS INTEGER)", Merge.BIT_OR, "INTEGER"), None),
        ("k", None, "name = 'a'"),
        ("k", None, "x < f"),
    ],
)
def test_what_numpy_does_not_say_as_duckdb_is_left_to_it(
    engine: Engine, key: str, measure: Any, condition: str | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(KEYS, "key", ("VARCHAR", key))
        if measure is not None:
            patch.setitem(MEASURES, "measure", measure)
        node = computed(["key"], [] if measure is None else ["measure"], condition)
    made = layout(node, is_weighted=False, has_ticks=False)

    assert counting(node, made, engine) is None


def test_texts_of_which_most_differ_are_not_looked_at_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counted_module, "SAMPLE_ROWS", 8)
    monkeypatch.setattr(counted_module, "_SAMPLE_MAX", 6)
    for differ, is_taken in ((6, True), (7, False)):
        texts = [f"{min(n, differ - 1)}" for n in range(8)] + ["later"] * 3
        batch = pa.RecordBatch.from_arrays([pa.array(texts)], ["name"])
        coded = counted_module.with_numbers([batch.slice(0, 5), batch.slice(5)], ["name"])

        assert (coded is not None) is is_taken
        if coded is not None:
            numbers = [n for part in coded[0] for n in part.column("name").to_pylist()]
            assert coded[1]["name"].take(pa.array(numbers)).to_pylist() == texts


def test_an_epoch_of_too_many_texts_or_days_is_left_to_duckdb(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine = (1, 2, date(1970, 1, 1), 3)
    rows = [(*fine, BEGIN + timedelta(hours=n), f"{n}", None) for n in range(6)]
    monkeypatch.setattr(calendar, "_VALUES_MAX", 3)
    monkeypatch.setattr(counted_module, "_TEXTS_MAX", 4)
    for key in ("hour", "name"):
        node = computed([key], [], None)
        counter = counting(node, layout(node, is_weighted=False, has_ticks=False), engine)
        assert counter is not None
        assert counter.partials(table(MORE, rows), has_ticks=False) is None
        assert counter.partials(table(MORE, rows[:3]), has_ticks=False) is not None


@slow
@given(
    rows=st.lists(row, min_size=1, max_size=40),
    cuts=st.lists(st.integers(1, 8), min_size=1, max_size=6),
    spec=st.sampled_from([(10, 10, 0), (10, 5, 1), (6, 4, 0)]),
    final=st.booleans(),
    lateness=st.integers(0, 9) | st.just(0),
    delay=st.integers(0, 15),
    keys=keys_of,
    share=shares,
)
def test_windows_are_the_same_with_and_without(
    engine: Engine,
    *,
    keys: list[str],
    share: int,
    rows: list[Any],
    cuts: list[int],
    spec: tuple[int, int, int],
    final: bool,
    lateness: int,
    delay: int,
) -> None:
    """Also where some rows are late, and some correct a window that has closed."""
    node = node_of(keys, spec_of(*spec), final=final, lateness=lateness)
    given_rows = table(ROWS, rows, **{TICK: list(range(len(rows)))})
    with_counting = WindowedOperator(node, given_rows.schema, engine)
    without = WindowedOperator(node, given_rows.schema, engine)
    without._counting = None
    at = 0
    number = 0
    start = np.iinfo(np.int64).min
    while at < len(rows):
        size = cuts[number % len(cuts)]
        part = given_rows.slice(at, size)
        times = part.column("ts").combine_chunks().view(pa.int64()).to_numpy()
        highest = np.maximum.accumulate(times) - delay
        rises = np.flatnonzero(highest > np.concatenate([[start], np.maximum(highest, start)[:-1]]))
        curve = WatermarkCurve(start, rises + at, highest[rises])
        start = curve.end_us
        outcomes = []
        for operator in (with_counting, without):
            epoch = Epoch(number + 1, 0, at + size - 1, {SOURCES: curve})
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "_CELLS_MAX_SHARE", share)
                delta = operator.step(part, epoch)
            late = [batch.to_pylist() for batch in epoch.late]
            outcomes.append((delta.rows.to_pylist(), late))
        assert outcomes[0] == outcomes[1]
        at += size
        number += 1

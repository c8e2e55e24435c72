"""Windows of one slice come out whole, once, and in an order that no cut changes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.operators.layout import ROWS, SLICE, layout
from headwater.operators.statement import Engine
from headwater.operators.tumbling import Tumbling
from headwater.plan.nodes import Aggregate, Merge, Partial, Scan
from operators.running import Memory, schema

COLUMNS = schema(k="INTEGER", name="VARCHAR", x="BIGINT", f="DOUBLE")
partials_of = {
    "counts": (Partial("n", Merge.COUNT, None),),
    "sums": (Partial("n", Merge.COUNT, None), Partial("total", Merge.SUM, "x")),
    "floats": (Partial("n", Merge.COUNT, None), Partial("total", Merge.SUM, "f")),
}
TYPES = {"counts": {}, "sums": {"total": "HUGEINT"}, "floats": {"total": "DOUBLE"}}
# Of each group in a slice the epoch's count and sum.
epochs = st.lists(
    st.dictionaries(
        st.tuples(
            st.integers(0, 5), st.none() | st.integers(-2, 2), st.none() | st.sampled_from("abc")
        ),
        st.tuples(st.integers(-1, 3), st.integers(-4, 4)),
        max_size=12,
    ),
    max_size=8,
)


def tumbling(engine: Engine, keys: tuple[str, ...], kind: str) -> Tumbling:
    kinds = {"k": "INTEGER", "name": "VARCHAR"}
    shown = schema(**{key: kinds[key] for key in keys}, n="BIGINT", **TYPES[kind])
    below = Scan("t", COLUMNS, append_only=True)
    node = Aggregate(below, keys, partials_of[kind], shown)
    return Tumbling(layout(node, is_weighted=False, has_ticks=False), engine)


def batch_of(waiting: Tumbling, groups: dict[Any, tuple[int, int]]) -> pa.RecordBatch:
    rows = []
    for (at, k, name), (count, total) in groups.items():
        row = {SLICE: at * 10, "k": k, "name": name, ROWS: count, "__v1": total, "__c1": count}
        rows.append({n: row[n] for n in waiting.schema.names})
    arrays = [pa.array([row[f.name] for row in rows], f.type) for f in waiting.schema]
    return pa.RecordBatch.from_arrays(arrays, schema=waiting.schema)


def grouped(epoch: dict[Any, tuple[int, int]], keys: tuple[str, ...]) -> dict[Any, Any]:
    """The epoch's groups by the keys alone; the others are null."""
    found: dict[Any, Any] = {}
    for (at, k, name), (count, total) in epoch.items():
        key = (at, k if "k" in keys else None, name if "name" in keys else None)
        old = found.get(key, (0, 0))
        found[key] = (old[0] + count, old[1] + total)
    return found


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    epochs=epochs,
    keys=st.sampled_from([("k", "name"), ("name", "k"), ("k",), ("name",), ()]),
    kind=st.sampled_from(sorted(partials_of)),
    bounds=st.lists(st.integers(0, 6), max_size=8),
    saves=st.booleans(),
)
def test_closed_windows_are_the_sums_of_their_slices(
    engine: Engine,
    *,
    epochs: list[dict[Any, Any]],
    keys: tuple[str, ...],
    kind: str,
    bounds: list[int],
    saves: bool,
) -> None:
    waiting, memory = tumbling(engine, keys, kind), Memory()
    counts: Counter[Any] = Counter()
    totals: Counter[Any] = Counter()
    seen: set[Any] = set()
    found: list[dict[str, Any]] = []
    closed = 0
    for number, epoch in enumerate([*epochs, {}]):
        groups = {g: v for g, v in grouped(epoch, keys).items() if g[0] >= closed}
        for group, (count, total) in groups.items():
            seen.add(group)
            counts[group] += count
            totals[group] += total
        waiting.add(batch_of(waiting, groups))
        stop = 6 if number == len(epochs) else max([closed, *bounds[number : number + 1]])
        parts = waiting.closed(closed * 10, stop * 10)
        come = [row for part in parts for row in part.to_pylist()]
        assert [row[SLICE] for row in come] == sorted(row[SLICE] for row in come)
        found += come
        waiting.runs.take_below(stop * 10)
        closed = stop
        if saves:
            manifest = waiting.runs.save(memory)
            waiting = tumbling(engine, keys, kind)
            waiting.runs.load(manifest, memory)

    expected = {(at * 10, k, name): (counts[at, k, name], totals[at, k, name])
                for at, k, name in seen}  # fmt: skip
    shown = {
        (row[SLICE], row.get("k"), row.get("name")): (row[ROWS], row.get("__v1")) for row in found
    }
    assert len(shown) == len(found)
    assert {g: v[0] for g, v in shown.items()} == {g: v[0] for g, v in expected.items()}
    if kind != "counts":
        assert shown == expected


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    epochs=epochs,
    keys=st.sampled_from([("k", "name"), ("name",), ("k",)]),
    kind=st.sampled_from(["counts", "sums"]),
)
def test_what_comes_out_is_in_one_order_however_it_was_cut(
    engine: Engine, epochs: list[dict[Any, Any]], keys: tuple[str, ...], kind: str
) -> None:
    at_once: Counter[Any] = Counter()
    totals: Counter[Any] = Counter()
    bit_by_bit, whole = tumbling(engine, keys, kind), tumbling(engine, keys, kind)
    for epoch in epochs:
        groups = grouped(epoch, keys)
        bit_by_bit.add(batch_of(bit_by_bit, groups))
        for group, (count, total) in groups.items():
            at_once[group] += count
            totals[group] += total
    whole.add(batch_of(whole, {g: (n, totals[g]) for g, n in reversed(at_once.items())}))

    outcomes = [
        [row for part in waiting.closed(0, 60) for row in part.to_pylist()]
        for waiting in (bit_by_bit, whole)
    ]

    assert outcomes[0] == outcomes[1]

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime, timedelta
from random import Random
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.operators import pairing
from headwater.operators.join import JoinOperator
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.plan.nodes import Join, JoinKind, Scan
from headwater.plan.unique import Keys
from headwater.schema.schema import Schema
from headwater.state import matching
from headwater.state.keyed import Keyed
from headwater.state.matching import PAIRS_MAX
from headwater.testing.deltas import (
    answer,
    assert_same,
    delta,
    sum_of,
    text,
    with_constant_hash,
    with_hash,
)
from operators.running import expression
from operators.sided import history, rows_of, scan, stepped

# What else must be true of a pair: nothing, what numpy does, and what DuckDB is asked.
CONDITIONS = (
    None,
    "x < z",
    "x BETWEEN z AND z + 1",
    "x <> z AND z <= x",
    "s || 'a' = rs || 'a' OR x = 2",
    "s IS NOT DISTINCT FROM rs",
    "y * 2 > x",
)

# How a key of some type is made of a number.
KEYS: dict[str, Callable[[int | None], Any]] = {
    "INTEGER": lambda n: n,
    "BIGINT": lambda n: None if n is None else (n - 2) * 2**61,
    "UBIGINT": lambda n: None if n is None else n * 2**62,
    "DATE": lambda n: None if n is None else date(1969, 12, 30) + timedelta(days=n),
    "TIMESTAMP": lambda n: None if n is None else datetime(1969, 12, 31) + timedelta(hours=12 * n),
    "DOUBLE": lambda n: n,
}

numbers = st.one_of(st.none(), st.integers(0, 3))
words = st.sampled_from([None, "", "a", "b"])
left_rows = st.lists(st.tuples(numbers, words, st.integers(0, 2)), max_size=14)
right_rows = st.lists(
    st.tuples(numbers, words, st.floats(0, 1, width=16), st.none() | st.integers(0, 2)), max_size=10
)


@pytest.fixture(scope="module", name="engine")
def opened() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def join(
    kind: JoinKind,
    left: Scan,
    right: Scan,
    keys: int = 2,
    condition: str | None = None,
    *,
    unread: str = "",
) -> Join:
    columns = (*left.schema, *(right.schema if kind.has_both else ()))
    columns = tuple(c for c in columns if c.name not in unread.split()) or columns[:1]
    names = left.schema.names[:keys], right.schema.names[:keys]
    bound = None if condition is None else expression(condition)
    return Join(kind, left, right, *names, Schema(columns), condition=bound)


def sql_of(node: Join) -> str:
    terms = [f"{a} = {b}" for a, b in zip(node.left_keys, node.right_keys, strict=True)]
    terms += [f"({node.condition.sql('duckdb')})"] if node.condition is not None else []
    condition = " AND ".join(terms) or "true"
    return f"SELECT {', '.join(node.schema.names)} FROM l {node.kind} JOIN r ON {condition}"


def operator(
    node: Join, engine: Engine, *, ticks: bool = False, relations: dict[str, Keys] | None = None
) -> JoinOperator:
    schemas = []
    for side in (node.left, node.right):
        fields = [*side.schema.arrow, pa.field(HASH, pa.uint64())]
        if not side.append_only:
            fields.append(pa.field(WEIGHT, pa.int64()))
        if ticks:
            fields.append(pa.field(TICK, pa.int64()))
        schemas.append(pa.schema(fields))
    return JoinOperator(node, schemas[0], schemas[1], engine, relations or {})


@settings(max_examples=250, deadline=None)
@given(
    left=left_rows,
    right=right_rows,
    kind=st.sampled_from(JoinKind),
    keys=st.integers(0, 2),
    condition=st.sampled_from(CONDITIONS),
    pairs_max=st.sampled_from([3, PAIRS_MAX]),
    searched_min=st.sampled_from([5, 1 << 17]),
    halved_min=st.sampled_from([2, 1 << 18]),
    grows=st.tuples(st.booleans(), st.booleans()),
    epochs=st.integers(1, 7),
    saved_after=st.integers(-1, 6),
    collide=st.booleans(),
    key=st.sampled_from(sorted(KEYS)),
    unread=st.sampled_from(["", "k", "x z", "k s x", "rk rs y z", "k s x rk rs z"]),
    random=st.randoms(use_true_random=False),
)
def test_the_sum_of_changes_is_the_batch_answer(
    *,
    left: list[Any],
    right: list[Any],
    kind: JoinKind,
    keys: int,
    condition: str | None,
    pairs_max: int,
    searched_min: int,
    halved_min: int,
    grows: tuple[bool, bool],
    epochs: int,
    saved_after: int,
    collide: bool,
    key: str,
    unread: str,
    random: Random,
    engine: Engine,
) -> None:
    l_scan = scan("l", {"k": key, "s": "VARCHAR", "x": "BIGINT"}, append_only=grows[0])
    types = {"rk": key, "rs": "VARCHAR", "y": "DOUBLE", "z": "BIGINT"}
    r_scan = scan("r", types, append_only=grows[1])
    left, right = ([(KEYS[key](row[0]), *row[1:]) for row in rows] for rows in (left, right))
    node = join(kind, l_scan, r_scan, keys, condition, unread=unread)
    tables = {"l": rows_of(l_scan, left), "r": rows_of(r_scan, right)}
    sides = [
        history(tables[name], hashed, side, random, epochs=epochs, collide=collide)
        for name, hashed, side in (
            ("l", node.left_keys or l_scan.schema.names, l_scan),
            ("r", node.right_keys or r_scan.schema.names, r_scan),
        )
    ]
    with (
        patch.object(matching, "PAIRS_MAX", pairs_max),
        patch.object(matching, "_PARALLEL_PROBES_MIN", halved_min),
        patch.object(pairing, "_SEARCHED_MIN", searched_min),
    ):
        outputs = stepped(lambda: operator(node, engine), sides, saved_after=saved_after)

    assert all((out.weights is None) == node.append_only for out in outputs)
    assert_same(sum_of(outputs), answer(sql_of(node), tables))


def renewed(
    table: pa.Table, keys: Sequence[str], random: Random, *, epochs: int, collide: bool
) -> list[Delta]:
    """Deltas that add up to a table whose last column is a key, by rows that are replaced."""
    final = {row[-1]: row for row in zip(*table.to_pydict().values(), strict=True)}
    steps = [(n, (*random.choice([*final.values()])[:-1], n)) for n in final for _ in range(2)]
    steps += [(n, None) for n in final if random.random() < 0.5]
    random.shuffle(steps)
    held: dict[Any, Any] = {}
    changes = []
    for n, row in [*steps, *final.items()]:
        if n in held:
            changes.append((held.pop(n), -1))
        if row is not None:
            held[n] = row
            changes.append((row, 1))
    rows = [row for row, _ in changes]
    columns = [pa.array([row[n] for row in rows], f.type) for n, f in enumerate(table.schema)]
    whole = Delta(pa.RecordBatch.from_arrays(columns, schema=table.schema))
    hashed = with_constant_hash(whole) if collide else with_hash(whole, keys)
    weights = pa.array([weight for _, weight in changes], pa.int64())
    marked = hashed.rows.append_column(WEIGHT, weights)
    ends = sorted(random.randrange(len(rows) + 1) for _ in range(epochs - 1))
    bounds = zip([0, *ends], [*ends, len(rows)], strict=True)
    return [Delta(marked.slice(first, end - first)) for first, end in bounds]


@settings(max_examples=100, deadline=None)
@given(
    left=left_rows,
    right=right_rows,
    kind=st.sampled_from(JoinKind),
    keys=st.integers(1, 2),
    known=st.tuples(st.booleans(), st.booleans()),
    epochs=st.integers(1, 7),
    saved_after=st.integers(-1, 6),
    is_older=st.booleans(),
    collide=st.booleans(),
    key=st.sampled_from(["INTEGER", "DOUBLE"]),
    random=st.randoms(use_true_random=False),
)
def test_a_side_with_a_key_is_remembered_by_it(
    *,
    left: list[Any],
    right: list[Any],
    kind: JoinKind,
    keys: int,
    known: tuple[bool, bool],
    epochs: int,
    saved_after: int,
    is_older: bool,
    collide: bool,
    key: str,
    random: Random,
    engine: Engine,
) -> None:
    """Also what a join remembered before the keys were known to it."""
    l_scan = scan("l", {"k": key, "s": "VARCHAR", "x": "BIGINT"}, append_only=False)
    types = {"rk": key, "rs": "VARCHAR", "y": "DOUBLE", "z": "BIGINT"}
    r_scan = scan("r", types, append_only=False)
    left = [(KEYS[key](k), s, n) for n, (k, s, _) in enumerate(left)]
    right = [(KEYS[key](k), s, y, n) for n, (k, s, y, _) in enumerate(right)]
    node = join(kind, l_scan, r_scan, keys)
    tables = {"l": rows_of(l_scan, left), "r": rows_of(r_scan, right)}
    sides = [
        renewed(tables[name], hashed, random, epochs=epochs, collide=collide)
        for name, hashed in (("l", node.left_keys), ("r", node.right_keys))
    ]
    relations: dict[str, Keys] = {"l": (("x",),) * known[0], "r": (("z",),) * known[1]}
    made: list[JoinOperator] = []

    def make() -> JoinOperator:
        given = {} if is_older and not made else relations
        made.append(operator(node, engine, relations=given))
        return made[-1]

    outputs = stepped(make, sides, saved_after=saved_after)

    kept = [isinstance(half.rows, Keyed) for half in (made[-1]._left, made[-1]._right)]
    assert kept == [False, False] if is_older and len(made) == 1 else kept == [*known]
    assert_same(sum_of(outputs), answer(sql_of(node), tables))


def test_a_side_whose_key_is_the_joins_or_that_only_grows_is_not(engine: Engine) -> None:
    for keys, is_growing in ((("k",), False), (("x",), True)):
        l_scan = scan("l", {"k": "INTEGER", "x": "BIGINT"}, append_only=is_growing)
        r_scan = scan("r", {"rk": "INTEGER"}, append_only=False)
        joined = operator(join(JoinKind.INNER, l_scan, r_scan, 1), engine, relations={"l": (keys,)})
        assert not isinstance(joined._left.rows, Keyed)


@pytest.mark.parametrize("kind", JoinKind)
def test_keys_of_floats_and_nested_values_are_equal_as_duckdb_has_it(
    kind: JoinKind, engine: Engine
) -> None:
    types = {"k": "DOUBLE", "s": "STRUCT(a INTEGER, b DOUBLE[])"}
    l_scan = scan("l", types, append_only=True)
    r_scan = scan("r", {"rk": "DOUBLE", "rs": types["s"]}, append_only=True)
    nan = float("nan")
    values = [{"a": 1, "b": [nan, None]}, {"a": None, "b": [-0.0]}, {"a": None, "b": None}, None]
    others = [{"a": 1, "b": [nan, None]}, {"a": None, "b": [0.0]}, {"a": None, "b": None}, None]
    left = rows_of(l_scan, [(n, v) for n in (0.0, nan, 2.0, None) for v in values])
    right = rows_of(r_scan, [(n, v) for n in (-0.0, nan, 2.5, None) for v in others])
    node = join(kind, l_scan, r_scan)
    sides = [
        [with_hash(Delta(table.to_batches()[0]), keys)]
        for table, keys in ((left, node.left_keys), (right, node.right_keys))
    ]

    outputs = stepped(lambda: operator(node, engine), sides)

    assert_same(sum_of(outputs), answer(sql_of(node), {"l": left, "r": right}))


@pytest.fixture(name="joined")
def left_join(engine: Engine) -> JoinOperator:
    l_scan = scan("l", {"ad": "BIGINT", "n": "BIGINT"}, append_only=True)
    r_scan = scan("r", {"id": "BIGINT", "name": "VARCHAR"}, append_only=False)
    return operator(join(JoinKind.LEFT, l_scan, r_scan, keys=1), engine)


def clicks(rows: str) -> Delta:
    return delta("  ad:BIGINT n:BIGINT" + rows, keys=["ad"])


def names(rows: str) -> Delta:
    return delta("  id:BIGINT name:VARCHAR" + rows, keys=["id"], weighted=True)


def test_the_first_match_of_a_left_row_withdraws_its_nulls(joined: JoinOperator) -> None:
    joined.step([clicks("\n+ 1 5"), names("")], Epoch(1, 0, 0, {}))

    out = joined.step([clicks(""), names("\n+ 1 shoes")], Epoch(2, 0, 0, {}))

    assert text(out) == "  ad n id   name\n+ 1  5 1    shoes\n- 1  5 null null"


def test_a_renamed_right_row_replaces_its_pairs_without_showing_nulls(joined: JoinOperator) -> None:
    joined.step([clicks("\n+ 1 5"), names("\n+ 1 shoes")], Epoch(1, 0, 0, {}))

    out = joined.step([clicks(""), names("\n- 1 shoes\n+ 1 boots")], Epoch(2, 0, 0, {}))

    assert text(out) == "  ad n id name\n- 1  5 1  shoes\n+ 1  5 1  boots"


def ticked(change: Delta, *ticks: int) -> Delta:
    return Delta(change.rows.append_column(TICK, pa.array(ticks, pa.int64())))


def test_a_pair_has_the_tick_of_its_side_that_changed_last(engine: Engine) -> None:
    l_scan = scan("l", {"ad": "BIGINT", "n": "BIGINT"}, append_only=True)
    r_scan = scan("r", {"id": "BIGINT", "name": "VARCHAR"}, append_only=False)
    joined = operator(join(JoinKind.INNER, l_scan, r_scan, keys=1), engine, ticks=True)

    both = [ticked(clicks("\n+ 1 5\n+ 1 6"), 3, 9), ticked(names("\n+ 1 shoes"), 7)]
    first = joined.step(both, Epoch(1, 0, 9, {}))
    later = [ticked(clicks("\n+ 1 8"), 12), ticked(names("\n+ 1 boots"), 11)]
    second = joined.step(later, Epoch(2, 0, 12, {}))

    assert first.ticks is not None and sorted(first.ticks) == [7, 9]
    assert second.ticks is not None
    shown = zip(second.rows.column("n").to_pylist(), second.ticks.tolist(), strict=True)
    assert sorted(shown) == [(5, 11), (6, 11), (8, 12), (8, 12)]


def test_a_left_row_without_a_key_needs_no_state(joined: JoinOperator) -> None:
    out = joined.step([clicks("\n+ null 5"), names("")], Epoch(1, 0, 0, {}))

    assert text(out) == "  ad   n id   name\n+ null 5 null null"
    assert joined.state_size()[0] == 0

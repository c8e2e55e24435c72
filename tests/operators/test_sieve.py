"""What is sieved in numpy comes out as if DuckDB had chosen it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.delta.delta import TICK, WEIGHT
from headwater.operators import feed as module
from headwater.operators import sieve as sieving
from headwater.operators.feed import Feed
from headwater.operators.masks import _remainder
from headwater.operators.statement import Engine
from headwater.plan.nodes import Map, Node, Scan
from headwater.schema.schema import Schema
from headwater.state.afar import Unread
from operators.running import expression, schema, table, unread

KINDS = {"tiny": "TINYINT", "n": "INTEGER", "big": "BIGINT", "some": "USMALLINT", "name": "VARCHAR"}
ROWS = schema(**KINDS)
LIMITS = {"tiny": 7, "n": 31, "big": 63}
slow = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def numbers(bits: int, *, is_signed: bool = True) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits), (1 << bits) - 1) if is_signed else (0, (1 << bits) - 1)
    return st.sampled_from([low, low + 1, high]) | st.integers(max(low, -20), min(20, high))


row = st.tuples(
    *(numbers(bits) for bits in LIMITS.values()),
    numbers(16, is_signed=False),
    st.none() | st.sampled_from(["", "a", "zürich"]),
)
CONDITIONS = [
    "big % 7 = 0",
    "(big % 7) = (0)",
    "big % 7 <> 0 AND tiny % 3 = 0",
    "n % 5 = 2 OR n % 5 = -2",
    "n % 5 < tiny",
    "tiny % 1000 = -128 OR some % 1000 = 535",
    "some % 2 = 1",
    "big % 9223372036854775807 = 1",
    "big % 9223372036854775807 = 0",
    "NOT (tiny % 3 = 0) AND some >= 3",
    "0 = n % 4",
    "n BETWEEN -3 AND 5 AND big <= n",
    "big > 3 AND n IS NOT NULL",
    "tiny IS NOT NULL",
]
OTHERS = [
    "big % 0 = 0",
    "big % -1 = 0",
    "n % tiny = 0",
    "n % 2.5 = 0",
    "name = 'a'",
    "abs(n) = 3",
    "random() < 2",
    "3 % 2 = 1",
    "big % 18446744073709551616 = 1",
]


def stretch(condition: str, **columns: str) -> Map:
    scan = Scan("t", ROWS, append_only=False, ticks=True)
    projections = tuple((name, expression(text)) for name, text in columns.items())
    shown = schema(**{name: KINDS[text] for name, text in columns.items()})
    return Map(scan, projections, expression(condition), shown)


def given_table(rows: list[Any]) -> pa.Table:
    hidden = {WEIGHT: [1 - 2 * (n % 2) for n in range(len(rows))], TICK: list(range(len(rows)))}
    return table(ROWS, rows, **hidden)


def fed(node: Node, engine: Engine, keys: list[str] | None = None) -> Feed:
    return Feed(node, given_table([]).schema, keys, [WEIGHT, TICK], engine)


def both_ways(
    monkeypatch: pytest.MonkeyPatch, feed: Feed, rows: pa.Table | Unread
) -> list[pa.Table]:
    """What DuckDB makes of the rows, and what comes out when there are enough of them."""
    answers = []
    for rows_min in (1 << 40, 1):
        monkeypatch.setattr(module, "ROWS_MIN", rows_min)
        failed: list[pa.RecordBatch] = []
        answers.append(feed.changed(rows, failed).rows)
        assert not failed
    return answers


def sieved(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Notes whether rows were sieved, each time when it was tried."""
    noted: list[bool] = []
    run = sieving.Sieve.run

    def noting(self: sieving.Sieve, rows: pa.Table) -> pa.Table | None:
        found = run(self, rows)
        noted.append(found is not None)
        return found

    monkeypatch.setattr(sieving.Sieve, "run", noting)
    return noted


@pytest.mark.parametrize("condition", CONDITIONS)
@slow
@given(rows=st.lists(row, min_size=1, max_size=12), data=st.data(), hashed=st.booleans())
def test_it_is_as_if_duckdb_had_done_it(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    condition: str,
    rows: list[Any],
    data: st.DataObject,
    hashed: bool,
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sieving, "_BLOCK_ROWS", data.draw(st.integers(1, 5)))
        noted = sieved(patched)
        feed = fed(
            stretch(condition, shown="big", name="name", again="big", small="tiny"),
            engine,
            ["name", "shown"] if hashed else None,
        )
        cut = data.draw(st.integers(0, len(rows)))
        whole = given_table(rows)
        chunked = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
        through, around = both_ways(patched, feed, chunked)
        others = both_ways(patched, feed, unread(chunked))

    assert around.schema.equals(through.schema)
    assert around.to_pylist() == through.to_pylist()
    assert [other.to_pylist() for other in others] == [through.to_pylist()] * 2
    assert noted == [True, True]


@pytest.mark.parametrize("condition", OTHERS)
def test_what_may_mean_something_else_is_left_to_duckdb(engine: Engine, condition: str) -> None:
    assert fed(stretch(condition, big="big"), engine)._way._sieve is None  # type: ignore[union-attr]


def test_rows_in_which_the_condition_meets_a_null_are_left_to_duckdb(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = sieved(monkeypatch)
    feed = fed(stretch("big % 2 = 0 OR n > 0", big="big"), engine)
    rows = [(0, 1, None, 0, None), (0, None, 2, 0, None), (0, None, 3, 0, None)]
    through, around = both_ways(monkeypatch, feed, given_table(rows))

    assert around.to_pylist() == through.to_pylist()
    assert [found["big"] for found in around.to_pylist()] == [None, 2]
    assert noted == [False]


def test_stretches_of_several_steps_are_sieved_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = sieved(monkeypatch)
    below = stretch("big % 2 = 0", a="n", b="tiny", c="big")
    columns = tuple((name, expression(text)) for name, text in {"a": "c", "n": "a"}.items())
    shown = Schema(schema(a="BIGINT", n="INTEGER"))
    node = Map(below, columns, expression("b >= 1 AND a % 3 = 1"), shown)
    rows = [(n % 3, n, n * n, 0, None) for n in range(30)]
    through, around = both_ways(monkeypatch, fed(node, engine), given_table(rows))

    assert around.to_pylist() == through.to_pylist()
    assert [r["n"] for r in around.to_pylist()] == [4, 10, 16, 22, 28]
    assert noted == [True]


def test_rows_of_which_all_stay_are_passed_on_as_they_lie(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_MIN", 1)
    feed = fed(stretch("big >= 0", big="big"), engine)
    rows = given_table([(0, 0, n, 0, None) for n in range(10)])
    answer = feed.answer(rows, []).rows

    given_values = rows.column("big").chunk(0).buffers()[1].address
    assert answer.column("big").chunk(0).buffers()[1].address == given_values


def test_a_remainder_has_the_sign_of_the_number_up_to_the_least() -> None:
    least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    values = np.array([least, least + 1, -8, -7, -1, 0, 1, 7, 8, most], dtype=np.int64)
    for divisor in (1, 2, 7, 123, 1 << 40, int(most)):
        expected = [abs(v) % divisor * (-1 if v < 0 else 1) for v in values.tolist()]
        assert _remainder(values, divisor).tolist() == expected

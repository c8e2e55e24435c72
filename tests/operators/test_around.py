"""What goes around DuckDB comes out as if it had gone through it."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from headwater.delta.delta import TICK, WEIGHT
from headwater.operators import feed as module
from headwater.operators.feed import Feed
from headwater.operators.statement import Engine
from headwater.plan.nodes import Map, Node, Scan, WindowKind, Windows, WindowSpec
from headwater.schema.schema import Schema
from operators.running import expression, schema, table, unread

ROWS = schema(
    n="INTEGER",
    name="VARCHAR",
    tags="VARCHAR[]",
    price="DECIMAL(9, 2)",
    u="UUID",
    ts="TIMESTAMP",
)
TEXTS = ["", "a", "zürich", "a longer text than the others", None]
slow = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
row = st.tuples(
    st.none() | st.integers(-3, 3),
    st.sampled_from(TEXTS),
    st.none() | st.lists(st.sampled_from(TEXTS), max_size=2),
    st.none() | st.integers(-500, 500).map(lambda cents: Decimal(cents) / 100),
    st.sampled_from([None, "12345678-1234-5678-1234-567812345678"]),
    st.integers(0, 30).map(lambda s: datetime(2013, 1, 1) + timedelta(seconds=s)),
)


def projected(below: Node, condition: str | None, **columns: str) -> Map:
    """A map: names and expressions of `columns`, typed as DuckDB would."""
    types = {"name": "VARCHAR", "tags": "VARCHAR[]", "price": "DECIMAL(9, 2)", "u": "UUID"}
    kinds = {**types, "n": "INTEGER", "ts": "TIMESTAMP", "tag": "VARCHAR", "twice": "INTEGER"}
    kinds |= {"start": "TIMESTAMP", "stop": "TIMESTAMP", "title": "VARCHAR"}
    projections = tuple((name, expression(text)) for name, text in columns.items())
    where = None if condition is None else expression(condition)
    shown = schema(**{name: kinds[name] for name in columns})
    return Map(below, projections, where, shown)


def stretches() -> dict[str, Node]:
    scan = Scan("t", ROWS, append_only=False, ticks=True)
    spec = WindowSpec(WindowKind.HOP, "ts", 10_000_000, 5_000_000)
    windowed = Schema((*ROWS, *schema(start="TIMESTAMP", stop="TIMESTAMP")))
    hop = Windows(scan, spec, "start", "stop", windowed)
    every = {name: name for name in ROWS.names}
    return {
        "no filter": projected(scan, None, **{**every, "n": "n * 2"}),
        "constants alone": projected(scan, None, name="name", twice="CAST(NULL AS INTEGER)"),
        "numbers alone": projected(scan, None, n="n", ts="ts", twice="n * 2"),
        "a filter": projected(scan, "n > 0", **every),
        "a filter on a text": projected(scan, "name <> 'a'", **every, twice="n + n"),
        "renamed twice": projected(
            projected(scan, "n < 2", title="name", n="n", tags="tags"),
            "n > -2",
            name="title",
            title="upper(title)",
            tags="tags",
        ),
        "unnested": projected(
            projected(scan, None, name="name", n="n", tag="unnest(tags)"), None, name="name", n="n"
        ),
        "windows": projected(hop, None, name="name", start="start", stop="stop", tags="tags"),
        "a filter above windows": projected(hop, "n <> 1", name="name", price="price"),
    }


@pytest.mark.parametrize("kind", stretches())
@slow
@given(rows=st.lists(row, min_size=1, max_size=12), data=st.data(), hashed=st.booleans())
def test_it_is_as_if_duckdb_had_done_it(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    *,
    kind: str,
    rows: list[Any],
    data: st.DataObject,
    hashed: bool,
) -> None:
    node = stretches()[kind]
    weights = [data.draw(st.sampled_from([1, -1])) for _ in rows]
    given_rows = table(ROWS, rows, **{WEIGHT: weights, TICK: list(range(len(rows)))})
    cut = data.draw(st.integers(0, len(rows)))
    chunked = pa.concat_tables([given_rows.slice(0, cut), given_rows.slice(cut)])
    keys = node.schema.names[:2] if hashed else None
    feed = Feed(node, given_rows.schema, keys, [WEIGHT, TICK], engine)
    answers = []
    for rows_min, changed in itertools.product((1 << 40, 1), (chunked, unread(chunked))):
        monkeypatch.setattr(module, "ROWS_MIN", rows_min)
        failed: list[pa.RecordBatch] = []
        answers.append(feed.changed(changed, failed).rows)
        assert not failed
    through, *others = answers
    for other in others:
        assert other.schema.equals(through.schema)
        assert other.to_pylist() == through.to_pylist()


def test_each_of_these_stretches_has_something_to_let_around(engine: Engine) -> None:
    given_rows = table(ROWS, [], **{WEIGHT: [], TICK: []})
    for node in stretches().values():
        feed = Feed(node, given_rows.schema, None, [WEIGHT, TICK], engine)
        assert feed._way._around is not None  # type: ignore[union-attr]


def test_a_row_that_is_refused_is_told_whole(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS_MIN", 1)
    scan = Scan("t", ROWS, append_only=True)
    node = projected(scan, None, n="CAST(price / n AS INTEGER)", name="name", twice="error(name)")
    assert isinstance(node.projections[2][1], exp.Expr)
    moment = datetime(2013, 1, 1)
    fine = (1, None, None, None, None, moment)
    bad = (1, "wrong", ["x"], None, None, moment)
    failed: list[pa.RecordBatch] = []
    feed = Feed(node, table(ROWS, []).schema, None, [], engine)
    kept = feed.changed(table(ROWS, [fine, bad]), failed)
    assert len(kept) == 1
    (told,) = failed
    assert '"tags":["x"]' in told.column("record")[0].as_py()

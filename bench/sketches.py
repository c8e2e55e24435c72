"""What a row costs in a sketch: the incremental view, and DuckDB's own approximate aggregates.

    python bench/sketches.py [ROWS]

A million rows in 1,000 groups, in epochs of 100,000. `view` is the sketch kept up to date, `batch`
the same sketch in one DuckDB query, `duckdb` what DuckDB calls by that name. One thread each.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import duckdb
import numpy as np
import pyarrow as pa

from headwater.operators.dataflow import Dataflow
from headwater.operators.describe import Describer
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic
from headwater.sql.sketches import exactly_text

EPOCH_ROWS = 100_000
CALLS = (
    "approx_quantile(ms, 0.99)",
    "approx_quantile(ms, [0.5, 0.9, 0.99])",
    "approx_count_distinct(visitor)",
    "approx_top_k(page, 3)",
)


def rows_of(count: int) -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "route": rng.integers(0, 1000, count),
            "visitor": rng.integers(0, count // 3, count),
            "page": rng.zipf(1.3, count) % 500,
            "ms": rng.lognormal(3, 1.5, count),
        }
    )


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def stepping(query: str, rows: pa.Table) -> float:
    """The seconds in which a view takes all rows."""
    topic = declare.topic("t", "route BIGINT, visitor BIGINT, page BIGINT, ms DOUBLE")
    plan = plan_view(declare.view("v", query), {"t": relation_of_topic(topic)}, Describer())
    with Engine() as engine:
        flow = Dataflow(plan.root, engine)
        start = time.perf_counter()
        for first in range(0, rows.num_rows, EPOCH_ROWS):
            flow.step({"t": rows.slice(first, EPOCH_ROWS)}, Epoch(1, 0, 0, {}))
        return time.perf_counter() - start


def main() -> None:
    rows = rows_of(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET lambda_syntax = 'ENABLE_SINGLE_ARROW'")
    connection.execute("CREATE TABLE t AS FROM rows")
    print(f"{'ns a row':42} {'view':>7} {'batch':>7} {'duckdb':>7}")
    for call in CALLS:
        query = f"SELECT route, {call} AS a FROM t GROUP BY route"
        found = [
            stepping(query, rows),
            timed(lambda query=query: connection.sql(exactly_text(query)).to_arrow_table()),
            timed(lambda query=query: connection.sql(query).to_arrow_table()),
        ]
        shown = " ".join(f"{1e9 * seconds / rows.num_rows:7.0f}" for seconds in found)
        print(f"{call:42} {shown}")


if __name__ == "__main__":
    main()

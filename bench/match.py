"""How fast patterns are matched: events a second, by pattern, and the cost of an epoch.

    python bench/match.py [--rows 1000000] [--partitions 1000] [--epochs 10]

Rows of a random walk in each partition are stepped through the dataflow of a view, in epochs, the
watermark one second behind. Figures are of one run, with the state's rows at their highest. DuckDB
has no MATCH_RECOGNIZE to compare with.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from headwater.delta.delta import TICK
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.dataflow import Dataflow
from headwater.operators.describe import Describer
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.sql import declare
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic

TOPIC = declare.topic("t", "k BIGINT, x BIGINT, y DOUBLE, ts TIMESTAMP", event_time="ts")
CLAUSE = "SELECT * FROM t MATCH_RECOGNIZE (PARTITION BY k ORDER BY ts {})"
PATTERNS = {
    "three steps, of one row each": "MEASURES a.ts AS since, c.x AS x PATTERN (a b c) "
    "DEFINE a AS x > 90, b AS x BETWEEN 40 AND 60, c AS x < 10",
    "a rise, over PREV": "MEASURES first(up.x) AS low, last(up.x) AS high PATTERN (up{4,} down) "
    "DEFINE up AS x > prev(x), down AS x <= prev(x)",
    "looking back at a row": "MEASURES a.x AS x, count(b.*) AS n PATTERN (a b{2,} c) "
    "WITHIN INTERVAL '10 minutes' DEFINE a AS x > 90, b AS b.x < a.x, c AS c.x >= a.x",
    "nothing follows": "MEASURES a.ts AS seen PATTERN (a $) WITHIN INTERVAL '20 seconds'",
}


def rows_of(count: int, partitions: int) -> pa.Table:
    random = np.random.default_rng(1)
    times = np.arange(count, dtype=np.int64) * 10_000
    columns = {
        "k": random.integers(0, partitions, count),
        "x": random.integers(0, 100, count),
        "y": random.random(count),
        "ts": pa.array(times, pa.timestamp("us")),
        TICK: np.arange(count, dtype=np.int64),
    }
    return pa.table(columns)


def measure(engine: Engine, clause: str, rows: pa.Table, epochs: int) -> tuple[float, int, int]:
    """Seconds, matches, and the most rows that were remembered."""
    view = declare.view("v", CLAUSE.format(clause))
    with Describer() as describe:
        root = plan_view(view, {"t": relation_of_topic(TOPIC)}, describe).root
    flow = Dataflow(root, engine)
    cuts = np.linspace(0, rows.num_rows, epochs + 1).astype(int)
    times = rows.column("ts").cast(pa.int64()).to_numpy()
    matches = state = 0
    last = BEFORE_ALL
    start = time.perf_counter()
    for number in range(epochs):
        part = rows.slice(cuts[number], cuts[number + 1] - cuts[number])
        ticks = np.arange(cuts[number], cuts[number + 1])
        curve = WatermarkCurve(last, ticks, times[ticks] - 1_000_000)
        last = curve.end_us
        epoch = Epoch(number, 0, int(ticks[-1]), {("t",): curve})
        matches += len(flow.step({"t": part}, epoch))
        state = max(state, flow.state_size()[0])
    end = WatermarkCurve(last, np.array([rows.num_rows]), np.array([AFTER_ALL]))
    matches += len(flow.step({}, Epoch(epochs, 0, rows.num_rows, {("t",): end})))
    return time.perf_counter() - start, matches, state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=1_000)
    parser.add_argument("--epochs", type=int, default=10)
    given = parser.parse_args()
    rows = rows_of(given.rows, given.partitions)
    shown = Table("pattern", "events/s", "matches", "state rows", "ms/epoch")
    with Engine() as engine:
        for name, clause in PATTERNS.items():
            seconds, matches, state = measure(engine, clause, rows, given.epochs)
            rate, epoch = given.rows / seconds, 1_000 * seconds / given.epochs
            shown.add_row(name, f"{rate:,.0f}", f"{matches:,}", f"{state:,}", f"{epoch:.1f}")
    Console().print(shown)


if __name__ == "__main__":
    main()

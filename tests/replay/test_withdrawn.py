"""What is late of rows that others withdraw: the same for any cut, and what the log says it is.

Each case is a view that decides over rows that come and go within an epoch: groups, matches of
joins that do not wait, windows that change, changes that are held.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from random import Random

import numpy as np
import pytest

from headwater.operators.statement import Engine
from headwater.plan.pipeline import ViewDefinition
from headwater.sql import declare
from replay.engine import Flows
from replay.logs import MINUTE_US, Log, bounds_of, log_of
from replay.rows import START_US, Content, answered, plans_of, rows_of

_GROUPS = "SELECT ad, count(*) AS n FROM shows GROUP BY ad"
_COUNTED = (
    "SELECT c.visitor, window_start, g.n, count(*) AS m FROM "
    "TUMBLE(clicks, ts, INTERVAL '1 minute') c JOIN {} g ON c.ad = g.ad GROUP BY ALL"
)
_MATCHES = (
    "SELECT c.ad, c.ts, s.n FROM clicks c LEFT JOIN shows s ON c.ad = s.ad "
    "AND s.at BETWEEN c.ts - INTERVAL '1 minute' AND c.ts + INTERVAL '1 minute'"
)
_NEAR = "x.at BETWEEN j.ts - INTERVAL '30 seconds' AND j.ts + INTERVAL '1 minute'"
_NEWEST = (
    "SELECT visitor, ad, ts FROM clicks "
    "QUALIFY row_number() OVER (PARTITION BY visitor ORDER BY ts DESC, ad) = 1"
)
# The view below, the view that decides, and its lateness.
CASES = (
    ("SELECT 1", _COUNTED.format(f"({_GROUPS})"), None),
    (_GROUPS, _COUNTED.format("below"), "30 seconds"),
    (_GROUPS + " EMIT CHANGES EVERY INTERVAL '1 minute'", _COUNTED.format("below"), "30 seconds"),
    (
        _MATCHES,
        "SELECT window_start, n, count(*) FROM HOP(below, ts, INTERVAL '30 seconds', "
        "INTERVAL '1 minute') GROUP BY ALL",
        None,
    ),
    (
        _MATCHES,
        "SELECT n, window_end, count(*) FROM SESSION(below PARTITION BY n, ts, "
        "INTERVAL '40 seconds') GROUP BY n, window_start, window_end",
        None,
    ),
    (_MATCHES, f"SELECT j.n, x.at FROM below j JOIN shows x ON j.ad = x.ad AND {_NEAR}", None),
    (
        _MATCHES,
        f"SELECT j.n, x.at FROM below j LEFT JOIN shows x ON j.ad = x.ad AND {_NEAR}",
        "20 seconds",
    ),
    (
        "SELECT ad, window_start AS ws, count(*) AS n "
        "FROM TUMBLE(clicks, ts, INTERVAL '1 minute') GROUP BY ALL",
        "SELECT window_start, n, count(*) FROM TUMBLE(below, ws, INTERVAL '2 minutes') "
        "GROUP BY ALL",
        None,
    ),
    (
        "SELECT c.ad, c.ts, s.n FROM clicks c ASOF JOIN shows s ON c.ad = s.ad AND c.ts >= s.at",
        "SELECT window_start, n, count(*) FROM TUMBLE(below, ts, INTERVAL '1 minute') GROUP BY ALL",
        None,
    ),
    (
        _NEWEST,
        "SELECT window_start, ad, count(*) FROM TUMBLE(below, ts, INTERVAL '1 minute') "
        "GROUP BY ALL",
        None,
    ),
    (
        "SELECT 1",
        f"SELECT window_end, visitor, ad FROM HOP(({_NEWEST}), ts, INTERVAL '30 seconds', "
        "INTERVAL '1 minute')",
        "30 seconds",
    ),
    (
        "SELECT 1",
        f"SELECT j.ad, j.ts, x.at FROM ({_NEWEST}) j LEFT JOIN shows x ON j.ad = x.ad AND {_NEAR}",
        None,
    ),
    (
        "SELECT ts, max(ad) AS ad FROM clicks GROUP BY ts",
        "SELECT window_start, sum(ad) FROM TUMBLE(below, ts, INTERVAL '1 minute') GROUP BY ALL",
        None,
    ),
    (
        "SELECT 1",
        "SELECT window_start, before, count(*) FROM TUMBLE((SELECT ts, lag(ad) OVER (PARTITION BY "
        "visitor ORDER BY ts, ad) AS before FROM clicks), ts, INTERVAL '1 minute') GROUP BY ALL",
        None,
    ),
)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("below", "query", "lateness"), CASES)
def test_rows_that_come_and_go_are_late_or_not_whatever_the_cut(
    below: str, query: str, lateness: str | None, seed: int
) -> None:
    views = (
        declare.view("below", below),
        declare.view("v", query, emit="final", lateness=lateness),
    )
    random = Random(seed)
    log = log_of(rows_of(seed, 24, in_time=False), random)
    with Engine() as engine:
        flows = Flows(plans_of(views), engine)
        runs = [
            flows.run(log, bounds, lambda: random.random() < 0.3)["v"]
            for bounds in ([], bounds_of(random, log.count), range(log.count))
        ]

    assert runs[0].late
    assert runs[1] == runs[0]
    assert runs[2] == runs[0]


@pytest.mark.parametrize("lateness_us", [0, MINUTE_US // 2])
def test_a_window_holds_what_its_rows_were_where_it_closed(lateness_us: int) -> None:
    seed = 5
    view = declare.view(
        "v",
        _COUNTED.format(f"({_GROUPS})"),
        emit="final",
        lateness=f"{lateness_us // 1_000_000} seconds",
    )
    log = log_of(rows_of(seed, 24, in_time=False), Random(seed))
    with Engine() as engine:
        found = Flows(plans_of((view,)), engine).run(log, [])["v"]

    assert found.late
    assert found.content == _where_closed(view, log, lateness_us)


def _where_closed(view: ViewDefinition, log: Log, lateness_us: int) -> Content:
    """Each window as batch answers over the rows up to where it takes no more."""
    plain = declare.view("v", view.text)
    curve = log.curve(("clicks", "shows"))
    content: Content = Counter()
    for minute in range(16):
        end_us = START_US + (minute + 1) * MINUTE_US
        closed = int(curve.tick_of(np.array([end_us + lateness_us]))[0])
        answer = answered((plain,), log.rows_until(closed))["v"]
        start = (end_us - MINUTE_US) // 1_000_000
        for row, count in answer.items():
            if row[1].replace(tzinfo=UTC).timestamp() == start:
                content[row] += count
    return content

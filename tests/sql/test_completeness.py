"""Where completeness may stand, and what is said of it elsewhere."""

from __future__ import annotations

import pyarrow as pa
import pytest

from headwater.errors import DefinitionError
from headwater.plan.nodes import Completeness, walk
from headwater.plan.pipeline import Pipeline, ViewPlan
from headwater.replay.batch import batch
from headwater.sql import declare
from headwater.sql.explain import explain
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_topic
from sql.planning import DESCRIBE, RELATIONS, planned

HITS = declare.topic(
    "hits", "server VARCHAR, ts TIMESTAMP", event_time="ts", watermark_by="server", ready=0.9
)
MINUTES = (
    "SELECT completeness(window_end), count(*) AS n FROM TUMBLE(hits, ts, INTERVAL '1 minute') "
)


def over_hits(query: str, accumulation: str = "retracting") -> ViewPlan:
    relations = {**RELATIONS, "hits": relation_of_topic(HITS)}
    return plan_view(declare.view("v", query, accumulation=accumulation), relations, DESCRIBE)


def test_the_column_is_a_share_and_keeps_open_windows() -> None:
    text = explain(over_hits(MINUTES + "GROUP BY window_start, window_end EMIT FINAL"))

    assert "view v (completeness DOUBLE, n BIGINT)" in text
    assert "completeness: the share of the partitions or senders of hits that have passed" in text


def test_where_all_have_passed_the_window_it_is_one() -> None:
    query = "SELECT completeness(window_end) AS c FROM TUMBLE(clicks, ts, INTERVAL '1 minute')"

    plan = planned(query + " GROUP BY window_end EMIT FINAL")

    assert plan.root.append_only
    assert not any(isinstance(node, Completeness) for node in walk(plan.root))
    assert "CAST(1 AS DOUBLE) AS c" in explain(plan)


def test_in_batch_all_has_come() -> None:
    view = declare.view("v", MINUTES + "GROUP BY window_start, window_end EMIT FINAL")
    rows = pa.table({"server": ["a", "b"], "ts": ["2026-01-01 00:00:01", "2026-01-01 00:00:09"]})

    assert batch(Pipeline("t", (HITS,), (view,)), {"hits": rows})["v"].to_pylist() == [
        {"completeness": 1.0, "n": 2}
    ]


REFUSALS = (
    (
        "SELECT round(completeness(window_end), 1) FROM TUMBLE(hits, ts, INTERVAL '1 minute')",
        "stands in the select list of the view, as a column of its own",
    ),
    (
        "SELECT ts FROM TUMBLE(hits, ts, INTERVAL '1 minute') WHERE completeness(window_end) > 0.5",
        "compute with it in a view over this one",
    ),
    ("SELECT completeness(ts) FROM hits", "is of the end of a window"),
    ("SELECT completeness() FROM hits", "is of the end of a window"),
    (
        "SELECT completeness(window_start) FROM TUMBLE(hits, ts, INTERVAL '1 minute')",
        "is of the end of a window",
    ),
    (
        "SELECT completeness(window_end) FROM TUMBLE(notes, at, INTERVAL '1 minute')",
        "completeness() needs a watermark, and notes has no event time",
    ),
    (
        "SELECT completeness(window_end), completeness(window_end) AS c "
        "FROM TUMBLE(hits, ts, INTERVAL '1 minute')",
        "is asked for once",
    ),
)


@pytest.mark.parametrize(("query", "message"), REFUSALS)
def test_elsewhere_it_is_refused(query: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        over_hits(query)

    assert message in str(caught.value)


def test_a_view_that_withdraws_nothing_cannot_correct_it() -> None:
    with pytest.raises(DefinitionError, match="this view withdraws nothing"):
        over_hits(MINUTES + "GROUP BY window_end EMIT FINAL", accumulation="accumulating")

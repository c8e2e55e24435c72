"""Which views may accumulate or discard, and what those that may not are told."""

from __future__ import annotations

import pytest

from headwater.errors import DefinitionError
from headwater.plan.nodes import Panes, walk
from headwater.plan.pipeline import ViewPlan
from headwater.sql import declare
from headwater.sql.explain import explain
from headwater.sql.planner import plan_view
from sql.planning import DESCRIBE, RELATIONS

EVERY = " EMIT CHANGES EVERY INTERVAL '1 minute'"


def planned(query: str, mode: str = "discarding", lateness: str | None = None) -> ViewPlan:
    view = declare.view("v", query, accumulation=mode, lateness=lateness)
    return plan_view(view, RELATIONS, DESCRIBE)


def told(query: str, mode: str = "discarding", lateness: str | None = None) -> str:
    with pytest.raises(DefinitionError) as caught:
        planned(query, mode, lateness)
    return f"{caught.value.message}; {caught.value.hint}"


def test_what_discards_keeps_only_what_it_holds() -> None:
    plan = planned("SELECT ad, count(*) AS n FROM clicks GROUP BY ad" + EVERY)

    assert explain(plan) == (
        "view v (ad BIGINT, n BIGINT)\n"
        "  published every 1 minute of event time: what came since the last time, "
        "and nothing is withdrawn\n"
        "  map ad, count AS n\n"
        "    aggregate by ad: count(*) AS count\n"
        "        for each firing, of the rows since the last\n"
        "      hold rows until the watermark of clicks has passed another 1 minute\n"
        "          keeps the rows that are held\n"
        "        scan clicks: rows of ad"
    )


def test_what_accumulates_forgets_windows_that_are_over() -> None:
    query = (
        "SELECT window_end, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1 hour') "
        "GROUP BY window_end"
    )
    final = explain(planned(query + " EMIT FINAL", "accumulating", "5 minutes"))
    early = planned(query + EVERY, "accumulating", "5 minutes")

    assert "published when a window has closed, and at each row that corrects it: " in final
    assert "keeps one row for each group until no row can be in time for its window_end" in final
    (panes,) = [node for node in walk(early.root) if isinstance(node, Panes)]
    # A row in time may be held for another minute.
    assert (panes.bound, panes.lateness_us) == ("window_end", 360_000_000)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT ad, ts FROM clicks WHERE ad > 1",
        "SELECT ad, ts FROM clicks UNION ALL SELECT ad, at FROM shows",
        "SELECT window_start, count(*) FROM TUMBLE(clicks, ts, INTERVAL '1 minute') "
        "GROUP BY window_start EMIT FINAL",
    ],
)
@pytest.mark.parametrize("mode", ["accumulating", "discarding"])
def test_what_is_never_withdrawn_says_the_same_in_every_mode(query: str, mode: str) -> None:
    assert planned(query, mode).fingerprint == planned(query, "retracting").fingerprint


REFUSALS = (
    ("SELECT ad, count(*) FROM clicks GROUP BY ad", "EMIT CHANGES has no time for it"),
    (
        "SELECT ad, median(price) FROM clicks GROUP BY ad" + EVERY,
        "needs what merges, and here median keeps no partial result",
    ),
    (
        "SELECT window_end, count(*) FROM SESSION(clicks PARTITION BY visitor, ts, "
        "INTERVAL '1 minute') GROUP BY window_end EMIT FINAL",
        "a row may make two of them one; GROUP BY what the sessions are partitioned by",
    ),
    (
        "SELECT campaign, count(*) FROM clicks JOIN campaigns USING (ad) GROUP BY campaign" + EVERY,
        "needs the rows of one topic, and here it would be over a join; aggregate the topic's rows",
    ),
    (
        "SELECT campaign, count(*) FROM campaigns GROUP BY campaign" + EVERY,
        "campaigns has none: its rows can be withdrawn",
    ),
    ("SELECT ad, count(*) FROM notes GROUP BY ad" + EVERY, "notes has none; declare one"),
    ("SELECT DISTINCT ad FROM clicks" + EVERY, "here is a DISTINCT; GROUP BY the columns instead"),
    (
        "SELECT ad, count(*) AS n FROM clicks GROUP BY ad ORDER BY n DESC LIMIT 3" + EVERY,
        "here is a LIMIT, or a choice of the first rows on top; make the GROUP BY a view",
    ),
    (
        "SELECT max(n) FROM (SELECT ad, count(*) AS n FROM clicks GROUP BY ad)" + EVERY,
        "needs the rows of one topic, and here it would be over a GROUP BY; aggregate",
    ),
    (
        "SELECT ad, median(cost) FROM clicks GROUP BY ad" + EVERY,
        "needs what merges, and here median keeps no partial result",
    ),
)


@pytest.mark.parametrize(("query", "message"), REFUSALS)
def test_what_has_no_firings_is_refused_with_the_reason(query: str, message: str) -> None:
    assert message in told(query)


def test_a_group_that_is_no_final_window_is_refused() -> None:
    query = (
        "SELECT ad, max(s) FROM (SELECT ad, window_start AS s FROM "
        "TUMBLE(clicks, ts, INTERVAL '1 minute')) GROUP BY ad EMIT FINAL"
    )

    assert "put window_start and window_end into the GROUP BY" in told(query, lateness="1 minute")


def test_sessions_that_accumulate_are_kept_until_no_row_can_join_them() -> None:
    query = (
        "SELECT visitor, window_start, window_end, count(*) AS n FROM SESSION(clicks PARTITION BY "
        "visitor, ts, INTERVAL '1 minute') GROUP BY ALL"
    )
    final = explain(planned(query + " EMIT FINAL", lateness="5 minutes"))
    early = explain(planned(query + EVERY, "accumulating"))

    assert "published when a window has closed, and at each row that corrects it: " in final
    assert (
        "aggregate by visitor, window_start, window_end, sessions of visitor with a gap of 1 minute"
    ) in final
    assert "for each firing, of the rows since the last" in final
    assert "keeps one row for each session until no row can join it" in final
    assert "holds rows until the watermark of clicks has passed another 1 minute" in early
    assert "for each firing, of all rows so far" in early
    assert early.rstrip().splitlines()[-2].strip() == "keeps one row for each session"

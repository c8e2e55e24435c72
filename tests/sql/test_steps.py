"""Which views decide in steps what is late: those over rows that others withdraw, and no more."""

from __future__ import annotations

import pytest

from headwater.operators.describe import Describer
from headwater.plan.pipeline import ViewPlan
from headwater.plan.steps import ROW_STEP_US, steps_of
from headwater.run.compile import as_read
from headwater.sql import declare
from headwater.sql.explain import explain
from headwater.sql.planner import plan_view
from headwater.sql.relations import relation_of_view
from sql.planning import RELATIONS

MINUTE_US = 60_000_000
COUNTED = (
    "SELECT window_end AS until, count(*) AS n FROM TUMBLE({}, ts, INTERVAL '1 minute') AS w "
    "GROUP BY window_end EMIT FINAL"
)
JOINED = (
    "SELECT window_start, count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL '1 minute') c "
    "JOIN {} x ON c.ad = x.ad GROUP BY window_start EMIT FINAL"
)
HOURS = "SELECT sum(n) FROM TUMBLE({}, until, INTERVAL '1 hour') GROUP BY window_start EMIT FINAL"
NEAR = "c.ad = s.ad AND s.at BETWEEN c.ts - INTERVAL '1 minute' AND c.ts"


def plans(*queries: str, lateness: str | None = None) -> list[ViewPlan]:
    """Views `v0`, `v1`, ..., of which the last has the lateness."""
    relations, found = dict(RELATIONS), []
    with Describer() as describe:
        for number, query in enumerate(queries):
            late = lateness if number == len(queries) - 1 else None
            view = declare.view(f"v{number}", query, lateness=late)
            found.append(plan_view(view, relations, describe))
            relations[view.name] = relation_of_view(found[-1], relations)
    return found


@pytest.mark.parametrize(
    "queries",
    [
        (COUNTED.format("clicks"),),
        (JOINED.format("campaigns"),),
        (JOINED.format("shows"),),
        (JOINED.format("(SELECT DISTINCT ad FROM shows)"),),
        (
            "SELECT c.ts, campaign FROM clicks c LEFT JOIN campaigns USING (ad)",
            COUNTED.format("v0"),
        ),
        (f"SELECT c.ts FROM clicks c JOIN shows s ON {NEAR}", COUNTED.format("v0")),
        (f"SELECT c.ts FROM clicks c LEFT JOIN shows s ON {NEAR} EMIT FINAL", COUNTED.format("v0")),
        (COUNTED.format("clicks"), HOURS.format("v0")),
        (HOURS.format("(" + COUNTED.format("clicks").removesuffix(" EMIT FINAL") + ")"),),
    ],
)
def test_what_changes_row_by_row_needs_no_steps(queries: tuple[str, ...]) -> None:
    found = as_read(plans(*queries))

    assert not any(steps_of(plan.root) or plan.steps for plan in found)


def test_what_is_never_late_needs_no_steps() -> None:
    """The inner windows are corrected as long as the outer ones take rows."""
    inner = COUNTED.format("clicks").removesuffix(" EMIT FINAL")

    (plan,) = plans(HOURS.format(f"({inner})"), lateness="1 minute")

    assert not steps_of(plan.root)


def test_windows_over_groups_decide_where_windows_end() -> None:
    (plan,) = plans(
        JOINED.format("(SELECT ad, sum(n) FROM shows GROUP BY ad)"), lateness="7 seconds"
    )

    (by,) = steps_of(plan.root)
    assert (by.sources, by.step_us, by.phase_us) == (("clicks", "shows"), MINUTE_US, 7_000_000)
    assert "what is withdrawn is late or in time by steps of 1 minute" in explain(plan)


def test_joins_in_time_over_matches_decide_by_the_second() -> None:
    matches = f"SELECT c.ad, c.ts FROM clicks c LEFT JOIN shows s ON {NEAR}"

    below, plan = as_read(
        plans(
            matches,
            "SELECT v0.ad FROM v0 JOIN shows s ON "
            "v0.ad = s.ad AND s.at BETWEEN v0.ts AND v0.ts + INTERVAL '1 minute' "
            "EMIT FINAL",
        )
    )

    (by,) = steps_of(plan.root)
    assert by.step_us == ROW_STEP_US
    assert by.sources == ("clicks", "shows")
    assert not plan.steps
    assert below.steps == {by}


def test_the_views_below_are_stepped_with_those_that_decide() -> None:
    groups = "SELECT ad, count(*) AS n FROM shows GROUP BY ad"
    paced = "SELECT ad, n FROM v0 EMIT CHANGES EVERY INTERVAL '10 seconds'"
    aside = "SELECT ad FROM clicks"

    one, two, by_row, last = as_read(plans(groups, paced, aside, JOINED.format("v1")))

    (by,) = steps_of(last.root)
    (pace,) = two.steps - {by}
    assert (pace.sources, pace.step_us) == (("shows",), 10_000_000)
    assert one.steps == {by, pace}
    assert not by_row.steps

"""A wrong view is refused with the place underlined and a hint that can be typed."""

from __future__ import annotations

from textwrap import dedent

import pytest

from headwater.errors import DefinitionError
from headwater.sql.planner import plan_view
from headwater.sql.statements import parse
from sql.planning import DESCRIBE, RELATIONS, refusal


def test_an_unknown_column_is_refused_in_the_file_it_stands_in() -> None:
    text = "-- ads\nCREATE VIEW v AS\n\nSELECT ad,\n       visitr FROM clicks;\n"
    (definition,) = parse(text, "ads.sql")

    with pytest.raises(DefinitionError) as caught:
        plan_view(definition, RELATIONS, DESCRIBE)  # type: ignore[arg-type]

    assert str(caught.value) == (
        "ads.sql, line 5: there is no column visitr\n"
        "           visitr FROM clicks;\n"
        "           ──────\n"
        "  hint: did you mean visitor?"
    )


REFUSALS = (
    (
        "SELECT c.ad FROM clicks c ASOF RIGHT JOIN shows s ON c.ad = s.ad AND c.ts >= s.at",
        """\
        view v, line 1: an ASOF RIGHT JOIN has no answer while its left side is empty
            SELECT c.ad FROM clicks c ASOF RIGHT JOIN shows s ON c.ad = s.ad AND c.ts >= s.at
                                                      ───────────────────────────────────────
          hint: use ASOF [LEFT] JOIN, and add the right rows without a match with UNION ALL""",
    ),
    (
        "SELECT ad FROM clickz",
        """\
        view v, line 1: there is no topic, table or view called clickz
            SELECT ad FROM clickz
                           ──────
          hint: did you mean clicks?""",
    ),
    (
        "SELECT count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL 'x minute') GROUP BY window_start",
        """\
        view v, line 1: 'x minute' is not a duration
            SELECT count(*) AS n FROM TUMBLE(clicks, ts, INTERVAL 'x minute') GROUP BY window_start
                                      ──────────────────────────────────────
          hint: for example '30 seconds', '500 ms', '1 hour 30 minutes' or '2 days'""",
    ),
    (
        "SELECT 1 FROM TUMBLE((FROM TUMBLE(clicks, ts, INTERVAL '1 day')), ts, INTERVAL '1 hour')",
        """\
        view v, line 1: tumble has a column window_start already
            SELECT 1 FROM TUMBLE((FROM TUMBLE(clicks, ts, INTERVAL '1 day')), ts, INTERVAL '1 hour')
                                                                              ──
          hint: give it another name: SELECT window_start AS start, ... in a query around it""",
    ),
    (
        "SELECT c.add FROM clicks c",
        """\
        view v, line 1: there is no column add
            SELECT c.add FROM clicks c
                     ───
          hint: did you mean ad?""",
    ),
    (
        "SELECT click.ad FROM clicks",
        """\
        view v, line 1: there is no click in FROM
            SELECT click.ad FROM clicks
                   ─────
          hint: did you mean clicks?""",
    ),
    (
        "SELECT summ(cost) FROM clicks",
        """\
        view v, line 1: there is no function summ
            SELECT summ(cost) FROM clicks
                   ─────────
          hint: did you mean sum?""",
    ),
    (
        "SELECT ad, visitor, count(*) FROM clicks GROUP BY ad",
        """\
        view v, line 1: visitor is neither grouped by nor in an aggregate
            SELECT ad, visitor, count(*) FROM clicks GROUP BY ad
                       ───────
          hint: add visitor to GROUP BY, or use any_value(visitor)""",
    ),
    (
        "SELECT ad FROM clicks, campaigns",
        """\
        view v, line 1: ad could be one of several columns
            SELECT ad FROM clicks, campaigns
                   ──
          hint: write clicks.ad or campaigns.ad""",
    ),
    (
        "SELECT sum(visitor) FROM clicks",
        """\
        view v, line 1: No function matches the given name and argument types 'sum(VARCHAR)'
            SELECT sum(visitor) FROM clicks
                   ───────────
          hint: cast the argument to a type that the function takes""",
    ),
    (
        "SELECT visitor\nFROM clicks JOIN notes USING (ad)",
        """\
        view v, line 2: join keys differ in type: clicks.ad is BIGINT, notes.ad is VARCHAR
            FROM clicks JOIN notes USING (ad)
                                          ──
          hint: cast one side, for example CAST(notes.ad AS BIGINT)""",
    ),
    (
        "SELECT 1 FROM clicks c JOIN notes n ON n.ad = c.ad",
        """\
        view v, line 1: join keys differ in type: c.ad is BIGINT, n.ad is VARCHAR
            SELECT 1 FROM clicks c JOIN notes n ON n.ad = c.ad
                                                   ───────────
          hint: cast one side, for example CAST(n.ad AS BIGINT)""",
    ),
    (
        "SELECT now() - ts FROM clicks",
        """\
        view v, line 1: now gives another answer each time it is asked, so a replay would differ
            SELECT now() - ts FROM clicks
                   ───
          hint: compare it with a time of the row: WHERE ts > now() - INTERVAL '1 hour'""",
    ),
    (
        "SELECT ad FROM clicks WHERE ts > now() - INTERVAL '1 month'",
        """\
        view v, line 1: now gives another answer each time it is asked, so a replay would differ
            SELECT ad FROM clicks WHERE ts > now() - INTERVAL '1 month'
                                             ───
          hint: compare it with a time of the row: WHERE ts > now() - INTERVAL '1 hour'""",
    ),
    (
        "SELECT ad FROM clicks WHERE cost > 3 OR ts > now()",
        """\
        view v, line 1: now gives another answer each time it is asked, so a replay would differ
            SELECT ad FROM clicks WHERE cost > 3 OR ts > now()
                                                         ───
          hint: compare it with a time of the row: WHERE ts > now() - INTERVAL '1 hour'""",
    ),
    (
        "SELECT random() FROM clicks",
        """\
        view v, line 1: random gives another answer each time it is asked, so a replay would differ
            SELECT random() FROM clicks
                   ──────
          hint: let the producer put the value into the row""",
    ),
    (
        "SELECT ad, NULL AS nothing FROM clicks",
        """\
        view v, line 1: a column that is always null has no type
            SELECT ad, NULL AS nothing FROM clicks
                               ───────
          hint: give it one, for example CAST(NULL AS VARCHAR)""",
    ),
    (
        "SELECT * FROM clicks TABLESAMPLE 10%",
        """\
        view v, line 1: a sample picks other rows each time, so a replay would differ
            SELECT * FROM clicks TABLESAMPLE 10%
                                             ──
          hint: pick by a hash of the row, for example WHERE hash(id) % 10 = 0""",
    ),
    (
        "SELECT * FROM read_csv('x.csv')",
        """\
        view v, line 1: a view reads topics, tables and views, and no files
            SELECT * FROM read_csv('x.csv')
                          ────────────────
          hint: send the file into a topic: headwater send TOPIC FILE""",
    ),
    (
        "SELECT count(*) FROM TUMBLE(clicks, day, INTERVAL '1 day') GROUP BY window_start",
        """\
        view v, line 1: a window needs a TIMESTAMP, and day is DATE
            SELECT count(*) FROM TUMBLE(clicks, day, INTERVAL '1 day') GROUP BY window_start
                                                ───
          hint: select CAST(day AS TIMESTAMP) AS day in a query around clicks""",
    ),
    (
        "SELECT count(*) FROM TUMBLE(clicks, tss, INTERVAL '1 day') GROUP BY window_start",
        """\
        view v, line 1: there is no column tss
            SELECT count(*) FROM TUMBLE(clicks, tss, INTERVAL '1 day') GROUP BY window_start
                                                ───
          hint: did you mean ts?""",
    ),
    (
        "SELECT count(*) FROM TUMBLE(clicks, ts, INTERVAL '1 month') GROUP BY window_start",
        """\
        view v, line 1: a window's length must be fixed, and a month is not
            SELECT count(*) FROM TUMBLE(clicks, ts, INTERVAL '1 month') GROUP BY window_start
                                 ─────────────────
          hint: use days, hours, minutes or seconds""",
    ),
    (
        "SELECT count(*) FROM HOP(clicks, ts, INTERVAL '1 day') GROUP BY window_start",
        """\
        view v, line 1: HOP takes 4 or 5 arguments, not 3
            SELECT count(*) FROM HOP(clicks, ts, INTERVAL '1 day') GROUP BY window_start
                                 ──────────────
          hint: for example HOP(clicks, ts, INTERVAL '1 minute', INTERVAL '5 minutes')""",
    ),
    (
        "SELECT ad FROM clicks EMIT FINAL",
        """\
        view v, line 1: EMIT FINAL needs a window: without one nothing is ever final
            SELECT ad FROM clicks EMIT FINAL
            ─────────────────────
          hint: use EMIT CHANGES, or read FROM TUMBLE(topic, time, INTERVAL '1 minute')""",
    ),
    (
        "SELECT ad FROM TUMBLE(shows, seen, INTERVAL '1 day') EMIT FINAL",
        """\
        view v, line 1: EMIT FINAL needs the event time of shows, which is at, not seen
            SELECT ad FROM TUMBLE(shows, seen, INTERVAL '1 day') EMIT FINAL
                           ──────────────────
          hint: use at in the window, or EMIT CHANGES""",
    ),
    (
        "SELECT ad FROM TUMBLE(notes, at, INTERVAL '1 day') EMIT FINAL",
        """\
        view v, line 1: EMIT FINAL needs a watermark, and notes has no event time
            SELECT ad FROM TUMBLE(notes, at, INTERVAL '1 day') EMIT FINAL
                           ────────────────
          hint: declare it: WATERMARK FOR at AS at - INTERVAL '10 seconds', or event_time='at'""",
    ),
)


@pytest.mark.parametrize(("query", "message"), REFUSALS)
def test_a_wrong_view_is_refused_at_its_place(query: str, message: str) -> None:
    assert refusal(query) == dedent(message)


def test_lateness_without_a_window_is_refused() -> None:
    assert "lateness needs a window" in refusal("SELECT ad FROM clicks", lateness="1 hour")


def test_final_over_a_computed_time_is_refused() -> None:
    query = """
        SELECT count(*) FROM TUMBLE((SELECT ts + to_seconds(ad) AS t FROM clicks), t,
        INTERVAL '1 day') GROUP BY window_start
    """

    assert "t is computed" in refusal(query, emit="final")


def test_final_over_the_time_of_a_table_is_refused() -> None:
    query = "SELECT count(*) FROM TUMBLE(bids, since, INTERVAL '1 day') GROUP BY window_start"

    assert "rows of table bids are replaced" in refusal(query, emit="final")
    assert "rows of table bids are replaced" in refusal(query, lateness="1 hour")


def test_final_over_a_window_of_a_session_is_refused() -> None:
    query = """
        SELECT count(*) FROM TUMBLE((SELECT w.ts, window_start AS inner_start
        FROM SESSION(clicks, ts, INTERVAL '1 minute') w), ts, INTERVAL '1 day')
        GROUP BY window_end
    """

    assert "cannot decide by ts: it is no end of a session" in refusal(query, emit="final")
    assert "cannot decide by inner_start" in refusal(
        query.replace("), ts, INTERVAL '1 day'", "), inner_start, INTERVAL '1 day'"), emit="final"
    )


@pytest.mark.parametrize(
    ("call", "message", "marked"),
    [
        ("SESSION(clicks, ad, ts, INTERVAL '1 day')", "takes a relation, a time and a gap", None),
        ("SESSION(clicks PARTITION BY nobody, ts, '1 day')", "no column nobody", "nobody"),
        ("SESSION(clicks PARTITION BY ad + 1, ts, '1 day')", "partitioned by columns", None),
        ("SESSION(clicks PARTITION BY ad, ts, '0 days')", "more than nothing", None),
        ("CUMULATE(clicks, ts, '7 minutes', '1 hour')", "a whole number of steps", None),
        ("CUMULATE(clicks, ts, '7 minutes')", "takes 4 or 5 arguments, not 3", None),
    ],
)
def test_arguments_of_windows_that_do_not_fit_are_refused(
    call: str, message: str, marked: str | None
) -> None:
    told = refusal(f"SELECT 1 FROM {call}")

    assert message in told
    if marked is not None:
        _, text, line, *_ = told.split("\n")
        assert text[line.index("─") : line.rindex("─") + 1] == marked


def test_emit_final_of_an_asof_join_needs_event_times_on_both_sides() -> None:
    message = refusal(
        "SELECT c.ad, n.note FROM clicks c ASOF JOIN notes n ON c.visitor = n.ad AND c.ts >= n.at",
        emit="final",
    )

    assert "EMIT FINAL needs event times on both sides of an ASOF JOIN" in message
    assert "hint: declare them, WATERMARK FOR ts" in message

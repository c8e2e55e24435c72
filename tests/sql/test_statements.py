"""SQL text and Python calls give equal definitions; what is wrong is refused at its place."""

from __future__ import annotations

import pytest

from headwater.errors import DefinitionError
from headwater.plan.pipeline import (
    Accumulation,
    Emit,
    SinkDefinition,
    TopicDefinition,
    ViewDefinition,
)
from headwater.sql import declare
from headwater.sql.statements import parse

ADTECH = """
-- what visitors click; one row each
CREATE TOPIC clicks (ad BIGINT, visitor VARCHAR, cost DECIMAL(12, 6), ts TIMESTAMP,
                     WATERMARK FOR ts AS ts - INTERVAL '30 seconds')
WITH (idle = '1 minute', future_max = '2 hours', partitions = 2);
CREATE TABLE campaigns (ad BIGINT PRIMARY KEY, campaign VARCHAR /* ; not the end */);
CREATE VIEW spend WITH (lateness = '1 hour') AS
SELECT campaign, window_start, sum(cost) AS spend
FROM TUMBLE(clicks, ts, INTERVAL '1 minute') JOIN campaigns USING (ad)
WHERE visitor <> ';'
GROUP BY ALL
EMIT FINAL;
CREATE SINK spend_lake FROM spend INTO parquet (path = 'lake/spend', rows_max = 1000)
"""


def one(text: str) -> object:
    (definition,) = parse(text)
    return definition


def refused(text: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        parse(text, "app.sql")
    return str(caught.value)


def test_a_topic_in_sql_equals_the_same_topic_in_python() -> None:
    assert parse(ADTECH)[0] == declare.topic(
        "clicks",
        "ad BIGINT, visitor VARCHAR, cost DECIMAL(12, 6), ts TIMESTAMP",
        event_time="ts",
        delay="30 seconds",
        idle="1 minute",
        future_max="2 hours",
        partitions=2,
    )


def test_a_topic_with_senders_in_sql_equals_the_same_in_python() -> None:
    text = """CREATE TOPIC hits (server VARCHAR, ts TIMESTAMP, WATERMARK FOR ts AS ts)
              WITH (watermark_by = 'Server', ready = 0.95)"""

    topic = one(text)

    assert topic == declare.topic(
        "hits",
        "server VARCHAR, ts TIMESTAMP",
        event_time="ts",
        watermark_by="server",
        ready=0.95,
    )
    assert isinstance(topic, TopicDefinition)
    assert topic.watermark_by == "server"
    assert not topic.schema["server"].nullable


@pytest.mark.parametrize(
    ("options", "underlined", "message", "hint"),
    [
        ("watermark_by = 'serv'", "'serv'", "no column serv", "did you mean server?"),
        ("watermark_by = 'load'", "'load'", "load is DOUBLE", "use a VARCHAR or a whole number"),
        ("ready = 0.9", "0.9", "nothing tells them apart", "watermark_by = 'server'"),
        ("watermark_by = 'server', ready = 95", "'server'", "ready is 95", "ready = 0.95"),
        ("ready = 'most', watermark_by = 'server'", "'most'", "ready is most", "ready = 0.95"),
    ],
)
def test_wrong_senders_are_underlined(
    options: str, underlined: str, message: str, hint: str
) -> None:
    columns = "server VARCHAR, load DOUBLE, ts TIMESTAMP, WATERMARK FOR ts AS ts"
    text = f"CREATE TOPIC hits ({columns}) WITH ({options})"

    lines = refused(text).splitlines()

    assert message in lines[0]
    start = lines[1].index(underlined)
    assert lines[2].strip() == "─" * len(underlined)
    assert lines[2].index("─") == start
    assert hint in lines[3]


def test_versions_in_sql_equal_the_same_in_python() -> None:
    text = """CREATE TABLE offers (id BIGINT PRIMARY KEY, updated TIMESTAMP)
              WITH (newest_by = 'Updated')"""

    table = one(text)

    columns = "id BIGINT, updated TIMESTAMP"
    assert table == declare.topic("offers", columns, key="id", newest_by="updated")
    assert isinstance(table, TopicDefinition)
    assert table.newest_by == "updated"


def test_deletions_in_sql_equal_the_same_in_python() -> None:
    text = "CREATE TABLE offers (id BIGINT PRIMARY KEY, gone BOOLEAN) WITH (deleted_by = 'Gone')"

    table = one(text)

    assert table == declare.topic("offers", "id BIGINT, gone BOOLEAN", key="id", deleted_by="gone")
    assert isinstance(table, TopicDefinition)
    assert table.deleted_by == "gone"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("TABLE t (id BIGINT PRIMARY KEY, b INT) WITH (deleted_by = 'b')", "b is INT", "gone BOOL"),
        ("TABLE t (b BOOLEAN PRIMARY KEY) WITH (deleted_by = 'b')", "part of the key", "gone BOOL"),
        ("TABLE t (id BIGINT PRIMARY KEY) WITH (deleted_by = 'b')", "no column b", "columns"),
        ("TOPIC t (b BOOLEAN) WITH (deleted_by = 'b')", "no primary key", "name its key"),
    ],
)
def test_wrong_deletions_are_refused(text: str, message: str, hint: str) -> None:
    lines = refused(f"CREATE {text}").splitlines()

    assert message in lines[0]
    assert hint in lines[-1]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            "TABLE t (id BIGINT PRIMARY KEY, v VARCHAR) WITH (newest_by = 'v')",
            "v is VARCHAR",
            "BIGINT",
        ),
        ("TABLE t (id BIGINT PRIMARY KEY) WITH (newest_by = 'w')", "no column w", "columns"),
        ("TOPIC t (id BIGINT, v BIGINT) WITH (newest_by = 'v')", "no primary key", "name its key"),
    ],
)
def test_wrong_versions_are_refused(text: str, message: str, hint: str) -> None:
    lines = refused(f"CREATE {text}").splitlines()

    assert message in lines[0]
    assert "─" in lines[2]
    assert hint in lines[3]


def test_senders_need_an_event_time() -> None:
    assert "no event time" in refused(
        "CREATE TOPIC hits (server VARCHAR) WITH (watermark_by = 'server')"
    )


def test_a_table_in_sql_equals_the_same_table_in_python() -> None:
    assert parse(ADTECH)[1] == declare.topic("campaigns", "ad BIGINT, campaign VARCHAR", key="ad")


def test_a_view_in_sql_equals_the_same_view_in_python() -> None:
    assert parse(ADTECH)[2] == declare.view(
        "spend",
        """
        SELECT campaign, window_start, sum(cost) AS spend
        FROM TUMBLE(clicks, ts, INTERVAL '1 minute') JOIN campaigns USING (ad)
        WHERE visitor <> ';'
        GROUP BY ALL
        """,
        emit="final",
        lateness="1 hour",
    )


def test_the_emit_clause_may_end_a_query_in_python() -> None:
    query = "SELECT window_start, count(*) AS n FROM TUMBLE(c, ts, INTERVAL '1 s') GROUP BY ALL"

    assert declare.view("v", f"{query} EMIT FINAL") == declare.view("v", query, emit="final")


def test_a_sink_keeps_its_options_as_text() -> None:
    assert parse(ADTECH)[3] == SinkDefinition(
        "spend_lake", "spend", "parquet", {"path": "lake/spend", "rows_max": "1000"}
    )


@pytest.mark.parametrize(
    ("clause", "emit"),
    [
        ("", Emit.CHANGES),
        ("EMIT CHANGES", Emit.CHANGES),
        ("emit final", Emit.FINAL),
        ("EMIT ON WINDOW CLOSE;", Emit.FINAL),
    ],
)
def test_the_emit_clause_says_when_a_view_publishes(clause: str, emit: Emit) -> None:
    view = one(f"CREATE VIEW v AS SELECT a FROM t {clause}")

    assert isinstance(view, ViewDefinition)
    assert (view.emit, view.text) == (emit, "SELECT a FROM t")


def test_final_without_lateness_is_final_at_once() -> None:
    view = one("CREATE VIEW v AS SELECT a FROM t EMIT FINAL")

    assert isinstance(view, ViewDefinition)
    assert view.lateness_us == 0


def test_a_column_may_be_called_emit() -> None:
    view = one("CREATE VIEW v AS SELECT a AS emit, emit.b FROM emit")

    assert isinstance(view, ViewDefinition)
    assert view.text == "SELECT a AS emit, emit.b FROM emit"


def test_a_watermark_in_sql_names_the_event_time() -> None:
    topic = one("CREATE TOPIC t (at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '2 seconds')")

    assert isinstance(topic, TopicDefinition)
    assert (topic.event_time, topic.delay_us) == ("at", 2_000_000)


def test_an_empty_text_declares_nothing() -> None:
    assert parse(" -- nothing ; here\n;;") == ()


def test_an_unknown_option_is_refused_with_the_near_one() -> None:
    assert refused(
        "CREATE TOPIC a (x INT);\nCREATE VIEW v WITH (latenes = '1 hour') AS SELECT 1"
    ) == (
        "app.sql, line 2: there is no option latenes\n"
        "    CREATE VIEW v WITH (latenes = '1 hour') AS SELECT 1\n"
        "                        ───────\n"
        "  hint: did you mean lateness?"
    )


def test_a_query_that_cannot_be_read_is_refused_at_its_line() -> None:
    assert refused("CREATE VIEW v AS\nSELECT a\nFROM t WHERE WHERE b") == (
        "app.sql, line 3: WHERE does not fit here\n"
        "    FROM t WHERE WHERE b\n"
        "                 ─────\n"
        "  hint: the dialect is DuckDB's: https://duckdb.org/docs/stable/sql/introduction"
    )


def test_a_quote_that_is_not_closed_is_refused() -> None:
    assert refused("CREATE TOPIC a (x INT);\nCREATE VIEW v AS SELECT 'abc FROM a") == (
        "app.sql, line 2: a text that begins with ' does not end\n"
        "    CREATE VIEW v AS SELECT 'abc FROM a\n"
        "                            ─\n"
        "  hint: close it with '"
    )


def test_a_bracket_that_is_not_closed_is_refused() -> None:
    assert refused("CREATE TOPIC a (x INT") == (
        "app.sql, line 1: this bracket is not closed\n"
        "    CREATE TOPIC a (x INT\n"
        "                   ─\n"
        "  hint: add the missing )"
    )


def test_an_error_in_a_column_list_is_placed_in_the_whole_text() -> None:
    assert refused("CREATE TOPIC a (x INT);\nCREATE TOPIC b (y BIGINTT)").startswith(
        "app.sql, line 2: "
    )


def test_a_table_without_a_key_is_refused() -> None:
    assert refused("CREATE TABLE t (a INT)") == (
        "app.sql, line 1: table t has no primary key\n"
        "    CREATE TABLE t (a INT)\n"
        "                 ─\n"
        "  hint: add PRIMARY KEY to a column, or create a TOPIC"
    )


def test_another_statement_is_refused() -> None:
    assert refused("CREATE INDEX i ON t (a)") == (
        "app.sql, line 1: expected TOPIC, TABLE, VIEW or SINK, not INDEX\n"
        "    CREATE INDEX i ON t (a)\n"
        "           ─────\n"
        "  hint: what can be created: TOPIC, TABLE, VIEW, SINK"
    )


def test_the_interval_of_a_paced_view_is_read() -> None:
    (view,) = parse("CREATE VIEW v AS SELECT a FROM t EMIT CHANGES EVERY INTERVAL '90 seconds';")

    assert isinstance(view, ViewDefinition)
    assert (view.emit, view.every_us) == (Emit.CHANGES, 90_000_000)


@pytest.mark.parametrize(
    ("interval", "message"),
    [
        ("", "EVERY what?"),
        (" INTERVAL '1 month'", "a window's length must be fixed"),
        (" INTERVAL '0 seconds'", "more often than always"),
        (" a b c", "expected an interval"),
    ],
)
def test_an_interval_that_is_none_is_refused(interval: str, message: str) -> None:
    assert message in refused(f"CREATE VIEW v AS SELECT a FROM t EMIT CHANGES EVERY{interval}")


def test_a_view_says_what_it_publishes_when_a_result_changes() -> None:
    (view,) = parse("CREATE VIEW v WITH (accumulation = Discarding) AS SELECT a FROM t")

    assert isinstance(view, ViewDefinition)
    assert view.accumulation is Accumulation.DISCARDING


def test_an_accumulation_that_is_none_is_refused_at_its_place() -> None:
    assert refused("CREATE VIEW v WITH (accumulation = discard) AS SELECT 1") == (
        "app.sql, line 1: there is no accumulation 'discard'\n"
        "    CREATE VIEW v WITH (accumulation = discard) AS SELECT 1\n"
        "                                       ───────\n"
        "  hint: did you mean discarding?"
    )


def test_a_lateness_that_is_no_duration_is_refused_at_its_place() -> None:
    assert "line 1" in refused("CREATE VIEW v WITH (lateness = 'soon') AS SELECT 1")


def test_two_contradicting_emits_are_refused() -> None:
    with pytest.raises(DefinitionError, match="say it once"):
        declare.view("v", "SELECT 1 EMIT CHANGES", emit="final")


def test_a_view_of_two_statements_is_refused() -> None:
    with pytest.raises(DefinitionError, match="a view is one SELECT"):
        declare.view("v", "SELECT 1; SELECT 2")


def test_an_event_time_that_is_no_column_is_refused() -> None:
    with pytest.raises(DefinitionError, match="did you mean ts"):
        declare.topic("t", "a INT, ts TIMESTAMP", event_time="tss")


def test_an_event_time_that_is_no_timestamp_is_refused() -> None:
    with pytest.raises(DefinitionError, match="declare it as d TIMESTAMP"):
        declare.topic("t", "d DATE", event_time="d")

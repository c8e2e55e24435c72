"""PostgreSQL at its worst: stopped, changed by others, refusing values; and its secrets."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

import headwater as hw
from connectors.servers import PostgresServer
from headwater.connectors.postgres import PostgresSink, Target
from headwater.connectors.sink import Followed
from headwater.errors import ConnectorError, DefinitionError, StateError
from headwater.run.live import Live
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.testing.sinks import Story, stories

KEYED = next(story for story in stories() if story.name == "keyed")


def shop(*sinks: hw.sinks.SinkSettings) -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price DECIMAL(9, 2)")
    app.view("totals", "SELECT item, sum(price) AS total, count(*) AS n FROM sales GROUP BY item")
    for number, sink in enumerate(sinks):
        app.sink("totals", sink, name=f"s{number}")
    return app


def sink(server: PostgresServer, table: str, story: Story = KEYED) -> PostgresSink:
    return PostgresSink(story.followed, Target(server.dsn, table))


def written(server: PostgresServer, table: str) -> PostgresSink:
    target = sink(server, table)
    target.position()
    end = KEYED.next_end(0)
    target.write(KEYED.changes(0, end), 0, end)
    return target


def eventually(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def lag(live: Live) -> int:
    return live.status().sinks[0].lag


def test_a_view_is_followed_while_its_server_comes_and_goes(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    app = shop(hw.sinks.Postgres(postgres.dsn, table="public.Totals of shop", every="1 ms"))
    with app.start(tmp_path, listen=None) as live:
        live.send("sales", [{"item": "tea", "price": "1.50"}, {"item": "salt", "price": "1"}])
        live.settle()
        eventually(lambda: lag(live) == 0, "the first rows arrive")
        postgres.stop()
        try:
            live.send("sales", [{"item": "tea", "price": "2.00"}])
            live.settle()
            eventually(lambda: bool(live.status().problems), "the status says so")
            assert "retrying" in live.status().sinks[0].state
        finally:
            postgres.start()
        eventually(lambda: lag(live) == 0, "it goes on by itself")

        rows = postgres.execute('SELECT item, total, n FROM "Totals of shop" ORDER BY item')
        assert rows == [("salt", Decimal("1.00"), 1), ("tea", Decimal("3.50"), 2)]
        assert not live.status().problems


def test_a_server_that_is_away_does_not_hold_up_the_start(tmp_path: Path) -> None:
    dsn = f"host={tmp_path} user=somebody password=hush-hush dbname=none"

    with shop(hw.sinks.Postgres(dsn)).start(tmp_path, listen=None) as live:
        eventually(lambda: bool(live.status().problems), "it says that it tries")
        assert "hush-hush" not in str(live.status())


def test_a_password_is_in_no_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_PASSWORD", "hush-hush")
    settings = hw.sinks.Postgres("host=nowhere.invalid user=me password=${SHOP_PASSWORD} = oops")
    app = shop(settings)

    assert "hush" not in repr(settings) + repr(app.pipeline)
    with pytest.raises(DefinitionError, match="dsn cannot be read") as failure:
        app.start(tmp_path, listen=None)
    assert "hush" not in str(failure.value)


def test_a_dsn_is_read_from_the_environment(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = shop()
    app.sql("CREATE SINK kept FROM totals INTO postgres (dsn_env = 'SHOP_DB', table = 'by_env')")
    with pytest.raises(DefinitionError, match="SHOP_DB, which is not set"):
        app.start(tmp_path / "refused", listen=None)

    monkeypatch.setenv("SHOP_DB", postgres.dsn)
    with app.start(tmp_path / "data", listen=None) as live:
        live.send("sales", [{"item": "tea", "price": "1.50"}])
        live.settle()
    assert postgres.execute("SELECT item, n FROM by_env") == [("tea", 1)]


def test_the_key_of_a_view_is_an_index(postgres: PostgresServer) -> None:
    written(postgres, "indexed").close()

    found = postgres.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'indexed'")
    assert "UNIQUE" in found[0][0]
    assert '("Kind", n)' in found[0][0]


def test_a_table_with_other_columns_is_refused_by_what_differs(postgres: PostgresServer) -> None:
    postgres.execute('CREATE TABLE other ("Kind" text, n integer, more text)')

    with pytest.raises(DefinitionError) as failure:
        sink(postgres, "other").position()

    text = failure.value.message
    assert "n is integer, not bigint" in text
    assert "total is missing, not bigint" in text
    assert "more is text, not there" in text
    assert "Kind" not in text


def test_rows_of_somebody_else_are_not_mixed_with_the_views(postgres: PostgresServer) -> None:
    postgres.execute('CREATE TABLE used ("Kind" text, n bigint, total bigint)')
    postgres.execute("INSERT INTO used VALUES ('a', 1, 1)")

    with pytest.raises(DefinitionError, match="did not write"):
        sink(postgres, "used").position()


def test_a_row_that_somebody_took_away_is_noticed(postgres: PostgresServer) -> None:
    target = written(postgres, "robbed")
    postgres.execute("DELETE FROM robbed")
    position = target.position()
    before = postgres.execute("SELECT position FROM headwater_sinks WHERE target = 'robbed'")

    with pytest.raises(StateError, match="somebody else has changed it"):
        target.write(KEYED.changes(position, KEYED.end), position, KEYED.end)

    target.close()
    assert postgres.execute("SELECT count(*) FROM robbed") == [(0,)]
    after = postgres.execute("SELECT position FROM headwater_sinks WHERE target = 'robbed'")
    assert after == before


def test_a_table_that_was_dropped_is_filled_anew(postgres: PostgresServer) -> None:
    target = written(postgres, "dropped")
    before = postgres.execute("SELECT * FROM dropped ORDER BY 1, 2")
    postgres.execute("DROP TABLE dropped")
    end = KEYED.next_end(0)

    with pytest.raises(ConnectorError):
        target.write(KEYED.changes(end, KEYED.end), end, KEYED.end)
    assert target.position() == 0
    target.write(KEYED.changes(0, end), 0, end)
    target.close()

    assert postgres.execute("SELECT * FROM dropped ORDER BY 1, 2") == before


def test_a_value_that_the_server_cannot_hold_stops_the_sink(postgres: PostgresServer) -> None:
    row = ("a\0b", 1, 1)
    story = Story("nul", KEYED.followed, (((row, 1),),))
    target = sink(postgres, "nul", story)

    with pytest.raises(StateError, match="0x00") as failure:
        target.write(story.changes(0, 1), 0, 1)
    assert "COPY nul, line 1" in failure.value.message


def test_a_type_that_would_lose_digits_is_refused(postgres: PostgresServer) -> None:
    schema = Schema((Column("at", parse_type("TIMESTAMP_NS")),))

    with pytest.raises(DefinitionError, match="no type for at"):
        PostgresSink(Followed("s", "v", schema), Target(postgres.dsn, "precise"))

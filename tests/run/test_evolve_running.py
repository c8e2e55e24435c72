"""Columns change while a pipeline runs: nothing stops, nothing is lost, nothing breaks unsaid."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import headwater as hw
from headwater.cli.main import app as command_line
from headwater.errors import ConflictError, DefinitionError
from headwater.runtime.evolution import Wish, wished

COLUMNS = "ad INTEGER, visitor VARCHAR, debug BOOLEAN"
VISITORS = "SELECT visitor, count(*) AS n FROM clicks GROUP BY visitor"


def app(columns: str = COLUMNS, **views: str) -> hw.App:
    app = hw.App("shop")
    app.topic("clicks", columns)
    app.table("items", "item VARCHAR, price INTEGER, note BOOLEAN", key="item")
    for name, query in (views or {"visitors": VISITORS}).items():
        app.view(name, query)
    return app


def click(**values: Any) -> dict[str, Any]:
    return {"ad": 1, "visitor": "ann", "debug": None, **values}


def test_rows_sent_before_and_after_read_right_and_views_go_on(tmp_path: Path) -> None:
    with app().start(tmp_path, listen=None) as live:
        live.send("clicks", [click()])
        live.send("items", [{"item": "tea", "price": 1, "note": True}])
        done = live.evolve("clicks", widen={"ad": "BIGINT"}, add="cost DOUBLE DEFAULT 0.5")
        assert (done.version, done.applied, done.breaks) == (2, True, ())
        live.evolve("items", drop=["note"], add=["stock INTEGER DEFAULT 9"])
        live.send("clicks", [click(ad=1 << 40), click(visitor="bob", cost=2)])
        live.send("items", [{"item": "tea", "price": 2}, {"item": "salt", "price": 3, "stock": 1}])
        live.settle()
        check(live)
        changes = live.changes("visitors")
    # The program's text is the one of before, and the folder is newer.
    with app().start(tmp_path, listen=None) as live:
        assert len([line for line in live.notices if "goes on with version 2" in line]) == 2
        check(live)
        assert live.changes("visitors").equals(changes)


def check(live: hw.Live) -> None:
    assert live.query("FROM clicks").to_pylist() == [
        {"ad": 1, "visitor": "ann", "debug": None, "cost": 0.5},
        {"ad": 1 << 40, "visitor": "ann", "debug": None, "cost": 0.5},
        {"ad": 1, "visitor": "bob", "debug": None, "cost": 2.0},
    ]
    assert live.query("FROM items ORDER BY item").to_pylist() == [
        {"item": "salt", "price": 3, "stock": 1},
        {"item": "tea", "price": 2, "stock": 9},
    ]
    assert live.content("items").num_rows == 2
    found = live.query("FROM visitors ORDER BY visitor").to_pylist()
    assert found == [{"visitor": "ann", "n": 2}, {"visitor": "bob", "n": 1}]
    assert live.rows("clicks", 1, 1).to_pylist()[0]["ad"] == 1 << 40


def test_each_change_is_a_numbered_version_with_its_place_in_the_log() -> None:
    with app().start(listen=None) as live:
        live.send("clicks", [click(), click()])
        live.evolve("clicks", drop="debug")
        live.send("clicks", [click()])
        live.evolve("clicks", add="debug VARCHAR DEFAULT 'new'")
        versions = live.schemas("clicks")
        assert [(v.number, v.tick) for v in versions] == [(1, 0), (2, 2), (3, 3)]
        assert [v.dropped for v in versions] == [(), ("debug",), ()]
        assert versions[2].text == "ad INTEGER, visitor VARCHAR, debug VARCHAR DEFAULT 'new'"
        assert live.query("SELECT DISTINCT debug FROM clicks").to_pylist() == [{"debug": "new"}]


def test_consumers_go_on_over_a_change() -> None:
    with app().start(listen=None) as live:
        live.send("clicks", [click()])
        group = live.consumers
        group.create("billing", "clicks")
        live.evolve("clicks", add="cost DOUBLE DEFAULT 0.5")
        live.send("clicks", [click(cost=2)])
        live.settle()
        relation = live.rows("clicks")
        assert relation.column("cost").to_pylist() == [0.5, 2.0]
        (status,) = group.all()
        assert status.lag == 2


@pytest.mark.parametrize(
    ("views", "change", "reason", "where"),
    [
        ({"v": VISITORS}, {"drop": "visitor"}, "there is no column visitor", "visitor"),
        ({"v": VISITORS}, {"rename": {"visitor": "user"}}, "there is no column visitor", "visitor"),
        (
            {"v": "SELECT sum(ad) AS n FROM clicks"},
            {"widen": {"ad": "BIGINT"}},
            "it reads ad as INTEGER, which would be BIGINT",
            "sum(ad)",
        ),
        ({"v": "SELECT * FROM clicks"}, {"add": "n INTEGER"}, "it takes all columns", "*"),
        ({"w": "SELECT * FROM clicks", "v": "SELECT ad FROM w"}, {"add": "n INTEGER"}, "all", "*"),
    ],
)
def test_what_would_break_a_view_is_refused_with_its_name_and_place(
    views: dict[str, str], change: dict[str, Any], reason: str, where: str, tmp_path: Path
) -> None:
    made = app(**views)
    made.sink(next(iter(views)), hw.sinks.Parquet(str(tmp_path / "lake")))
    with made.start(listen=None) as live:
        dry = live.evolve("clicks", **change, dry_run=True)
        assert not dry.applied
        view, sink = dry.breaks
        assert (view.kind, view.name) == ("view", next(iter(views)))
        assert reason in view.reason
        assert where in str(view.place)
        assert (sink.kind, sink.name) == ("sink", f"{view.name}_parquet")
        with pytest.raises(DefinitionError, match=f"view {view.name}"):
            live.evolve("clicks", **change)
        assert len(live.schemas("clicks")) == 1
        assert live.send("clicks", [click()]).accepted == 1


@pytest.mark.parametrize(
    ("topic", "change", "why"),
    [
        ("clicks", {"drop": "vistor"}, "did you mean visitor"),
        ("clicks", {"widen": {"ad": "SMALLINT"}}, "ad is INTEGER"),
        ("clicks", {"add": "n INTEGER NOT NULL"}, "without a default"),
        ("clicks", {"add": "ad INTEGER"}, "two columns ad"),
        ("clicks", {"rename": {"ad": "visitor"}}, "two columns visitor"),
        ("clicks", {"add": "k INTEGER PRIMARY KEY"}, "key and watermark"),
        ("items", {"drop": "item"}, "item must stay"),
        ("items", {"widen": {"item": "BLOB"}}, "item is VARCHAR"),
        ("nothing", {"drop": "item"}, "there is no topic nothing"),
    ],
)
def test_what_rows_that_are_there_do_not_fit_is_refused(
    topic: str, change: dict[str, Any], why: str
) -> None:
    with app().start(listen=None) as live:
        with pytest.raises(DefinitionError) as refused:
            live.evolve(topic, **change)
        assert why in str(refused.value)
        assert live.evolve("clicks").changes == ()


def test_views_of_every_kind_do_not_notice_a_column_that_they_do_not_read() -> None:
    made = hw.App("kinds")
    made.topic("clicks", "ad BIGINT, cost BIGINT, note VARCHAR, ts TIMESTAMP", event_time="ts")
    made.table("ads", "ad BIGINT, name VARCHAR, note VARCHAR", key="ad")
    made.view(
        "minutes",
        "SELECT name, window_start, sum(cost) AS cost FROM TUMBLE(clicks, ts, INTERVAL '1 minute') "
        "JOIN ads USING (ad) GROUP BY name, window_start, window_end",
        emit="final",
        lateness="1 day",
    )
    made.view("by_name", "SELECT name, avg(cost) AS cost FROM minutes GROUP BY name")
    made.view("top", "SELECT ad, cost, ts FROM clicks ORDER BY cost DESC, ts, ad LIMIT 3")
    made.view("middle", "SELECT ad, median(cost) AS middle FROM clicks GROUP BY ad")
    made.view("run", "SELECT ad, sum(cost) OVER (PARTITION BY ad ORDER BY ts) AS n FROM clicks")
    made.transform("names", reads="SELECT ad, name FROM ads", columns="name VARCHAR")(
        lambda rows: rows.select([1])
    )
    made.process("seen", reads="SELECT ad, ts FROM clicks", key="ad", columns="ad BIGINT")(
        lambda row, key: {}
    )
    with made.start(listen=None) as live:
        for topic in ("clicks", "ads"):
            done = live.evolve(topic, add="more BIGINT DEFAULT 1", drop="note")
            assert (done.applied, done.breaks) == (True, ())
        live.send("ads", [{"ad": 1, "name": "x"}])
        live.send("clicks", [{"ad": 1, "cost": 2, "ts": "2026-01-01T00:00:00"}])
        live.finish()
        assert live.content("by_name").to_pylist() == [{"name": "x", "cost": 2.0}]
        assert live.content("names").to_pylist() == [{"name": "x"}]


def test_of_two_changes_at_once_one_comes_too_late() -> None:
    with app().start(listen=None) as live:
        runtime = live._runtime
        change = wished(runtime.topics["clicks"].definition, Wish(drop=("debug",)))
        live.evolve("clicks", add="n INTEGER DEFAULT 1")
        with pytest.raises(ConflictError, match="version 2"):
            runtime.evolve("clicks", change, 1)


def test_senders_send_on_while_columns_change() -> None:
    with app().start(listen=None) as live:
        stop, sent = threading.Event(), [0]

        def send() -> None:
            while not stop.is_set():
                assert live.send("clicks", [click(), click(visitor="bob")]).rejected == 0
                sent[0] += 2

        sender = threading.Thread(target=send)
        sender.start()
        for number in range(6):
            live.evolve("clicks", add=f"c{number} BIGINT DEFAULT {number}")
        stop.set()
        sender.join()
        live.settle()
        assert live.query("SELECT count(*) AS n FROM clicks").to_pylist() == [{"n": sent[0]}]
        n = live.query("SELECT sum(n)::BIGINT AS n FROM visitors").to_pylist()
        assert n == [{"n": sent[0]}]
        assert live.query("SELECT DISTINCT c0, c5 FROM clicks").to_pylist() == [{"c0": 0, "c5": 5}]


def test_over_http_and_on_the_command_line() -> None:
    with app().start(listen="127.0.0.1:0") as live:

        def run(*arguments: str) -> Any:
            return CliRunner().invoke(command_line, ["evolve", *arguments, "--to", live.url or ""])

        dry = run("clicks", "--drop", "visitor", "--dry-run")
        assert dry.exit_code == 1
        assert "view visitors would break: there is no column visitor" in dry.output
        done = run(
            "clicks", "--rename", "ad=campaign", "--widen", "ad=BIGINT", "--add", "n INTEGER"
        )
        assert done.exit_code == 0, done.output
        assert "clicks is now version 2" in done.output
        refused = run("clicks", "--drop", "visitor")
        assert isinstance(refused.exception, DefinitionError)
        listed = json.loads(run("clicks", "--json").output)
        assert [version["number"] for version in listed] == [1, 2]
        assert listed[1]["columns"][0]["aliases"] == ["ad"]
        assert "version 2" in run("clicks").output
        assert run("clicks", "--widen", "ad").exit_code == 2


def test_a_deleted_key_stays_deleted_when_columns_change() -> None:
    app = hw.App("shop")
    columns = "item BIGINT, pieces INTEGER, v BIGINT, gone BOOLEAN DEFAULT false"
    app.table("stock", columns, key="item", newest_by="v", deleted_by="gone")
    with app.start(listen=None) as live:
        live.send("stock", [{"item": 1, "pieces": 3, "v": 3}, {"item": 2, "pieces": 3, "v": 3}])
        live.delete("stock", 1, version=5)
        live.evolve("stock", rename={"gone": "deleted", "v": "version"}, add="note VARCHAR")
        row = {"item": 1, "pieces": 4, "version": 4, "note": None}
        live.send("stock", [row, {**row, "item": 3}])
        live.delete("stock", 2, version=4)
        live.settle()

        assert [row["item"] for row in live.content("stock").to_pylist()] == [3]

"""Columns of a topic change from one start to the next, and its older rows are read with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import DefinitionError
from headwater.runtime.runtime import Settings

FIRST = "ad INTEGER, visitor VARCHAR, debug VARCHAR, ts TIMESTAMP"
SECOND = """ad BIGINT, user VARCHAR ALIAS visitor, ts TIMESTAMP,
            cost DECIMAL(12, 2) DEFAULT 0.5, campaign VARCHAR DEFAULT NULL"""
PER_USER = "SELECT {user} AS who, count(*) AS n FROM clicks GROUP BY {user}"
PER_AD = "SELECT ad, count(*) AS n FROM clicks GROUP BY ad"


def app(columns: str, **views: str) -> hw.App:
    app = hw.App("shop")
    app.topic("clicks", columns, event_time="ts")
    for name, query in views.items():
        app.view(name, query)
    return app


def click(**values: Any) -> dict[str, Any]:
    return {"ts": "2026-01-01T00:00:00", **values}


def rows(live: hw.Live, columns: str = "*") -> list[dict[str, Any]]:
    table = live.query(f"SELECT {columns} FROM clicks")
    assert isinstance(table, pa.Table)
    return table.drop(["ts"]).to_pylist() if columns == "*" else table.to_pylist()


def test_old_rows_are_read_with_the_newest_columns(tmp_path: Path) -> None:
    with app(FIRST).start(tmp_path, listen=None) as live:
        live.send(
            "clicks", [click(ad=1, visitor="ann", debug="x"), click(ad=2, visitor=None, debug="")]
        )
    with app(
        SECOND.replace(
            ", campaign VARCHAR DEFAULT NULL", ", debug VARCHAR, campaign VARCHAR DEFAULT NULL"
        )
    ).start(tmp_path, listen=None) as live:
        assert any("version 2" in line and "widens ad" in line for line in live.notices)
    with app(SECOND).start(tmp_path, listen=None) as live:
        assert any("version 3 drops debug" in line for line in live.notices)
        live.send("clicks", [click(ad=1 << 40, user="bob", cost="7.25", campaign="c")])
        live.settle()
        assert rows(live, "ad, user, cost::VARCHAR AS cost, campaign") == [
            {"ad": 1, "user": "ann", "cost": "0.50", "campaign": None},
            {"ad": 2, "user": None, "cost": "0.50", "campaign": None},
            {"ad": 1 << 40, "user": "bob", "cost": "7.25", "campaign": "c"},
        ]
    with app(SECOND).start(tmp_path, listen=None) as live:
        assert live.notices == []
        assert len(rows(live)) == 3


def test_senders_may_use_the_old_name_leave_out_new_columns_and_still_send_dropped_ones(
    tmp_path: Path,
) -> None:
    with app("visitor VARCHAR, debug VARCHAR, ts TIMESTAMP").start(tmp_path, listen=None) as live:
        live.send("clicks", [click(visitor="ann", debug="x")])
    with app("user VARCHAR ALIAS visitor, ts TIMESTAMP").start(tmp_path, listen=None) as live:
        assert (
            live.send("clicks", [click(visitor="bob", debug="x"), click(user="cat")]).accepted == 2
        )
        body = b'{"visitor":"dan","debug":"y","ts":"2026-01-01"}\n' * 200
        assert live.send("clicks", body).accepted == 200
        table = pa.table({"visitor": ["eve"], "debug": ["z"], "ts": ["2026-01-01 00:00:00"]})
        assert live.send("clicks", table).accepted == 1
        csv = b"debug,visitor,ts\nq,fay,2026-01-01\n"
        assert live.send("clicks", csv, form="csv").accepted == 1
        both = live.send("clicks", [click(visitor="x", user="y")])
        assert both.rejected == 1
        assert "twice" in both.rejections[0].reason
        users = [row["user"] for row in rows(live, "user")]
        assert [users[0], *users[1:3], *users[-2:]] == ["ann", "bob", "cat", "eve", "fay"]


def test_a_view_that_reads_no_changed_column_keeps_its_state(tmp_path: Path) -> None:
    views = {"per_user": PER_USER.format(user="visitor")}
    with app("visitor VARCHAR, ad INTEGER, ts TIMESTAMP", **views).start(
        tmp_path, listen=None
    ) as live:
        live.send("clicks", [click(visitor="ann", ad=1)])
        live.settle()
        before = live.changes("per_user")
    wider = "visitor VARCHAR, ad BIGINT, ts TIMESTAMP, cost DOUBLE DEFAULT 1.5"
    with app(wider, **views).start(tmp_path, listen=None) as live:
        assert not any("rebuilt" in line for line in live.notices)
        assert live.changes("per_user").equals(before)
        live.send("clicks", [click(visitor="ann", ad=1 << 40)])
        live.settle()
        assert live.content("per_user").to_pylist() == [{"who": "ann", "n": 2}]


def test_a_view_that_reads_a_wider_column_is_a_changed_view(tmp_path: Path) -> None:
    with app(FIRST, per_ad=PER_AD).start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=1, visitor="ann", debug="x")])
        live.settle()
    wider = app(FIRST.replace("INTEGER", "BIGINT"), per_ad=PER_AD)
    with pytest.raises(DefinitionError, match="per_ad"):
        wider.start(tmp_path, listen=None)
    with app(FIRST, per_ad=PER_AD).start(tmp_path, listen=None) as live:
        assert live.notices == []
    with wider.start(tmp_path, listen=None, settings=Settings(rebuild=True)) as live:
        live.send("clicks", [click(ad=1, visitor="bob", debug="")])
        live.settle()
        assert live.content("per_ad").to_pylist() == [{"ad": 1, "n": 2}]


def test_a_new_view_over_a_new_column_reads_its_default_in_old_rows(tmp_path: Path) -> None:
    with app("ad INTEGER, ts TIMESTAMP").start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=1), click(ad=2)])
    costs = "SELECT sum(cost)::DOUBLE AS cost FROM clicks"
    columns = "ad INTEGER, ts TIMESTAMP, cost DECIMAL(9, 2) DEFAULT 0.5"
    with app(columns, costs=costs).start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=3, cost=4)])
        live.settle()
        assert live.content("costs").to_pylist() == [{"cost": 5.0}]
        # A new default changes nothing for rows that are there.
    columns = columns.replace("0.5", "100")
    with app(columns, costs=costs).start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=3)])
        live.settle()
        assert live.content("costs").to_pylist() == [{"cost": 105.0}]


def test_a_declaration_of_an_earlier_version_goes_on_with_the_newest(tmp_path: Path) -> None:
    with app("ad INTEGER, ts TIMESTAMP").start(tmp_path, listen=None):
        pass
    with app("ad INTEGER, ts TIMESTAMP, cost DOUBLE DEFAULT 0").start(tmp_path, listen=None):
        pass
    with app("ad INTEGER, ts TIMESTAMP").start(tmp_path, listen=None) as live:
        (notice,) = live.notices
        assert "declared as version 1" in notice
        assert "adds" in notice
        live.send("clicks", [click(ad=1, cost=2.0), click(ad=1)])
        assert [row["cost"] for row in rows(live)] == [2.0, 0.0]


def test_a_column_that_was_dropped_and_comes_again_has_none_of_its_old_values(
    tmp_path: Path,
) -> None:
    with app("ad INTEGER, note VARCHAR, ts TIMESTAMP").start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=1, note="old")])
    with app("ad INTEGER, ts TIMESTAMP").start(tmp_path, listen=None):
        pass
    columns = "ad INTEGER, note BIGINT DEFAULT 7, ts TIMESTAMP"
    with app(columns).start(tmp_path, listen=None) as live:
        assert rows(live) == [{"ad": 1, "note": 7}]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("ad SMALLINT, visitor VARCHAR, debug VARCHAR, ts TIMESTAMP", "ad is INTEGER"),
        ("ad DOUBLE[], visitor VARCHAR, debug VARCHAR, ts TIMESTAMP", "ad is INTEGER"),
        ("ad INTEGER NOT NULL, visitor VARCHAR, debug VARCHAR, ts TIMESTAMP", "may be null"),
        (FIRST + ", n BIGINT NOT NULL", "n is NOT NULL without a default"),
        ("ad INTEGER, user VARCHAR, debug VARCHAR, ts TIMESTAMP", "ALIAS visitor"),
        ("ad INTEGER, visitor VARCHAR, debug VARCHAR, ts TIMESTAMPTZ", "ts is TIMESTAMP"),
        ("ad INTEGER, user VARCHAR ALIAS visitor ALIAS debug, ts TIMESTAMP", "column of its own"),
    ],
)
def test_what_would_lose_or_invent_values_is_refused(
    columns: str, why: str, tmp_path: Path
) -> None:
    with app(FIRST).start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=1, visitor="ann", debug="x")])
    with pytest.raises(DefinitionError, match="clicks") as refused:
        app(columns).start(tmp_path, listen=None)
    assert why in str(refused.value)
    with app(FIRST).start(tmp_path, listen=None) as live:
        assert live.notices == []
        assert len(rows(live)) == 1


def test_a_table_keeps_its_rows_through_a_change_of_columns(tmp_path: Path) -> None:
    def shop(columns: str) -> hw.App:
        app = hw.App("shop")
        app.table("items", columns, key="item")
        app.view("kinds", "SELECT kind, count(*) AS n FROM items GROUP BY kind")
        return app

    with shop("item VARCHAR, kind VARCHAR, price INTEGER").start(tmp_path, listen=None) as live:
        sent = [{"item": n, "kind": n[0], "price": len(n)} for n in ("tea", "tofu", "salt")]
        live.send("items", sent)
        live.settle()
    columns = "item VARCHAR, kind VARCHAR, cents BIGINT ALIAS price, stock INTEGER DEFAULT 9"
    with shop(columns).start(tmp_path, listen=None) as live:
        assert not any("rebuilt" in line for line in live.notices)
        live.send("items", [{"item": "tea", "kind": "s", "cents": 1 << 40, "stock": 1}])
        live.settle()
        found = live.query("FROM items ORDER BY item").to_pylist()
        assert found == [
            {"item": "salt", "kind": "s", "cents": 4, "stock": 9},
            {"item": "tea", "kind": "s", "cents": 1 << 40, "stock": 1},
            {"item": "tofu", "kind": "t", "cents": 4, "stock": 9},
        ]
        kinds = live.query("FROM kinds ORDER BY kind").to_pylist()
        assert kinds == [{"kind": "s", "n": 2}, {"kind": "t", "n": 1}]


def test_a_renamed_event_time_stays_one(tmp_path: Path) -> None:
    app = hw.App("first")
    app.topic("clicks", "ad INTEGER, ts TIMESTAMP", event_time="ts")
    with app.start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=1)])
        live.settle()
        watermark = live.status().topics[0].watermark_us
    app = hw.App("second")
    app.topic("clicks", "ad INTEGER, at TIMESTAMP ALIAS ts", event_time="at")
    app.view(
        "minutes",
        "SELECT window_start, count(*) AS n FROM TUMBLE(clicks, at, INTERVAL '1 minute') "
        "GROUP BY window_start, window_end",
        emit="final",
    )
    with app.start(tmp_path, listen=None) as live:
        assert live.status().topics[0].watermark_us == watermark
        live.send("clicks", [{"ad": 2, "at": "2026-01-01T00:01:00"}])
        live.settle()
        assert live.content("minutes")["n"].to_pylist() == [1]


def test_a_folder_that_knows_no_versions_is_opened_and_evolves(tmp_path: Path) -> None:
    odd = 'ad INTEGER, "a; b" VARCHAR, ts TIMESTAMP'
    with app(odd).start(tmp_path, listen=None) as live:
        live.send("clicks", [click(ad=1, **{"a; b": "x"})])
    for path in (tmp_path / "checkpoints").iterdir():
        manifest = json.loads(path.read_text())
        # As they were written then, without a checksum.
        del manifest["schemas"], manifest["crc32"]
        path.write_text(json.dumps(manifest | {"format": 1}))
    with app(odd.replace("INTEGER", "BIGINT")).start(tmp_path, listen=None) as live:
        assert any("version 2 widens ad" in line for line in live.notices)
        assert rows(live) == [{"ad": 1, "a; b": "x"}]

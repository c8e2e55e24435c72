"""What a running pipeline promises to the program that started it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import DefinitionError


def shop() -> hw.App:
    app = hw.App("shop")
    app.topic(
        "sales",
        "item VARCHAR NOT NULL, price DECIMAL(9, 2), ts TIMESTAMP NOT NULL",
        event_time="ts",
        delay="10 seconds",
    )
    app.table("items", "item VARCHAR, kind VARCHAR", key="item")
    app.view(
        "totals",
        "SELECT kind, sum(price) AS total FROM sales JOIN items USING (item) GROUP BY kind",
    )
    app.view(
        "minutes",
        "SELECT window_start, count(*) AS n FROM TUMBLE(sales, ts, INTERVAL '1 minute') "
        "GROUP BY window_start, window_end",
        emit="final",
    )
    return app


def sale(item: str, price: str, ts: str = "2026-01-01T00:00:00") -> dict[str, str]:
    return {"item": item, "price": price, "ts": ts}


ITEMS = [{"item": "tea", "kind": "drink"}, {"item": "salt", "kind": "spice"}]


def test_a_checkpoint_is_durable_when_it_was_taken(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        live.send("items", ITEMS)
        live.settle()
        before = sorted((tmp_path / "checkpoints").iterdir())
        live.checkpoint_now()

        assert sorted((tmp_path / "checkpoints").iterdir())[-1] > before[-1]


def test_what_was_acknowledged_is_visible_after_settling(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        live.send("items", ITEMS)
        receipt = live.send("sales", [sale("tea", "2.50"), sale("salt", "1.00")])
        live.settle()

        assert (receipt.accepted, receipt.rejected) == (2, 0)
        rows = live.query("SELECT kind, total::DOUBLE AS total FROM totals ORDER BY kind")
        assert rows.to_pylist() == [
            {"kind": "drink", "total": 2.5},
            {"kind": "spice", "total": 1.0},
        ]


def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        live.send("items", ITEMS)
        live.send("sales", [sale("tea", "2.50")])
        live.settle()
        before = live.changes("totals")

    with shop().start(tmp_path, listen=None) as live:
        assert live.changes("totals").equals(before)
        live.send("sales", [sale("tea", "1.50")])
        live.settle()
        assert str(live.query("SELECT total FROM totals")["total"][0]) == "4.00"


def test_an_advance_closes_windows(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        live.send("sales", [sale("tea", "1", "2026-01-01T00:00:30")])
        live.settle()
        assert live.content("minutes").num_rows == 0
        live.advance("sales", "2026-01-01T00:01:00")
        live.settle()
        assert live.content("minutes")["n"].to_pylist() == [1]


def test_every_sent_row_is_accepted_or_rejected_with_its_bytes(tmp_path: Path) -> None:
    good = b'{"item":"tea","price":"1","ts":"2026-01-01"}\n'
    body = good + b'not json\n{"item":null,"price":1,"ts":"x"}\n'
    with shop().start(tmp_path, listen=None) as live:
        receipt = live.send("sales", body)

        assert receipt.accepted + receipt.rejected == 3
        assert [r.position for r in receipt.rejections] == [1, 2]
        kept = live.query("SELECT position, record::VARCHAR AS record FROM sales$rejected")
        assert kept["record"].to_pylist()[0] == "not json"


def test_a_time_far_ahead_is_rejected_and_moves_no_watermark(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        receipt = live.send("sales", [sale("tea", "1"), sale("tea", "1", "9999-01-01T00:00:00")])
        live.settle()

        assert (receipt.accepted, receipt.rejected) == (1, 1)
        assert "future_max" in receipt.rejections[0].reason
        watermark = live.status().topics[0].watermark_us
        assert watermark is not None
        assert watermark < 1_800_000_000_000_000


def test_a_second_process_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    code = (
        "import headwater as hw, sys\n"
        "app = hw.App('second'); app.topic('t', 'a BIGINT')\n"
        "try: app.start(sys.argv[1], listen=None)\n"
        "except hw.StateError as error: print(error)\n"
    )
    with shop().start(tmp_path, listen=None):
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
        )

    assert f"process {os.getpid()}" in run.stdout
    assert "headwater shop" in run.stdout


def test_a_changed_view_is_refused_and_rebuilt_on_request(tmp_path: Path) -> None:
    from headwater.runtime.runtime import Settings

    with shop().start(tmp_path, listen=None) as live:
        live.send("items", ITEMS)
        live.send("sales", [sale("tea", "2.50"), sale("tea", "3.00")])
        live.settle()
    changed = hw.App("shop")
    changed.topic(
        "sales",
        "item VARCHAR NOT NULL, price DECIMAL(9, 2), ts TIMESTAMP NOT NULL",
        event_time="ts",
        delay="10 seconds",
    )
    changed.table("items", "item VARCHAR, kind VARCHAR", key="item")
    changed.view(
        "totals", "SELECT kind, count(*) AS n FROM sales JOIN items USING (item) GROUP BY kind"
    )
    changed.view("names", "SELECT DISTINCT item FROM sales")

    with pytest.raises(hw.DefinitionError, match="changed since") as refused:
        changed.start(tmp_path, listen=None)
    assert "--rebuild" in str(refused.value)

    with changed.start(tmp_path, listen=None, settings=Settings(rebuild=True)) as live:
        assert live.notices == [
            "names: built from the log",
            "totals: changed, rebuilt from the log",
            "minutes: no longer declared, dropped",
        ]
        assert live.query("FROM totals").to_pylist() == [{"kind": "drink", "n": 2}]
        live.send("sales", [sale("tea", "1")])
        live.settle()
        assert live.query("FROM totals").to_pylist() == [{"kind": "drink", "n": 3}]
        assert live.query("FROM names").to_pylist() == [{"item": "tea"}]


def test_a_changed_topic_is_refused(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None):
        pass
    changed = hw.App("shop")
    changed.topic("sales", "item BIGINT")

    with pytest.raises(hw.DefinitionError, match="columns of topic sales cannot become"):
        changed.start(tmp_path, listen=None)


def test_batch_answers_as_live_does(tmp_path: Path) -> None:
    sales = pa.table(
        {
            "item": ["tea", "tea", "salt"],
            "price": pa.array(["1.00", "2.00", "3.00"]).cast(pa.decimal128(9, 2)),
            "ts": pa.array([0, 30_000_000, 90_000_000], pa.timestamp("us")),
        }
    )
    items = pa.Table.from_pylist(ITEMS)
    with shop().start(tmp_path, listen=None) as live:
        live.send("items", items)
        live.send("sales", sales)
        live.finish()
        found = {
            name: live.content(name).sort_by(order)
            for name, order in (("totals", "kind"), ("minutes", "window_start"))
        }

    answers = shop().batch({"sales": sales, "items": items})

    for name, table in found.items():
        assert table.equals(answers[name].sort_by(table.column_names[0]).cast(table.schema))


def test_a_sink_holds_what_the_view_published_once(tmp_path: Path) -> None:
    lake = tmp_path / "lake"

    def app() -> hw.App:
        made = shop()
        made.view("cheap", "SELECT item, price FROM sales WHERE price < 10")
        made.sink("cheap", hw.sinks.Parquet(lake / "cheap", every="1 ms"))
        made.sink("totals", hw.sinks.Parquet(lake / "totals", every="1 hour"))
        return made

    for number in range(3):
        with app().start(tmp_path / "data", listen=None) as live:
            if number == 0:
                live.send("items", ITEMS)
            live.send("sales", [sale("tea", f"{number}.00"), sale("salt", "50.00")])
            live.settle()
            published = live.changes("cheap").num_rows, live.changes("totals").num_rows

    cheap = duckdb.sql(f"SELECT item, price FROM '{lake}/cheap/*.parquet'").fetchall()
    assert len(cheap) == published[0] == 3
    assert duckdb.sql(f"SELECT count(*) FROM '{lake}/totals/*.parquet'").fetchall() == [
        (published[1],)
    ]
    content = duckdb.sql(
        f"SELECT kind, total::DOUBLE FROM '{lake}/totals/*.parquet' GROUP BY ALL "
        "HAVING sum(_weight) > 0 ORDER BY kind"
    ).fetchall()
    assert content == [("drink", 3.0), ("spice", 150.0)]


def test_many_senders_share_one_order(tmp_path: Path) -> None:
    def send(live: hw.Live, sender: int) -> None:
        for number in range(20):
            live.send("sales", [sale(f"s{sender}", str(number))])

    with shop().start(tmp_path, listen=None) as live:
        senders = [threading.Thread(target=send, args=(live, n)) for n in range(4)]
        for thread in senders:
            thread.start()
        for thread in senders:
            thread.join()
        live.settle()
        rows = live.rows("sales", rows_max=1000)
        assert rows["_offset"].to_pylist() == list(range(80))
        by_sender: dict[str, list[float]] = {}
        for row in rows.to_pylist():
            by_sender.setdefault(row["item"], []).append(float(row["price"]))
        assert all(prices == sorted(prices) for prices in by_sender.values())


@pytest.mark.parametrize(
    ("ask", "hint"),
    [
        (lambda live: live.query("SELECT * FROM totls"), "did you mean totals?"),
        (lambda live: live.send("sale", []), "did you mean sales?"),
        (lambda live: live.changes("minute"), "did you mean minutes?"),
    ],
)
def test_a_wrong_name_gets_a_near_one(tmp_path: Path, ask: object, hint: str) -> None:
    with shop().start(tmp_path, listen=None) as live, pytest.raises(hw.DefinitionError) as error:
        ask(live)  # type: ignore[operator]
    assert error.value.hint == hint


def test_an_address_that_is_none_is_refused_before_the_folder_is_touched(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="cannot listen on 'nowhere'"):
        hw.App("shop").start(tmp_path / "data", listen="nowhere")
    assert not (tmp_path / "data").exists()


def test_the_content_of_a_table_is_read_however_its_key_was_declared(tmp_path: Path) -> None:
    app = hw.App("stock")
    app.table("items", "item VARCHAR, kind VARCHAR", key="item")
    with app.start(tmp_path, listen=None) as live:
        assert live.content("items").num_rows == 0
        live.send("items", ITEMS)
        live.settle()

        assert live.content("items", rows_max=1).to_pylist() == ITEMS[:1]
        assert sorted(live.content("items").column("item").to_pylist()) == ["salt", "tea"]


@pytest.mark.parametrize("partition", [-1, 1, 1 << 70])
def test_a_partition_that_is_none_is_refused_also_when_every_row_is_bad(partition: int) -> None:
    with (
        shop().start(listen=None) as live,
        pytest.raises(DefinitionError, match="has no partition"),
    ):
        live.send("sales", [{"item": None}], partition=partition)

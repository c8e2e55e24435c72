"""A row that a view's expression refuses stops nothing and does not disappear."""

from __future__ import annotations

from pathlib import Path

import headwater as hw

MUCH = {
    "reason": "Conversion Error: Could not convert string 'much' to INT64 when casting from "
    "source column price",
    "record": '{"item":"tea","price":"much"}',
}


def shop() -> hw.App:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price VARCHAR")
    app.table("rates", "item VARCHAR, rate VARCHAR", key="item")
    app.view("priced", "SELECT item, CAST(price AS BIGINT) AS price FROM sales")
    app.view("totals", "SELECT item, sum(price) AS total FROM priced GROUP BY item")
    app.view("rated", "SELECT item, CAST(rate AS BIGINT) AS rate FROM rates")
    return app


def failed(live: hw.Live) -> dict[str, int]:
    return {view.name: view.failed for view in live.status().views}


def test_a_refused_row_is_told_and_the_rest_goes_on_also_after_a_restart(tmp_path: Path) -> None:
    with shop().start(tmp_path, listen=None) as live:
        live.send("sales", [{"item": "tea", "price": "2"}, {"item": "tea", "price": "much"}])
        live.settle()
        live.send("sales", [{"item": "tea", "price": "3"}])
        live.settle()

        assert live.status().problems == ()
        assert failed(live) == {"priced": 1, "totals": 0, "rated": 0}
        assert live.query("FROM priced$failed").to_pylist() == [MUCH]

    with shop().start(tmp_path, listen=None) as live:
        assert failed(live)["priced"] == 1
        assert live.query("FROM priced$failed").to_pylist() == [MUCH]
        live.send("sales", [{"item": "tea", "price": "4"}, {"item": "tea", "price": "much"}])
        live.settle()
        assert live.query("SELECT total::BIGINT AS n FROM totals")["n"].to_pylist() == [9]
        assert live.query("FROM priced$failed").to_pylist() == [MUCH, MUCH]


def test_a_refused_row_that_is_replaced_is_no_longer_told(tmp_path: Path) -> None:
    for rates, standing in (("x", 1), ("y", 1), ("3", 0), ("z", 1)):
        with shop().start(tmp_path, listen=None) as live:
            live.send("rates", [{"item": "tea", "rate": rates}])
            live.settle()

            assert failed(live)["rated"] == standing
            told = live.query("SELECT record FROM rated$failed")["record"].to_pylist()
            assert told == [f'{{"item":"tea","rate":"{rates}"}}'] * standing


def sums(*, broken: bool = True) -> hw.App:
    app = hw.App("sums")
    app.topic("numbers", "x DECIMAL(38, 0)")
    if broken:
        app.view("total", "SELECT sum(x) AS total FROM numbers")
        app.view("doubled", "SELECT total / 2 AS half FROM total")
    app.view("counted", "SELECT count(*) AS n FROM numbers")
    return app


def count(live: hw.Live) -> list[int]:
    return live.query("SELECT n FROM counted")["n"].to_pylist()


def paused(live: hw.Live) -> list[str]:
    return [view.name for view in live.status().views if view.paused]


HUGE = {"x": "9" * 38}


def test_a_total_that_overflows_pauses_its_view_and_no_other(tmp_path: Path) -> None:
    with sums().start(tmp_path, listen=None) as live:
        live.send("numbers", [HUGE])
        live.settle()
        before = live.changes("total")
        assert paused(live) == []

        for number in range(2, 5):
            live.send("numbers", [HUGE])
            live.settle()
            assert count(live) == [number]

        assert paused(live) == ["total", "doubled"]
        assert (
            "view total is paused: epoch 2 cannot be computed: Out of Range Error"
            in (live.status().problems[0])
        )
        assert live.changes("total").equals(before)


def test_a_paused_view_is_where_it_was_after_a_restart(tmp_path: Path) -> None:
    with sums().start(tmp_path, listen=None) as live:
        for _ in range(2):
            live.send("numbers", [HUGE])
            live.settle()
        live._runtime.loop.stop()
        live._runtime.checkpoint()
        before = live.changes("total")

    for number in (3, 4):
        with sums().start(tmp_path, listen=None) as live:
            assert paused(live) == ["total", "doubled"]
            assert live.changes("total").equals(before)
            live.send("numbers", [HUGE])
            live.settle()
            assert count(live) == [number]

    with sums(broken=False).start(tmp_path, listen=None) as live:
        assert count(live) == [4]
        assert live.status().problems == ()

    with sums().start(tmp_path, listen=None) as live:
        assert paused(live) == ["total", "doubled"]
        assert count(live) == [4]

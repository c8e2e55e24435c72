"""The row of a key, over HTTP."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

import headwater as hw
from headwater.errors import DefinitionError
from headwater.run.live import Live


@pytest.fixture
def live(tmp_path: Path) -> object:
    app = hw.App("shop")
    app.table(
        "offers",
        "merchant INTEGER, id VARCHAR, price DECIMAL(9, 2), updated TIMESTAMP",
        key=("merchant", "id"),
        newest_by="updated",
    )
    app.table(
        "stock",
        "item BIGINT, pieces INTEGER, v BIGINT, gone BOOLEAN DEFAULT false",
        key="item",
        newest_by="v",
        deleted_by="gone",
    )
    app.view("total", "SELECT count(*) AS n, sum(pieces)::BIGINT AS pieces FROM stock")
    app.topic("clicks", "ad BIGINT")
    with app.start(tmp_path, listen="127.0.0.1:0") as live:
        yield live


def offer(price: str, updated: str) -> dict[str, object]:
    return {"merchant": 7, "id": "a b", "price": price, "updated": f"2026-01-01T{updated}"}


def get(live: Live, **key: str) -> httpx.Response:
    return httpx.get(f"{live.url}/tables/offers/row", params=key, trust_env=False)


def test_the_row_of_a_key_is_the_one_with_the_newest_version(live: Live) -> None:
    live.send("offers", [offer("2.50", "12:00:00"), offer("1.00", "11:00:00")])
    live.settle()

    answer = get(live, merchant="7", id="a b")

    assert answer.status_code == 200
    assert answer.json()["price"] == 2.5
    assert live.get("offers", (7, "a b")) == live.get("OFFERS", {"ID": "a b", "merchant": 7})
    assert live.get("offers", (8, "a b")) is None


def delete(live: Live, table: str = "stock", **values: str) -> httpx.Response:
    return httpx.delete(f"{live.url}/tables/{table}/row", params=values, trust_env=False)


def test_a_deleted_key_is_not_found_until_a_newer_row_comes(live: Live) -> None:
    live.send("stock", [{"item": 7, "pieces": 3, "v": 1}, {"item": 8, "pieces": 1, "v": 1}])

    receipt = delete(live, ITEM="7", V="5").json()
    live.send("stock", [{"item": 7, "pieces": 4, "v": 4}])
    live.settle()

    assert (receipt["accepted"], receipt["offset_first"]) == (1, 2)
    assert live.get("stock", 7) is None
    assert live.content("total").to_pylist() == [{"n": 1, "pieces": 1}]
    assert live.query("SELECT item FROM stock").to_pylist() == [{"item": 8}]
    live.send("stock", [{"item": 7, "pieces": 6, "v": 6}])
    live.delete("stock", 8, version=2)
    live.settle()
    assert live.content("total").to_pylist() == [{"n": 1, "pieces": 6}]


@pytest.mark.parametrize(
    ("table", "values", "message"),
    [
        ("stock", {"item": "7"}, "the newest row of a key of stock is known by v"),
        ("stock", {"v": "7"}, "the key of stock is item"),
        ("stock", {"item": "7", "v": "x"}, "'x' is not a BIGINT"),
        ("stock", {"item": "x", "v": "7"}, "'x' is no item of stock"),
        ("offers", {"merchant": "7", "id": "x"}, "table offers takes no deletions"),
    ],
)
def test_what_deletes_nothing_is_refused(
    live: Live, table: str, values: dict[str, str], message: str
) -> None:
    answer = delete(live, table, **values)

    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_a_version_is_refused_where_there_are_none() -> None:
    app = hw.App("shop")
    app.table("stock", "item BIGINT, gone BOOLEAN", key="item", deleted_by="gone")
    with app.start(listen=None) as live, pytest.raises(DefinitionError, match="has no versions"):
        live.delete("stock", 7, version=1)


def test_where_there_is_no_row_it_is_not_found(live: Live) -> None:
    answer = get(live, merchant="8", id="a b")

    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "offers has no row of merchant = 8, id = a b"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"merchant": "7"}, "the key of offers is merchant, id"),
        ({"merchant": "7", "id": "x", "price": "1"}, "the key of offers is merchant, id"),
        ({"merchant": "x", "id": "x"}, "'x' is no merchant of offers, which is int32"),
        ({"merchant": "99999999999", "id": "x"}, "'99999999999' is no merchant of offers"),
    ],
)
def test_what_is_no_key_is_refused(live: Live, key: dict[str, str], message: str) -> None:
    answer = get(live, **key)

    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["clicks", "nothing"])
def test_what_is_no_table_has_no_keys(live: Live, name: str) -> None:
    answer = httpx.get(f"{live.url}/tables/{name}/row", params={"id": "1"}, trust_env=False)

    assert answer.status_code in (400, 404)
    assert "table" in answer.json()["error"]["message"]

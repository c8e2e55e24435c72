"""Consumer groups over HTTP, against a real pipeline."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx
import pyarrow as pa
import pytest

import headwater as hw
from headwater.run.live import Live


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR, price BIGINT", partitions=2)
    app.view("totals", "SELECT item, sum(price) AS total FROM sales GROUP BY item")
    with app.start(listen="127.0.0.1:0") as live:
        for price in range(5):
            live.send("sales", [{"item": "tea", "price": price}, {"item": "milk", "price": 1}])
            live.settle()
        yield live


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url or "", timeout=20, trust_env=False) as client:
        yield client
        for told in client.get("/consumers").json():
            client.delete(f"/consumers/{told['group']}/{told['relation']}")


def refused(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["kind"], error["message"]


def test_a_group_reads_commits_what_it_is_told_to_and_reads_on(client: httpx.Client) -> None:
    made = client.put("/consumers/billing/sales?from=start").json()
    assert (made["group"], made["positions"], made["lag"]) == ("billing", [0, 0], 10)

    prices = []
    while (answer := client.get("/consumers/billing/sales?limit=3").json())["rows"]:
        prices += [row["price"] for row in answer["rows"]]
        done = client.post("/consumers/billing/sales/commit", json=answer["commit"])
        assert done.status_code == 200, done.text

    assert prices == [0, 1, 1, 1, 2, 1, 3, 1, 4, 1]
    assert done.json()["lag"] == 0
    assert client.put("/consumers/billing/sales?from=start").json()["positions"] == [10, 0]
    (told,) = client.get("/consumers").json()
    assert told == client.get("/status").json()["consumers"][0]


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "arrow"])
def test_every_spelling_says_the_position_in_headers(client: httpx.Client, form: str) -> None:
    client.put("/consumers/billing/totals")

    answer = client.get(f"/consumers/billing/totals?limit=2&format={form}")

    told = {name: answer.headers[f"Headwater-{name}"] for name in ("Position", "Committed", "End")}
    (group,) = client.get("/consumers").json()
    assert told == {"Position": "2", "Committed": "0", "End": str(group["ends"][0])}
    assert answer.headers["Headwater-Lost"] == "0"
    if form == "arrow":
        with pa.ipc.open_stream(answer.content) as reader:
            assert reader.read_all().num_rows == int(told["Position"])


def test_only_the_newest_row_of_each_key(client: httpx.Client) -> None:
    client.put("/consumers/billing/totals")

    answer = client.get("/consumers/billing/totals?newest=true").json()

    rows = [(row["item"], row["total"], row["_weight"]) for row in answer["rows"]]
    assert sorted(rows) == [("milk", 5, 1), ("tea", 10, 1)]
    assert answer["position"] == answer["end"]
    client.put("/consumers/billing/sales")
    keyed = client.get("/consumers/billing/sales?key=item").json()
    assert [row["price"] for row in keyed["rows"]] == [4, 1]
    refusal = refused(client.get("/consumers/billing/sales?newest=true"))
    assert refusal[:2] == (400, "definition")


def test_what_is_too_late_is_a_conflict(client: httpx.Client) -> None:
    client.put("/consumers/billing/sales")
    where = "/consumers/billing/sales/commit"
    client.post(where, json={"position": 4})

    stale = client.post(where, json={"position": 6, "from": 0})
    back = client.post(where, json={"position": 2})
    again = client.post(where, json={"position": 4, "from": 0})

    assert refused(stale)[:2] == refused(back)[:2] == (409, "conflict")
    assert "is at 4 of sales, and not at 0" in refused(stale)[2]
    assert again.status_code == 200


def test_two_members_do_not_have_the_same_rows(client: httpx.Client) -> None:
    client.put("/consumers/billing/totals")
    where = "/consumers/billing/totals"
    first = client.get(f"{where}?member=one&lease=60").json()
    assert first["rows"]
    assert not client.get(f"{where}?member=two").json()["rows"]
    assert refused(client.post(f"{where}/commit", json={"position": 1}))[0] == 409
    assert client.get(f"{where}?member=one").json() == first

    released = client.post(f"{where}/release", json={"member": "one"})

    assert released.status_code == 204
    second = client.get(f"{where}?member=two&after={first['position']}&lease=60").json()
    assert (second["rows"], second["position"]) == ([], first["position"])
    assert client.get(f"{where}?member=two").json()["rows"] == first["rows"]
    assert client.get("/consumers").json()[0]["members"] == ["two"]


def test_a_group_is_put_elsewhere_and_removed(client: httpx.Client) -> None:
    client.put("/consumers/billing/sales?from=now")
    where = "/consumers/billing/sales"

    assert client.post(f"{where}/seek", json={"from": "start"}).json()["positions"] == [0, 0]
    assert client.post(f"{where}/seek", json={"position": 3}).json()["positions"] == [3, 0]
    neither = client.post(f"{where}/seek", json={})
    assert refused(neither)[:2] == (400, "request")
    assert client.delete(where).status_code == 204
    assert refused(client.get(where))[:2] == (404, "not_found")
    assert refused(client.delete(where))[0] == 404
    assert refused(client.get("/consumers/billing/nowhere"))[:2] == (404, "not_found")
    assert refused(client.put("/consumers/a b/sales"))[0] == 400


def test_a_reader_waits_for_the_next_row(live: Live, client: httpx.Client) -> None:
    client.put("/consumers/billing/totals?from=now")
    sending = threading.Timer(0.05, live.send, ("sales", [{"item": "salt", "price": 7}]))
    sending.start()

    answer = client.get("/consumers/billing/totals?wait=20").json()

    sending.join()
    assert [(row["item"], row["total"]) for row in answer["rows"]] == [("salt", 7)]


def test_lag_is_a_metric(client: httpx.Client) -> None:
    client.put("/consumers/billing/sales")

    lines = client.get("/metrics").text.splitlines()

    labels = '{group="billing",relation="sales"}'
    lag = next(line for line in lines if line.startswith(f"headwater_consumer_lag_rows{labels}"))
    assert int(lag.rpartition(" ")[2]) >= 10
    assert f"headwater_consumer_running{labels} 1" in lines
    assert any(line.startswith(f"headwater_consumer_lag_seconds{labels}") for line in lines)


def test_the_end_of_the_pipeline_ends_the_wait() -> None:
    app = hw.App("shop")
    app.topic("sales", "item VARCHAR")
    live = app.start(listen="127.0.0.1:0")
    with httpx.Client(base_url=live.url or "", timeout=20, trust_env=False) as client:
        client.put("/consumers/billing/sales")
        closing = threading.Timer(0.1, live.close)
        closing.start()

        answer = client.get("/consumers/billing/sales?wait=15")

        closing.join()
        assert refused(answer)[:2] == (503, "state")

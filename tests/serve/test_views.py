from __future__ import annotations

import json
import threading

import httpx
import pyarrow as pa
import pytest

from headwater.serve import follow
from headwater.serve.server import Server
from serve.memory import MemoryService, MemoryTopic, MemoryView


def click(ad: int) -> dict[str, object]:
    return {"ad": ad, "visitor": "ann", "ts": "2026-01-01T12:00:00"}


def send(client: httpx.Client, *ads: int) -> None:
    client.post("/topics/clicks", json=[click(ad) for ad in ads]).raise_for_status()


class Events:
    """Reads a stream of server-sent events, one at a time."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.iter_lines()

    def next(self) -> tuple[str, int, dict[str, object]]:
        """The next event: its name, its id, its data."""
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":") or line.startswith("retry"):
                continue
            if not line:
                if fields:
                    break
                continue
            name, _, value = line.partition(": ")
            fields[name] = value
        if not fields:
            raise EOFError
        event, at = fields.get("event", "message"), int(fields.get("id", -1))
        return event, at, json.loads(fields["data"])

    def changes(self, count: int) -> list[tuple[int, object, object]]:
        """The next events as (weight, ad, n)."""
        found = [self.next()[2] for _ in range(count)]
        return [(row["_weight"], row["ad"], row["n"]) for row in found]  # type: ignore[misc]


def test_a_views_content_has_its_columns_and_rows(client: httpx.Client) -> None:
    send(client, 7, 7, 8)

    answer = client.get("/views/per_ad").json()

    assert [column["name"] for column in answer["columns"]] == ["ad", "n"]
    assert [column["type"] for column in answer["columns"]] == ["BIGINT", "BIGINT"]
    assert answer["rows"] == [{"ad": 7, "n": 2}, {"ad": 8, "n": 1}]


def test_a_tables_content_is_the_newest_row_of_each_key(client: httpx.Client) -> None:
    for campaign in ("spring", "summer"):
        client.post("/topics/campaigns", json={"ad": 7, "campaign": campaign})

    assert client.get("/views/campaigns").json()["rows"] == [{"ad": 7, "campaign": "summer"}]


def test_an_empty_view_is_an_empty_list(client: httpx.Client) -> None:
    assert client.get("/views/per_ad").json()["rows"] == []


def test_content_is_limited_and_spelled_as_asked(client: httpx.Client) -> None:
    send(client, 7, 7, 8)

    as_csv = client.get("/views/per_ad", params={"format": "csv", "limit": 1})
    as_ndjson = client.get("/views/per_ad", headers={"Accept": "application/x-ndjson"})
    as_arrow = client.get("/views/per_ad", params={"format": "arrow"})

    assert as_csv.text == '"ad","n"\n7,2\n'
    assert as_ndjson.text == '{"ad":7,"n":2}\n{"ad":8,"n":1}\n'
    with pa.ipc.open_stream(as_arrow.content) as reader:
        assert reader.read_all().to_pylist() == [{"ad": 7, "n": 2}, {"ad": 8, "n": 1}]


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/views/nothing", 404, "not_found"),
        ("/views/nothing/changes", 404, "not_found"),
        ("/views/clicks", 400, "definition"),
        ("/views/clicks/changes", 400, "definition"),
        ("/views/per_ad?format=xml", 400, "request"),
        ("/views/per_ad?limit=-1", 400, "request"),
    ],
)
def test_what_is_not_a_view_is_refused(
    client: httpx.Client, path: str, status: int, kind: str
) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)


def test_a_page_of_changes_is_signed_rows(client: httpx.Client) -> None:
    send(client, 7)
    send(client, 7)

    answer = client.get("/views/per_ad/changes", params={"format": "json"}).json()

    assert [(row["_weight"], row["ad"], row["n"]) for row in answer["rows"]] == [
        (1, 7, 1),
        (-1, 7, 1),
        (1, 7, 2),
    ]


def test_a_negative_offset_is_the_newest_changes(client: httpx.Client) -> None:
    send(client, 7)
    send(client, 8)

    answer = client.get("/views/per_ad/changes", params={"format": "json", "from": -1}).json()

    assert [row["_offset"] for row in answer["rows"]] == [1]


def test_a_follower_sees_what_was_and_then_what_comes(client: httpx.Client) -> None:
    send(client, 7)
    with client.stream("GET", "/views/per_ad/changes") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = Events(answer)
        assert events.next() == (
            "message",
            1,
            {"ad": 7, "n": 1, "_weight": 1, "_epoch": 1, "_offset": 0},
        )

        send(client, 7)

        assert events.changes(2) == [(-1, 7, 1), (1, 7, 2)]


def test_a_follower_resumes_after_the_last_event_it_saw(client: httpx.Client) -> None:
    send(client, 7)
    with client.stream("GET", "/views/per_ad/changes") as answer:
        _, last_id, _ = Events(answer).next()
    send(client, 8)

    resumed = {"Last-Event-ID": str(last_id)}
    with client.stream("GET", "/views/per_ad/changes", headers=resumed) as answer:
        assert Events(answer).changes(1) == [(1, 8, 1)]


def test_a_follower_that_waits_for_an_offset_to_come_is_not_given_earlier_ones(
    client: httpx.Client,
) -> None:
    with client.stream("GET", "/views/per_ad/changes?from=2") as answer:
        events = Events(answer)
        send(client, 7)
        send(client, 8)
        send(client, 9)

        assert events.changes(1) == [(1, 9, 1)]


def test_a_hundred_followers_of_one_view_each_see_every_change(client: httpx.Client) -> None:
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=client.base_url, timeout=20, trust_env=False, limits=limits) as many:
        requests = [many.build_request("GET", "/views/per_ad/changes") for _ in range(100)]
        answers = [many.send(request, stream=True) for request in requests]
        followers = [Events(answer) for answer in answers]

        send(client, 7)
        send(client, 8)

        for events in followers:
            assert events.changes(2) == [(1, 7, 1), (1, 8, 1)]
        for answer in answers:
            answer.close()


def test_followers_leave_the_threads_of_senders_and_readers_alone(client: httpx.Client) -> None:
    limits = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=client.base_url, timeout=20, trust_env=False, limits=limits) as many:
        answers = [
            many.send(many.build_request("GET", f"/views/{view}/changes"), stream=True)
            for view in ("per_ad", "per_campaign")
            for _ in range(20)
        ]
        working = {t.name for t in threading.enumerate() if t.name.startswith("headwater-tail")}

        send(client, 7)

        assert client.get("/views/per_ad").json()["rows"] == [{"ad": 7, "n": 1}]
        assert len(working) <= 2
        for answer in answers:
            answer.close()


def test_a_follower_that_does_not_read_slows_nobody() -> None:
    """Its socket is full long before all changes are out, and it stays full."""
    texts = MemoryView("SELECT visitor FROM clicks", ("clicks",))
    service = MemoryService({"clicks": MemoryTopic({"visitor": "VARCHAR"})}, {"texts": texts})
    server = Server(service, port=0)
    server.start()
    try:
        with (
            httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client,
            client.stream("GET", "/views/texts/changes") as deaf,
            client.stream("GET", "/views/texts/changes") as answer,
        ):
            assert deaf.status_code == 200
            events = Events(answer)
            for number in range(20):
                text = f"{number} " + "x" * 1_000_000
                client.post("/topics/clicks", json={"visitor": text}).raise_for_status()
                assert events.next()[2]["visitor"] == text
    finally:
        server.stop()


def test_a_large_epoch_comes_in_small_pages(client: httpx.Client) -> None:
    send(client, *range(2_500))
    with client.stream("GET", "/views/per_ad/changes") as answer:
        ads = [ad for _, ad, _ in Events(answer).changes(2_500)]

    assert sorted(ads) == list(range(2_500))


def test_a_silent_stream_is_kept_alive(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "KEEP_ALIVE_SECONDS", 0.05)
    with client.stream("GET", "/views/per_ad/changes") as answer:
        lines = answer.iter_lines()

        assert ": still here" in (next(lines), next(lines), next(lines), next(lines))


def test_a_stream_ends_with_the_error_that_stopped_it(
    client: httpx.Client, service: MemoryService
) -> None:
    with client.stream("GET", "/views/per_ad/changes") as answer:
        events = Events(answer)
        service.break_down()

        event, _, data = events.next()

        assert (event, data["kind"]) == ("error", "state")
        with pytest.raises(EOFError):
            events.next()

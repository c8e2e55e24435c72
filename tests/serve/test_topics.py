from __future__ import annotations

import gzip
import json

import httpx
import pyarrow as pa
import pytest

from serve.memory import MemoryService

ANN = {"ad": 7, "visitor": "ann", "ts": "2026-01-01T12:00:00"}
BOB = {"ad": 8, "visitor": "bob", "ts": "2026-01-01T12:00:01"}
BAD = {"ad": "seven", "visitor": "cat", "ts": "2026-01-01T12:00:02"}


def ndjson(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def arrow(rows: list[dict[str, object]]) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", json.dumps([ANN, BOB]).encode()),
        ("application/json; charset=utf-8", json.dumps([ANN, BOB]).encode()),
        ("application/x-ndjson", ndjson(ANN, BOB)),
        ("text/csv", b"ad,visitor,ts\n7,ann,2026-01-01T12:00:00\n8,bob,2026-01-01T12:00:01\n"),
        ("application/vnd.apache.arrow.stream", arrow([ANN, BOB])),
        ("", ndjson(ANN, BOB)),
        ("", json.dumps([ANN, BOB], indent=2).encode()),
        ("application/x-www-form-urlencoded", ndjson(ANN, BOB)),
        ("application/octet-stream", arrow([ANN, BOB])),
    ],
)
def test_every_form_of_two_rows_is_taken(
    client: httpx.Client, service: MemoryService, content_type: str, body: bytes
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    answer = client.post("/topics/clicks", content=body, headers=headers)

    assert answer.status_code == 200
    assert answer.json() == {
        "topic": "clicks",
        "accepted": 2,
        "rejected": 0,
        "offset_first": 0,
        "partition": 0,
        "rejections": [],
        "duplicate": 0,
    }
    assert [row["visitor"] for row in service.topics["clicks"].rows] == ["ann", "bob"]


def test_a_single_object_over_several_lines_is_one_row(client: httpx.Client) -> None:
    answer = client.post("/topics/clicks", content=json.dumps(ANN, indent=2).encode())

    assert answer.json()["accepted"] == 1


def test_a_malformed_first_line_leaves_the_next_lines_rows(client: httpx.Client) -> None:
    answer = client.post("/topics/clicks", content=b'{"ad": 1\n' + ndjson(ANN, BOB))

    assert (answer.json()["accepted"], answer.json()["rejected"]) == (2, 1)


def test_good_rows_are_taken_and_bad_ones_listed_by_position(client: httpx.Client) -> None:
    answer = client.post("/topics/clicks", json=[ANN, BAD, BOB])

    assert answer.status_code == 200
    receipt = answer.json()
    assert (receipt["accepted"], receipt["rejected"]) == (2, 1)
    assert receipt["rejections"] == [
        {"position": 1, "reason": "'seven' is not a BIGINT", "column": "ad"}
    ]


def test_a_batch_of_only_bad_rows_is_422_with_receipt_and_error(client: httpx.Client) -> None:
    answer = client.post("/topics/clicks", json=[BAD, BAD])

    assert answer.status_code == 422
    assert (answer.json()["accepted"], answer.json()["rejected"]) == (0, 2)
    assert answer.json()["error"]["kind"] == "record"
    assert "'seven' is not a BIGINT" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status", "kind"),
    [
        ("/topics/nothing", "application/json", b"[]", 404, "not_found"),
        ("/topics/clicks", "application/json", b"", 400, "record"),
        ("/topics/clicks", "application/json", b'{"ad": ', 400, "record"),
        ("/topics/clicks", "", b"", 400, "record"),
        ("/topics/clicks", "", b"  \n", 400, "record"),
        ("/topics/clicks", "", b"ad,visitor\n", 415, "unsupported"),
        ("/topics/clicks", "application/xml", b"<a/>", 415, "unsupported"),
        ("/topics/clicks?partition=5", "application/json", b"[]", 400, "definition"),
        ("/topics/clicks?partition=-1", "application/json", b"[]", 400, "request"),
        ("/topics/clicks?partition=x", "application/json", b"[]", 400, "request"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_a_status_and_a_kind(  # noqa: PLR0917
    client: httpx.Client, path: str, content_type: str, body: bytes, status: int, kind: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    answer = client.post(path, content=body, headers=headers)

    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)
    assert set(answer.json()["error"]) == {"kind", "message", "hint", "place"}


def test_an_unknown_topic_keeps_the_hint_that_names_the_near_ones(client: httpx.Client) -> None:
    answer = client.post("/topics/click", json=[ANN])

    assert answer.json()["error"]["hint"] == "topics: clicks, campaigns"


def test_a_lost_disk_is_503(client: httpx.Client, service: MemoryService) -> None:
    service.break_down()

    answer = client.post("/topics/clicks", json=[ANN])

    assert (answer.status_code, answer.json()["error"]["kind"]) == (503, "state")


def test_a_gzip_body_is_inflated(client: httpx.Client) -> None:
    body = gzip.compress(ndjson(ANN)) + gzip.compress(ndjson(BOB))

    answer = client.post("/topics/clicks", content=body, headers={"Content-Encoding": "gzip"})

    assert answer.json()["accepted"] == 2


@pytest.mark.parametrize(
    "body",
    [b"not gzip at all", gzip.compress(ndjson(ANN))[:-9], gzip.compress(b"x")[:4]],
    # Not the bytes, which have the time in them: each process of the tests must find the same ones.
    ids=["no gzip", "no end", "half a head"],
)
def test_a_broken_gzip_body_is_400(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/topics/clicks", content=body, headers={"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["error"]["kind"]) == (400, "record")


def test_an_unknown_encoding_is_415(client: httpx.Client) -> None:
    answer = client.post("/topics/clicks", content=b"{}", headers={"Content-Encoding": "br"})

    assert answer.status_code == 415


def test_a_small_body_that_inflates_to_a_huge_one_is_413(client: httpx.Client) -> None:
    body = gzip.compress(bytes(50_000_000))
    assert len(body) < 100_000

    answer = client.post("/topics/clicks", content=body, headers={"Content-Encoding": "gzip"})

    assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "too_large")


def test_a_body_that_says_it_is_too_large_is_413(client: httpx.Client) -> None:
    answer = client.post("/topics/clicks", content=bytes(1_000_001))

    assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "too_large")


def test_a_body_that_turns_out_too_large_is_413(client: httpx.Client) -> None:
    chunks = (bytes(100_000) for _ in range(11))

    answer = client.post("/topics/clicks", content=chunks)

    assert (answer.status_code, answer.json()["error"]["kind"]) == (413, "too_large")


def test_rows_are_read_from_an_offset_on(client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[ANN, BOB, ANN])

    answer = client.get("/topics/clicks/rows", params={"from": 1, "limit": 1})

    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert [(row["visitor"], row["_offset"]) for row in rows] == [("bob", 1)]


def test_a_negative_offset_counts_from_the_end(client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[ANN, BOB, ANN])

    answer = client.get("/topics/clicks/rows", params={"from": -1, "format": "json"})

    assert [row["_offset"] for row in answer.json()["rows"]] == [2]


@pytest.mark.parametrize("by", ["parameter", "accept"])
def test_rows_are_read_as_arrow(client: httpx.Client, by: str) -> None:
    client.post("/topics/clicks", json=[ANN, BOB])
    media_type = "application/vnd.apache.arrow.stream"
    asked = (
        {"params": {"format": "arrow"}}
        if by == "parameter"
        else {"headers": {"Accept": f"text/html;q=0.5, {media_type}"}}
    )

    answer = client.get("/topics/clicks/rows", **asked)

    assert answer.headers["content-type"] == media_type
    with pa.ipc.open_stream(answer.content) as reader:
        assert reader.read_all().column("visitor").to_pylist() == ["ann", "bob"]


def test_an_unknown_parameter_is_named(client: httpx.Client) -> None:
    answer = client.get("/topics/clicks/rows", params={"form": 1})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("form: ")


def test_a_batch_of_a_producer_may_be_sent_again(client: httpx.Client) -> None:
    who = {"producer": "shop-7", "sequence": 41}

    answers = [client.post("/topics/clicks", params=who, json=[ANN, BAD]) for _ in range(2)]
    known = client.get("/topics/clicks/producers", params={"producer": "shop-7"}).json()

    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["duplicate"] for answer in answers] == [0, 2]
    assert [answer.json()["accepted"] for answer in answers] == [1, 1]
    assert [(p["producer"], p["sequence"], p["duplicate"]) for p in known] == [("shop-7", 41, 2)]
    assert client.get("/topics/clicks/producers", params={"producer": "none"}).json() == []


@pytest.mark.parametrize("who", ["producer=a", "sequence=1", "producer=a&sequence=-1", "seq=1"])
def test_a_name_without_a_number_is_refused(client: httpx.Client, who: str) -> None:
    answer = client.post(f"/topics/clicks?{who}", json=[ANN])

    assert answer.status_code == 400
    assert "error" in answer.json()


def test_a_refused_batch_that_comes_again_is_answered_as_it_was(client: httpx.Client) -> None:
    who = {"producer": "shop-7", "sequence": 1}

    answers = [client.post("/topics/clicks", params=who, json=[BAD]) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [422, 422]
    assert [answer.json()["duplicate"] for answer in answers] == [0, 1]


def test_rejected_rows_are_read_and_sent_again(client: httpx.Client) -> None:
    client.post("/topics/clicks", json=[ANN, BAD])

    waiting = client.get("/topics/clicks/rejected").text.splitlines()
    sent = client.post(
        "/topics/clicks/rejected", params={"from": 0, "to": 1}, content=json.dumps(BOB).encode()
    )
    again = client.post("/topics/clicks/rejected")

    assert [json.loads(row)["_sent_again"] for row in waiting] == [False]
    assert (sent.json()["accepted"], sent.json()["offset_to"]) == (1, 1)
    assert (again.status_code, again.json()["accepted"]) == (200, 0)
    assert json.loads(client.get("/topics/clicks/rejected").text)["_sent_again"] is True


@pytest.mark.parametrize(
    ("params", "body"),
    [({}, b'{"ad": 1}'), ({"from": 0}, b'{"ad": 1}'), ({"from": 0, "to": 1}, b"")],
)
def test_repaired_rows_and_their_offsets_belong_together(
    client: httpx.Client, params: dict[str, int], body: bytes
) -> None:
    answer = client.post("/topics/clicks/rejected", params=params, content=body)

    assert answer.status_code == 400
    assert "belong together" in answer.json()["error"]["message"]

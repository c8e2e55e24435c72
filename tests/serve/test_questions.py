from __future__ import annotations

import httpx
import pyarrow as pa
import pytest


@pytest.mark.parametrize(
    "asked",
    [
        {"json": {"sql": "SELECT 1 AS a, 'x' AS b"}},
        {"content": "SELECT 1 AS a, 'x' AS b", "headers": {"Content-Type": "text/plain"}},
        {"content": "SELECT 1 AS a, 'x' AS b"},
        {"content": '{"sql": "SELECT 1 AS a, \'x\' AS b"}'},
    ],
)
def test_a_question_is_json_or_plain_text(client: httpx.Client, asked: dict[str, object]) -> None:
    answer = client.post("/sql", **asked)  # type: ignore[arg-type]

    assert answer.status_code == 200
    assert answer.json() == {
        "columns": [{"name": "a", "type": "INTEGER"}, {"name": "b", "type": "VARCHAR"}],
        "rows": [{"a": 1, "b": "x"}],
    }


def test_the_answer_is_spelled_as_accept_asks(client: httpx.Client) -> None:
    def answer(media_type: str) -> httpx.Response:
        question = "SELECT 1 AS a, [1, 2] AS b, 'é' AS c"
        return client.post("/sql", json={"sql": question}, headers={"Accept": media_type})

    assert answer("application/x-ndjson").text == '{"a":1,"b":[1,2],"c":"é"}\n'
    assert answer("text/csv").text == '"a","b","c"\n1,"[1, 2]","é"\n'
    with pa.ipc.open_stream(answer("application/vnd.apache.arrow.stream").content) as reader:
        assert reader.read_all().to_pylist() == [{"a": 1, "b": [1, 2], "c": "é"}]


def test_a_wrong_question_is_answered_with_its_place(client: httpx.Client) -> None:
    answer = client.post("/sql", json={"sql": "SELECT *\nFROM click"})

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["kind"] == "definition"
    assert error["place"] == {
        "source": "SQL",
        "text": "SELECT *\nFROM click",
        "line": 2,
        "start": 14,
        "end": 19,
        "underlined": "    FROM click\n         ─────",
    }
    assert error["hint"] == "did you mean clicks?"


@pytest.mark.parametrize(
    ("content_type", "body", "status", "kind"),
    [
        ("application/json", b"", 400, "request"),
        ("application/json", b"[1]", 400, "request"),
        ("application/json", b'{"query": "SELECT 1"}', 400, "request"),
        ("application/json", b'{"sql": ""}', 400, "request"),
        ("text/plain", b"  ", 400, "record"),
        ("text/plain", b"\xff\xfe", 400, "record"),
        ("text/plain", b"SELEC 1", 400, "definition"),
        ("image/png", b"SELECT 1", 415, "unsupported"),
        ("text/plain", b"-" * 1_100_000, 413, "too_large"),
    ],
)
def test_what_is_not_a_question_is_refused(
    client: httpx.Client, content_type: str, body: bytes, status: int, kind: str
) -> None:
    answer = client.post("/sql", content=body, headers={"Content-Type": content_type})

    assert (answer.status_code, answer.json()["error"]["kind"]) == (status, kind)

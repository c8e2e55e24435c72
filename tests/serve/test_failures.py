from __future__ import annotations

import logging

import httpx
import pytest

from serve.memory import MemoryService


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/topics/clicks", 405, "method"),
        ("DELETE", "/views/per_ad", 405, "method"),
        ("GET", "/sql", 405, "method"),
        ("GET", "/topics/clicks/rows?from=x", 400, "request"),
    ],
)
def test_the_frameworks_refusals_have_the_one_shape(
    client: httpx.Client, method: str, path: str, status: int, kind: str
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"kind", "message", "hint", "place"}
    assert error["kind"] == kind
    assert error["message"]
    assert error["hint"]


def test_a_method_that_is_not_answered_names_the_one_that_is(client: httpx.Client) -> None:
    answer = client.get("/sql")

    assert answer.headers["allow"] == "POST"
    assert answer.json()["error"]["hint"] == "use POST"


def test_a_bug_is_told_as_one_without_a_traceback(
    client: httpx.Client,
    service: MemoryService,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(_: str) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(service, "query", fails)

    with caplog.at_level(logging.ERROR, "headwater.serve"):
        answer = client.post("/sql", json={"sql": "SELECT 1"})

    assert (answer.status_code, answer.json()["error"]["kind"]) == (500, "bug")
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text
    assert client.get("/healthz").status_code == 200

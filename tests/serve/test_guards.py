from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from headwater.serve.server import Server
from serve.memory import shop


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server for all: what these tests ask leaves nothing behind that another sees."""
    server = Server(shop(), port=0)
    server.start()
    yield server
    server.stop()


ROW = {"ad": 7, "visitor": "ann", "ts": "2026-01-01T12:00:00"}


def port_of(client: httpx.Client) -> int:
    assert client.base_url.port is not None
    return client.base_url.port


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LOCALHOST", "localhost:9999"])
def test_a_request_for_this_machine_is_answered(client: httpx.Client, host: str) -> None:
    assert client.get("/status", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8484", "127.0.0.1.evil.example", "10.0.0.1", "[fe80::1]", ""],
)
def test_a_request_for_another_host_is_refused(client: httpx.Client, host: str) -> None:
    answer = client.get("/status", headers={"Host": host})

    assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/topics/clicks", "/sql"])
def test_another_sites_page_may_not_write_or_ask(
    client: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    answer = client.post(path, json=ROW, headers=headers)

    assert (answer.status_code, answer.json()["error"]["kind"]) == (403, "forbidden")


def test_our_own_page_may_write(client: httpx.Client) -> None:
    ours = {"Origin": f"http://127.0.0.1:{port_of(client)}", "Sec-Fetch-Site": "same-origin"}

    assert client.post("/topics/clicks", json=ROW, headers=ours).status_code == 200


def test_no_answer_invites_another_origin(client: httpx.Client) -> None:
    answer = client.get("/status", headers={"Origin": "http://evil.example"})

    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/docs", "/status", "/nothing"])
def test_every_answer_has_the_security_headers(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
    assert "server" not in headers


def test_a_server_at_every_address_takes_addresses_and_its_own_names_only() -> None:
    server = Server(shop(), host="0.0.0.0", port=0)
    server.start()
    try:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            assert client.get("/healthz", headers={"Host": "10.0.0.1:80"}).status_code == 200
            assert client.get("/healthz", headers={"Host": "evil.example"}).status_code == 403
    finally:
        server.stop()

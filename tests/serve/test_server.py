from __future__ import annotations

import socket
import threading

import httpx
import pytest

from headwater.errors import ConnectorError
from headwater.serve.server import Server
from serve.memory import MemoryService, shop


def test_port_0_takes_a_free_port_and_the_url_tells_it() -> None:
    server = Server(shop(), port=0)
    server.start()
    try:
        assert httpx.get(f"{server.url}/healthz", trust_env=False).status_code == 200
    finally:
        server.stop()


def test_a_taken_port_is_refused_with_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ConnectorError) as refusal:
            Server(shop(), port=port).start()

    assert refusal.value.message == f"port {port} of 127.0.0.1 is taken by another process"
    assert refusal.value.hint == "--listen 127.0.0.1:0 takes a free port"


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(ConnectorError, match="cannot listen at"):
        Server(shop(), host=host, port=0).start()


def test_a_stopped_server_frees_its_port_and_its_threads() -> None:
    server = Server(shop(), port=0)
    server.start()
    port = int(server.url.rpartition(":")[2])
    httpx.get(f"{server.url}/status", trust_env=False)

    server.stop()
    server.stop()

    with socket.create_server(("127.0.0.1", port)):
        pass
    assert not [t for t in threading.enumerate() if t.name == "headwater-serve"]


def test_stop_ends_streams(client: httpx.Client, server: Server) -> None:
    with client.stream("GET", "/views/per_ad/changes") as answer:
        server.stop()

        assert answer.read().startswith(b"retry: 1000")


def test_a_body_of_100_mb_is_taken(service: MemoryService, monkeypatch: pytest.MonkeyPatch) -> None:
    row = b'{"ad": 7, "visitor": "%s", "ts": "2026-01-01T12:00:00"}\n' % (b"x" * 9_000)
    body = row * (100_000_000 // len(row))
    taken: list[int] = []

    def count(topic: str, body: bytes, form: str, partition: int, **who: object) -> object:
        taken.append(len(body))
        return real(topic, body[: len(row)], form, partition, **who)

    real = service.send_bytes
    monkeypatch.setattr(service, "send_bytes", count)
    server = Server(service, port=0)
    server.start()
    try:
        answer = httpx.post(
            f"{server.url}/topics/clicks", content=body, timeout=60, trust_env=False
        )
    finally:
        server.stop()

    assert answer.json()["accepted"] == 1
    assert taken == [len(body)]

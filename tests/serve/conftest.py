"""A real server on a free port over a small pipeline in memory, and a client that talks to it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from headwater.runtime.status import SinkStatus
from headwater.serve.server import Server
from serve.memory import MemoryService, shop


@pytest.fixture
def service() -> MemoryService:
    return shop(
        sinks=(
            SinkStatus("lake", "per_ad", "parquet", position=3, lag=2, state="running"),
            SinkStatus("ledger", "per_campaign", "parquet", position=0, lag=9, state="disk full"),
        )
    )


@pytest.fixture
def server(service: MemoryService) -> Iterator[Server]:
    server = Server(service, port=0, body_bytes_max=1_000_000)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
        yield client

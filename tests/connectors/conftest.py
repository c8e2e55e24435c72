"""A real PostgreSQL for the tests that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from connectors.servers import PostgresServer, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    with PostgresServer(found) as server:
        yield server

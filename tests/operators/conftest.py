"""One engine serves all tests of a module: opening one costs more than most of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater.operators.statement import Engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as opened:
        yield opened

"""A short log is made to have what only a long one has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def small_pieces() -> Iterator[None]:
    """Row groups and stretches of a few rows: a short log has many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headwater.log.content.ROW_GROUP_ROWS", 5)
        patch.setattr("headwater.log.lane.STRETCH_ROWS", 7)
        yield

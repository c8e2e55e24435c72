"""Every sink, over every kind of view: whatever fails, the store equals the view."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from connectors.stores import DeltaStore, DuckDBStore, ParquetStore, PostgresStore
from headwater.connectors.sink import Mode
from headwater.testing import sinks
from headwater.testing.sinks import CHECKS, Store, Story

KINDS: dict[str, Callable[[pytest.FixtureRequest, Path], Store]] = {
    "parquet": lambda _, folder: ParquetStore(folder),
    "duckdb": lambda _, folder: DuckDBStore(folder),
    "duckdb changes": lambda _, folder: DuckDBStore(folder, Mode.CHANGES),
    "delta": lambda _, folder: DeltaStore(folder),
    "delta changes": lambda _, folder: DeltaStore(folder, Mode.CHANGES),
    "postgres": lambda ask, _: PostgresStore(ask.getfixturevalue("postgres")),
    "postgres changes": lambda ask, _: PostgresStore(ask.getfixturevalue("postgres"), Mode.CHANGES),
}


# How rows are told apart decides what a write does: to fail each call of it for other stories too
# would say the same again. A store that is slow to open is failed where it does most.
FAILED = {
    "parquet": ("keyed", "repeated"),
    "duckdb": ("keyed",),
    "delta": ("keyed",),
    "postgres": ("keyed", "repeated"),
    "postgres changes": ("keyed",),
}
CASES = [
    pytest.param(kind, check, story, id=f"{kind}-{check.__name__}-{story.name}")
    for kind in KINDS
    for check in CHECKS
    for story in sinks.stories()
    if check not in sinks.FAULTS or story.name in FAILED.get(kind, ())
    # Delta Lake merges by key.
    if (kind, story.name) != ("delta", "repeated")
]


@pytest.fixture
def fresh(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    return partial(KINDS[kind], request, tmp_path)


@pytest.mark.parametrize(("kind", "check", "story"), CASES)
def test_the_store_equals_the_view(check: Any, story: Story, fresh: Callable[[], Store]) -> None:
    check(fresh, story)


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_at_once_are_in_the_store(fresh: Callable[[], Store]) -> None:
    sinks.follows(fresh, sinks.large())

"""The demo's views, replayed and in batch, answer what DuckDB answers over the same files."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from demo.batch_answers import ANSWERS, answer, assert_same
from headwater.clock import SystemClock
from headwater.demo import year
from headwater.demo.pipeline import app
from headwater.demo.replay import Replay
from headwater.run.live import Live


def pause(_: float) -> None:
    """A replay that is as fast as possible never waits."""
    raise AssertionError


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with app.start(listen=None) as running:
        for _ in Replay(running, year.year(), 0, SystemClock(), pause).moments():
            pass
        yield running


@pytest.fixture(scope="module")
def batch() -> dict[str, pa.Table]:
    return app.batch({topic.name: year.read(topic.name) for topic in app.pipeline.topics})


def test_every_view_has_an_answer_to_be_compared_with() -> None:
    assert set(ANSWERS) == {view.name for view in app.pipeline.views}


@pytest.mark.parametrize("view", ANSWERS)
def test_the_replayed_year_gives_duckdbs_answer(live: Live, view: str) -> None:
    assert_same(live.content(view), answer(view))


@pytest.mark.parametrize("view", ANSWERS)
def test_the_batch_gives_duckdbs_answer(batch: dict[str, pa.Table], view: str) -> None:
    assert_same(batch[view], answer(view))


def test_nothing_is_late_and_nothing_is_rejected(live: Live) -> None:
    status = live.status()

    assert [view.late for view in status.views] == [0] * len(ANSWERS)
    assert [topic.rejected for topic in status.topics] == [0] * len(status.topics)
    assert {t.name: t.rows for t in status.topics} == {
        t.name: year.read(t.name).num_rows for t in status.topics
    }


def test_a_second_replay_sends_nothing(live: Live) -> None:
    before = live.status()

    assert list(Replay(live, year.year(), 0, SystemClock(), pause).moments()) == []

    assert [topic.rows for topic in live.status().topics] == [t.rows for t in before.topics]

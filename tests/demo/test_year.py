"""The shipped data is what the pipeline and the documentation say it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headwater.demo import pipeline, year
from headwater.run.app import App

ROOT = Path(__file__).parent.parent.parent


def test_the_example_is_the_demos_pipeline() -> None:
    shown = (ROOT / "examples" / "flights.py").read_text(encoding="utf-8")

    assert shown == Path(pipeline.__file__).read_text(encoding="utf-8")


@pytest.mark.parametrize("topic", pipeline.app.pipeline.topics, ids=lambda topic: topic.name)
def test_the_files_have_the_columns_of_the_topics(topic: App) -> None:
    table = year.read(topic.name)

    assert table.schema.names == list(topic.schema.names)
    assert table.schema.types == topic.schema.arrow.types


def test_rows_stand_in_the_order_in_which_they_enter() -> None:
    for stream in year.year().streams:
        assert np.all(np.diff(stream.entries_us) >= 0)
        assert stream.count_until(int(stream.entries_us[-1]) + 1) == stream.rows.num_rows


def test_the_disorder_is_real_and_within_the_lateness() -> None:
    scheduled = year.read("flights")["sched_dep"].cast("int64").to_numpy()
    disorder = np.maximum.accumulate(scheduled) - scheduled

    hours = disorder.max() / 3.6e9
    assert 21 < hours < 22
    assert (disorder > 3.6e9).mean() > 0.07


def test_the_files_are_small() -> None:
    assert sum(file.stat().st_size for file in year.FOLDER.iterdir()) < 6_000_000

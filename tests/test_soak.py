"""The soak command: a few seconds of it, and what it calls flat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.soak import HEADING, MB, Sample, slope, soak, verdicts

QUIET = Sample(
    seconds=0.0,
    rows=0,
    memory=200 * MB,
    mapped=100 * MB,
    files=100,
    threads=20,
    handles=30,
    log=0,
    state=0,
    p99_ms=5.0,
    lag=100,
)


def hour(**grown: float) -> list[Sample]:
    """A line each minute; some figures grow by so much in the hour, and jump about."""
    return [
        replace(
            QUIET,
            seconds=60.0 * minute,
            **{
                name: round(getattr(QUIET, name) + by * minute / 60) + (minute % 7 == 0) * 5
                for name, by in grown.items()
            },
        )
        for minute in range(60)
    ]


def test_an_outlier_does_not_move_the_slope() -> None:
    assert slope([(0, 0), (1, 2), (2, 4), (3, 6), (4, 1_000)]) == pytest.approx(2, abs=1)


def test_what_stands_still_is_flat() -> None:
    assert verdicts(hour()) == []
    assert verdicts(hour(memory=1 * MB, files=5, threads=0, handles=1)) == []


@pytest.mark.parametrize(
    ("name", "by"),
    [("memory", 200 * MB), ("mapped", 300 * MB), ("files", 200), ("threads", 30), ("handles", 60)],
)
def test_what_grows_is_named(name: str, by: float) -> None:
    (found,) = verdicts(hour(**{name: by}))

    assert found.startswith(f"{name} grew by ")


def test_what_grew_only_in_the_first_half_is_flat() -> None:
    samples = hour()
    warm = [replace(s, memory=20 * MB) if s.seconds < 600 else s for s in samples]

    assert verdicts(warm) == []


def test_a_few_seconds_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = soak(tmp_path, seconds=4.0, line_seconds=1.0, rate=1_000)

    assert len(samples) >= 3
    assert samples[-1].rows > samples[0].rows > 0
    assert all(s.memory and s.files and s.threads and s.handles and s.log for s in samples)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == HEADING
    assert len(lines) == 1 + len(samples)
    assert list((tmp_path / "lake" / "per_second").iterdir())

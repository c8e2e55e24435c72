"""The author's Python functions in a running pipeline: live, failing, changed, recovered."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import headwater as hw

ROWS = [
    {"device": "a", "celsius": 20.0},
    {"device": "b", "celsius": -400.0},
    {"device": "a", "celsius": None},
    {"device": "c", "celsius": 100.0},
]


def fahrenheit(celsius: pa.Array) -> pa.Array:
    if pc.any(pc.less(celsius, -273.15)).as_py():
        raise ValueError("colder than can be")
    return pc.add(pc.multiply(celsius, 1.8), 32.0)


def weather(call: Callable[..., Any] = fahrenheit) -> hw.App:
    app = hw.App("weather")
    app.topic("raw", "device VARCHAR, celsius DOUBLE")
    app.function("(celsius DOUBLE) -> DOUBLE", name="fahrenheit")(call)
    app.view("warm", "SELECT device, fahrenheit(celsius) AS f FROM raw")
    app.view("hottest", "SELECT device, max(Fahrenheit(celsius)) AS f FROM raw GROUP BY device")
    app.view("plain", "SELECT device, celsius FROM raw")
    return app


def test_a_function_answers_alike_live_and_in_batch_and_its_failed_rows_are_told() -> None:
    app = weather()
    with app.start(listen=None) as live:
        live.send("raw", ROWS)
        live.settle()

        warm = live.query("FROM warm ORDER BY f").to_pylist()
        assert live.query("FROM warm$failed").to_pylist() == [
            {
                "reason": "function fahrenheit raised ValueError: colder than can be",
                "record": '{"device":"b","celsius":-400}',
            }
        ]
        hottest = live.query("FROM hottest ORDER BY device").to_pylist()
        assert live.status().problems == ()

    good = pa.Table.from_pylist([row for row in ROWS if row["device"] != "b"])
    answers = app.batch({"raw": good})
    assert warm == answers["warm"].sort_by("f").to_pylist()
    assert hottest == answers["hottest"].sort_by("device").to_pylist()


def test_a_result_of_the_wrong_length_pauses_the_view_and_says_so() -> None:
    with weather(lambda v: v.slice(1)).start(listen=None) as live:
        live.send("raw", ROWS)
        live.settle()

        (first, *_) = live.status().problems
        assert "function fahrenheit returned 3 values for 4 rows" in first
        assert live.query("FROM plain").num_rows == 4


def test_a_question_runs_no_python() -> None:
    with (
        weather().start(listen=None) as live,
        pytest.raises(hw.DefinitionError, match="a question runs no Python"),
    ):
        live.query("SELECT fahrenheit(1.0)")


def test_a_changed_function_is_a_changed_view(tmp_path: Path) -> None:
    with weather().start(tmp_path, listen=None) as live:
        live.send("raw", ROWS)
        live.settle()

    def kelvin(celsius: pa.Array) -> pa.Array:
        return pc.add(celsius, 273.15)

    with pytest.raises(hw.DefinitionError, match=r"changed since .*: warm, hottest"):
        weather(kelvin).start(tmp_path, listen=None)
    with weather().start(tmp_path, listen=None) as live:
        assert live.query("SELECT max(f) AS f FROM warm").to_pylist() == [{"f": 212.0}]


def test_a_function_that_is_not_deterministic_is_found_out(tmp_path: Path) -> None:
    count = itertools.count()

    def counting(celsius: pa.Array) -> pa.Array:
        return pa.array([float(next(count)) for _ in celsius], pa.float64())

    live = weather(counting).start(tmp_path, listen=None)
    live.send("raw", ROWS)
    live.settle()
    kill(live)

    with pytest.raises(hw.StateError, match="warm does not repeat epoch") as raised:
        weather(counting).start(tmp_path, listen=None)
    assert "Python code that it runs (fahrenheit) may not be deterministic" in str(raised.value)


def kill(live: hw.Live) -> None:
    """Stop without a last checkpoint, as a crash does: the next start steps the epochs again."""
    live._runtime.checkpoint = lambda: None  # type: ignore[method-assign]
    live.close()

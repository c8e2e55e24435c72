"""The examples declare pipelines that can be planned, and say what they promise."""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path

import pytest

import headwater as hw

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str) -> hw.App:
    app = runpy.run_path(str(EXAMPLES / name))["app"]
    assert isinstance(app, hw.App)
    return app


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_each_can_be_planned(name: str) -> None:
    assert load(name).explain()


def test_a_silent_device_is_told_and_so_is_its_return() -> None:
    with load("silent_devices.py").start(listen=None) as live:
        beats = [("pump", "12:00:00"), ("fan", "12:00:10"), ("fan", "12:04:00")]
        beats += [("fan", "12:08:00"), ("pump", "12:07:50"), ("fan", "12:09:00")]
        for device, at in beats:
            beat = {"device": device, "celsius": 20.0, "ts": f"2026-01-01T{at}"}
            live.send("beats", [beat])
            live.settle()

        rows = live.query("SELECT device, event, ts::TIME::VARCHAR AS at, silent_for FROM alarms")
        assert [tuple(row.values())[:3] for row in rows.to_pylist()] == [
            ("pump", "silent", "12:05:00"),
            ("pump", "back", "12:07:50"),
        ]
        spans = live.query("SELECT epoch_us(silent_for) AS us FROM alarms")["us"].to_pylist()
        assert [timedelta(microseconds=us).seconds for us in spans] == [300, 470]
        assert live.query("SELECT fahrenheit FROM latest")["fahrenheit"].to_pylist() == [68.0, 68.0]

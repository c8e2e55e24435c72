"""A full disk: what was acknowledged stays, the status says what to do, room is enough to go on."""

from __future__ import annotations

import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import StateError
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.statuses import status_of
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

ROWS = pa.table({"n": pa.array(range(100), pa.int64())})


def opened(disk: FakeDisk) -> Runtime:
    app = hw.App("numbers")
    app.topic("numbers", "n BIGINT")
    app.view("total", "SELECT sum(n) AS total, count(*) AS rows FROM numbers")
    compiled = app.compile()
    return Runtime(compiled.pipeline, compiled.plans, disk, ManualClock(), Settings())


def send(runtime: Runtime) -> None:
    Ingest(runtime.intake, runtime.clock).send(runtime.topics["numbers"].definition, ROWS)


def test_an_idle_pipeline_says_that_its_disk_is_full_and_goes_on_when_there_is_room() -> None:
    disk = FakeDisk(1, room_bytes=6_000)
    runtime = opened(disk)
    sent = 0
    with pytest.raises(StateError, match="No space left"):
        while sent < 100:
            send(runtime)
            sent += 1
    (problem,) = status_of(runtime, (), "data").problems
    assert "No space left" in problem
    assert "hint: the disk is full: make room" in problem
    with pytest.raises(StateError):
        runtime.close()

    disk.room_bytes = None
    runtime = opened(disk.crash())
    while runtime.loop.run_epoch():
        pass
    send(runtime)
    while runtime.loop.run_epoch():
        pass

    assert sent > 0
    assert runtime.topics["numbers"].rows_total == 100 * (sent + 1)
    (view,) = runtime.loop.stepper.views
    (answer,) = [row for batch in view.content().batches() for row in batch.to_pylist()]
    assert answer == {"total": 4950 * (sent + 1), "rows": 100 * (sent + 1)}
    assert status_of(runtime, (), "data").problems == ()
    runtime.close()

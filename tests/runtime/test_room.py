"""The heap gets room for large epochs, and gives memory back when there is nothing to do."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

import headwater as hw
from headwater.heap import Heap
from headwater.runtime import loop
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

LARGE = 1 << 16


class Watched(Heap):
    """The heap itself, which tells when room is made and given back."""

    def __init__(self) -> None:
        super().__init__()
        self.made, self.given_back = threading.Event(), threading.Event()

    def make_room(self) -> None:
        super().make_room()
        self.made.set()

    def give_back(self) -> None:
        super().give_back()
        self.given_back.set()


@pytest.mark.parametrize("rows", [LARGE - 1, LARGE])
def test_a_large_epoch_has_room_until_nothing_comes(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    heap = Watched()
    monkeypatch.setattr(loop, "HEAP", heap)
    app = hw.App("room")
    app.topic("clicks", "ad BIGINT")
    app.view("dear", "SELECT ad FROM clicks WHERE ad > 5")
    compiled = app.compile()
    runtime = Runtime(compiled.pipeline, compiled.plans, FakeDisk(0), ManualClock(), Settings())
    ingest = Ingest(runtime.intake, runtime.clock)
    ingest.send(runtime.topics["clicks"].definition, pa.table({"ad": [7] * rows}))

    runtime.loop.start()

    assert runtime.loop.wait_for(rows, 0, timeout=30)
    assert heap.made.is_set() == (rows == LARGE)
    assert heap.given_back.wait(timeout=30)
    runtime.close()

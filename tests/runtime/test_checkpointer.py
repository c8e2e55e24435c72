"""Epochs go on while a checkpoint is written, and recovery finds its way from it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

import headwater as hw
from headwater.clock import SystemClock
from headwater.errors import StateError
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.local import LocalDisk, Part

SECONDS = 30.0


class GatedDisk(LocalDisk):
    """A disk on which manifests wait for a gate, or are refused."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Event()
        self.is_refusing = False

    def write(self, path: str, parts: Sequence[Part]) -> None:
        if path.startswith("checkpoints/"):
            self.arrived.set()
            assert self.gate.wait(SECONDS)
            if self.is_refusing:
                raise StateError(f"{path} cannot be written")
        super().write(path, parts)


def opened(disk: LocalDisk, *, checkpoint_bytes: int) -> Runtime:
    app = hw.App("shop")
    app.topic("sales", "shop BIGINT, price BIGINT")
    app.view("sums", "SELECT shop, sum(price) AS total FROM sales GROUP BY shop")
    app.view("dear", "SELECT * FROM sales WHERE price > 90")
    compiled = app.compile()
    settings = Settings(checkpoint_bytes=checkpoint_bytes, checkpoint_seconds=1e9)
    return Runtime(compiled.pipeline, compiled.plans, disk, SystemClock(), settings)


def send(runtime: Runtime, first: int) -> None:
    rows = [{"shop": n % 7, "price": n % 100} for n in range(first, first + 100)]
    Ingest(runtime.intake, runtime.clock).send(runtime.topics["sales"].definition, rows)
    assert runtime.settle(SECONDS)


def contents(runtime: Runtime) -> dict[str, list[tuple[int, ...]]]:
    visible = runtime.loop.visible.contents
    return {
        name: sorted(
            tuple(row.values()) for batch in content.batches() for row in batch.to_pylist()
        )
        for name, content in visible.items()
    }


def published(runtime: Runtime) -> dict[str, list[dict[str, int]]]:
    """All that the views have published, with offsets."""
    return {v.name: v.changes.read(0, 1 << 40).to_pylist() for v in runtime.loop.stepper.views}


def crashed(runtime: Runtime) -> None:
    """Stop without a last checkpoint."""
    runtime.loop.stop()
    runtime._checkpointer.close()
    runtime.journal.close()
    runtime._engine.close()


def test_epochs_go_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    disk = GatedDisk(tmp_path)
    runtime = opened(disk, checkpoint_bytes=1)
    disk.arrived.clear()
    disk.gate.clear()
    runtime.start()
    send(runtime, 0)
    assert disk.arrived.wait(SECONDS)
    generations = len(list((tmp_path / "checkpoints").iterdir()))

    for first in range(100, 1_000, 100):
        send(runtime, first)

    assert len(list((tmp_path / "checkpoints").iterdir())) == generations
    disk.gate.set()
    crashed(runtime)
    expected, changes = contents(runtime), published(runtime)
    assert sum(total for _, total in expected["sums"]) == sum(n % 100 for n in range(1_000))

    again = opened(GatedDisk(tmp_path), checkpoint_bytes=1 << 60)
    # The logs were flushed further than the manifest's epoch: these epochs are stepped again.
    assert again.epochs_recovered >= 9
    assert contents(again) == expected
    assert published(again) == changes
    again.start()
    send(again, 1_000)
    assert sum(total for _, total in contents(again)["sums"]) == sum(n % 100 for n in range(1_100))
    again.close()


def test_many_checkpoints_beside_many_epochs(tmp_path: Path) -> None:
    runtime = opened(LocalDisk(tmp_path), checkpoint_bytes=1)
    runtime.start()
    for first in range(0, 4_000, 100):
        send(runtime, first)
    crashed(runtime)
    expected, changes = contents(runtime), published(runtime)

    again = opened(LocalDisk(tmp_path), checkpoint_bytes=1 << 60)

    assert (contents(again), published(again)) == (expected, changes)
    again.close()
    last = opened(LocalDisk(tmp_path), checkpoint_bytes=1 << 60)
    assert last.epochs_recovered == 0
    assert (contents(last), published(last)) == (expected, changes)
    last.close()


def test_a_checkpoint_that_cannot_be_written_is_told_and_stops_the_loop(tmp_path: Path) -> None:
    disk = GatedDisk(tmp_path)
    runtime = opened(disk, checkpoint_bytes=1)
    runtime.start()
    disk.is_refusing = True

    with pytest.raises(StateError, match=r"checkpoints/.* cannot be written"):
        for first in range(0, 100_000, 100):
            send(runtime, first)

    assert any("cannot be written" in problem for problem in runtime.problems)
    runtime.close()
    again = opened(LocalDisk(tmp_path), checkpoint_bytes=1 << 60)
    assert contents(again) == contents(runtime)
    again.close()

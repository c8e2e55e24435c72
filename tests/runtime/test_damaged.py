"""A checkpoint that is not what was written gives way to the one before; what is lost is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import StateError
from headwater.runtime import checkpoint
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.runtime.senders import SenderWatermark
from headwater.sql import declare
from headwater.storage.blobs import Blobs
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

ROWS = pa.table({"n": pa.array(range(10), pa.int64())})


def opened(disk: FakeDisk) -> Runtime:
    app = hw.App("numbers")
    app.topic("numbers", "n BIGINT")
    app.view("sums", "SELECT n % 3 AS k, sum(n) AS total FROM numbers GROUP BY k")
    compiled = app.compile()
    return Runtime(compiled.pipeline, compiled.plans, disk, ManualClock(), Settings())


def send(runtime: Runtime) -> None:
    Ingest(runtime.intake, runtime.clock).send(runtime.topics["numbers"].definition, ROWS)
    while runtime.loop.run_epoch():
        pass


def totals(runtime: Runtime) -> dict[int, int]:
    (view,) = runtime.loop.stepper.views
    rows = [row for batch in view.content().batches() for row in batch.to_pylist()]
    return {row["k"]: int(row["total"]) for row in rows}


def after(batches: int) -> dict[int, int]:
    return {k: batches * sum(n for n in range(10) if n % 3 == k) for k in range(3)}


@pytest.fixture
def disk() -> FakeDisk:
    """A folder with two checkpoints and rows after them."""
    disk = FakeDisk(1)
    runtime = opened(disk)
    send(runtime)
    runtime.checkpoint()
    send(runtime)
    runtime.checkpoint()
    send(runtime)
    disk.switch_off()
    with pytest.raises(StateError):
        runtime.close()
    return disk.crash()


def flip(disk: FakeDisk, path: str, at: int) -> None:
    data = bytearray(disk.peek(path))
    data[at] ^= 4
    disk.damage(path, bytes(data))


def newest(disk: FakeDisk, folder: str) -> str:
    return max(path for path in disk.paths() if path.startswith(folder))


@pytest.mark.parametrize(
    "harm",
    [
        lambda disk: flip(disk, newest(disk, "checkpoints/"), 40),
        lambda disk: disk.damage(newest(disk, "checkpoints/"), b""),
        lambda disk: flip(disk, newest(disk, "state/"), 300),
        lambda disk: disk.damage(newest(disk, "state/"), None),
    ],
    ids=["manifest flipped", "manifest empty", "state flipped", "state gone"],
)
def test_the_checkpoint_before_serves(disk: FakeDisk, harm: Callable[[FakeDisk], None]) -> None:
    damaged = newest(disk, "checkpoints/")
    harm(disk)

    runtime = opened(disk)

    assert totals(runtime) == after(3)
    assert runtime.topics["numbers"].rows_total == 30
    (notice,) = runtime.notices
    assert notice.startswith(f"{damaged} cannot be used")
    assert runtime.epochs_recovered == 2
    send(runtime)
    runtime.close()
    assert damaged not in disk.paths()
    again = opened(disk.crash())
    assert (totals(again), again.notices) == (after(4), [])
    again.close()


def test_what_is_damaged_is_named_where_the_checkpoint_before_cannot_serve(disk: FakeDisk) -> None:
    state, hot = newest(disk, "state/"), [p for p in disk.paths() if p.startswith("topics/")]
    flip(disk, state, 300)
    disk.damage(min(hot), None)

    with pytest.raises(StateError, match="is missing") as caught:
        opened(disk)

    assert state in str(caught.value)
    assert min(hot) in str(caught.value)


def test_a_start_reads_only_so_much_of_the_state(
    disk: FakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = newest(disk, "state")
    flip(disk, path, 300)
    monkeypatch.setattr(checkpoint, "_CHECKED_TOGETHER_MAX", disk.size(path) - 1)

    found = checkpoint.Checkpoints(Blobs(disk))

    assert found.newest() is not None
    assert not found.damage
    monkeypatch.setattr(checkpoint, "_CHECKED_TOGETHER_MAX", disk.size(path))
    again = checkpoint.Checkpoints(Blobs(disk))
    assert again.newest() is not None
    assert len(again.damage) == 1


def test_when_no_checkpoint_is_whole_each_is_named(disk: FakeDisk) -> None:
    paths = [path for path in disk.paths() if path.startswith("checkpoints/")]
    for path in paths:
        flip(disk, path, 40)

    with pytest.raises(StateError, match="no checkpoint is whole") as caught:
        opened(disk)

    assert all(path in str(caught.value) for path in paths)
    assert "hint: restore the folder from a backup" in str(caught.value)


def test_a_checkpoint_of_before_has_no_checksum_and_is_read(disk: FakeDisk) -> None:
    path = newest(disk, "checkpoints/")
    value = json.loads(disk.peek(path))
    del value["crc32"]
    disk.damage(path, json.dumps(value | {"format": 1}).encode())

    runtime = opened(disk)

    assert (totals(runtime), runtime.notices) == (after(3), [])
    runtime.close()


def test_a_journal_without_any_checkpoint_is_not_read(disk: FakeDisk) -> None:
    for path in [path for path in disk.paths() if path.startswith("checkpoints/")]:
        disk.damage(path, None)

    with pytest.raises(StateError, match="no checkpoint in checkpoints/"):
        opened(disk)


def test_a_journal_that_ends_too_early_is_not_gone_on_with(disk: FakeDisk) -> None:
    (path,) = (path for path in disk.paths() if path.startswith("journal/"))
    disk.damage(path, disk.peek(path)[:24])

    with pytest.raises(StateError, match="the journal ends before record 0"):
        opened(disk)


def test_a_journal_that_begins_too_late_is_not_gone_on_with(disk: FakeDisk) -> None:
    (path,) = (path for path in disk.paths() if path.startswith("journal/"))
    disk.damage(path, None)
    disk.damage("journal/00000000000000000099.hwj", b"")

    with pytest.raises(StateError, match=r"the journal begins with record 99.* from \d+ on"):
        opened(disk)


def test_what_a_watermark_saves_does_not_change_with_later_epochs() -> None:
    topic = declare.topic(
        "hits", "server VARCHAR, ts TIMESTAMP", event_time="ts", watermark_by="server"
    )
    mark = SenderWatermark(topic)
    mark._numbers(["a"])
    saved = mark.save()
    before = json.dumps(saved)

    mark._numbers(["b", "c"])

    assert json.dumps(saved) == before

"""A checkpoint is due by what a recovery would do again, and no epoch is long."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pytest

import headwater as hw
from headwater.runtime.checkpoint import Checkpoints
from headwater.runtime.ingest import Ingest
from headwater.runtime.pace import EPOCH_SECONDS_MAX, Pace, Work
from headwater.runtime.runtime import Runtime, Settings
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk, Part
from headwater.testing.clock import ManualClock

SECONDS = 20.0
# What the view takes for an epoch of one row, by the clock of the test.
EPOCH_SECONDS = 0.5


def test_an_epoch_takes_in_what_is_computed_in_half_a_second() -> None:
    pace = Pace(ManualClock())
    unknown = pace.rows_max

    pace.note(100_000, 0.15)
    quick = pace.rows_max
    pace.note(100_000, 2.1)
    slow = pace.rows_max
    pace.note(10, 4.0)

    assert unknown < quick
    assert quick == pytest.approx(2_000_000 * EPOCH_SECONDS_MAX, abs=1)
    assert slow == pace.rows_max == pytest.approx(50_000 * EPOCH_SECONDS_MAX, abs=1)
    assert pace.epoch_seconds == 4.0


def test_records_and_bytes_of_the_journal_count_beside_the_seconds_of_epochs() -> None:
    before, after = Work(1.0, 10, 1_000), Work(1.5, 10_010, 500_001_000)

    assert after.seconds_since(before) == pytest.approx(0.5 + 10_000 * 25e-6 + 0.5)


class CountingDisk(LocalDisk):
    """Counts the bytes of whole files, and keeps manifests waiting."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written_bytes = 0
        self.gate = threading.Event()
        self.gate.set()

    def write(self, path: str, parts: list[Part]) -> None:  # type: ignore[override]
        if path.startswith("checkpoints/"):
            assert self.gate.wait(SECONDS)
        self.written_bytes += sum(map(len, parts))
        super().write(path, parts)


class Slow:
    """A pipeline whose view takes half a second for an epoch, by the test's clock."""

    def __init__(self, root: Path, epoch_seconds: float = EPOCH_SECONDS) -> None:
        self.disk = CountingDisk(root)
        self.clock = ManualClock()
        app = hw.App("slow")
        app.topic("numbers", "n BIGINT NOT NULL")

        @app.function("(n BIGINT) -> BIGINT")
        def slowly(n: pa.Array) -> pa.Array:
            if len(n):
                self.clock.advance(epoch_seconds)
            return n

        app.view("slow", "SELECT slowly(n) AS n FROM numbers")
        compiled = app.compile()
        settings = Settings(checkpoint_bytes=1 << 60, checkpoint_seconds=1e9, recovery_seconds=2.4)
        arguments = (compiled.pipeline, compiled.plans, self.disk, self.clock, settings)
        self.runtime = Runtime(*arguments)

    def epoch(self) -> None:
        runtime = self.runtime
        Ingest(runtime.intake, runtime.clock).send(runtime.topics["numbers"].definition, [{"n": 1}])
        assert runtime.loop.run_epoch()

    def checkpoints(self) -> int:
        return Checkpoints(Blobs(self.disk)).next_generation()

    def crash(self) -> None:
        self.runtime.loop.stop()
        self.runtime._checkpointer.close()
        self.runtime.journal.close()
        self.runtime._engine.close()


def test_a_checkpoint_is_begun_at_half_of_what_a_recovery_may_take(tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    before, found = slow.checkpoints(), []
    for _ in range(7):
        slow.epoch()
        slow.runtime._checkpointer.take_if_due()
        slow.runtime._checkpointer.wait()
        found.append(slow.checkpoints() - before)

    assert found == [0, 0, 1, 1, 1, 2, 2]
    slow.crash()


def test_what_a_recovery_has_done_again_counts_until_the_next_checkpoint(tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    slow.epoch()
    slow.epoch()
    slow.crash()

    again = Slow(tmp_path)
    assert again.runtime.epochs_recovered == 2
    before = again.checkpoints()
    again.epoch()
    again.runtime._checkpointer.take_if_due()
    again.runtime._checkpointer.wait()

    assert again.checkpoints() == before + 1
    again.crash()


def test_epochs_wait_for_a_checkpoint_that_is_slow(tmp_path: Path) -> None:
    slow = Slow(tmp_path)
    slow.disk.gate.clear()
    for _ in range(3):
        slow.epoch()
        slow.runtime._checkpointer.take_if_due()
    # One is being written, and one more epoch is still done again quickly enough.
    slow.epoch()
    waiting = threading.Thread(target=slow.runtime._checkpointer.take_if_due)
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()

    slow.disk.gate.set()
    waiting.join(SECONDS)

    assert not waiting.is_alive()
    slow.crash()


def test_a_checkpoint_is_written_without_pauses_before_epochs_would_wait_for_it(
    tmp_path: Path,
) -> None:
    slow = Slow(tmp_path, epoch_seconds=0.05)
    slow.disk.gate.clear()
    found = []
    for _ in range(38):
        slow.epoch()
        slow.runtime._checkpointer.take_if_due()
        found.append(slow.runtime._checkpointer._rests._hurried.is_set())

    # It is begun after 1.2 seconds of work, and 2.4 are the most.
    assert found.index(False) == 23
    assert found.index(True, 23) == 35
    assert all(found[35:])
    slow.disk.gate.set()
    slow.crash()


def shop(root: Path) -> tuple[Runtime, CountingDisk]:
    """A pipeline that remembers much."""
    app = hw.App("shop")
    app.topic("sales", "shop BIGINT NOT NULL, price BIGINT NOT NULL, at TIMESTAMP NOT NULL")
    app.table("shops", "shop BIGINT, name VARCHAR NOT NULL", key="shop")
    app.view("totals", "SELECT shop, sum(price) AS total FROM sales GROUP BY shop")
    app.view("named", "SELECT name, price FROM sales JOIN shops USING (shop)")
    app.view("dear", "SELECT * FROM sales WHERE price > 90")
    compiled, disk = app.compile(), CountingDisk(root)
    return Runtime(compiled.pipeline, compiled.plans, disk, ManualClock(), Settings()), disk


def test_a_checkpoint_writes_what_changed_and_not_what_there_is(tmp_path: Path) -> None:
    runtime, disk = shop(tmp_path)
    ingest, topics = Ingest(runtime.intake, runtime.clock), runtime.topics

    def written(first: int, rows: int) -> int:
        """The bytes of the checkpoint after so many rows."""
        numbers = pa.array(range(first, first + rows))
        names = pa.array([f"the shop of number {n}" for n in range(first, first + rows)])
        shops = pa.table({"shop": numbers, "name": names})
        ingest.send(topics["shops"].definition, shops)
        times = pa.array(range(first, first + rows), pa.timestamp("us"))
        sales = pa.table({"shop": numbers, "price": numbers, "at": times})
        ingest.send(topics["sales"].definition, sales)
        while runtime.loop.run_epoch():
            pass
        before = disk.written_bytes
        runtime.checkpoint()
        return disk.written_bytes - before

    large = written(0, 60_000)
    nothing = written(60_000, 0)
    # Rows are sorted when somebody first looks for one, and written once more then.
    sorting = sum(written(60_000 + 100 * n, 100) for n in range(2))
    small = [written(60_200 + 100 * n, 100) for n in range(6)]

    assert large > 60_000 * 80
    # What a checkpoint costs beside: the manifest, and a file's own bytes for each part.
    assert nothing < 10_000
    assert sorting < 2 * large
    assert max(small) < 200_000
    runtime.close()

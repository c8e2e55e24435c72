"""A position that was acknowledged, or seen, is there after a crash in any call of the disk."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pyarrow as pa
import pytest

import headwater as hw
from headwater.errors import HeadwaterError, StateError
from headwater.run.compile import Compiled
from headwater.runtime.checkpoint import Manifest
from headwater.runtime.consumer import Commit, Wish
from headwater.runtime.ingest import Ingest
from headwater.runtime.runtime import Runtime, Settings
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk

GROUPS = [(group, relation) for group in ("a", "b") for relation in ("sales", "dear", "sums")]
Places = dict[tuple[str, str], tuple[int, ...] | None]


def compiled() -> Compiled:
    app = hw.App("crashes")
    app.topic("sales", "shop BIGINT, price BIGINT", partitions=2)
    app.view("dear", "SELECT * FROM sales WHERE price > 5")
    app.view("sums", "SELECT shop, sum(price) AS total FROM sales GROUP BY shop")
    return app.compile()


class Life:
    """One life of the pipeline: rows come, and groups read, commit, are put back and removed.

    What it was told and what it saw is in `sure`; what it asked for last, and was not told of, is
    in `asked`: that may have happened or not.
    """

    def __init__(self, disk: FakeDisk, plan: Compiled, clock: ManualClock, rng: random.Random):
        self.runtime = Runtime(plan.pipeline, plan.plans, disk, clock, Settings(epoch_rows_max=20))
        self._rng = rng
        self._ingest = Ingest(self.runtime.intake, clock)
        self.asked: tuple[tuple[str, str], tuple[int, ...] | None] | None = None

    def places(self) -> Places:
        found: Places = dict.fromkeys(GROUPS)
        for told in self.runtime.consumers.all():
            assert told.problem is None
            assert all(p <= e for p, e in zip(told.positions, told.ends, strict=True))
            found[told.group, told.relation] = told.positions
        return found

    def act(self, sure: Places) -> None:
        """One step, noted in `sure` once it is acknowledged."""
        self.asked = None
        step = self._rng.choice(["send", "send", "epoch", "checkpoint", *["consume"] * 5])
        if step == "send":
            rows = [{"shop": n % 3, "price": n} for n in range(self._rng.randint(1, 12))]
            definition = self.runtime.topics["sales"].definition
            self._ingest.send(definition, rows, partition=self._rng.randint(0, 1))
        elif step == "epoch":
            while self.runtime.loop.run_epoch():
                pass
        elif step == "checkpoint":
            self.runtime.checkpoint()
        else:
            self._consume(sure)

    def _consume(self, sure: Places) -> None:
        place = self._rng.choice(GROUPS)
        consumers, now = self.runtime.consumers, sure[place]
        if now is None:
            ends = next(r.ends() for n, r in consumers._relations.items() if n == place[1])
            self.asked = place, tuple(0 for _ in ends)
            consumers.create(*place, "start")
        elif (step := self._rng.random()) < 0.1:
            self.asked = place, None
            consumers.remove(*place)
        elif step < 0.2:
            self.asked = place, tuple(0 for _ in now)
            consumers.seek(*place, "start")
        else:
            portion = consumers.read(*place, Wish(rows_max=self._rng.randint(1, 20)))
            assert portion is not None
            assert portion.committed == now[portion.partition]
            after = list(now)
            after[portion.partition] = portion.position
            self.asked = place, tuple(after)
            commit = Commit(portion.position, portion.partition, portion.committed)
            consumers.commit(*place, commit)
        sure[place] = self.asked[1]
        assert self.places() == sure


@pytest.mark.parametrize("seed", range(40))
def test_a_crash_in_any_call_loses_no_position(seed: int) -> None:
    plan, clock, rng = compiled(), ManualClock(), random.Random(seed)
    disk, sure = FakeDisk(seed), dict.fromkeys(GROUPS)
    asked = None
    for _ in range(4):
        disk.crash_at(disk.calls + rng.randint(1, 120))
        life: Life | None = None
        try:
            life = Life(disk, plan, clock, rng)
            check(life.places(), sure, asked)
            sure, asked = life.places(), None
            for _ in range(60):
                life.act(sure)
        except StateError:
            pass
        finally:
            if life is not None:
                asked = life.asked if life.asked and sure[life.asked[0]] != life.asked[1] else asked
                with suppress(HeadwaterError):
                    life.runtime.close()
        disk = disk.crash()

    last = Life(disk, plan, clock, rng)
    check(last.places(), sure, asked)
    last.runtime.close()


def check(
    found: Places,
    sure: Places,
    asked: tuple[tuple[str, str], tuple[int, ...] | None] | None,
) -> None:
    """What was acknowledged is there; of what was asked for last, it is that or what was before."""
    expected = dict(sure)
    if asked is not None and found[asked[0]] == asked[1]:
        expected[asked[0]] = asked[1]
    assert found == expected


def test_a_checkpoint_has_what_was_written_before_it_and_a_folder_of_before_has_none() -> None:
    plan, clock, disk = compiled(), ManualClock(), FakeDisk(0)
    runtime = Runtime(plan.pipeline, plan.plans, disk, clock, Settings())
    Ingest(runtime.intake, clock).send(
        runtime.topics["sales"].definition, pa.table({"shop": [1], "price": [9]})
    )
    runtime.loop.run_epoch()
    runtime.consumers.create("a", "dear", "now")
    runtime.checkpoint()
    (manifest, *_) = reversed(runtime._checkpoints.kept())
    runtime.close()

    assert [(s.group, s.relation, s.positions) for s in manifest.standings()] == [
        ("a", "dear", (1,))
    ]
    assert manifest.epoch_times == [[1, clock.now_us()]]

    value = json.loads(disk.read(max(disk.list("checkpoints"))))
    del value["consumers"], value["epoch_times"], value["crc32"]
    older = Manifest(**value)
    assert (older.standings(), older.epoch_times) == ([], [])

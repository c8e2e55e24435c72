"""Run the whole system from one seed: many lives over one folder, and then the laws.

    python -m simulation.run --first 10000 --count 5000

A seed draws a pipeline, what is sent to it, and lives that each end otherwise: closed, killed
between two calls of the disk or within one, refused by a full or failing disk. Between them a file
may be damaged (on a copy of the disk): that must be found, or do no harm.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from random import Random

import pytest

from headwater.log.changes import ChangeLog
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.state.spine import Limits
from headwater.storage.journal import Journal
from headwater.storage.store import FolderStore
from headwater.testing.clock import ManualClock
from headwater.testing.disk import FakeDisk
from simulation import damage, laws
from simulation.engines import Merges, Shared
from simulation.life import Life, lived
from simulation.machine import ARCHIVE, Fault, fault_of
from simulation.pipelines import (
    PIPELINES,
    STEPS,
    Drawn,
    drawn,
    fleeting_of,
    names_of,
    partitions_of,
    topics_of,
)
from simulation.sending import senders_of
from simulation.stores import Store
from simulation.world import Group, World, Wrong

# So many seeds are given out before the next are: half of them for each of two cores.
BLOCK = 2048
# What the disk was asked last in this process.
TRACE: deque[str] = deque(maxlen=2000)


@contextmanager
def small() -> Iterator[None]:
    """Have all that grows large be cut small: files of the journal, segments, piles, runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Limits, "behind_rows", property(lambda _limits: 4))
        patch.setattr("headwater.state.spine.MERGES", Merges())
        patch.setattr("headwater.runtime.content._AHEAD_ROWS", 3)
        patch.setattr("headwater.runtime.content._SMALL_ROWS", 2)
        patch.setattr("headwater.state.piled._GARBAGE_MIN", 2)
        patch.setattr("headwater.operators.statement.Instance", Shared)
        patch.setattr("headwater.log.lane.MANY", 4)
        patch.setattr(FolderStore, "_blobs", lambda _store: ARCHIVE.blobs())
        patch.setitem(Journal.open.__func__.__kwdefaults__, "file_bytes_max", 4096)
        for kind in (Topic, ChangeLog):
            patch.setitem(kind.open.__func__.__kwdefaults__, "seal_at", SealAt(rows=10))
        yield


def simulate(seed: int) -> World:
    """Run a seed.

    Raises:
        Wrong: A law does not hold.

    """
    random = Random(seed)
    number = seed % PIPELINES
    TRACE.clear()
    world = made(number, random)
    version = columns = 0
    with small():
        for life in range(random.choice([1, 1, 2, 2, 3])):
            fault = fault_of(random, is_first=life == 0)
            lived(world, drawn(number, version, columns), fault, random)
            if random.random() < 0.2:
                damage.check(world, drawn(number, version, columns), random)
            version |= random.random() < 0.2
            if world.columns >= columns and random.random() < 0.3:
                columns = min(world.columns + 1, len(STEPS))
        finished(world, drawn(number, version, columns), random)
        if random.random() < 0.1:
            again(world, drawn(number, version, columns, is_again=True), random)
    return world


def made(number: int, random: Random) -> World:
    """A world in which a pipeline has not lived yet."""
    disks = [FakeDisk(random.getrandbits(32)) for _ in range(3)]
    topics = topics_of(number)
    partitions = {topic: partitions_of(number, topic) for topic in topics}
    senders = senders_of(random, partitions, fleeting_of(number))
    readable = [*topics[-2:], *names_of(number)]
    groups = [
        Group(f"group-{n}", random.choice(readable), random.choice([1, 1, 2]))
        for n in range(random.choice([0, 1, 1]))
    ]
    return World(*disks, Store(), ManualClock(), senders, groups, trace=TRACE)


def finished(world: World, pipeline: Drawn, random: Random) -> None:
    """Live until all is sent, and check the laws."""
    for _ in range(2):
        if lived(world, pipeline, Fault("none"), random, then=laws.check, closed=laws.check_closed):
            return
    raise Wrong("a life without a fault does not come to its end")


def again(world: World, pipeline: Drawn, random: Random) -> None:
    """Build every view once more from the log."""

    def check(life: Life) -> None:
        laws.check(life)
        laws.check_again(life.runtime)

    lived(world, pipeline, Fault("none"), random, then=check)


def failures(seeds: Iterable[int]) -> list[str]:
    """Run seeds; of those that fail, what they say."""
    found = []
    for seed in seeds:
        try:
            simulate(seed)
        except Exception:
            found.append(f"seed {seed}:\n{traceback.format_exc()}")
    return found


def main() -> int:
    """Run seeds, a process for each core, and tell of those that fail."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=1_000_000)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--trace", action="store_true", help="one seed here, and the disk's calls")
    chosen = parser.parse_args()
    start, failed = time.monotonic(), 0
    if chosen.trace:
        return traced(chosen.first)
    last = chosen.first + chosen.count
    blocks = [
        range(first, min(last, start_of + BLOCK), PIPELINES)
        for start_of in range(chosen.first, last, BLOCK)
        for first in range(start_of, min(last, start_of + PIPELINES))
    ]
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        for found in pool.map(failures, blocks):
            failed += len(found)
            for text in found:
                print(text, flush=True)
    print(f"{chosen.count} seeds in {time.monotonic() - start:.0f} s: {failed} failed")
    return 1 if failed else 0


def traced(seed: int) -> int:
    """Run one seed and print what the disk was asked last."""
    found = failures([seed])
    print("\n".join([*TRACE, *found]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

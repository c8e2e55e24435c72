"""A file moves when every start that may come knows it, and goes when none does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.topic import Topic
from headwater.plan.life import Life
from headwater.storage.blobs import Blobs
from headwater.storage.store import Place
from headwater.testing.disk import FakeDisk
from log.log_inputs import CLICKS, START_US, batch

FOLDER = "topics/clicks"
FOREVER = 1 << 62
HOUR_US = 3_600_000_000
TICKS = [0, 1, 20, 21, 40, 41]


def opened(folder: Path, disk: FakeDisk, manifest: Any = None, **more: Any) -> Topic:
    life = Life(retention_us=100 * HOUR_US, archive=str(folder))
    topic = replace(CLICKS, partitions=1, life=life)
    return Topic.open(topic, Blobs(disk), FOLDER, manifest, seal_at=SealAt(rows=2), **more)


def sealed(topic: Topic, files: int) -> None:
    """So many sealed files of two rows, an hour and ten ticks apart."""
    for _ in range(files):
        first = topic.next_offset(0)
        for n in (first, first + 1):
            tick, arrived_us = 10 * first + n - first, START_US + first // 2 * HOUR_US
            topic.append(Chunk(0, n, tick, arrived_us, batch(n, [n])))
        topic.flush()
        topic.seal()


def saved(topic: Topic) -> Any:
    return json.loads(json.dumps(topic.manifest()))


def moved(topic: Topic) -> int:
    """Move all that may be moved; how many files."""
    before = len(topic.manifest()["lanes"][0]), archived(topic)
    while topic.archive():
        pass
    assert len(topic.manifest()["lanes"][0]) == before[0]
    return archived(topic) - before[1]


def archived(topic: Topic) -> int:
    return sum(entry["is_archived"] for entry in topic.manifest()["lanes"][0])


def test_a_file_moves_when_every_kept_manifest_names_it(tmp_path: Path) -> None:
    topic = opened(tmp_path, FakeDisk(1))
    sealed(topic, 2)
    before = saved(topic)
    sealed(topic, 2)
    after = saved(topic)

    topic.note_kept([None, after], FOREVER)
    assert moved(topic) == 0
    topic.note_kept([before, after], FOREVER)
    assert moved(topic) == 2
    topic.note_kept([after, after], FOREVER)
    assert moved(topic) == 1
    assert moved(topic) == 0
    assert topic.read_offsets(0, 0, 99)["id"].to_pylist() == list(range(8))


@pytest.mark.parametrize(
    ("tick_to", "files"), [(0, 0), (19, 0), (20, 1), (39, 1), (40, 2), (99, 2)]
)
def test_what_is_looked_for_by_tick_is_here(tick_to: int, files: int, tmp_path: Path) -> None:
    topic = opened(tmp_path, FakeDisk(1))
    sealed(topic, 3)
    topic.note_kept([saved(topic)], tick_to)

    assert moved(topic) == files
    # Also with the store away: no file of it is opened.
    for file in tmp_path.rglob("*.parquet"):
        file.unlink()
    assert [topic.arrived_us(0, n) for n in (0, 2, 4)] == [START_US + n * HOUR_US for n in range(3)]
    assert topic.arrived_us(0, 6) is None
    assert topic.rows_between(tick_to, 99) == sum(tick >= tick_to for tick in TICKS)
    assert [c.tick_first for c in topic.read_ticks(tick_to, 99)] == [
        t for t in TICKS if t >= tick_to
    ]


def test_a_file_in_the_store_goes_when_no_kept_manifest_names_it(tmp_path: Path) -> None:
    disk = FakeDisk(1)
    topic = opened(tmp_path, disk)
    sealed(topic, 3)
    topic.note_kept([saved(topic)], FOREVER)
    assert moved(topic) == 2
    store = Place.parse(str(tmp_path)).open()
    names = store.list("")
    assert len(names) == 2
    before = saved(topic)

    topic.retain(START_US + 101 * HOUR_US + 1, FOREVER)
    after = saved(topic)
    assert [name.partition("/")[2] for name in after["gone"]] == [
        name.partition("/")[2] for name in names
    ]
    topic.note_kept([before, after], FOREVER)
    moved(topic)
    assert store.list("") == names

    again = opened(tmp_path, disk, after, older=[before])
    moved(again)
    assert store.list("") == names
    again.note_kept([after], FOREVER)
    moved(again)
    assert store.list("") == []
    assert again.manifest()["gone"] == []


def test_what_was_stored_just_before_a_crash_goes_with_its_rows(tmp_path: Path) -> None:
    disk = FakeDisk(1)
    topic = opened(tmp_path, disk)
    sealed(topic, 3)
    before = saved(topic)
    topic.note_kept([before], FOREVER)
    assert moved(topic) == 2

    again = opened(tmp_path, disk, before)
    again.retain(START_US + 101 * HOUR_US + 1, FOREVER)
    again.note_kept([saved(again)], FOREVER)
    moved(again)

    assert Place.parse(str(tmp_path)).open().list("") == []
    assert again.first_offset(0) == 4


def test_local_files_go_when_every_kept_manifest_has_them_in_the_store(tmp_path: Path) -> None:
    disk = FakeDisk(1)
    topic = opened(tmp_path, disk)
    sealed(topic, 3)
    before = saved(topic)
    topic.note_kept([before], FOREVER)
    moved(topic)
    after = saved(topic)

    topic.remove_unreferenced(before, after)
    assert len(disk.list(f"{FOLDER}/data")) == 3
    topic.remove_unreferenced(after)
    assert len(disk.list(f"{FOLDER}/data")) == 1
    assert opened(tmp_path, disk, after).read_offsets(0, 0, 9)["id"].to_pylist() == list(range(6))

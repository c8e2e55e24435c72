"""Readers see every row once and in its place while others append, flush and seal."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pytest

from headwater.log.chunk import Chunk
from headwater.log.lane import SealAt
from headwater.log.segment import Entry, SegmentFiles
from headwater.log.topic import Topic
from headwater.storage.blobs import Blobs
from headwater.testing.disk import FakeDisk
from log.log_inputs import CLICKS, START_US, batch

FOLDER = "topics/clicks"
CHUNKS = 120


def test_readers_see_a_dense_prefix_while_others_append_flush_and_seal() -> None:
    disk = FakeDisk(1)
    topic = Topic(CLICKS, Blobs(disk), FOLDER, seal_at=SealAt(rows=40))
    is_done = threading.Event()
    failures: list[BaseException] = []

    def flushing() -> None:
        while not is_done.is_set():
            topic.flush()
            manifest = topic.manifest()
            topic.remove_unreferenced(manifest)
            files = {path[len(FOLDER) + 1 :] for path in disk.list(FOLDER)}
            assert {entry["name"] for entry in manifest["lanes"][0]} <= files

    def sealing() -> None:
        while not is_done.is_set():
            topic.seal()

    def reading() -> None:
        while not is_done.is_set():
            expected = topic.next_offset(0)
            chunks = topic.read_ticks(0, 10**9)
            offsets = [n for c in chunks for n in range(c.offset_first, c.offset_to)]
            ids = [n for c in chunks for n in c.rows.column("id").to_pylist()]
            assert offsets == ids == list(range(len(ids)))
            assert len(ids) >= expected
            assert sum(b.num_rows for b in topic.batches(["id"])) >= expected

    def guarded(target: object) -> None:
        try:
            target()  # type: ignore[operator]
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=guarded, args=(t,)) for t in (flushing, sealing, reading)]
    for thread in threads:
        thread.start()
    try:
        for n in range(CHUNKS):
            topic.append(Chunk(0, 3 * n, 3 * n, START_US, batch(3 * n, [n, n, n])))
    finally:
        is_done.set()
        for thread in threads:
            thread.join()

    assert not failures
    assert topic.rows_total == 3 * CHUNKS


class BusyDisk(FakeDisk):
    """A disk during whose next write something else happens."""

    meanwhile: Callable[[], None] | None = None

    def write(self, path: str, parts: Sequence[Any]) -> None:
        action, self.meanwhile = self.meanwhile, None
        if action is not None:
            action()
        super().write(path, parts)


def test_what_is_appended_during_a_flush_or_a_seal_stays() -> None:
    disk = BusyDisk(1)
    topic = Topic(CLICKS, Blobs(disk), FOLDER, seal_at=SealAt(rows=4))

    def append(first: int) -> None:
        topic.append(Chunk(0, first, first, START_US, batch(first, [first, first])))

    def append_and_flush() -> None:
        append(4)
        topic.flush()

    append(0)
    disk.meanwhile = lambda: append(2)
    assert topic.flush() == 2
    assert topic.flush() == 2
    disk.meanwhile = append_and_flush
    assert topic.seal() == 1

    rows = topic.read_offsets(0, 0, 99)
    assert rows["id"].to_pylist() == rows["_offset"].to_pylist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("chunks", "files"),
    [
        (3, [(0, 11)]),
        (4, [(0, 7), (8, 15)]),
        (8, [(0, 11), (12, 23), (24, 31)]),
    ],
)
def test_a_tail_becomes_hot_files_of_like_and_good_size(
    chunks: int, files: list[tuple[int, int]]
) -> None:
    disk = FakeDisk(1)
    topic = Topic(CLICKS, Blobs(disk), FOLDER, seal_at=SealAt(rows=10))
    for n in range(chunks):
        topic.append(Chunk(0, 4 * n, 4 * n, START_US, batch(4 * n, [n] * 4)))

    topic.flush()

    spans = [path.split("/")[-1].split(".")[0].split("-")[1:] for path in disk.list(FOLDER)]
    assert [(int(a), int(b)) for a, b in spans] == files


def test_appends_larger_than_a_file_stay_whole() -> None:
    disk = FakeDisk(1)
    topic = Topic(CLICKS, Blobs(disk), FOLDER, seal_at=SealAt(rows=2))
    for first in (0, 9):
        topic.append(Chunk(0, first, first, START_US, batch(first, [first] * 9)))

    assert topic.flush() == 18

    assert len(disk.list(FOLDER)) == 2
    assert topic.read_offsets(0, 0, 99)["_offset"].to_pylist() == list(range(18))


def test_bytes_say_what_is_in_memory_and_what_in_files() -> None:
    disk = FakeDisk(1)
    topic = Topic(CLICKS, Blobs(disk), FOLDER)
    rows = batch(0, [1, 2, 3])
    topic.append(Chunk(0, 0, 0, START_US, rows))
    assert topic.tail_bytes == topic.size_bytes == rows.nbytes

    topic.flush()

    assert topic.tail_bytes == 0
    assert topic.size_bytes == disk.size(disk.list(FOLDER)[0])


def test_open_sealed_files_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr("headwater.log.segment.OPEN_BYTES_MAX", 1)
    blobs = Blobs(FakeDisk(1))
    topic = Topic(CLICKS, blobs, FOLDER, seal_at=SealAt(rows=1))
    for n in range(5):
        topic.append(Chunk(0, n, n, START_US, batch(n, [n])))
        topic.flush()
        topic.seal()
    files = SegmentFiles(blobs, FOLDER, CLICKS.schema.arrow)
    entries = [Entry.load(value) for value in topic.manifest()["lanes"][0]]

    contents = [files.lend(entry) for entry in entries]

    assert files.lend(entries[-1]) is contents[-1]
    assert files.lend(entries[0]) is not contents[0]
    ids = pa.Table.from_batches(topic.batches(["id"]))["id"].to_pylist()
    assert ids == list(range(5))

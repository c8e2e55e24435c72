"""A view's changes are read as they were published, whole epochs at a time, whatever crashed."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import DefinitionError
from headwater.log.changes import ChangeLog
from headwater.log.lane import SealAt
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk
from headwater.testing.disk import FakeDisk

pytestmark = pytest.mark.usefixtures("small_pieces")

SCHEMA = Schema(
    (Column("user", parse_type("VARCHAR")), Column("n", parse_type("BIGINT"), nullable=False))
)
FOLDER = "views/spend/changes"
SMALL = SealAt(rows=8)

weights = st.lists(st.integers(-3, 3), max_size=6)
actions = st.one_of(
    st.tuples(st.just("publish"), weights),
    st.tuples(st.just("publish"), weights),
    st.sampled_from([("checkpoint",), ("flush",), ("crash",)]),
)


class Life:
    """The changes of a view on a disk that crashes, kept as the runtime keeps them."""

    def __init__(self) -> None:
        self.disk = FakeDisk(1)
        self.rows: list[dict[str, Any]] = []
        self.epochs: list[tuple[pa.RecordBatch, np.ndarray | None, int]] = []
        self.manifest: dict[str, Any] | None = None
        self.log = self.opened()

    def opened(self) -> ChangeLog:
        blobs = Blobs(self.disk)
        return ChangeLog.open("spend", SCHEMA, blobs, FOLDER, self.manifest, seal_at=SMALL)

    def publish(self, weights: list[int]) -> None:
        count, first = len(self.epochs), len(self.rows)
        epoch = count + count // 3
        numbers = range(first, first + len(weights))
        rows = pa.record_batch(
            [pa.array([f"user {n}" for n in numbers], pa.string()), pa.array(numbers, pa.int64())],
            schema=SCHEMA.arrow,
        )
        # Every second epoch is append-only: it has no weights, and each row counts once.
        known = np.array(weights, dtype=np.int64) if len(self.epochs) % 2 else None
        self.epochs.append((rows, known, epoch))
        self.log.append(rows, known, epoch)
        for n, weight in zip(numbers, weights, strict=True):
            counted = 1 if known is None else weight
            row = {"user": f"user {n}", "n": n, "_weight": counted, "_epoch": epoch, "_offset": n}
            self.rows.append(row)

    def flush(self) -> None:
        self.log.flush()

    def checkpoint(self) -> None:
        self.log.flush()
        self.log.seal()
        self.manifest = json.loads(json.dumps(self.log.manifest()))
        self.log.remove_unreferenced(self.manifest)

    def crash(self) -> None:
        self.disk = self.disk.crash()
        self.log = self.opened()
        for rows, known, epoch in self.epochs:
            self.log.append(rows, known, epoch)


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(actions, max_size=30),
    offset=st.integers(-2, 80),
    rows_max=st.integers(1, 20),
)
def test_reading_gives_what_was_published_in_whole_epochs(
    history: list[tuple[Any, ...]], offset: int, rows_max: int
) -> None:
    life = Life()

    for action, *values in history:
        getattr(life, action)(*values)

    assert life.log.next_offset() == len(life.rows)
    expected = life.rows[max(0, offset) :][:rows_max]
    if expected:
        end = expected[-1]["_epoch"]
        more = life.rows[expected[-1]["_offset"] + 1 :]
        expected += [row for row in more if row["_epoch"] == end]
    assert life.log.read(offset, rows_max).to_pylist() == expected
    plain = [{"user": row["user"], "n": row["n"]} for row in life.rows]
    assert [row for batch in life.log.batches() for row in batch.to_pylist()] == plain
    some = max(0, min(offset, len(plain)))
    assert sum(batch.num_rows for batch in life.log.batches(some)) == some


def test_following_by_offset_sees_every_change_once() -> None:
    life = Life()
    seen: list[dict[str, Any]] = []
    for n in range(12):
        life.publish([1] * (n % 4))
        if n % 3 == 0:
            life.checkpoint()
        changes = life.log.read(len(seen), 1)
        seen += changes.to_pylist()

    while len(changes := life.log.read(len(seen), 1)):
        seen += changes.to_pylist()

    assert seen == life.rows


def test_an_epoch_that_is_there_already_is_passed_over() -> None:
    life = Life()
    life.publish([1, 1])

    life.log.append(*life.epochs[0])

    assert life.log.read(0, 9).to_pylist() == life.rows


def test_duckdb_reads_the_archive_of_the_changes(tmp_path: Any) -> None:
    log = ChangeLog("spend", SCHEMA, Blobs(LocalDisk(tmp_path)), FOLDER, seal_at=SealAt(rows=2))
    rows = pa.record_batch([["ann", "bob"], [1, 2]], schema=SCHEMA.arrow)
    log.append(rows, np.array([1, -1]), 7)
    log.flush()
    log.seal()

    found = duckdb.sql(f"FROM read_parquet('{tmp_path}/{FOLDER}/data/*.parquet')")

    assert found.columns == ["user", "n", "_weight", "_epoch", "_offset"]
    assert found.fetchall() == [("ann", 1, 1, 7, 0), ("bob", 2, -1, 7, 1)]


def test_a_column_with_a_name_of_the_log_is_refused() -> None:
    schema = Schema((Column("_Weight", parse_type("BIGINT")),))

    with pytest.raises(DefinitionError, match="_weight"):
        ChangeLog("v", schema, Blobs(FakeDisk(1)), "views/v")

"""A folder of Parquet files holds each change once, whatever is killed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.connectors.parquet import ParquetSink
from headwater.errors import ConnectorError, HeadwaterError
from headwater.storage.blobs import Blobs
from headwater.storage.disk import Disk
from headwater.storage.local import LocalDisk
from headwater.testing.disk import FakeDisk


def changes(first: int, end: int) -> pa.Table:
    """Changes of a view at offsets [first, end)."""
    return pa.table(
        {
            "n": pa.array(range(first, end), pa.int64()),
            "_weight": pa.array([1] * (end - first), pa.int64()),
            "_epoch": pa.array(range(first, end), pa.int64()),
            "_offset": pa.array(range(first, end), pa.int64()),
        }
    )


def offsets(disk: Disk) -> list[int]:
    found: list[int] = []
    for path in disk.list(""):
        if path.endswith(".parquet"):
            found += pq.read_table(pa.BufferReader(disk.read(path)))["_offset"].to_pylist()
    return sorted(found)


def sink(disk: Disk) -> ParquetSink:
    return ParquetSink(Blobs.open(disk), is_append_only=False)


def write_all(disk: Disk, *, end: int) -> None:
    """Follow a view to `end`, in files of ten rows, from wherever the folder is."""
    target = sink(disk)
    position = target.position()
    while position < end:
        upto = min(position + 10, end)
        target.write(changes(position, upto), position, upto)
        position = upto


@pytest.mark.parametrize("call", range(1, 40))
def test_a_crash_in_any_call_loses_and_doubles_nothing(call: int) -> None:
    disk = FakeDisk(call)
    disk.crash_at(call)
    with suppress(HeadwaterError):
        write_all(disk, end=55)
    survived = disk.crash()

    write_all(survived, end=55)

    assert offsets(survived) == list(range(55))
    assert sink(survived).position() == 55


def test_a_full_disk_is_the_worlds_fault_and_the_range_is_written_again() -> None:
    disk = FakeDisk(1)
    target = sink(disk)
    target.write(changes(0, 10), 0, 10)
    disk.fail_at(disk.calls + 1)

    with pytest.raises(ConnectorError):
        target.write(changes(10, 20), 10, 20)
    target.write(changes(10, 20), 10, 20)

    assert offsets(disk) == list(range(20))


def test_a_missing_file_in_the_middle_is_named() -> None:
    disk = FakeDisk(1)
    target = sink(disk)
    for first in (0, 10, 20):
        target.write(changes(first, first + 10), first, first + 10)
    disk.delete("changes-00000000000000000010-00000000000000000020.parquet")

    with pytest.raises(ConnectorError, match="up to 10 and from 20 on"):
        target.position()


def test_a_view_that_only_adds_needs_no_weights(tmp_path: Path) -> None:
    target = ParquetSink(Blobs.open(LocalDisk(tmp_path)), is_append_only=True)

    target.write(changes(0, 3), 0, 3)

    found = duckdb.sql(f"SELECT * FROM '{tmp_path}/*.parquet' ORDER BY n").to_arrow_table()
    assert found.column_names == ["n", "_epoch", "_offset"]
    assert found["n"].to_pylist() == [0, 1, 2]

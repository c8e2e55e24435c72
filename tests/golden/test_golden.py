"""Files that an earlier version wrote are read, and written again bit by bit.

`folders` has a small data folder for each version of the formats; `golden.write` makes one. All of
one opens and answers as it did; each kind of file and of record is read and encoded anew. Where a
test fails because what is written has changed: give it a new number if what was written before
could be misread, and make a new folder. (Segments of the log and their manifests have golden files
of their own, in tests/log.)

A record or a manifest in JSON may get fields: then the old ones are as they were.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from golden.shop import Shop, sales, told
from golden.write import FOLDERS
from headwater.log.content import arrow_file, parquet_file
from headwater.log.index import INDEX_KEY, Index
from headwater.runtime.checkpoint import BatchLoader, Checkpoints, Manifest, _file_of
from headwater.runtime.deliveries import Delivery, Repeat
from headwater.runtime.opening import hashing
from headwater.runtime.producers import Producers
from headwater.runtime.records import Append, EpochRecord, Fact, Kind, SchemaRecord, Standing
from headwater.schema.versions import Version
from headwater.storage import journal_file
from headwater.storage.blobs import Blobs
from headwater.storage.journal_file import HEADER_BYTES, records, scanned
from headwater.storage.local import LocalDisk
from headwater.storage.sealed import sealed_json, trailer, unsealed, unsealed_json

JSON_RECORDS = {
    Kind.FACT: Fact,
    Kind.EPOCH: EpochRecord,
    Kind.CONSUMER: Standing,
    Kind.SCHEMA: SchemaRecord,
    Kind.REPEAT: Repeat,
}


@pytest.fixture(params=sorted(path.name for path in FOLDERS.iterdir()))
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a golden folder."""
    return Path(shutil.copytree(FOLDERS / request.param, tmp_path / "golden"))


def answers(golden: Path) -> Any:
    return json.loads((golden / "told.json").read_text())["answers"]


def opened(golden: Path) -> Shop:
    newest = max((golden / "data" / "checkpoints").iterdir())
    is_known = json.loads(newest.read_bytes())["hashing"] == hashing()
    return Shop(golden / "data", is_evolved=True, rebuild=not is_known)


def test_a_folder_opens_and_answers_as_it_did(golden: Path) -> None:
    shop = opened(golden)

    assert told(shop) == answers(golden)
    assert shop.runtime.notices == []
    shop.close()


def test_a_folder_goes_on_and_opens_again(golden: Path) -> None:
    shop = opened(golden)
    shop.send("sales", sales(("tea", 1, 200)), "till", 3)
    shop.runtime.checkpoint()
    expected = told(shop)
    shop.close()

    shop = opened(golden)

    assert told(shop) == expected
    assert len(expected["sales"]) == len(answers(golden)["sales"]) + 1
    shop.close()


def test_a_journal_of_the_first_version_is_read(golden: Path) -> None:
    for path in (golden / "data" / "journal").iterdir():
        path.write_bytes(written_again(path, version=1))

    shop = opened(golden)

    assert told(shop) == answers(golden)
    shop.close()


def test_a_journal_is_written_again_as_it_is(golden: Path) -> None:
    for path in (golden / "data" / "journal").iterdir():
        assert written_again(path) == path.read_bytes()


def written_again(path: Path, version: int = journal_file.VERSION) -> bytes:
    """The records of a file of the journal in a new one; without room behind them."""
    content = path.read_bytes()
    first = int(path.stem)
    parts = [journal_file.file_header(first, version)]
    at = HEADER_BYTES
    for record in records_of(path):
        _, length, _, _, before = struct.unpack_from("<IIQB3xI", content, at)
        assert length == len(record.payload)
        before = before if version > 1 else 0
        parts += map(
            bytes, journal_file.record_parts(record.lsn, record.kind, [record.payload], before)
        )
        at += HEADER_BYTES + length + -length % 8
    return b"".join(parts)


def records_of(path: Path) -> Iterator[journal_file.Record]:
    content = pa.py_buffer(path.read_bytes())
    scan = scanned(content, int(path.stem), str(path))
    assert scan.torn_bytes == 0
    return records(content, scan.good_bytes, 0)


def test_each_kind_of_record_is_written_again_as_it_is(golden: Path) -> None:
    seen = set()
    for path in (golden / "data" / "journal").iterdir():
        for record in records_of(path):
            kind = Kind(record.kind)
            seen.add(kind)
            payload = bytes(record.payload)
            if kind in (Kind.APPEND, Kind.REJECT):
                assert joined(Append.parse(record.payload).parts()) == payload
            elif kind is Kind.DELIVERY:
                delivery, rows, rejected = Delivery.parse(record.payload)
                assert joined(delivery.parts(rows, rejected)) == payload
            else:
                kept(json.loads(payload), json.loads(JSON_RECORDS[kind].parse(payload).encode()))

    assert seen == set(Kind)


def joined(parts: list[Any]) -> bytes:
    return b"".join(map(bytes, parts))


def kept(before: Any, after: Any) -> None:
    """Check that all that stood in a JSON value stands there still."""
    if isinstance(before, dict):
        assert isinstance(after, dict)
        for name, value in before.items():
            kept(value, after[name])
    else:
        assert after == before


def test_manifests_are_written_again_as_they_are(golden: Path) -> None:
    paths = sorted((golden / "data" / "checkpoints").iterdir())
    assert paths
    for path in paths:
        value = unsealed_json(path.read_bytes(), sealed_from=2)
        assert sealed_json(value) == path.read_bytes()
        manifest = Manifest(**value)
        again = {each.name: getattr(manifest, each.name) for each in fields(Manifest)}
        kept(value, again)
        kept(value["producers"], Producers.load(manifest.producers).save())
        assert [s.encode() for s in manifest.standings()] == [
            json.dumps(consumer).encode() for consumer in manifest.consumers
        ]
        for versions in manifest.schemas.values():
            kept(versions, [Version.load(saved).save() for saved in versions])


def test_files_of_state_are_written_again_as_they_are(golden: Path) -> None:
    data = golden / "data"
    loader = BatchLoader(Blobs(LocalDisk(data)))
    written_by = json.loads((golden / "told.json").read_text())["written_by"]
    paths = sorted((data / "state").iterdir())
    assert paths
    for path in paths:
        file = pa.py_buffer(path.read_bytes())
        content = unsealed(file)
        assert bytes(content) + trailer(content) == path.read_bytes()
        batch = loader.get(f"state/{path.name}")
        assert batch.num_rows
        # Another version of Arrow may lay out the same rows in another way.
        if written_by["pyarrow"] == version("pyarrow"):
            assert bytes(_file_of(batch)) == bytes(content)


def test_segments_are_written_again_as_they_are(golden: Path) -> None:
    written_by = json.loads((golden / "told.json").read_text())["written_by"]
    seen = set()
    for path in sorted((golden / "data").glob("*/*/**/*.*")):
        is_arrow = path.suffix == ".arrow"
        rows = pa.ipc.open_file(path.read_bytes()).read_all() if is_arrow else pq.read_table(path)
        stored = rows.schema.metadata[INDEX_KEY]
        index = Index.decode(stored)
        kept(json.loads(stored), json.loads(index.encode()))
        # The first indexes had no checksum.
        if written_by["pyarrow"] == version("pyarrow") and b"crc32" in stored:
            parts = arrow_file(rows, index) if is_arrow else parquet_file(rows, index)
            assert joined([part.content for part in parts]) == path.read_bytes()
        seen.add(path.suffix)

    assert seen == {".arrow", ".parquet"}


def test_a_checkpoint_of_every_version_is_found(golden: Path) -> None:
    found = Checkpoints(Blobs(LocalDisk(golden / "data")))

    newest = found.newest()

    assert newest is not None
    assert newest.consumers
    assert found.damage == []
    assert len(found.kept()) == 2

"""A store of any kind gives back what was put there, whole, and says when it is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.errors import ConnectorError, DefinitionError
from headwater.storage.blobs import Blobs
from headwater.storage.store import FolderStore, Place, Store
from headwater.testing.disk import FakeDisk
from storage.s3 import KEY, SECRET, Server, served

Make = Callable[[str], Store]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch, served(patch) as server:
        server.make("lake")
        yield server


@pytest.fixture(params=["folder", "bucket"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    if request.param == "folder":
        return lambda name: Place.parse(str(tmp_path / name)).open()
    server = request.getfixturevalue("server")
    lead = f"s3://lake/{tmp_path.name}"
    return lambda name: Place.parse(f"{lead}/{name}?endpoint={server.endpoint}").open()


def test_what_was_put_is_read_by_ranges(make: Make) -> None:
    store = make("a")
    content = bytes(range(256)) * 5000

    store.put("clicks/arrived=2026-01-01/0-1.parquet", [content[:10], memoryview(content)[10:]])

    file = store.open("clicks/arrived=2026-01-01/0-1.parquet")
    assert file.size() == len(content)
    assert file.read_at(100, 5000) == content[5000:5100]
    file.seek(len(content) - 3)
    assert file.read() == content[-3:]


def test_files_are_listed_replaced_and_deleted(make: Make) -> None:
    store = make("b")
    assert store.list("clicks") == []
    for name in ("clicks/arrived=1/b", "clicks/arrived=1/a", "clicks2/c"):
        store.put(name, [b"1"])

    store.put("clicks/arrived=1/a", [b"two"])
    store.delete("clicks/arrived=1/b")
    store.delete("clicks/arrived=1/b")

    assert store.list("clicks") == ["clicks/arrived=1/a"]
    assert store.open("clicks/arrived=1/a").read() == b"two"
    with pytest.raises(FileNotFoundError):
        store.open("clicks/arrived=1/b")
    assert make("other").list("clicks") == []


def test_a_file_that_was_deleted_in_a_folder_is_not_back_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disks = [FakeDisk(seed) for seed in range(20)]
    for disk in disks:
        monkeypatch.setattr(FolderStore, "_blobs", lambda _self, disk=disk: Blobs(disk))
        store = FolderStore(tmp_path)
        store.put("clicks/arrived=1/a", [b"1"])

        store.delete("clicks/arrived=1/a")

        assert disk.crash().paths() == []


def test_a_store_that_is_away_says_so_and_tells_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(monkeypatch) as server:
        server.make("lake")
        store = Place.parse(f"s3://lake/x?endpoint={server.endpoint}").open()
        store.put("a", [b"1"])
        server.stop()
        for act in (
            lambda: store.put("b", [b"2"]),
            lambda: store.open("a"),
            lambda: store.delete("a"),
            lambda: store.list(""),
        ):
            with pytest.raises(ConnectorError, match="s3://lake/x cannot be used") as raised:
                act()
            assert SECRET not in str(raised.value)
            assert KEY not in str(raised.value)


def test_a_folder_that_is_no_folder_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Place.parse(str(tmp_path / "file" / "archive")).open()

    with pytest.raises(ConnectorError, match="archive"):
        store.put("a", [b"1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a place"),
        ("gs://lake/x", "not known"),
        ("s3:///x", "not known"),
        ("s3://lake/x?endpiont=http://h", "option endpiont"),
        ("s3://KEY:hidden@lake/x", "must not hold keys"),
    ],
)
def test_an_address_that_is_none_is_refused(text: str, message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as raised:
        Place.parse(text)
    assert "hidden" not in str(raised.value)


def test_addresses() -> None:
    assert Place.parse("file:///mnt/x") == Place(None, "/mnt/x")
    assert Place.parse("s3://lake") == Place("lake", "")
    address = "s3://lake/a/b/?endpoint=https://h:9000&region=eu-north-1"
    assert Place.parse(address) == Place("lake", "a/b", "https://h:9000", "eu-north-1")

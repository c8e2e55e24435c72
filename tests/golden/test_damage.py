"""A file that is not what was written is named, with what is wrong and what to do; or gives way.

Each kind of file in a golden folder is damaged in each way. What has a file before it to fall back
to (a checkpoint, and its state) opens all the same, says so, and answers as if nothing had
happened. What has none is refused: nothing else is answered than was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from golden.shop import START_US, Shop, app, told
from golden.write import FOLDERS
from headwater.errors import StateError
from headwater.log.topic import Topic
from headwater.storage import journal_file
from headwater.storage.blobs import Blobs
from headwater.storage.local import LocalDisk
from headwater.storage.sealed import sealed_json, unsealed_json

NEWEST = max(FOLDERS.iterdir(), key=lambda folder: int(folder.name))
TOLD = json.loads((NEWEST / "told.json").read_text())["answers"]
Harm = Callable[[bytes], bytes | None]


def flipped(at: Callable[[int], int]) -> Harm:
    def harm(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at(len(data))] ^= 4
        return bytes(changed)

    return harm


HARMS: dict[str, Harm] = {
    "cut in the middle": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "flipped in its head": flipped(lambda _size: 9),
    "flipped in its body": flipped(lambda size: size // 3),
    "flipped in its trailer": flipped(lambda size: size - 6),
    "of another magic": lambda data: b"NOTMAGIC" + data[8:],
    "empty": lambda _data: b"",
    "missing": lambda _data: None,
}
BACKUP = "restore this file from a backup"
WHOLE = "is damaged at byte"
SHORT = "the journal ends before record"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return Path(shutil.copytree(NEWEST / "data", tmp_path / "data"))


def harmed(data: Path, pattern: str, harm: Harm) -> str:
    """Damage the first file like this; its path in the folder."""
    path = min(data.glob(pattern))
    changed = harm(path.read_bytes())
    if changed is None:
        path.unlink()
    else:
        path.write_bytes(changed)
    return path.relative_to(data).as_posix()


def answers(data: Path) -> tuple[Any, list[str]]:
    """All that a folder says, and what the start says of it."""
    shop = Shop(data, is_evolved=True)
    try:
        found = told(shop)
        for view in shop.runtime.loop.stepper.views:
            view.changes.read(0, 1 << 40)
        for topic in (*shop.runtime.topics.values(), *shop.runtime.rejected.values()):
            list(topic.batches())
        return found, shop.runtime.notices
    finally:
        shop.close()


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize(
    "pattern",
    [
        "topics/items/hot/*",
        "topics/sales/data/*/*",
        "rejected/sales/hot/*",
        "views/sold/*/changes/hot/*",
    ],
)
def test_a_damaged_file_of_the_log_is_named(pattern: str, harm: str, data: Path) -> None:
    path = harmed(data, pattern, HARMS[harm])

    with pytest.raises(StateError) as caught:
        answers(data)

    what = "is missing" if harm == "missing" else "is damaged: it has" * (harm == "empty")
    assert f"{path} {what or 'is damaged'}" in caught.value.message
    assert BACKUP in (caught.value.hint or "")


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("part", ["manifest", "state"])
def test_the_checkpoint_before_serves_in_place_of_a_damaged_one(
    part: str, harm: str, data: Path
) -> None:
    newest = max(path.name for path in (data / "checkpoints").iterdir())
    pattern = f"state/{newest.removesuffix('.json')}-*" if part == "state" else f"*/{newest}"
    path = harmed(data, pattern, HARMS[harm])

    found, notices = answers(data)

    assert found == TOLD
    if (part, harm) == ("manifest", "missing"):
        # Nothing tells that there was one, and nothing is lost by it.
        assert notices == []
    else:
        (notice,) = notices
        assert notice.startswith(f"checkpoints/{newest} cannot be used: ")
        assert path in notice


@pytest.mark.parametrize("harm", HARMS)
def test_state_that_no_checkpoint_can_do_without_is_named(harm: str, data: Path) -> None:
    newest = max((data / "checkpoints").iterdir())
    oldest = min((data / "checkpoints").iterdir())
    shared = [
        path.name
        for path in sorted((data / "state").iterdir())
        if path.name in newest.read_text() and path.name in oldest.read_text()
    ]
    path = harmed(data, f"state/{shared[0]}", HARMS[harm])

    with pytest.raises(StateError, match="no checkpoint is whole") as caught:
        answers(data)

    assert caught.value.message.count(path) == 2
    assert caught.value.hint == "restore the folder from a backup"


@pytest.mark.parametrize(
    ("harm", "message", "hint"),
    [
        ("flipped in its head", "(or its header is damaged)", "from a copy"),
        ("of another magic", f"{WHOLE} 0, in its header", "from a copy"),
        ("flipped in its body", WHOLE, "from a copy"),
        ("empty", SHORT, "the newest file in journal/"),
        ("missing", SHORT, "the newest file in journal/"),
    ],
)
def test_a_damaged_journal_is_refused(harm: str, message: str, hint: str, data: Path) -> None:
    path = harmed(data, "journal/*", HARMS[harm])

    with pytest.raises(StateError) as caught:
        answers(data)

    assert message in caught.value.message
    assert path in caught.value.message or message == SHORT
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("harm", ["a byte short", "flipped in its trailer"])
def test_a_last_write_that_is_not_whole_is_cut_off_and_told(harm: str, data: Path) -> None:
    harmed(data, "journal/*", HARMS[harm])

    found, (notice,) = answers(data)

    assert "bytes of a last, unfinished write were cut off" in notice
    assert found["epoch"] == TOLD["epoch"] - 1
    # The record of the last epoch is gone, and its rows wait to be computed again.
    assert found["sales"] == TOLD["sales"]


def test_a_newer_version_of_a_file_is_told_from_damage(data: Path) -> None:
    path = min((data / "journal").iterdir())
    header = journal_file.file_header(0, journal_file.VERSION + 1)
    path.write_bytes(header + path.read_bytes()[len(header) :])

    with pytest.raises(StateError, match=f"{path.name} has format 3; .* up to 2") as caught:
        answers(data)

    assert "pip install --upgrade headwater" in (caught.value.hint or "")


@pytest.mark.parametrize(("inner", "message"), [(False, "has format 3"), (True, "of format 9")])
def test_a_newer_manifest_is_told_from_damage(inner: bool, message: str, data: Path) -> None:
    path = max((data / "checkpoints").iterdir())
    value = unsealed_json(path.read_bytes(), sealed_from=2)
    if inner:
        value["topics"]["sales"]["format"] = 9
    else:
        value["format"] = 3
    path.write_bytes(sealed_json(value))

    with pytest.raises(StateError, match=message) as caught:
        answers(data)

    assert "Headwater" in (caught.value.hint or "")


def test_no_bit_of_a_parquet_file_changes_an_answer(data: Path) -> None:
    path = min(data.glob("topics/sales/data/*/*"))
    whole = path.read_bytes()
    newest = max((data / "checkpoints").iterdir())
    manifest = json.loads(newest.read_bytes())["topics"]["sales"]
    definition = app().compile().pipeline.topics[0]
    blobs = Blobs(LocalDisk(data))

    def read() -> Any:
        topic = Topic.open(definition, blobs, "topics/sales", manifest)
        after = topic.offset_at_time(0, event_time_us=START_US + 60_000_000)
        return topic.read_ticks(0, 99), after, topic.newest(0, 99)

    expected = read()
    named = 0
    for at in range(0, len(whole), 5):
        path.write_bytes(flipped(lambda _size, at=at: at)(whole))  # type: ignore[misc]
        try:
            found = read()
        except StateError as error:
            named += 1
            assert path.name in error.message
        else:
            # What no reader looks at may be anything.
            assert found == expected, f"byte {at}"
    assert named > len(whole) // 10

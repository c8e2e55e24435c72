"""Checkpoints: durable cuts from which recovery starts.

A checkpoint is a manifest, `checkpoints/<generation>.json`, that names immutable files: the
segments of topics and change logs, and the batches of operator state. State that did not change
since the last checkpoint keeps its files, so a checkpoint costs what changed. The manifest is put
in place last and atomically; a crash before that leaves the checkpoint before it whole.

The newest two are kept, with all files that either names and the journal since the older one. A
start checks the newest and the state that it names, and falls back to the one before if a byte of
them is not what was written. (Of a large state only the newest files are read, 512 MiB of them, and
none above 64 MiB: to read all of it would take longer than a start may. The others are looked at.)
Manifest and state carry their own checksums; the bytes are in `storage.sealed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow as pa

from headwater.errors import StateError
from headwater.runtime.records import Fact, FactKind, Standing
from headwater.storage.blobs import Blobs
from headwater.storage.sealed import sealed_json, trailer, unsealed, unsealed_json

FORMAT = 2
KEPT = 2
# Manifests of this format and above have a checksum.
_SEALED_FROM = 2
_CHECKED_BYTES_MAX = 64 << 20
_CHECKED_TOGETHER_MAX = 512 << 20
_FOLDER = "checkpoints"
_STATE = "state"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint holds.

    Args:
        generation: Its number; one more than that of the checkpoint before.
        epoch: The last epoch whose effects are in it.
        tick: The position after that epoch.
        facts_taken: How many of `facts` that epoch and those before took in.
        facts: All facts of the log so far.
        lsn: Every journal record below this is in the checkpoint's files.
        next_tick: The log's end: ticks below it are in the topics' segments.
        hashing: Which hash function the state is sorted by; state of another is not read.
        definitions: The topics as they were declared.
        topics, rejected: Segments by topic.
        tables, views, watermarks: State by name.
        consumers: Where consumer groups stand.
        epoch_times: Epochs and when they were computed, some of them.
        schemas: The versions of the columns of each topic. A topic that is not in it has one
            version, that of `definitions`.
        producers: Who sent what, by topic; folders of before have none.
    """

    generation: int
    epoch: int
    tick: int
    facts_taken: int
    facts: list[dict[str, Any]]
    lsn: int
    next_tick: int
    hashing: str
    definitions: dict[str, str]
    topics: dict[str, Any]
    rejected: dict[str, Any]
    tables: dict[str, Any]
    views: dict[str, Any]
    watermarks: dict[str, Any]
    consumers: list[dict[str, Any]] = field(default_factory=list)
    epoch_times: list[tuple[int, int]] = field(default_factory=list)
    format: int = FORMAT
    schemas: dict[str, Any] = field(default_factory=dict)
    producers: dict[str, Any] = field(default_factory=dict)
    sinks: dict[str, str] = field(default_factory=dict)

    def facts_parsed(self) -> list[Fact]:
        """The facts as objects."""
        return [Fact(**{**fact, "kind": FactKind(fact["kind"])}) for fact in self.facts]

    def standings(self) -> list[Standing]:
        """Where consumer groups stand, as objects."""
        return [Standing.load(value) for value in self.consumers]


class Checkpoints:
    """Writes, finds and removes checkpoints.

    Attributes:
        damage: What was found damaged, in words.

    """

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self.damage: list[str] = []
        self._unsound: set[str] = set()
        # A manifest does not change, so each is read once.
        self._known: dict[str, Manifest] = {}

    def newest(self, journal_from: int = 0) -> Manifest | None:
        """The newest checkpoint that is as it was written, or None where there is none.

        Args:
            journal_from: The first record that the journal has. (A checkpoint that was removed may
                be back after a crash, when what the journal had after it is gone.)

        Raises:
            StateError: There are checkpoints, and all of them are damaged.
        """
        for path in reversed(self._paths()):
            try:
                manifest = self._parsed(path)
                self._check_state(manifest)
                _check_reaches(manifest, journal_from)
            except ValueError as error:
                self._unsound.add(path)
                self._known.pop(path, None)
                self.damage.append(f"{path} cannot be used: {error}")
            else:
                return manifest
        if self.damage:
            raise StateError(
                f"no checkpoint is whole: {'; '.join(self.damage)}",
                hint="restore the folder from a backup",
            )
        return None

    def put(self, manifest: Manifest) -> int:
        """Make a checkpoint durable; return the lsn below which the journal is no longer needed."""
        path = f"{_FOLDER}/{manifest.generation:012d}.json"
        value = {each.name: getattr(manifest, each.name) for each in fields(Manifest)}
        self._blobs.put(path, [sealed_json(value)])
        readable = [path for path in self._paths() if self._read(path) is not None]
        for path in self._paths():
            if path not in readable[-KEPT:]:
                self._blobs.delete(path)
                self._known.pop(path, None)
        kept = self.kept()
        self._remove_unnamed(kept)
        return min(found.lsn for found in kept)

    def kept(self) -> list[Manifest]:
        """All checkpoints that can be used, oldest first."""
        return [found for path in self._paths() if (found := self._read(path)) is not None]

    def saver(self, *, maps: bool = False) -> BatchSaver:
        """Takes the state for the next checkpoint.

        Args:
            maps: Whether what an earlier checkpoint has stored is to leave memory.
        """
        return BatchSaver(self._blobs, self.next_generation(), maps=maps)

    def next_generation(self) -> int:
        """The number of the checkpoint that comes next."""
        paths = self._paths()
        return int(paths[-1].rsplit("/", 1)[1].removesuffix(".json")) + 1 if paths else 1

    def loader(self) -> BatchLoader:
        """Gives state back."""
        return BatchLoader(self._blobs)

    def _paths(self) -> list[str]:
        return [path for path in self._blobs.list(_FOLDER) if path.endswith(".json")]

    def _read(self, path: str) -> Manifest | None:
        """A checkpoint; None for one that is damaged."""
        try:
            return None if path in self._unsound else self._parsed(path)
        except ValueError:
            return None

    def _parsed(self, path: str) -> Manifest:
        """A checkpoint.

        Raises:
            ValueError: It is not what was written.
            StateError: It was written by a newer version.
        """
        if path in self._known:
            return self._known[path]
        value = unsealed_json(self._blobs.read(path), sealed_from=_SEALED_FROM)
        if value["format"] > FORMAT:
            raise StateError(
                f"{path} has format {value['format']}, this Headwater reads up to {FORMAT}",
                hint="run the newer Headwater that wrote it: pip install --upgrade headwater",
            )
        try:
            manifest = Manifest(**value)
        except TypeError as error:
            raise ValueError(f"it has not the fields of a checkpoint: {error}") from None
        self._known[path] = manifest
        return manifest

    def _check_state(self, manifest: Manifest) -> None:
        """Check the files of state that a checkpoint names.

        Raises:
            ValueError: One is missing or is not what was written.
        """
        left = _CHECKED_TOGETHER_MAX
        # Names begin with the number of the checkpoint that wrote them.
        for name in sorted(_names_in(manifest), reverse=True):
            try:
                file = self._blobs.map(name)
                is_checked = file.size <= min(left, _CHECKED_BYTES_MAX)
                unsealed(file, is_checked=is_checked)
                left -= file.size if is_checked else 0
            except FileNotFoundError:
                raise ValueError(f"{name} is missing") from None
            except ValueError as error:
                raise ValueError(f"{name} is damaged: {error}") from None

    def _remove_unnamed(self, kept: list[Manifest]) -> None:
        named = {name for manifest in kept for name in _names_in(manifest)}
        for path in self._blobs.list(_STATE):
            if path not in named:
                self._blobs.delete(path)


class BatchSaver:
    """Takes batches of operator state, and stores each in a file of its own by `write`."""

    def __init__(self, blobs: Blobs, generation: int, *, maps: bool) -> None:
        self.generation = generation
        self._maps = maps
        self._blobs = blobs
        self._taken: dict[str, pa.RecordBatch] = {}

    def put(self, batch: pa.RecordBatch) -> str:
        """Take an immutable batch; return its name."""
        name = f"{_STATE}/{self.generation:012d}-{len(self._taken):06d}.arrow"
        self._taken[name] = batch
        return name

    def keep(self, name: str) -> None:
        """Nothing to do: what a manifest names is kept."""

    def stored(self, name: str) -> pa.RecordBatch | None:
        """A batch of an earlier checkpoint, mapped, if it is to leave memory."""
        return BatchLoader(self._blobs).get(name) if self._maps else None

    def write(self, pause: Callable[[], None]) -> None:
        """Store what was taken; it is durable on return. `pause` is called after each file."""
        for name, batch in self._taken.items():
            content = _file_of(batch)
            self._blobs.add(name, [content, trailer(content)])
            pause()
        if self._taken:
            self._blobs.settle(_STATE)
        self._taken.clear()


class BatchLoader:
    """Maps batches of operator state."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def get(self, name: str) -> pa.RecordBatch:
        """The batch called `name`, mapped and not copied."""
        try:
            content = unsealed(self._blobs.map(name), is_checked=False)
            return pa.ipc.open_file(pa.BufferReader(content)).get_batch(0)
        except (OSError, ValueError) as error:
            raise StateError(
                f"{name} is missing or damaged: {error}",
                hint="remove the newest file in checkpoints/ to recover from the one before it",
            ) from None


def _file_of(batch: pa.RecordBatch) -> pa.Buffer:
    """An Arrow file with a batch, in just the memory that it takes: batches are large."""
    size = pa.MockOutputStream()
    _write(size, batch)
    content = pa.allocate_buffer(size.size())
    _write(pa.FixedSizeBufferWriter(content), batch)
    return content


def _write(sink: pa.NativeFile, batch: pa.RecordBatch) -> None:
    with pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)


def _check_reaches(manifest: Manifest, journal_from: int) -> None:
    """Check that the journal has all that came after a checkpoint.

    Raises:
        ValueError: It has not.
    """
    if manifest.lsn < journal_from:
        raise ValueError(
            f"the journal begins with record {journal_from}, and it needs those from "
            f"{manifest.lsn} on"
        )


def _names_in(manifest: Manifest) -> set[str]:
    """All files of state that a manifest names."""
    named: set[str] = set()
    _collect_names(manifest.tables, named)
    _collect_names(manifest.views, named)
    return named


def _collect_names(value: Any, names: set[str]) -> None:
    """All texts in a manifest that name a state file, wherever they stand."""
    if isinstance(value, str):
        if value.startswith(f"{_STATE}/"):
            names.add(value)
    elif isinstance(value, dict):
        for item in value.values():
            _collect_names(item, names)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect_names(item, names)

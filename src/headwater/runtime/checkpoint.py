"""Checkpoints: durable cuts from which recovery starts.

A checkpoint is a manifest, `checkpoints/<generation>.json`, that names immutable files: the
segments of topics and change logs, and the batches of operator state. State that did not change
since the last checkpoint keeps its files, so a checkpoint costs what changed. The manifest is put
in place last and atomically; a crash before that leaves the checkpoint before it whole.

The newest two are kept, with all files that either names and the journal since the older one, so
that recovery can fall back if the newest is damaged.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from headwater.errors import StateError
from headwater.runtime.records import Fact, FactKind, Standing
from headwater.storage.blobs import Blobs

FORMAT = 1
KEPT = 2
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

    def facts_parsed(self) -> list[Fact]:
        """The facts as objects."""
        return [Fact(**{**fact, "kind": FactKind(fact["kind"])}) for fact in self.facts]

    def standings(self) -> list[Standing]:
        """Where consumer groups stand, as objects."""
        return [Standing.load(value) for value in self.consumers]


class Checkpoints:
    """Writes, finds and removes checkpoints."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def newest(self) -> Manifest | None:
        """The newest checkpoint that can be read, or None where there is none.

        Raises:
            StateError: There are checkpoints, and none of them can be read.
        """
        paths = self._paths()
        for path in reversed(paths):
            manifest = self._read(path)
            if manifest is not None:
                return manifest
        if paths:
            raise StateError(
                f"none of the checkpoints can be read: {', '.join(paths)}",
                hint="restore the folder from a backup",
            )
        return None

    def put(self, manifest: Manifest) -> int:
        """Make a checkpoint durable; return the lsn below which the journal is no longer needed."""
        text = json.dumps(asdict(manifest)).encode()
        self._blobs.put(f"{_FOLDER}/{manifest.generation:012d}.json", [text])
        for path in self._paths()[:-KEPT]:
            self._blobs.delete(path)
        kept = [found for path in self._paths() if (found := self._read(path)) is not None]
        self._remove_unnamed(kept)
        return min(found.lsn for found in kept)

    def kept(self) -> list[Manifest]:
        """All checkpoints that can be read, oldest first."""
        return [found for path in self._paths() if (found := self._read(path)) is not None]

    def saver(self) -> BatchSaver:
        """Takes the state for the next checkpoint."""
        return BatchSaver(self._blobs, self.next_generation())

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
        try:
            value = json.loads(self._blobs.read(path))
            if value["format"] > FORMAT:
                raise StateError(
                    f"{path} has format {value['format']}, this Headwater reads up to {FORMAT}",
                    hint="use the newer Headwater that wrote it",
                )
            return Manifest(**value)
        except (ValueError, KeyError, TypeError):
            # A manifest is written whole or not at all, so this one was damaged later: the one
            # before it serves.
            return None

    def _remove_unnamed(self, kept: list[Manifest]) -> None:
        named: set[str] = set()
        for manifest in kept:
            _collect_names(manifest.tables, named)
            _collect_names(manifest.views, named)
        for path in self._blobs.list(_STATE):
            if path not in named:
                self._blobs.delete(path)


class BatchSaver:
    """Takes batches of operator state, and stores each in a file of its own by `write`."""

    def __init__(self, blobs: Blobs, generation: int) -> None:
        self.generation = generation
        self._blobs = blobs
        self._taken: dict[str, pa.RecordBatch] = {}

    def put(self, batch: pa.RecordBatch) -> str:
        """Take an immutable batch; return its name."""
        name = f"{_STATE}/{self.generation:012d}-{len(self._taken):06d}.arrow"
        self._taken[name] = batch
        return name

    def keep(self, name: str) -> None:
        """Nothing to do: what a manifest names is kept."""

    def stored(self, name: str) -> pa.RecordBatch:
        """A batch of an earlier checkpoint, mapped."""
        return BatchLoader(self._blobs).get(name)

    def write(self) -> None:
        """Store what was taken; it is durable on return."""
        for name, batch in self._taken.items():
            sink = pa.BufferOutputStream()
            with pa.ipc.new_file(sink, batch.schema) as writer:
                writer.write_batch(batch)
            self._blobs.put(name, [sink.getvalue()])
        self._taken.clear()


class BatchLoader:
    """Maps batches of operator state."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def get(self, name: str) -> pa.RecordBatch:
        """The batch called `name`, mapped and not copied."""
        try:
            reader = pa.ipc.open_file(pa.BufferReader(self._blobs.map(name)))
            return reader.get_batch(0)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise StateError(
                f"{name} is missing or damaged: {error}",
                hint="remove the newest file in checkpoints/ to recover from the one before it",
            ) from None


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

"""A segment: a file with the rows of one stretch of positions.

What the manifest says of a segment (`Entry`) is enough to find it: its positions, and of each mark
the first and the highest. The file is opened when its rows are first read, so opening a log costs
one manifest, however long the log is.

A hot segment stays open once it was opened: it is small, it is read most, and who still reads it
must not lose it when it is sealed and its file is deleted. Of the sealed ones the most recently
read stay open, within a bound on memory.
"""

from __future__ import annotations

import threading
import zlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.cores import Chore
from headwater.delta.delta import Int64Array
from headwater.errors import ConnectorError, StateError
from headwater.log.content import ArrowContent, Content, ParquetContent, damage_of
from headwater.log.index import Index
from headwater.log.snapshot import Highest
from headwater.log.stretches import Checked, Part, Stretch, stretches_of
from headwater.schema.versions import Reading, Versions
from headwater.storage.blobs import Blobs
from headwater.storage.store import Store

HOT = "hot"
OPEN_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """What a manifest says of a segment.

    Args:
        name: Its file's path below the folder of the topic.
        position_to: The position after its last row.
        checksum: The file's crc32; of an Arrow file only where an earlier version wrote it.
        firsts: Each mark of its first chunk.
        highest: Each mark's highest value.
        stretches: The checksums of an Arrow file.
        summed_up: The column that marks after the appends' own tell of; None where an earlier
            version wrote them, which did not say.
        version: With which version of the topic's columns it was written.
        rows: Of a file that was compacted how many rows it has; None: one at each position.

    """

    name: str
    position_first: int
    position_to: int
    size_bytes: int
    checksum: int | None
    firsts: tuple[int, ...]
    highest: tuple[int, ...]
    stretches: tuple[Stretch, ...] = ()
    summed_up: str | None = None
    version: int = 1
    is_archived: bool = False
    rows: int | None = None

    @property
    def rows_kept(self) -> int:
        """How many rows it has."""
        return self.position_to - self.position_first if self.rows is None else self.rows

    @property
    def is_hot(self) -> bool:
        """True until it is sealed."""
        return self.name.startswith(f"{HOT}/")

    def save(self) -> dict[str, Any]:
        """A JSON value for `load`."""
        saved = asdict(self) | {"stretches": [list(stretch) for stretch in self.stretches]}
        if self.version == 1:
            # So that a log whose columns never changed has the manifest that it always had.
            del saved["version"]
        if self.rows is None:
            del saved["rows"]
        return saved

    @staticmethod
    def load(value: dict[str, Any]) -> Entry:
        """Take back what `save` gave, also after a trip through JSON."""
        lists = {name: tuple(value[name]) for name in ("firsts", "highest")}
        stretches = tuple(Stretch(*stretch) for stretch in value.get("stretches", ()))
        return Entry(**{**value, **lists, "stretches": stretches})


def is_arrow(name: str) -> bool:
    """Whether a file of this name is in Arrow IPC, not in Parquet."""
    return name.endswith(".arrow")


def in_store(topic: str, name: str) -> str:
    """The path in an archive of a file that a manifest calls `name`."""
    return f"{topic}/{name.partition('/')[2]}"


class SegmentFiles:
    """The files in the folder of one topic, opened on demand. Safe to use from many threads.

    Args:
        schema: The Arrow types of the stored rows.
        summed_up: The column that the marks after the appends' own are to tell of.
        versions: The versions of the columns, of which `schema` is the newest; None for the only.
        archive: The store that some of the files are in, and the topic's name; None: none is.

    """

    def __init__(  # noqa: PLR0913 - where they are, and how they are read
        self,
        blobs: Blobs,
        folder: str,
        schema: pa.Schema,
        summed_up: str | None = None,
        *,
        versions: Versions | None = None,
        archive: tuple[Store, str] | None = None,
    ) -> None:
        self.summed_up = summed_up
        self._versions = versions
        self._archive = archive
        self._blobs = blobs
        self._folder = folder
        self._schema = schema
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Content] = OrderedDict()
        self._retired: list[str] = []

    def evolve(self, versions: Versions, summed_up: str | None) -> None:
        """Write with the newest of `versions` from now on. Not while another call writes."""
        self._versions, self.summed_up = versions, summed_up

    def reading(self, version: int) -> Reading | None:
        """How rows of a version are read as the newest; None where they are as they lie."""
        return None if self._versions is None else self._versions.reading(version)

    def _schema_of(self, version: int) -> pa.Schema:
        if self._versions is None:
            return self._schema
        return self._versions.numbered(version).schema.arrow

    def path(self, name: str) -> str:
        """The path in the data folder of the file called `name` in a manifest."""
        return f"{self._folder}/{name}"

    def write(
        self, name: str, parts: Sequence[Part], index: Index, rows: int | None = None
    ) -> Segment:
        """Store a file of rows with this index as a segment; it is durable on return.

        Args:
            rows: How many there are, where the index has more positions.

        """
        contents = [part.content for part in parts]
        self._blobs.put(self.path(name), contents)
        with self._lock:
            # After a start from an older manifest the name may be that of a file of the newer one.
            self._retired = [retired for retired in self._retired if retired != name]
        entry = Entry(
            name,
            position_first=int(index.starts[0]),
            position_to=int(index.starts[-1]),
            size_bytes=sum(content.size for content in contents),
            checksum=None
            if is_arrow(name)
            else reduce(lambda crc, part: zlib.crc32(part, crc), contents, 0),
            firsts=tuple(int(column[0]) for column in index.marks),
            highest=tuple(int(column.max()) for column in index.marks),
            stretches=stretches_of(parts) if is_arrow(name) else (),
            # What the index tells of event times it tells of all rows.
            summed_up=self.summed_up if rows is None else None,
            version=1 if self._versions is None else self._versions.newest.number,
            rows=rows,
        )
        return Segment(entry, self, self._opened(entry, is_new=True) if entry.is_hot else None)

    def retire(self, names: Sequence[str]) -> None:
        """Note files that are no segments any more. A manifest may still name them."""
        with self._lock:
            self._retired += names

    def remove_retired(self, kept: set[str]) -> None:
        """Delete the retired files, except those called `kept`, which stay retired."""
        with self._lock:
            gone = [name for name in self._retired if name not in kept]
            self._retired = [name for name in self._retired if name in kept]
            for name in gone:
                self._open.pop(name, None)
        for name in gone:
            self._blobs.delete(self.path(name))

    def names(self) -> set[str]:
        """All files that are there."""
        return {path[len(self._folder) + 1 :] for path in self._blobs.list(self._folder)}

    def open(self, entry: Entry) -> Content:
        """Map a file that was stored before and read its index.

        Its columns are checked when they are read: those of a Parquet file page by page, by the
        checksums that are in it.

        Raises:
            StateError: It is missing or is not what was written.

        """
        return self._opened(entry, is_new=False)

    def map(self, entry: Entry) -> pa.Buffer:
        """The bytes of a file that is in the folder, mapped.

        Raises:
            StateError: It is missing, or not as long as it was.

        """
        path = self.path(entry.name)
        try:
            content = self._blobs.map(path)
        except FileNotFoundError as cause:
            raise missing(path) from cause
        with damage_of(path):
            if content.size != entry.size_bytes:
                raise ValueError(f"it has {content.size} bytes and should have {entry.size_bytes}")
        return content

    def _opened(self, entry: Entry, *, is_new: bool) -> Content:
        schema = self._schema_of(entry.version)
        if entry.is_archived:
            return self._from_store(entry, schema)
        path, content = self.path(entry.name), self.map(entry)
        if not is_arrow(entry.name):
            return ParquetContent(
                partial(pa.BufferReader, content), schema, partial(damage_of, path), entry.rows
            )
        checked = None if is_new else self._checked(entry, content)
        return ArrowContent(path, content, schema, checked)

    def _from_store(self, entry: Entry, schema: pa.Schema) -> Content:
        assert self._archive is not None, f"{entry.name} is in an archive, and there is none"
        store, topic = self._archive
        path = in_store(topic, entry.name)
        return ParquetContent(
            partial(store.open, path),
            schema,
            partial(_reading, store, path, entry.size_bytes),
        )

    def _checked(self, entry: Entry, content: pa.Buffer) -> Checked | None:
        """What checks an Arrow file stretch by stretch; None when it is checked as a whole."""
        if entry.stretches:
            return Checked(content, entry.stretches)
        with damage_of(self.path(entry.name)):
            if zlib.crc32(content) != entry.checksum:
                raise ValueError("its bytes do not have the checksum that they were written with")
        return None

    def lend(self, entry: Entry) -> Content:
        """The same, from those that are still open."""
        with self._lock:
            content = self._open.get(entry.name)
            if content is not None:
                self._open.move_to_end(entry.name)
                return content
        content = self.open(entry)
        with self._lock:
            self._open[entry.name] = content
            self._close_oldest()
        return content

    def _close_oldest(self) -> None:
        total = sum(content.size_bytes for content in self._open.values())
        while total > OPEN_BYTES_MAX and len(self._open) > 1:
            total -= self._open.popitem(last=False)[1].size_bytes


class Segment:
    """A part of a `Snapshot` whose rows are in a file.

    They are read as the version of the columns that was the newest when it was made.
    """

    __slots__ = (
        "_content",
        "_files",
        "_opening",
        "_reading",
        "entry",
        "position_first",
        "position_to",
    )

    def __init__(self, entry: Entry, files: SegmentFiles, content: Content | None = None) -> None:
        self.entry = entry
        self.position_first = entry.position_first
        self.position_to = entry.position_to
        self._files = files
        self._content = content
        self._opening = threading.Lock()
        self._reading = files.reading(entry.version)

    def renewed(self) -> Segment:
        """The same rows, read as what is now the newest version."""
        return Segment(self.entry, self._files, self._content)

    @property
    def content(self) -> Content:
        """The open file."""
        if self._content is not None:
            return self._content
        if not self.entry.is_hot:
            return self._files.lend(self.entry)
        with self._opening:
            if self._content is None:
                self._content = self._files.open(self.entry)
            return self._content

    def unready(self, columns: Sequence[str]) -> list[Chore]:
        """What reading these columns for the first time would have to wait for.

        Nothing where the file is a sealed one: it may not stay open until then.
        """
        if self._content is not None:
            return self._content.unready(self._stored(columns))
        return [partial(self._open_ahead, columns)] if self.entry.is_hot else []

    def _open_ahead(self, columns: Sequence[str]) -> list[Chore]:
        # Who reads a damaged file finds that out, and says so.
        with suppress(StateError):
            return self.content.unready(self._stored(columns))
        return []

    def _stored(self, columns: Sequence[str]) -> Sequence[str]:
        """The columns of the file that give these."""
        return columns if self._reading is None else self._reading.needed(columns)

    def low(self, mark: int) -> int:
        """The first chunk's `mark`."""
        return self.entry.firsts[mark]

    @property
    def tick_to(self) -> int:
        """The tick after the last row's, where mark 0 is that of a chunk's first row."""
        if self.entry.firsts[0] == self.entry.highest[0]:
            return self.entry.highest[0] + self.position_to - self.position_first
        starts = self.content.index.starts
        return self.entry.highest[0] + int(starts[-1] - starts[-2])

    def chunk_at(self, position: int) -> int:
        """The number of the chunk that has `position`, or the count of chunks after all of them."""
        return bisect_right(self.content.index.starts, position, 1) - 1

    def chunk_by_mark(self, mark: int, value: int) -> int:
        """The number of the last chunk whose `mark`, ascending, is at most `value`; -1 for none."""
        return bisect_right(self.content.index.marks[mark], value) - 1

    def first_with(self, mark: int, value: int, chunk_from: int) -> int | None:
        """The first chunk from `chunk_from` on that has rows whose `mark` is at least `value`."""
        is_known = mark < len(self.entry.highest)
        if not is_known or self.entry.summed_up not in (None, self._files.summed_up):
            # It was compacted, or tells of the column that had the event time once.
            return chunk_from if chunk_from < len(self.content.index) else None
        if self.entry.highest[mark] < value:
            return None
        is_match = self.content.index.marks[mark][chunk_from:] >= value
        return chunk_from + int(np.argmax(is_match)) if is_match.any() else None

    @property
    def is_summed_up(self) -> bool:
        """Whether the marks after the appends' own tell of the column that is asked for."""
        column = self._files.summed_up
        return column is not None and self.entry.summed_up == column

    def highest(self, mark: int, position_from: int, position_to: int) -> Highest:
        """The highest of a mark that sums up rows, as far as it is known of [from, to)."""
        if not self.is_summed_up:
            return Highest(None, [(position_from, position_to)])
        if (position_from, position_to) == (self.position_first, self.position_to):
            return Highest(self.entry.highest[mark], [])
        starts = self.content.index.starts
        first = int(np.searchsorted(starts, position_from))
        last = int(np.searchsorted(starts, position_to, side="right")) - 1
        if first >= last:
            return Highest(None, [(position_from, position_to)])
        spans = [(position_from, int(starts[first])), (int(starts[last]), position_to)]
        value = int(self.content.index.marks[mark][first:last].max())
        return Highest(value, [(low, high) for low, high in spans if low < high])

    def starts(self, chunk_from: int, chunk_to: int) -> list[int]:
        """Where the chunks begin, and last where the last of them ends."""
        found: list[int] = self.content.index.starts[chunk_from : chunk_to + 1].tolist()
        return found

    def marks(self, mark: int, chunk_from: int, chunk_to: int) -> list[int]:
        """One mark of the chunks."""
        found: list[int] = self.content.index.marks[mark][chunk_from:chunk_to].tolist()
        return found

    def read(
        self, position_from: int, position_to: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        """The rows at [position_from, position_to)."""
        rows, reading = self._rows(position_from, position_to), self._reading
        if reading is None:
            return self.content.read(*rows, columns)
        stored = self.content.read(*rows, reading.needed(columns))
        return [reading.read(batch, columns) for batch in stored]

    def kept(self, position_from: int, position_to: int) -> Int64Array | None:
        """Where the rows stand that `read` gives; None: at all of these positions."""
        if self.entry.rows is None:
            return None
        first, last = self._rows(position_from, position_to)
        return self._all_kept[first:last]

    @property
    def _all_kept(self) -> Int64Array:
        content = self.content
        assert isinstance(content, ParquetContent), f"{self.entry.name} is compacted"
        return content.kept

    def _rows(self, position_from: int, position_to: int) -> tuple[int, int]:
        """The rows of the file [from, to) that stand at these positions."""
        if self.entry.rows is None:
            return position_from - self.position_first, position_to - self.position_first
        first, last = np.searchsorted(self._all_kept, [position_from, position_to]).tolist()
        return first, last


@contextmanager
def _reading(store: Store, path: str, size_bytes: int) -> Iterator[None]:
    """Tell a file in a store that is not what was put there from a store that is away.

    Raises:
        StateError: The file is missing or damaged.
        ConnectorError: The store cannot be used.

    """
    try:
        with damage_of(f"{store.name}/{path}"):
            yield
    except StateError as error:
        try:
            file = store.open(path)
            size = file.size()
        except FileNotFoundError:
            raise StateError(
                f"{path} is missing in the archive {store.name}",
                hint="bring it back there; the log names it",
            ) from error
        except OSError as cause:
            raise ConnectorError(
                f"the archive {store.name} cannot be read", hint="ask again when it is back"
            ) from cause
        if size != size_bytes:
            raise StateError(
                f"{path} in the archive {store.name} has {size} bytes and should have {size_bytes}",
                hint="bring back the file that was there",
            ) from error
        raise


def missing(path: str) -> StateError:
    """The error for a file that the manifest names and that is not there."""
    return StateError(
        f"{path} is missing: the last checkpoint names it",
        hint="restore this file from a backup of the data folder",
    )

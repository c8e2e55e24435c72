"""What a segment's file holds: rows in Arrow IPC or in Parquet, with their index.

A hot segment is an uncompressed Arrow IPC file, nearly always of one record batch: mapped, its
columns are used where they lie and reading copies nothing. A sealed segment is a Parquet file that
any other program can read; reading decodes only the row groups and columns asked for. The index
(see `index`) is in the file's metadata in both, so a file is whole in itself.

A file that is not what was written is a `StateError` that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headwater.cores import Chore
from headwater.delta.delta import Int64Array
from headwater.errors import StateError
from headwater.log.columns import OFFSET
from headwater.log.index import INDEX_KEY, Index
from headwater.log.stretches import Checked, Part
from headwater.log.tail import cut

# Measured on 2 cores with ids, names, decimals and times: 16 to 35 million rows/s read with zstd 1
# and dictionaries for text only. DuckDB gives row groups to threads, so a file has several.
ROW_GROUP_ROWS = 2 * 122_880
_COMPRESSION = "zstd"
_COMPRESSION_LEVEL = 1


class Content(Protocol):
    """An open file. Safe to read from many threads."""

    @property
    def index(self) -> Index:
        """Its chunks."""
        ...

    @property
    def size_bytes(self) -> int:
        """What it holds in memory beside the mapping."""
        ...

    def read(
        self, row_from: int, row_to: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        """Rows [row_from, row_to) of the file; `columns` in that order, or all."""
        ...

    def unready(self, columns: Sequence[str]) -> list[Chore]:
        """What reading these columns for the first time would have to wait for."""
        ...


def arrow_file(rows: pa.Table, index: Index) -> list[Part]:
    """An Arrow IPC file of `rows`, in pieces: the columns' own memory, not a copy of it."""
    # An IPC file has one dictionary per column: combined, all batches share theirs.
    whole = rows.combine_chunks().replace_schema_metadata({INDEX_KEY: index.encode()})
    pieces = _Pieces()
    with pa.PythonFile(pieces, mode="w") as sink, pa.ipc.new_file(sink, whole.schema) as writer:
        writer.write_table(whole)
    places = _places_of_columns(whole)
    return [Part(buffer, buffer.address in places) for buffer in pieces.buffers]


def _places_of_columns(rows: pa.Table) -> set[int]:
    """Where the memory of plain columns begins."""
    plain = [column for column in rows.columns if is_plain(column.type)]
    arrays = [chunk for column in plain for chunk in column.chunks]
    return {b.address for array in arrays for b in array.buffers() if b is not None and b.size}


def is_plain(kind: pa.DataType) -> bool:
    """Whether all of a column's bytes are in its own buffers."""
    is_more = pa.types.is_nested(kind) or pa.types.is_dictionary(kind)
    return not is_more and not isinstance(kind, pa.BaseExtensionType)


def parquet_file(rows: pa.Table, index: Index) -> list[Part]:
    """A Parquet file of `rows`."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows.replace_schema_metadata({INDEX_KEY: index.encode()}),
        sink,
        compression=_COMPRESSION,
        compression_level=_COMPRESSION_LEVEL,
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=[field.name for field in rows.schema if _is_text(field.type)] or False,
        write_page_checksum=True,
    )
    return [Part(sink.getvalue())]


def is_parquet_exact(schema: pa.Schema) -> bool:
    """True when `ParquetContent` gives every column back as it was.

    It has no intervals and no unions, for example.
    """
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(schema.empty_table(), sink)
    except (pa.ArrowException, ValueError):
        return False
    stored = pq.read_table(pa.BufferReader(sink.getvalue())).schema
    # Whole seconds are stored as milliseconds and cast back.
    return all(
        _is_seconds(field.type) or stored.field(field.name).type == field.type for field in schema
    )


@contextmanager
def damage_of(path: str) -> Iterator[None]:
    """Turn what a reader says of unreadable bytes into a `StateError` naming `path`."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as cause:
        raise StateError(
            f"{path} is damaged: {cause}", hint="restore this file from a backup of the data folder"
        ) from cause


class _Pieces:
    """A file for `pa.PythonFile` that keeps the buffers written to it as they are."""

    closed = False

    def __init__(self) -> None:
        self.buffers: list[pa.Buffer] = []
        self._size_bytes = 0

    def write(self, content: pa.Buffer | bytes) -> int:
        self.buffers.append(pa.py_buffer(content))
        self._size_bytes += len(content)
        return len(content)

    def tell(self) -> int:
        return self._size_bytes

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True


class ArrowContent:
    """A mapped Arrow IPC file.

    Args:
        checked: What compares its bytes with their checksums; None when that was done.

    """

    def __init__(
        self, path: str, content: pa.Buffer, schema: pa.Schema, checked: Checked | None
    ) -> None:
        self._path = path
        self._checked = checked
        self._is_checked: set[tuple[int, str]] = set()
        with damage_of(path):
            if checked is not None:
                checked.check_beside()
            reader = pa.ipc.open_file(content)
            self.index = Index.decode(reader.schema.metadata[INDEX_KEY])
            # Only the places of the columns are read here: the values stay in the mapping.
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            self._batches = [batch.replace_schema_metadata(None) for batch in batches]
            if reader.schema.remove_metadata() != schema:
                raise ValueError(f"it has the columns {reader.schema.names}, not {schema.names}")
            self._ends = _ends([batch.num_rows for batch in batches])
            _check_rows(self.index, int(self._ends[-1]))

    @property
    def size_bytes(self) -> int:
        """The index."""
        return self.index.size_bytes

    def read(
        self, row_from: int, row_to: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        """Rows [row_from, row_to), without a copy."""
        found = []
        for number in _overlapping(self._ends, row_from, row_to):
            batch, start = self._batches[number], int(self._ends[number])
            chosen = batch if columns is None else batch.select(columns)
            self._check(number, chosen)
            found.append(cut(chosen, start, row_from, row_to))
        return found

    def unready(self, columns: Sequence[str]) -> list[Chore]:
        """To check those that were not read before, one by one; it takes their pages in, too."""
        if self._checked is None:
            return []
        return [
            partial(self._check_ahead, number, name)
            for number, batch in enumerate(self._batches)
            for name in columns
            if (number, name) not in self._is_checked and is_plain(batch.schema.field(name).type)
        ]

    def _check_ahead(self, number: int, column: str) -> tuple[()]:
        # Who reads a damaged column finds that out, and says so.
        with suppress(StateError):
            self._check(number, self._batches[number].select([column]))
        return ()

    def _check(self, number: int, rows: pa.RecordBatch) -> None:
        """Check the columns of a batch that were not read before."""
        if self._checked is None:
            return
        for field, column in zip(rows.schema, rows.columns, strict=True):
            if (number, field.name) not in self._is_checked and is_plain(field.type):
                with damage_of(self._path):
                    self._checked.check(column)
                self._is_checked.add((number, field.name))


class ParquetContent:
    """A Parquet file. Remembers the row group decoded last: the next read often needs it.

    Args:
        source: Opens it for reading by ranges.
        schema: The Arrow types that the rows had when they were written.
        damage: Turns what a reader says of unreadable bytes into an error that names the file.
        rows: How many it has; None: as many as its index has positions.

    """

    def __init__(
        self,
        source: Callable[[], pa.NativeFile],
        schema: pa.Schema,
        damage: Callable[[], AbstractContextManager[None]],
        rows: int | None = None,
    ) -> None:
        self._source = source
        self._kept: Int64Array | None = None
        self._damage = damage
        self._schema = schema
        with damage():
            self._metadata = pq.read_metadata(source())
            self.index = Index.decode(self._metadata.metadata[INDEX_KEY])
            groups = range(self._metadata.num_row_groups)
            self._ends = _ends([self._metadata.row_group(g).num_rows for g in groups])
            _check_rows(self.index, int(self._ends[-1]), rows)
        self._last: tuple[int, tuple[str, ...], list[pa.RecordBatch]] | None = None

    @property
    def size_bytes(self) -> int:
        """The index and the last row group."""
        last = self._last
        decoded = sum(batch.nbytes for batch in last[2]) if last else 0
        kept = 0 if self._kept is None else self._kept.nbytes
        return self.index.size_bytes + int(decoded) + kept

    @property
    def kept(self) -> Int64Array:
        """The offset of each row, as the file says; remembered."""
        if self._kept is None:
            with self._damage():
                reader = pq.ParquetFile(
                    self._source(), metadata=self._metadata, page_checksum_verification=True
                )
                self._kept = reader.read(columns=[OFFSET]).column(0).to_numpy()
        return self._kept

    def read(
        self, row_from: int, row_to: int, columns: Sequence[str] | None
    ) -> list[pa.RecordBatch]:
        """Rows [row_from, row_to); decodes each row group that has some of them."""
        names = tuple(self._schema.names if columns is None else columns)
        found = []
        for group in _overlapping(self._ends, row_from, row_to):
            start = int(self._ends[group])
            for batch in self._decoded(group, names):
                if start < row_to and start + batch.num_rows > row_from:
                    found.append(cut(batch, start, row_from, row_to))
                start += batch.num_rows
        return found

    def unready(self, columns: Sequence[str]) -> list[Chore]:
        """Nothing: what is decoded is checked, and more of it is not kept."""
        del columns
        return []

    def _decoded(self, group: int, columns: tuple[str, ...]) -> list[pa.RecordBatch]:
        last = self._last
        if last and last[:2] == (group, columns):
            return last[2]
        with self._damage():
            # A reader of its own for each call: one reader must not be shared by threads.
            reader = pq.ParquetFile(
                self._source(),
                metadata=self._metadata,
                page_checksum_verification=True,
            )
            table = reader.read_row_group(group, columns=list(columns)).select(columns)
            fields = pa.schema([self._schema.field(name) for name in columns])
            batches: list[pa.RecordBatch] = table.cast(fields).to_batches()
        self._last = (group, columns, batches)
        return batches


def _overlapping(ends: Int64Array, row_from: int, row_to: int) -> range:
    """The numbers of the parts that have rows in [row_from, row_to); `ends` starts with 0."""
    if row_from >= row_to:
        return range(0)
    first = int(np.searchsorted(ends, row_from, side="right")) - 1
    return range(first, int(np.searchsorted(ends, row_to, side="left")))


def _ends(lengths: list[int]) -> Int64Array:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _check_rows(index: Index, rows: int, expected: int | None = None) -> None:
    if expected is None:
        expected = int(index.starts[-1] - index.starts[0])
    if rows != expected:
        raise ValueError(f"it has {rows} rows and its index says {expected}")


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)
    )


def _is_seconds(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.unit == "s")

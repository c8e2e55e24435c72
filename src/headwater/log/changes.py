"""The published changes of a view, in order: rows with weights, by offset and by epoch.

Offsets are dense from 0 and the same after a recovery, because the same epochs put out the same
rows again. All the changes of an epoch are one append and are read together, so a consumer never
sees half of one. It is a `Lane` whose positions are offsets and whose only mark is the epoch.
Files:

    hot/<first offset>-<last offset>.arrow
    data/<first offset>-<last offset>.parquet     with `_weight`, `_epoch` and `_offset`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, ones
from headwater.log.columns import EPOCH, OFFSET, WEIGHT, check_names, offsets
from headwater.log.index import Index
from headwater.log.lane import DEFAULT_SEAL_AT, Lane, SealAt, Shape
from headwater.log.manifest import Manifest, load_entries, names_in, save_lanes, tidy
from headwater.log.segment import SegmentFiles
from headwater.schema.schema import Schema
from headwater.storage.blobs import Blobs

_HIDDEN_TYPE = pa.int64()
_EPOCH_MARK = 0


class ChangeLog:
    """What a view has published.

    Any number of threads may read, while one appends, one flushes (and takes the manifest), and one
    seals.

    Args:
        name: The view's.
        schema: The view's columns.
        folder: Where its files are in the data folder, for example `changes/spend`. Nobody else's
            files may be there.

    Raises:
        DefinitionError: A column has a name that the log keeps for itself.

    """

    def __init__(
        self,
        name: str,
        schema: Schema,
        blobs: Blobs,
        folder: str,
        *,
        seal_at: SealAt = DEFAULT_SEAL_AT,
    ) -> None:
        check_names(f"view {name}", schema, (WEIGHT, EPOCH, OFFSET))
        self.name = name
        self.schema: pa.Schema = schema.arrow
        stored = self.schema.append(pa.field(WEIGHT, _HIDDEN_TYPE))
        self._files = SegmentFiles(blobs, folder, stored)
        self._shape = Shape(
            schema=stored,
            marks=1,
            summarise=lambda _table, _rows: (),
            archive_columns=_archive_columns,
            archive_folder=lambda _marks: "",
            seal_at=seal_at,
        )
        self._lane = Lane(self._shape, self._files, "")
        self._saved: Manifest | None = None
        self.epoch_last: int | None = None

    @classmethod
    def open(  # noqa: PLR0913 - what it is, where it is, and what it was
        cls,
        name: str,
        schema: Schema,
        blobs: Blobs,
        folder: str,
        manifest: Manifest | None,
        *,
        older: Sequence[Manifest | None] = (),
        seal_at: SealAt = DEFAULT_SEAL_AT,
    ) -> ChangeLog:
        """The changes as `manifest` has them; then append again what later epochs put out.

        Files that the manifest does not name are removed: a crash left them. Opens no segment.

        Args:
            manifest: What `manifest` returned, also after a trip through JSON; None before the
                first.
            older: Stored manifests that a start could fall back to; their files are not removed.

        Raises:
            StateError: A file is missing. (A damaged one is found when it is read.)

        """
        log = cls(name, schema, blobs, folder, seal_at=seal_at)
        entries = load_entries(manifest)
        tidy(log._files, manifest, older)
        log._saved = manifest
        if entries and entries[0]:
            log._lane = Lane(log._shape, log._files, "", entries[0])
            log.epoch_last = entries[0][-1].highest[_EPOCH_MARK]
        return log

    @property
    def size_bytes(self) -> int:
        """Bytes in files and in memory."""
        return self._lane.size_bytes

    @property
    def tail_bytes(self) -> int:
        """Bytes in memory that a `flush` would move to a file."""
        return self._lane.tail_bytes

    def next_offset(self) -> int:
        """The offset that the next change gets: how many there are."""
        return self._lane.position_to

    def first_offset(self) -> int:
        """The offset of the first change that is kept."""
        return self._lane.position_first

    def offset_of_epoch(self, epoch: int) -> int:
        """The first offset whose epoch is at least `epoch`."""
        return self._lane.snapshot().position_of_mark(epoch)

    def epoch_at(self, offset: int) -> int:
        """The epoch of a change that is there."""
        return self._lane.snapshot().mark_at(offset)

    def append(
        self, rows: pa.RecordBatch | pa.Table, weights: Int64Array | None, epoch: int
    ) -> None:
        """Take in the changes of an epoch, which every reader sees at once.

        An epoch that the log has already is passed over, so that recovery may step again from a
        little before the manifest's moment.

        Args:
            rows: In the view's Arrow schema. May be empty.
            weights: One a row, or None when all are +1.
            epoch: Above the epochs of all earlier appends.

        """
        if not rows.num_rows or (self.epoch_last is not None and epoch <= self.epoch_last):
            return
        if weights is None:
            weights = ones(rows.num_rows)
        arrays = [*rows.columns, pa.array(weights, _HIDDEN_TYPE)]
        stored = type(rows).from_arrays(arrays, schema=self._shape.schema)
        self._lane.append(stored, (epoch,))
        self.epoch_last = epoch

    def read(self, offset_from: int, rows_max: int) -> pa.Table:
        """Changes from an offset on, in order, with `_weight`, `_epoch` and `_offset`.

        The last epoch read is read whole, so there may be more than `rows_max` rows.

        Args:
            rows_max: At least 1.

        """
        snapshot = self._lane.snapshot()
        low = max(offset_from, snapshot.position_first)
        high = min(low + rows_max, snapshot.position_to)
        if low < high:
            high = snapshot.position_of_mark(snapshot.mark_at(high - 1) + 1)
        high = max(low, high)
        stored = pa.Table.from_batches(snapshot.read(low, high, None), self._shape.schema)
        epochs = snapshot.marks_by_row(_EPOCH_MARK, low, high)
        table = stored.append_column(EPOCH, pa.array(epochs))
        return table.append_column(OFFSET, offsets(low, high))

    def batches(self, offset_to: int | None = None) -> Iterator[pa.RecordBatch]:
        """All rows that are there now, in order, a few at a time, without hidden columns.

        Args:
            offset_to: Where to stop; None for the end.

        """
        end = self._lane.position_to
        for snapshot, low, high in self._lane.stretches(end if offset_to is None else offset_to):
            yield from snapshot.read(low, high, self.schema.names)

    def flush(self) -> int:
        """Move the rows in memory to a hot segment; return how many. They are durable on return."""
        return self._lane.flush()

    def seal(self) -> int:
        """Combine hot segments into archive files where there are enough; return how many.

        Store a new manifest, then `remove_unreferenced`.
        """
        return self._lane.seal()

    def manifest(self) -> Manifest:
        """A JSON value that names the segments, for `open`. Rows not yet flushed are not in it."""
        self._saved = save_lanes([self._lane])
        return self._saved

    def remove_unreferenced(self, *manifests: Manifest | None) -> None:
        """Delete the files that sealing replaced.

        Args:
            manifests: All that are stored and from which a start may begin. Their files are kept,
                and so are those of the manifest that was asked for last.

        """
        self._files.remove_retired(names_in([*manifests, self._saved]))


def _archive_columns(index: Index) -> dict[str, pa.Array]:
    lengths = np.diff(index.starts)
    return {
        EPOCH: pa.array(np.repeat(index.marks[_EPOCH_MARK], lengths)),
        OFFSET: offsets(int(index.starts[0]), int(index.starts[-1])),
    }

"""Write a view's changes as Parquet files, exactly once.

Each file holds a range of the view's changes and is called `changes-<first>-<end>.parquet`; it
appears under that name at once and whole, when it is durable. So the names in the folder are the
position: what arrived before a crash is known without a second place that could disagree. DuckDB,
Spark or Polars read the folder at any time.

A file has the view's columns, `_epoch` and `_offset`, and, for a view that withdraws rows,
`_weight` (+1 added, -1 withdrawn): the view's content is the rows whose weights do not add up to
zero. Parquet has no type for INTERVAL: its text is written.
"""

from __future__ import annotations

import re

import pyarrow as pa
import pyarrow.parquet as pq

from headwater.errors import ConnectorError, StateError
from headwater.schema.encode import interval_texts
from headwater.storage.blobs import Blobs

_NAME = re.compile(r"changes-(\d{20})-(\d{20})\.parquet")


class ParquetSink:
    """A folder of Parquet files that follows a view.

    Args:
        blobs: The folder.
        is_append_only: The view never withdraws a row, so the files need no `_weight`.
    """

    def __init__(self, blobs: Blobs, *, is_append_only: bool) -> None:
        self._blobs = blobs
        self._is_append_only = is_append_only

    def position(self) -> int:
        """The offset up to which the folder has the changes.

        Raises:
            ConnectorError: The folder cannot be read, or a file in the middle is missing.
        """
        try:
            names = self._blobs.list("")
        except StateError as error:
            raise ConnectorError(error.message, hint=error.hint) from None
        ranges = sorted(
            (int(found[1]), int(found[2])) for name in names if (found := _NAME.fullmatch(name))
        )
        position = 0
        for first, end in ranges:
            if first != position:
                raise ConnectorError(
                    f"the Parquet folder has changes up to {position} and from {first} on",
                    hint="put the missing file back, or empty the folder to write it all again",
                )
            position = end
        return position

    def write(self, changes: pa.Table, offset_from: int, offset_to: int) -> None:
        """Write one file; it is in place, whole and durable, on return."""
        position = self.position()
        if position != offset_from:
            # Files whose ranges overlap would say the same change twice.
            raise ConnectorError(f"the Parquet folder is at {position}, not at {offset_from}")
        if self._is_append_only:
            changes = changes.drop_columns(["_weight"])
        for at, field in enumerate(changes.schema):
            if pa.types.is_interval(field.type):
                changes = changes.set_column(at, field.name, interval_texts(changes.column(at)))
        target = pa.BufferOutputStream()
        pq.write_table(changes, target, compression="zstd", compression_level=1)
        name = f"changes-{offset_from:020d}-{offset_to:020d}.parquet"
        try:
            self._blobs.put(name, [target.getvalue()])
        except StateError as error:
            raise ConnectorError(error.message, hint=error.hint) from None

    def close(self) -> None:
        """Nothing is open between two calls."""

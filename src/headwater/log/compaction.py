"""Rewrite files of a table without the rows that newer ones of the same key have replaced.

Offsets stay. A compacted file stands for the same positions as the files it replaces and has fewer
rows: each says its offset in the column `_offset`, which sealed files have anyway, and the manifest
says how many there are. Its index has the appends of which rows are left; it does not tell of event
times. The file's name ends in the count, so that two contents never share a name: to compact again
takes more away.

Which rows may go is not decided here. What is given to be looked at are sealed files, from the
first of a partition on, whose rows no recovery steps through again and every consumer has read;
never the last file, so that behind every position there is a row. A file is written first and named
by the next manifest, as with sealing: a crash leaves the old ones or the new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.log.columns import OFFSET
from headwater.log.content import parquet_file
from headwater.log.index import Index
from headwater.log.lane import ARCHIVE, Lane, Shape
from headwater.log.segment import Segment, SegmentFiles, is_arrow

BoolArray = np.ndarray[tuple[int], np.dtype[np.bool_]]

_ARRIVED = 1


@dataclass(frozen=True, slots=True)
class Compactable:
    """What may be compacted of a topic now.

    Args:
        lanes: Of each partition the files, in order, from the first on.
        complete_to: All rows of the topic before this tick are in these files.

    """

    lanes: tuple[tuple[Segment, ...], ...]
    complete_to: int


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the rows of a file stand, and when they arrived; in their order."""

    offsets: Int64Array
    ticks: Int64Array
    arrived_us: Int64Array


@dataclass(frozen=True, slots=True)
class Settled:
    """What a start may find.

    Args:
        names: The files that every manifest names from which it may begin.
        tick_to: It steps through rows again from this tick on.

    """

    names: set[str]
    tick_to: int


def compactable(lanes: Sequence[Lane], settled: Settled, read_to: Sequence[int]) -> Compactable:
    """The files that may be compacted.

    What was compacted is looked at again only when no start can find what it replaced: or a row
    that deletes a key could be gone when a row is there again that it hides.

    Args:
        read_to: Rows from this offset on of each partition are needed as they are.

    """
    found, complete_to = [], settled.tick_to
    for lane, offset_to in zip(lanes, read_to, strict=True):
        parts = lane.snapshot().parts
        count = 0
        for segment, following in pairwise(parts):
            if not isinstance(segment, Segment) or not _is_free(segment, settled, offset_to):
                break
            if not isinstance(following, Segment):
                break
            count += 1
        found.append(tuple(part for part in parts[:count] if isinstance(part, Segment)))
        complete_to = min([complete_to, *(part.low(0) for part in parts[count : count + 1])])
    return Compactable(tuple(found), complete_to)


def _is_free(segment: Segment, settled: Settled, offset_to: int) -> bool:
    entry = segment.entry
    is_parquet = not entry.is_hot and not is_arrow(entry.name)
    is_here = is_parquet and not entry.is_archived and entry.name in settled.names
    return is_here and entry.position_to <= offset_to and segment.tick_to <= settled.tick_to


def places_of(segment: Segment) -> Places:
    """Where the rows of a file stand."""
    kept = segment.kept(segment.position_first, segment.position_to)
    if kept is None:
        kept = np.arange(segment.position_first, segment.position_to)
    index = segment.content.index
    chunks = np.searchsorted(index.starts, kept, side="right") - 1
    ticks, arrived_us = index.marks[0], index.marks[_ARRIVED]
    return Places(kept, kept + (ticks - index.starts[:-1])[chunks], arrived_us[chunks])


def compacted(
    shape: Shape,
    files: SegmentFiles,
    stem: str,
    group: Sequence[Segment],
    is_kept: Sequence[BoolArray],
) -> Segment:
    """Write the rows that are kept of files that follow each other as one file.

    Args:
        stem: What the name of the file begins with.
        is_kept: Which rows of each file are.

    """
    offsets = [places_of(s).offsets[keep] for s, keep in zip(group, is_kept, strict=True)]
    positions = np.concatenate(offsets)
    index = _index(group, shape.marks, positions)
    batches: list[pa.RecordBatch] = []
    for segment, keep in zip(group, is_kept, strict=True):
        rows = segment.read(segment.position_first, segment.position_to, None)
        table = pa.Table.from_batches(rows, shape.schema)
        batches += table.filter(pa.array(keep)).to_batches()
    table = pa.Table.from_batches(batches, shape.schema).unify_dictionaries()
    table = table.append_column(OFFSET, pa.array(positions))
    firsts = tuple(int(column[0]) for column in index.marks)
    span = f"{index.starts[0]:020}-{index.starts[-1] - 1:020}"
    name = f"{ARCHIVE}/{shape.archive_folder(firsts)}{stem}{span}-kept-{len(positions)}.parquet"
    return files.write(name, parquet_file(table, index), index, rows=len(positions))


def _index(group: Sequence[Segment], marks: int, positions: Int64Array) -> Index:
    """The appends of which there are rows; one that has none lies in the span of that before it.

    The first stays, so that the index begins where the files do.
    """
    index = Index.join([segment.content.index.with_marks(marks) for segment in group])
    is_there = np.diff(np.searchsorted(positions, index.starts)) > 0
    is_there[0] = True
    starts = np.append(index.starts[:-1][is_there], index.starts[-1])
    return Index(starts, tuple(column[is_there] for column in index.marks))

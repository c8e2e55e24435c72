"""What the index of a file knows of event times, so that they need not be read.

A zone is the rows of one append. Its marks are the highest and the lowest of its event times, and
how far a row of it stands behind the highest time before it in the file. They are computed when the
file is written, in a few passes over the times. From them follow where a watermark stands at the
end of each zone, and nearly always that no row of it is late.

A null time is before every time: it raises nothing, and with it in a zone no more is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.log.columns import times_us
from headwater.log.snapshot import Snapshot

# The first of the marks of a topic's chunks after the two that appends are given: see `summaries`.
HIGHEST = 2
COUNT = 3
_NEVER = int(np.iinfo(np.int64).min)
_MOST = np.uint64(np.iinfo(np.int64).max)


class Newest(NamedTuple):
    """What a watermark needs of rows of a partition, where nobody asks how it ran along them.

    Args:
        highest_us: Their highest event time; before all times where each is null.
        arrived_us: When the last of them arrived.

    """

    partition: int
    highest_us: int
    arrived_us: int


@dataclass(frozen=True, slots=True, eq=False)
class Zones:
    """The zones of some rows that lie together in a file, in their order.

    Args:
        starts: The row with which each begins, the first 0.
        highest_us: The highest time of each.
        lowest_us: The lowest time of each.
        behind_us: At least how far a row of it is behind rows before it in the same file.

    """

    starts: Int64Array
    highest_us: Int64Array
    lowest_us: Int64Array
    behind_us: Int64Array

    def cut(self, column: pa.Array, *, first: bool, last: bool) -> Zones:
        """The same where rows of the first zone, or the last, are not among those at hand.

        Args:
            column: The times of the rows at hand.
            first: Whether some are missing of the first zone.
            last: The same of the last.

        """
        highest, lowest = self.highest_us.copy(), self.lowest_us.copy()
        ends = np.append(self.starts[1:], len(column))
        for number in [0] * first + [len(ends) - 1] * last:
            left = _times(column[int(self.starts[number]) : int(ends[number])])
            highest[number], lowest[number] = left.max(), left.min()
        return Zones(self.starts, highest, lowest, self.behind_us)


def summaries(times: Int64Array, starts: Int64Array) -> tuple[Int64Array, ...]:
    """The marks of zones that begin at these rows, of all rows of a file."""
    if bool((times[1:] >= times[:-1]).all()):
        ends = np.append(starts[1:], len(times)) - 1
        return times[ends], times[starts], np.zeros(len(starts), dtype=np.int64)
    before = np.maximum.accumulate(times)
    # Never negative, and as unsigned numbers also right where it is more than an int64 holds.
    behind = before.view(np.uint64) - times.view(np.uint64)
    furthest = np.minimum(np.maximum.reduceat(behind, starts), _MOST)
    return (
        np.maximum.reduceat(times, starts),
        np.minimum.reduceat(times, starts),
        furthest.astype(np.int64),
    )


def highest_us(snapshot: Snapshot, span: tuple[int, int], column: str) -> int:
    """The highest of the event times in `column` at positions [from, to), which has some."""
    known = snapshot.highest(HIGHEST, *span)
    times = [
        int(_times(rows.column(0)).max())
        for unknown in known.unknown
        for rows in snapshot.read(*unknown, (column,))
    ]
    found = times if known.value is None else [*times, known.value]
    # Where all rows were compacted there is no time.
    return max(found, default=_NEVER)


def _times(column: pa.Array) -> Int64Array:
    return times_us(pa.chunked_array([column]))

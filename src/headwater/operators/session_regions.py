"""What the rows of an epoch make of sessions, as arrays.

Changed rows fall into blocks (stretches less than a gap apart); blocks and the old sessions near
them fall into regions, which have nothing to do with each other. A region in which no row was
withdrawn is one new session; of one in which a row was, the times that are left say how many
sessions there are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.islands import bounds_of, by_key_and_time, islands, starts_of
from headwater.state.equality import BoolArray
from headwater.state.index import search_times
from headwater.state.intervals import Stretches

_NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Changed:
    """The rows of an epoch, by key and time.

    Args:
        rows: Their columns.
        weights: Their weights.
        block: The number of the block that each is in.
        blocks: The blocks.
        places: The lowest place in the log of each block's rows; None where nobody needs it.

    """

    rows: pa.RecordBatch
    hashes: UInt64Array
    times: Int64Array
    weights: Int64Array
    block: Int64Array
    blocks: Stretches
    places: Int64Array | None


@dataclass(frozen=True, slots=True)
class Times:
    """Times of rows, the regions they are in, and how many rows there are, withdrawn ones less."""

    region: Int64Array
    times: Int64Array
    weights: Int64Array


@dataclass(frozen=True, slots=True)
class NewSessions:
    """Sessions by region and time.

    Args:
        region: The region of each; ascending.
        first: Its first time.
        last: Its last time.
        begins: Where each region's sessions begin, and behind all of them their number.

    """

    region: Int64Array
    first: Int64Array
    last: Int64Array
    begins: Int64Array

    def __len__(self) -> int:
        return len(self.region)

    def holding(self, region: Int64Array, times: Int64Array) -> Int64Array:
        """The session that holds each time; -1 where none does."""
        begins, ends = self.begins.take(region), self.begins.take(region + 1)
        if not len(self):
            return np.full(len(region), -1, dtype=np.int64)
        places = search_times(self.first, begins, ends, times, after_equal=True) - 1
        holds = (places >= begins) & (times <= self.last.take(np.maximum(places, 0)))
        return np.where(holds, places, -1)


@dataclass(frozen=True, slots=True)
class Regions:
    """Old sessions and blocks of changed rows, brought together.

    Args:
        count: How many regions there are.
        old: The region of each old session.
        block: The region of each block.
        member: For each region an old session or, counted on behind these, a block that is in it.
        first: The first time of each region.
        last: Its last time.

    """

    count: int
    old: Int64Array
    block: Int64Array
    member: Int64Array
    first: Int64Array
    last: Int64Array

    @staticmethod
    def of(old: Stretches, blocks: Stretches, gap_us: int) -> Regions:
        """The regions of old sessions and blocks."""
        hashes = np.concatenate([old.hashes, blocks.hashes])
        if not len(hashes):
            return Regions(0, _NONE, _NONE, _NONE, _NONE, _NONE)
        keys = [
            pa.concat_arrays([a.cast(b.type), b])
            for a, b in zip(old.keys.columns, blocks.keys.columns, strict=True)
        ]
        first = np.concatenate([old.first, blocks.first])
        last = np.concatenate([old.last, blocks.last])
        sorting = by_key_and_time(hashes, keys, first)
        order = sorting.order
        number = islands(sorting.keys, first.take(order), last.take(order), gap_us)
        region = np.empty(len(order), dtype=np.int64)
        region[order] = number
        begins = starts_of(number)
        lasts = np.maximum.reduceat(last.take(order), begins)
        return Regions(
            len(begins),
            region[: len(old)],
            region[len(old) :],
            order.take(begins),
            first.take(order).take(begins),
            lasts,
        )

    def first_places(self, of_blocks: Int64Array) -> Int64Array:
        """The lowest of the places of each region's blocks; as small as can be where it has none.

        Args:
            of_blocks: The lowest place of each block.

        """
        lowest = np.full(self.count, AFTER_ALL, dtype=np.int64)
        np.minimum.at(lowest, self.block, of_blocks)
        return np.where(lowest == AFTER_ALL, BEFORE_ALL, lowest)

    def has(self, marked: Int64Array) -> BoolArray:
        """Which regions are among some."""
        mask = np.zeros(self.count, dtype=np.bool_)
        mask[marked] = True
        return mask

    def whole(self, is_split: BoolArray, left: Times, gap_us: int) -> NewSessions:
        """The new sessions: each region as a whole, or, where it is split, what its times make."""
        simple = np.flatnonzero(~is_split)
        region, first, last = simple, self.first.take(simple), self.last.take(simple)
        if len(left.times):
            split = _islands_left(left, gap_us)
            region = np.concatenate([region, split[0]])
            order = np.argsort(region, kind="stable")
            region = region.take(order)
            first = np.concatenate([first, split[1]]).take(order)
            last = np.concatenate([last, split[2]]).take(order)
        begins = np.searchsorted(region, np.arange(self.count + 1))
        return NewSessions(region, first, last, begins)


def _islands_left(left: Times, gap_us: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Region, first and last time of the sessions that are made of the times with rows left."""
    order = np.lexsort((left.times, left.region))
    region, times = left.region.take(order), left.times.take(order)
    is_new = np.append(True, (region[1:] != region[:-1]) | (times[1:] != times[:-1]))
    begins = np.flatnonzero(is_new)
    alive = begins[np.add.reduceat(left.weights.take(order), begins) > 0]
    if not len(alive):
        return _NONE, _NONE, _NONE
    region, times = region.take(alive), times.take(alive)
    begins, ends = bounds_of(islands(region, times, times, gap_us))
    return region.take(begins), times.take(begins), times.take(ends)

"""The cell in which a row is counted: a slice of time, and in it a combination of keys.

Slices come first, so that cells that are near in number are near in time, as rows are in the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.operators.counted import TIME_MAX, Axis, Key, bounds, numbers, of_numbers
from headwater.operators.layout import SLICE
from headwater.operators.slices import Grid
from headwater.schema.schema import Schema

# Arrays of so many rows stay in the processor's cache from one step to the next.
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class Keys:
    """What tells groups apart.

    Args:
        keys: How each key is read.
        columns: The columns that the keys become.
        grid: The windows, if there are any.
        time: The column with the time, if there are.

    """

    keys: tuple[Key, ...]
    columns: Schema
    grid: Grid | None
    time: str | None

    def axes(
        self, batches: Sequence[pa.RecordBatch], texts: dict[str, pa.Array] | None
    ) -> Axes | None:
        """The axes of some rows; None when a key has too many numbers.

        Args:
            batches: Rows without nulls, with texts as numbers.
            texts: What these stand for; None where texts are all one.

        """
        axes = []
        for key in self.keys:
            is_one = key.is_text and texts is None
            axis = Axis(0, 1) if is_one else key.axis(batches, texts or {})
            if axis is None:
                return None
            axes.append(axis)
        if self.grid is None or self.time is None:
            return Axes(self, tuple(axes), None)
        low, high = bounds(batches, self.time)
        if max(-low, high) > TIME_MAX:
            return None
        first = int(self.grid.slice_of(np.array([low]))[0])
        return Axes(self, tuple(axes), Axis(first, (high - first) // self.grid.width_us + 1))


@dataclass(frozen=True, slots=True)
class Axes:
    """The numbers that the cells of some rows are made of.

    Args:
        of: What they are of.
        keys: For each key.
        slices: For slices, if there are any.

    """

    of: Keys
    keys: tuple[Axis, ...]
    slices: Axis | None

    @property
    def key_count(self) -> int:
        """How many cells there are in a slice."""
        return prod(axis.count for axis in self.keys)

    @property
    def count(self) -> int:
        """How many cells there are."""
        return self.key_count * (1 if self.slices is None else self.slices.count)

    def cells(self, block: pa.RecordBatch) -> Int64Array:
        """The cell of each row."""
        keys = self.keys_of(block)
        if self.slices is None or self.slices.count == 1:
            return keys
        cells = self.slices_of(block)
        cells *= self.key_count
        cells += keys
        return cells

    def keys_of(self, block: pa.RecordBatch) -> Int64Array:
        """The number of each row's keys."""
        found: Int64Array | None = None
        for key, axis in zip(self.of.keys, self.keys, strict=True):
            values = key.numbers(block, axis)
            if values is not None:
                found = values if found is None else found * axis.count + values
        return np.zeros(block.num_rows, dtype=np.int64) if found is None else found

    def slices_of(self, block: pa.RecordBatch) -> Int64Array:
        """The number of each row's slice."""
        assert self.slices is not None and self.of.grid is not None and self.of.time is not None
        times, low, width = numbers(block, self.of.time), self.slices.low, self.of.grid.width_us
        first, last = ((int(time) - low) // width for time in (times.min(), times.max()))
        if first == last:
            return np.full(len(times), first)
        found: Int64Array = times - low
        found //= width
        return found

    def parted(self, cells: Int64Array) -> tuple[Int64Array, Int64Array]:
        """The slice and the keys of each cell."""
        if self.slices is None:
            return np.zeros_like(cells), cells
        return np.divmod(cells, self.key_count)

    def columns(self, slices: Int64Array, keys: Int64Array) -> dict[str, pa.Array]:
        """The values that slices and keys stand for; not those of texts that are all one."""
        columns: dict[str, pa.Array] = {}
        if self.slices is not None and self.of.grid is not None:
            columns[SLICE] = pa.array(slices * self.of.grid.width_us + self.slices.low)
        rest, columns_of = keys, list(enumerate(zip(self.of.columns, self.keys, strict=True)))
        for number, (column, axis) in reversed(columns_of):
            rest, nth = np.divmod(rest, axis.count) if number else (rest, rest)
            kind = column.type.arrow
            if axis.values is not None:
                columns[column.name] = axis.values.take(pa.array(nth)).cast(kind)
            elif not pa.types.is_string(kind):
                columns[column.name] = of_numbers(nth + axis.low, kind)
        return columns


def blocks(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The rows in blocks."""
    step = _BLOCK_ROWS
    return [batch.slice(at, step) for batch in batches for at in range(0, batch.num_rows, step)]

"""Windows as sums of slices.

Time is cut into slices so that each window is a whole number of them: as wide as the windows'
slide where that divides their size, else as the greatest common divisor of both. Rows are
aggregated once, into their slice; a window is the merge of its slices, so a row costs the same
however many windows it is in ("No pane, no gain", Li et al., SIGMOD Record 2005).

Windows that cumulate are nested: each begins where the largest of them does. Here each is taken for
a window of full size with the same end, of which only the part from the common beginning on is
counted; so a window's start, as state has it, is its end less the size, and tells windows apart.

All times are microseconds since 1970. Window k starts at `k * slide + offset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
import numpy.typing as npt

from headwater.delta.delta import Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.plan.nodes import WindowKind, WindowSpec

IndexArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Span:
    """The windows whose end is after `after_us` and not after `until_us`."""

    after_us: int = BEFORE_ALL
    until_us: int = AFTER_ALL


@dataclass(frozen=True, slots=True)
class Grid:
    """The windows of a spec, and the slices they are made of."""

    size_us: int
    slide_us: int
    offset_us: int
    is_cumulating: bool = False

    @staticmethod
    def of(spec: WindowSpec) -> Grid:
        """The grid of a window specification."""
        is_cumulating = spec.kind is WindowKind.CUMULATE
        return Grid(spec.size_us, spec.slide_us, spec.offset_us, is_cumulating)

    @property
    def width_us(self) -> int:
        """How long a slice is."""
        return gcd(self.size_us, self.slide_us)

    @property
    def is_tumbling(self) -> bool:
        """True when a slice is a window."""
        return self.size_us == self.slide_us

    def slice_of(self, times_us: Int64Array) -> Int64Array:
        """The start of the slice that holds each time."""
        slices: Int64Array = times_us - (times_us - self.offset_us) % self.width_us
        return slices

    def start_last(self, slices: Int64Array) -> Int64Array:
        """The start of the last window that begins at or before each slice.

        Where the slide is longer than the size the slice may lie behind that window's end.
        """
        return self._aligned(slices, self.size_us if self.is_cumulating else self.slide_us)

    def start_shown(self, starts: Int64Array) -> Int64Array:
        """The start of each window as readers see it."""
        if not self.is_cumulating:
            return starts
        return self._aligned(starts + (self.size_us - self.slide_us), self.size_us)

    def start_first(self, slices: Int64Array) -> Int64Array:
        """The start of the first window that ends after each slice."""
        return self.start_after(slices - self.size_us)

    def start_after(self, bounds_us: Int64Array) -> Int64Array:
        """The first window start that is after each bound."""
        return self._aligned(bounds_us, self.slide_us) + self.slide_us

    def open_from(self, watermark_us: int) -> int:
        """The start of the first window that ends after a watermark."""
        if watermark_us in (BEFORE_ALL, AFTER_ALL):
            return watermark_us
        return int(self.start_after(np.array([watermark_us - self.size_us]))[0])

    def _aligned(self, times_us: Int64Array, step_us: int) -> Int64Array:
        aligned: Int64Array = times_us - (times_us - self.offset_us) % step_us
        return aligned

    def explode(
        self, slices: Int64Array, starts_from: Int64Array, span: Span
    ) -> tuple[IndexArray, Int64Array]:
        """Each slice once for each window in `span` that it counts for.

        Args:
            slices: Starts of slices.
            starts_from: For each slice, the first window start that it counts for.
            span: Which windows are wanted.

        Returns:
            Indexes into `slices`, ascending, and beside each the start of a window.

        """
        first = np.maximum(self.start_first(slices), starts_from)
        last = self.start_last(slices)
        if span.after_us > BEFORE_ALL:
            first = np.maximum(first, self.open_from(span.after_us))
        if span.until_us < AFTER_ALL:
            open_from = max(self.open_from(span.until_us), BEFORE_ALL + self.slide_us)
            last = np.minimum(last, open_from - self.slide_us)
        counts = np.where(last >= first, (last - first) // self.slide_us + 1, 0)
        index = np.repeat(np.arange(len(slices)), counts)
        ends = np.cumsum(counts)
        nth = np.arange(len(index)) - np.repeat(ends - counts, counts)
        return index, first[index] + nth * self.slide_us

"""Windows of time, and the pace at which their changes are published."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from headwater.plan.frontier import Frontier
from headwater.plan.inputs import OneInput
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


class WindowKind(StrEnum):
    """How rows are assigned to windows of time."""

    TUMBLE = "tumble"
    HOP = "hop"
    CUMULATE = "cumulate"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class WindowSpec:
    """A kind of window over an event-time column.

    Windows are aligned to 1970-01-01 plus `offset_us`. A time t is in every window [start, start +
    size) with start = k * slide + offset. A row with a null time is in no window and is dropped.

    CUMULATE has windows [start, start + n * slide) with start = k * size + offset and n from 1 to
    size / slide, which is whole: they grow by the slide, and begin anew every size.

    SESSION: rows of equal keys (a null is equal to a null) whose times are less than `size_us`, the
    gap, apart, directly or through others, are one session. It begins with its first row and ends a
    gap after its last. So rows exactly a gap apart are two sessions, as a window does not hold its
    end. Rows may be withdrawn, and sessions fall apart again.

    Args:
        time: The TIMESTAMP or TIMESTAMPTZ column of the input.
        size_us: The window's length; of a SESSION the gap.
        slide_us: The distance between window starts; equal to `size_us` for TUMBLE and SESSION; for
            CUMULATE the step by which windows grow.
        offset_us: Shift of all windows.
        keys: For SESSION the columns whose values tell sessions apart; may be empty.

    """

    kind: WindowKind
    time: str
    size_us: int
    slide_us: int
    offset_us: int = 0
    keys: tuple[str, ...] = ()


def closing_phase_us(spec: WindowSpec, lateness_us: int | None, step_us: int) -> int:
    """How far multiples of a step are shifted to be the times at which windows take no more rows.

    The windows of a spec end a slide apart, so with that step nothing changes between two.
    """
    if not step_us:
        return 0
    return (spec.offset_us + spec.size_us + (lateness_us or 0)) % step_us


@dataclass(frozen=True, slots=True)
class Windows(OneInput):
    """Assign rows to windows: add `window_start` and `window_end`.

    A row in k windows comes out k times. Linear, like `Map`, but for sessions, in which a row may
    move others to a larger session, or, withdrawn, to smaller ones.

    With `final` and sessions, the rows of a session come out when the watermark has passed its end,
    and a row is late when, at its place in the log, the watermark had already passed its own time
    plus the gap by `lateness_us` or more. So the sessions are those of all rows in time, whatever
    their order, and may grow after they came out, until the gap and `lateness_us` after their end.

    Args:
        start: Name of the added start column.
        end: Name of the added end column.
        final: When true, a row is held back until the watermark of `sources` has passed its
            window's end, and a row is late when, at its place in the log, the watermark had already
            passed the end by `lateness_us` or more; late rows go to the view's late rows.
        lateness_us: None for no bound (nothing is ever late; only with `final` false).
        sources: Topics whose watermarks (the lowest of them) decide.
        ready: True when some of the sources are ready before they are complete. With `final` a
            window then closes when they are ready, and is corrected until they have been complete
            for `lateness_us`.
        tells: Whether late rows go to the view's late rows; false where another node of the view
            decides over the same rows, and tells.
        behind_us: How long after the watermarks a row in time may come; where "the watermark" is
            said above it is less this.
        step_us: By how long steps of the watermark it is decided what is late, where that is asked
            of rows that others withdraw (see `steps`); 0: as it rises.

    """

    input: Node
    spec: WindowSpec
    start: str
    end: str
    schema: Schema
    final: bool = False
    lateness_us: int | None = None
    sources: tuple[str, ...] = ()
    ready: bool = False
    tells: bool = True
    behind_us: int = 0
    step_us: int = 0

    @property
    def frontier(self) -> Frontier:
        """What decides."""
        phase_us = closing_phase_us(self.spec, self.lateness_us, self.step_us)
        return Frontier(self.sources, self.behind_us, self.step_us, phase_us)

    @property
    def append_only(self) -> bool:
        """A window assignment withdraws a row only when its input does, or when a session grows."""
        return self.input.append_only and self.spec.kind is not WindowKind.SESSION


@dataclass(frozen=True, slots=True)
class Pace(OneInput):
    """The input's rows, published at most once for each stretch of event time.

    Changes are held, and what cancels in them is gone, until the watermark of `sources` passes a
    multiple of `every_us`, or the end of the input; then all that is held comes out. So the output
    is the input as it was some time ago, and, when the input has ended, the input.

    Args:
        every_us: The length of a stretch.
        sources: Topics whose watermarks (the lowest of them) decide; never empty.

    """

    input: Node
    every_us: int
    sources: tuple[str, ...]
    schema: Schema

    @property
    def append_only(self) -> bool:
        """A row that is only added is only added later."""
        return self.input.append_only

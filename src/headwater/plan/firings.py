"""Results that are published firing by firing, and never withdrawn.

A firing is a moment in the log at which a group says what it has come to: the end of a stretch of
event time, the close of a window, a row that corrects a closed one. Which rows a firing takes in
is a matter of their places in the log alone, so it is the same whatever the cut into epochs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headwater.plan.groups import GroupWindow, Partial
from headwater.plan.inputs import OneInput
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


@dataclass(frozen=True, slots=True)
class Hold(OneInput):
    """The input's rows, each at the place in the log at which its stretch of event time ended.

    A row belongs to the stretch in which the watermark of `sources` stood before it, from one
    multiple of `every_us` to the next; the row that moves the watermark on is the last of its
    stretch. Rows wait until then. After the end of the input each row stands where it came.

    Args:
        input: Rows that are never withdrawn and have a place in the log.
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


@dataclass(frozen=True, slots=True)
class Panes(OneInput):
    """For each group and firing one row: the group's keys, then what is computed of its rows.

    Rows of a group that have the same place in the log are one firing. The input is append-only,
    and gives its rows in the order of these places: it is a `Hold`, or windows that are final, with
    nothing but `Map`s between.

    Args:
        keys: Input columns, in output order; where groups are windows, their bounds among them.
        partials: What to compute.
        is_accumulating: Whether a firing is of all rows of the group so far; otherwise it is of
            those that came since the firing before.
        bound: A time among the keys some while after which no row is in time any more, so that what
            is kept of the group can go; None where there is none.
        lateness_us: That while: no row of the group comes once the watermark has passed `bound` by
            so much.
        sources: Topics whose watermarks (the lowest of them) say so; empty where `bound` is None.

    """

    input: Node
    keys: tuple[str, ...]
    partials: tuple[Partial, ...]
    schema: Schema
    is_accumulating: bool
    bound: str | None = None
    lateness_us: int | None = None
    sources: tuple[str, ...] = ()

    @property
    def append_only(self) -> bool:
        """What a firing said stands."""
        return True


@dataclass(frozen=True, slots=True)
class SessionPanes(OneInput):
    """For each session and firing one row: keys and bounds, then what is computed of its rows.

    The bounds are those that the session has at the firing; what was said of it when it was
    smaller, or of sessions that have become this one, stands. So each row is in the firing after
    it came, and the firings of a session are those whose bounds lie within its own.

    With `every_us` a session fires at the end of each stretch of event time in which rows of it
    came; see `Hold`. Without, when the watermark has passed its end, if rows of it were in no
    firing; a row that reaches a session that has fired makes it one that has not, whose end the
    watermark may have passed already: then it fires at the place of that row.

    Args:
        input: Rows that are never withdrawn and have a place in the log.
        keys: The keys of the sessions, in any order.
        partials: What to compute.
        window: The sessions; `sources` decide also where nothing is ever late.
        schema: The keys, the bounds, the partials.
        is_accumulating: Whether a firing is of all rows of the session so far; otherwise it is of
            those that were in no firing.
        every_us: The length of a stretch, or None.

    """

    input: Node
    keys: tuple[str, ...]
    partials: tuple[Partial, ...]
    window: GroupWindow
    schema: Schema
    is_accumulating: bool
    every_us: int | None = None

    @property
    def append_only(self) -> bool:
        """What a firing said stands."""
        return True

"""Groups and what is computed of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from headwater.plan.frontier import Frontier
from headwater.plan.inputs import OneInput
from headwater.plan.windows import WindowKind, WindowSpec, closing_phase_us
from headwater.schema.schema import Schema

if TYPE_CHECKING:
    from headwater.plan.nodes import Node


class Merge(StrEnum):
    """An aggregate whose partial results can be merged.

    The planner writes others in terms of these. Nulls are ignored; over no non-null value SUM, MIN
    and MAX are null and COUNT is 0.

    BIT_OR is of whole numbers. ONLY is the value of the one row of the group in which it is not
    null; so results of several aggregates by the same keys are brought together.

    QUANTILE, DISTINCT and HISTOGRAM are read off how often each value occurs in the group. These
    counts merge and take rows back, whatever the value; what is kept is one count for each value of
    a group. QUANTILE and HISTOGRAM are null over no non-null value, DISTINCT is 0.
    """

    COUNT = "count"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    BIT_OR = "bit_or"
    ONLY = "only"
    QUANTILE = "quantile_disc"
    DISTINCT = "count_distinct"
    HISTOGRAM = "histogram"

    @property
    def is_by_value(self) -> bool:
        """Whether it is read off the counts by value."""
        return self in (Merge.QUANTILE, Merge.DISTINCT, Merge.HISTOGRAM)


@dataclass(frozen=True, slots=True)
class Partial:
    """One mergeable aggregate.

    Args:
        name: The output column.
        merge: How values and partial results combine. BIT_OR, and SUM of a floating column, only
            over append-only input (else the planner uses `Recompute`). ONLY without a window. MIN
            and MAX over other input without a window, and without others beside them.
        argument: The input column that is aggregated; None counts rows (COUNT only). For QUANTILE
            an integer of at most 64 bits.
        fraction: For QUANTILE, a decimal number from 0 to 1, as it is written in SQL.

    """

    name: str
    merge: Merge
    argument: str | None
    fraction: str | None = None


@dataclass(frozen=True, slots=True)
class GroupWindow:
    """The windows of an `Aggregate`. See `Windows` for the meaning of the fields."""

    spec: WindowSpec
    start: str
    end: str
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
    def is_once(self) -> bool:
        """True when a window comes out once and is never corrected.

        A session never is: a row in time may still reach it.
        """
        is_session = self.spec.kind is WindowKind.SESSION
        return self.final and self.lateness_us == 0 and not self.ready and not is_session


@dataclass(frozen=True, slots=True)
class Aggregate(OneInput):
    """One row per group that has rows: the key columns, then the partials.

    Withdraws what it last said of a group and says the new. With no keys there is one group, and,
    as in SQL, a row for it also before the first input row (COUNT 0, the others null). The planner
    puts a `Map` below (arguments, FILTER) and one above (averages, HAVING, the select list).

    With `window`, `keys` come first, then `window.start` and `window.end` columns: the input is not
    yet windowed, and the engine aggregates per slice (the window's slide) before it combines
    windows. With sessions, `keys` are those of the sessions, in any order, and the input is
    append-only: partial results of sessions that meet are merged, and no row is remembered.

    Args:
        keys: Input columns, in output order.
        partials: What to compute.
        window: None, or the windows of the groups, with the same meaning of `final`, `lateness_us`,
            `sources` and `ready` as `Windows` has; then with `final` a group comes out only once
            its window has closed and is corrected until the lateness has passed.
        append_only: Never, except that of a window that comes out once nothing is withdrawn.

    """

    input: Node
    keys: tuple[str, ...]
    partials: tuple[Partial, ...]
    schema: Schema
    window: GroupWindow | None = None

    @property
    def is_in_order(self) -> bool:
        """Whether it is of extremes, of one column, that may be withdrawn.

        Then all values of a group are kept, in their order.
        """
        extremes = (Merge.MIN, Merge.MAX)
        return any(p.merge in extremes for p in self.partials) and not self.input.append_only

    @property
    def append_only(self) -> bool:
        """Only what is final at once, of rows that are never withdrawn, is never withdrawn."""
        return bool(self.window and self.window.is_once and self.input.append_only)

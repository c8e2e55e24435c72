"""One side of a join in time: its rows by key and time, and how far their partners may be.

Of the right rows of a semi or anti join without a further condition one of a key can say all that
others say: with a bound on one side of time only, whatever a later row matches the first matches
too, or the other way round. Rows that are outdone like that go once they cannot be withdrawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Delta, Int64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators.deciding import in_time
from headwater.operators.operator import Epoch
from headwater.operators.sides import Side, side_of, split, visible_fields
from headwater.plan.nodes import Decision, Join, Within
from headwater.state.multiset import Multiset
from headwater.state.run import times_of


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from a row's time its partners may be.

    Args:
        before_us: How long before it at most; None for no bound.
        after_us: How long after it at most; None for no bound.

    """

    before_us: int | None
    after_us: int | None

    def of(self, times: Int64Array) -> tuple[Int64Array, Int64Array]:
        """The first and the last time of each row's partners. Infinity is infinitely far away."""
        is_finite = (times > BEFORE_ALL + 1) & (times < AFTER_ALL)
        first, last = np.full(len(times), BEFORE_ALL), np.full(len(times), AFTER_ALL)
        if self.before_us is not None:
            first = np.where(is_finite, times - self.before_us, times)
        if self.after_us is not None:
            last = np.where(is_finite, times + self.after_us, times)
        return first, last

    def passed_below(self, watermark_us: int, lateness_us: int) -> int:
        """Rows before this time have no partners that come in time for such a watermark."""
        if watermark_us in (BEFORE_ALL, AFTER_ALL):
            return watermark_us
        return BEFORE_ALL if self.after_us is None else watermark_us - lateness_us - self.after_us


def reaches(within: Within) -> tuple[Reach, Reach]:
    """Where the partners of a left row are, and those of a right row."""
    lower, upper = within.lower_us, within.upper_us
    back = None if lower is None else -lower
    return Reach(upper, back), Reach(back, upper)


class Memory:
    """One side: its rows by key and time, and how it takes a change."""

    def __init__(
        self,
        node: Join,
        schema: pa.Schema,
        *,
        is_left: bool,
    ) -> None:
        assert node.within is not None
        self.is_left = is_left
        self.keys = node.left_keys if is_left else node.right_keys
        self.time = node.within.left_time if is_left else node.within.right_time
        self.reach = reaches(node.within)[0 if is_left else 1]
        self.rows = Multiset(pa.schema(visible_fields(schema)), self.keys, time=self.time)

    def times(self, side: Side) -> Int64Array:
        """The times of rows of this side."""
        return times_of(side.rows.column(self.time))

    def forget_outdone(self, settled_us: int) -> None:
        """Keep, of the rows that nobody withdraws, the one of each key that reaches farthest.

        Args:
            settled_us: Rows before this are never withdrawn, and no more of them come; or nobody
                withdraws any.

        """
        if self.reach.after_us is None:
            self.rows.forget_newer(settled_us)
        else:
            self.rows.forget_older(settled_us)

    def taken(
        self, change: Delta, epoch: Epoch, *, has_ticks: bool, decision: Decision | None
    ) -> tuple[Side, list[Side]]:
        """The rows that are in time: those that can match, and those with a null key or time."""
        side = side_of(change, self.keys, epoch, has_ticks=has_ticks)
        rows = side.rows.cast(self.rows.schema)
        side = Side(rows, side.keys, side.hashes, side.weights, side.ticks)
        side, timeless = split(side, [side.rows.column(self.time)])
        if decision is not None:
            frontier = decision.left if self.is_left else decision.right
            lateness_us = decision.lateness_us
            side = in_time(side, self.time, epoch, frontier=frontier, lateness_us=lateness_us)
        side, keyless = split(side, side.keys.columns)
        return side, [lonely for lonely in (timeless, keyless) if lonely is not None]

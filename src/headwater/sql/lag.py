"""How far a column of times may be behind the watermarks of the topics that it comes from.

The event time of a topic is not: what is before the watermark there is late. The start of a window
is, by as long as the window is; what a join in time puts out is, by as much as the join reaches.
Windows over such a column wait so much longer. Of bounds of windows it is also known that they lie
some way apart, so the last one within an outer window may be well before its end: windows over the
starts of smaller ones that fit into them wait for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import gcd

from headwater.plan.nodes import WindowKind, WindowSpec


@dataclass(frozen=True, slots=True)
class Lag:
    """A row in time, whose value is x, comes before the watermark has passed x by `us`.

    Args:
        us: How far behind; below zero where the values are ahead of the events' times.
        is_strict: Whether it comes before the watermark has reached x + `us`.
        step_us: All values are a multiple of this apart; 0 where that is not known.
        offset_us: One of the values.

    """

    us: int = 0
    is_strict: bool = False
    step_us: int = 0
    offset_us: int = 0

    @property
    def behind_us(self) -> int:
        """How far a frontier of these values is behind the watermark."""
        return max(self.us, 0)

    def later(self, by_us: int) -> Lag:
        """The same, with rows that come so much later."""
        return replace(self, us=self.us + by_us)

    def shifted(self, by_us: int) -> Lag:
        """That of the values, each so much greater."""
        return replace(self, us=self.us - by_us, offset_us=self.offset_us + by_us)

    def of_windows(self, spec: WindowSpec) -> int:
        """How long after the watermark has passed them windows over these values close.

        What counts is the last value before a window's end.
        """
        if not self.is_strict or not self.step_us:
            return self.behind_us
        if spec.kind is WindowKind.SESSION:
            before_end_us = spec.size_us % self.step_us or self.step_us
        else:
            # CUMULATE's size is a multiple of its slide.
            end_us = spec.offset_us + spec.size_us
            apart_us = gcd(self.step_us, spec.slide_us)
            before_end_us = (end_us - self.offset_us) % apart_us or apart_us
        return max(self.us - before_end_us, 0)

    def of_end(self, spec: WindowSpec) -> Lag:
        """That of the ends of windows over these values."""
        behind_us = self.of_windows(spec)
        if spec.kind is WindowKind.SESSION:
            # A row in time may be less than a gap before the end of a session that came out.
            bound = replace(self.shifted(spec.size_us), us=behind_us + spec.size_us)
            return replace(bound, is_strict=True)
        return Lag(behind_us, True, spec.slide_us, spec.offset_us + spec.size_us)

    def of_start(self, spec: WindowSpec) -> Lag:
        """That of the starts of windows, but for sessions, over these values."""
        step_us = spec.size_us if spec.kind is WindowKind.CUMULATE else spec.slide_us
        return Lag(self.of_windows(spec) + spec.size_us, True, step_us, spec.offset_us)


def farthest(lags: Iterable[Lag | None]) -> Lag | None:
    """That of values of several columns together; None where one of them has no bound."""
    found = list(lags)
    known = [lag for lag in found if lag is not None]
    if len(known) < len(found) or not known:
        return None
    first = known[0]
    # 0 is a step that is not known, and stays one.
    step_us = 0
    if all(lag.step_us for lag in known):
        apart = (abs(lag.offset_us - first.offset_us) for lag in known)
        step_us = gcd(*(lag.step_us for lag in known), *apart)
    is_strict = all(lag.is_strict for lag in known)
    return Lag(max(lag.us for lag in known), is_strict, step_us, first.offset_us)

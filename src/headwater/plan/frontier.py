"""How far time has gone for the rows of a plan.

The watermark of topics says that no event before it is expected in them. Further up in a plan rows
may come later than their time: a join in time puts a row out when the last of its pair is there, a
window when it closes. So a column has a frontier: the lowest watermark of the topics that its rows
come from, less the longest that a row in time may be behind it.

A frontier may go in steps. Then rows that come and go between two of its steps may cancel, and it
is decided the same of what is left as of each of them (see `steps`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frontier:
    """The lowest watermark of some topics, less a length of time.

    Args:
        sources: The topics; never empty.
        behind_us: The length.
        step_us: When not 0, it stands at the last multiple of this.
        phase_us: How far these multiples are shifted; less than `step_us`.

    """

    sources: tuple[str, ...]
    behind_us: int = 0
    step_us: int = 0
    phase_us: int = 0

    @property
    def slack_us(self) -> int:
        """How far it may be behind the watermark."""
        return self.behind_us + self.step_us

    def reached_at(self, time_us: int) -> int:
        """How far the watermark must come for the frontier to reach a time."""
        if self.step_us:
            time_us += (self.phase_us - time_us) % self.step_us
        return time_us + self.behind_us

    def later(self, by_us: int) -> Frontier:
        """A frontier without steps that is so much further behind, and no less behind than this."""
        return Frontier(self.sources, self.slack_us + by_us) if by_us or self.step_us else self


@dataclass(frozen=True, slots=True)
class Decision:
    """By which frontiers a join in time decides.

    Args:
        final: When true, a left row whose answer may still change waits: it comes out once the
            right frontier has passed all that could change it.
        lateness_us: A row is late when, at its place in the log, the frontier of its side had
            passed its time by more than this.
        left: The frontier of the left time.
        right: The frontier of the right time.

    """

    final: bool
    lateness_us: int
    left: Frontier
    right: Frontier

    @property
    def is_once(self) -> bool:
        """True when what came out is never corrected."""
        return self.final and self.lateness_us == 0


def lowest(frontiers: Iterable[Frontier]) -> Frontier:
    """A frontier that is not before any of some, of which there is at least one."""
    found = list(frontiers)
    sources = dict.fromkeys(source for frontier in found for source in frontier.sources)
    return Frontier(tuple(sources), max(frontier.slack_us for frontier in found))

"""Compute views from the log's first row to where the others stand.

A new or changed view reads the same rows in the same order as it would have live, in epochs of a
million rows; by the first law the answer is the same. Views that it reads are computed along with
it, without publishing them again. The cost is that of a replay: of the rows that these views read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import ViewPlan
from headwater.runtime.records import Fact
from headwater.runtime.recovery import Report
from headwater.runtime.stepper import Cut, Stepper


def closure(names: Collection[str], plans: Sequence[ViewPlan]) -> list[ViewPlan]:
    """The plans called `names` and those that they read, directly or not, in their order."""
    wanted = set(names)
    for plan in reversed(plans):
        if plan.name in wanted:
            wanted |= {n.relation for n in walk(plan.root) if isinstance(n, Scan)}
    return [plan for plan in plans if plan.name in wanted]


def build(  # noqa: PLR0913 - what to step, over which rows, and how it is told
    stepper: Stepper,
    publish: Collection[str],
    *,
    epoch: int,
    tick_to: int,
    facts: Sequence[Fact],
    rows_max: int,
    time_us: int,
    report: Report,
) -> None:
    """Step the views of `stepper` from the first tick to `tick_to`.

    Args:
        stepper: Fresh views and tables over the real topics.
        publish: The views among them whose output is kept.
        epoch: The last epoch of the views that stand there already; the changes are published
            under it and the numbers before it.
        facts: Those that the epochs up to `tick_to` took in.
    """
    taken = 0
    for cut in _cuts(epoch, tick_to, facts, rows_max, time_us):
        steps = stepper.step(cut)
        for view in stepper.views:
            if view.name in publish and view.name in steps:
                view.publish(steps[view.name], cut.epoch)
        taken = cut.tick_to
        report(f"building {', '.join(sorted(publish))}", taken, tick_to)


def _cuts(
    epoch: int, tick_to: int, facts: Sequence[Fact], rows_max: int, time_us: int
) -> list[Cut]:
    # Each cut needs an epoch number of its own, and there are `epoch` of them.
    starts = range(0, tick_to, max(rows_max, -(-tick_to // max(epoch, 1))))
    cuts, given = [], 0
    for number, start in enumerate(starts, epoch - len(starts) + 1):
        end = min(start + starts.step, tick_to)
        until = given
        while until < len(facts) and (facts[until].tick <= end or end == tick_to):
            until += 1
        cuts.append(Cut(number, start, end, tuple(facts[given:until]), time_us))
        given = until
    return cuts

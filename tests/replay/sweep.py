"""Many random pipelines, each over several logs and cuts: the engine against batch.

A pipeline is a few views, of which later ones read earlier ones. It is planned and built once, and
run over several logs: one in time, one with late rows. Each log is run in one epoch, and cut at
random with restarts in between. A case is one view in one run.

    make oracle ARGS="--seconds 600 --first 100000"

runs new ones until the time is over, prints what differs, and exits with 1 if anything does.

What must hold: a view is what batch answers over the whole log, if nothing came too late for it or
for what it reads. Whatever came late: its content, also before the end of the input, and its late
rows are the same however the log is cut.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from headwater.operators.statement import Engine
from headwater.plan.nodes import Pace, Scan, walk
from headwater.plan.pipeline import ViewPlan
from replay.engine import Flows, Outcome
from replay.logs import END_US, bounds_of, log_of
from replay.pipelines import RandomPipeline, pipeline_of
from replay.rows import Content, answered, rows_of

VIEWS, LOGS, RUNS = 8, 2, 3


@dataclass(frozen=True, slots=True)
class Difference:
    """A view that is not what it must be, or a refusal that nobody expects."""

    seed: int
    view: str
    query: str
    what: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.view}:\n  {self.query}\n  {self.what}"


@dataclass
class Tally:
    """What was looked at, and what was found."""

    pipelines: int = 0
    views: int = 0
    refused: int = 0
    cases: int = 0
    late: int = 0
    found: list[Difference] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cases} cases of {self.views} views in {self.pipelines} pipelines "
            f"({self.refused} refused, {self.late} with late rows): {len(self.found)} wrong"
        )


def check(seed: int, tally: Tally) -> None:
    """Add what is found of one pipeline."""
    drawn = pipeline_of(seed, VIEWS)
    tally.pipelines += 1
    tally.views += len(drawn.views)
    tally.refused += drawn.refused
    tally.found += [Difference(seed, view.name, view.text, what) for view, what in drawn.surprises]
    with Engine() as engine:
        try:
            flows = Flows(drawn.plans, engine)
            for number in range(LOGS):
                _check_log(seed, number, drawn, flows, tally)
        except Exception as error:
            texts = ";\n  ".join(f"{v.name}: {v.text}" for v in drawn.views)
            tally.found.append(Difference(seed, "some view", texts, f"raises {error!r}"))


def _check_log(seed: int, number: int, drawn: RandomPipeline, flows: Flows, tally: Tally) -> None:
    random = Random(f"{seed} {number}")
    count = random.choice([0, 6, 12, 12, 12, 16])
    rows = rows_of(random.randrange(1 << 30), count, in_time=number == 0)
    log = log_of(rows, random)
    runs = [
        flows.run(log, [] if run == 0 else bounds_of(random, log.count), restarts(random, run))
        for run in range(RUNS)
    ]
    batch = answered(tuple(drawn.views), rows, plans=drawn.plans, now_us=END_US)
    tally.cases += len(runs) * len(drawn.views)
    paced = _reading(flows.plans, lambda plan: any(isinstance(n, Pace) for n in walk(plan.root)))
    late = _reading(flows.plans, lambda plan: bool(runs[0][plan.name].late))
    tally.late += len(late)
    for view in drawn.views:
        outcomes = [run[view.name] for run in runs]
        expected = None if view.name in late else batch[view.name]
        what = _wrong(outcomes, expected, is_paced=view.name in paced)
        if what is not None:
            tally.found.append(Difference(seed, view.name, view.text, f"log {number}, {what}"))


def restarts(random: Random, run: int):
    return lambda: run == 2 and random.random() < 0.5


def _reading(plans: Sequence[ViewPlan], rule) -> set[str]:
    """The views of which the rule holds, and those that read them."""
    found: set[str] = set()
    for plan in plans:
        inputs = {node.relation for node in walk(plan.root) if isinstance(node, Scan)}
        if not inputs.isdisjoint(found) or rule(plan):
            found.add(plan.name)
    return found


def _wrong(outcomes: Sequence[Outcome], expected: Content | None, *, is_paced: bool) -> str | None:
    first = outcomes[0]
    if expected is not None and first.content != expected:
        return f"against batch: {told(expected, first.content)}"
    for number, other in enumerate(outcomes[1:], start=1):
        if other.content != first.content:
            return f"content of run {number}: {told(first.content, other.content)}"
        if other.late != first.late:
            return f"late rows of run {number}: {told(first.late, other.late)}"
        if not is_paced and other.before_end != first.before_end:
            return f"before the end, run {number}: {told(first.before_end, other.before_end)}"
    return None


def told(wanted: Content, found: Content) -> str:
    missing, surplus = Counter(wanted), Counter(found)
    missing.subtract(found)
    surplus.subtract(wanted)
    parts = [{row: n for row, n in side.items() if n > 0} for side in (missing, surplus)]
    return f"missing {parts[0]}, too many {parts[1]}"


def main() -> int:
    """Run until the time is over."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--first", type=int, default=10_000)
    parser.add_argument("--count", type=int, default=None)
    chosen = parser.parse_args()
    until = time.monotonic() + chosen.seconds
    tally, seed = Tally(), chosen.first
    while time.monotonic() < until and (chosen.count is None or tally.pipelines < chosen.count):
        known = len(tally.found)
        check(seed, tally)
        for difference in tally.found[known:]:
            print(difference, flush=True)
        seed += 1
    print(tally)
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())

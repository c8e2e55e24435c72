"""Many random pipelines, each over several random logs: the engine against batch.

A pipeline is one view, or a few of which later ones read earlier ones. It is planned once and run
over several logs, each with a cut into epochs of its own, over the same DuckDB: a case costs about
a tenth of a second.

    make oracle ARGS="--seconds 600 --first 100000"

runs new ones until the time is over, prints what differs, and exits with 1 if anything does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from headwater.errors import DefinitionError
from headwater.operators.statement import Engine
from headwater.plan.pipeline import ViewDefinition
from headwater.sql import declare
from replay.engine import Stepped
from replay.grammar import Grammar
from replay.rows import Content, answered, cuts_of, plans_of, rows_of

ROWS = 14


@dataclass(frozen=True, slots=True)
class Difference:
    """A view that is not what batch answers, or a refusal that nobody expects."""

    seed: int
    view: str
    query: str
    what: str

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.view}:\n  {self.query}\n  {self.what}"


def views_of(seed: int) -> tuple[ViewDefinition, ...]:
    """The views of one random pipeline."""
    random = Random(seed)
    queries = Grammar(random).views(random.choice([1, 1, 1, 2, 3]))
    return tuple(declare.view(f"v{i}", query) for i, query in enumerate(queries))


def is_expected(refusal: DefinitionError, views: tuple[ViewDefinition, ...]) -> bool:
    """Whether a refusal is one of a query that DuckDB refuses too, or names its reason.

    That is: keys of a join, a text and a number, which DuckDB would cast as far as that goes.
    """
    if "join keys differ" in str(refusal):
        return True
    try:
        answered(views, 0, ROWS)
    except DefinitionError:
        return True
    return False


def differences(seed: int, logs: int) -> Iterator[Difference]:
    """What is wrong with one pipeline over so many logs."""
    views = views_of(seed)
    last = views[-1]
    try:
        plans = plans_of(views)
    except DefinitionError as refusal:
        if not is_expected(refusal, views):
            yield Difference(seed, last.name, last.query.sql("duckdb"), f"refused: {refusal}")
        return
    with Engine() as engine:
        for log in range(seed * logs, (seed + 1) * logs):
            rows = rows_of(log, ROWS)
            running = Stepped(plans, engine)
            cuts = cuts_of(log, rows)
            for number, cut in enumerate(cuts):
                running.step(cut, is_last=number == len(cuts) - 1)
            expected = answered(views, log, ROWS)
            for view in views:
                found, wanted = running.content[view.name], expected[view.name]
                if found != wanted:
                    what = f"log {log}: {_told(wanted, found)}"
                    yield Difference(seed, view.name, view.query.sql("duckdb"), what)
                    return


def _told(wanted: Content, found: Content) -> str:
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
    parser.add_argument("--logs", type=int, default=4)
    chosen = parser.parse_args()
    until = time.monotonic() + chosen.seconds
    seed, wrong = chosen.first, 0
    while time.monotonic() < until:
        for difference in differences(seed, chosen.logs):
            wrong += 1
            print(difference, flush=True)
        seed += 1
    pipelines = seed - chosen.first
    print(f"{pipelines} pipelines, {pipelines * chosen.logs} cases, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""Views stepped over a log: the sum of all changes is their content.

The dataflows of a pipeline are built once, which is what costs; each run gets copies of them, that
share what never changes: statements, plans, types and batches.
"""

from __future__ import annotations

import copy
import gc
import types
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp

from headwater.delta.delta import HIDDEN, Delta
from headwater.operators.dataflow import Dataflow
from headwater.operators.functions import Functions
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine, Statement
from headwater.plan.nodes import Completeness, Node, Scan, walk
from headwater.plan.pipeline import ViewDefinition, ViewPlan
from headwater.plan.sources import sources_of
from headwater.plan.unique import keys_by_name
from headwater.run.compile import as_read
from headwater.runtime.view import as_input
from headwater.schema.schema import Schema
from headwater.testing.checkpoint import MemoryCheckpoint
from replay.logs import Cut, Log, bounds_of, log_of
from replay.rows import TOPICS, Content, plain_value, plans_of, rows_of, tuples

_SHARED = (
    Statement,
    Engine,
    Functions,
    Schema,
    exp.Expr,
    Node,
    pa.Schema,
    pa.DataType,
    pa.Field,
    pa.RecordBatch,
    pa.Table,
)


@dataclass
class Outcome:
    """What a run says of a view.

    Args:
        content: The sum of its changes.
        before_end: The same before the end of the input closed all windows.
        late: Its late rows, as names and values.

    """

    content: Content = field(default_factory=Counter)
    before_end: Content = field(default_factory=Counter)
    late: Content = field(default_factory=Counter)


class Flows:
    """The dataflows of a pipeline, as they are before the first row.

    Args:
        plans: Of views that read topics and the views before them.

    """

    def __init__(self, plans: Sequence[ViewPlan], engine: Engine) -> None:
        self.plans = as_read(plans)
        self._engine = engine
        self._wanted = {scan.relation for plan in self.plans for scan in _scans(plan) if scan.ticks}
        self._is_stepwise = any(topic.name in self._wanted for topic in TOPICS if topic.is_table)
        self._relations = keys_by_name(TOPICS, self.plans)
        self._built = {plan.name: self._build(plan) for plan in self.plans}
        self._shared = {name: _shared_by(flow) for name, flow in self._built.items()}
        self._plan_of = {plan.name: plan for plan in self.plans}
        self.source_sets = sorted(
            {s for plan in self.plans for n in walk(plan.root) for s in sources_of(n)}
        )
        nodes = (node for plan in self.plans for node in walk(plan.root))
        self.shared = sorted({n.sources for n in nodes if isinstance(n, Completeness)})

    def fresh(self, name: str) -> Dataflow:
        """A view's dataflow before the first row."""
        shared = self._shared[name]
        if shared is None:
            return self._build(self._plan_of[name])
        return copy.deepcopy(self._built[name], dict(shared))

    def _build(self, plan: ViewPlan) -> Dataflow:
        return Dataflow(
            plan.root,
            self._engine,
            has_ticks=plan.name in self._wanted,
            steps=plan.steps,
            relations=self._relations,
        )

    def run(
        self,
        log: Log,
        bounds: Sequence[int],
        restarts: Callable[[], bool] = lambda: False,
    ) -> dict[str, Outcome]:
        """Step all views over a log.

        Args:
            bounds: Where epochs are cut.
            restarts: Asked after each epoch whether all state goes through a checkpoint.

        """
        with pytest.MonkeyPatch.context() as patch:
            # Piles forget rows from so few on: with the few rows of a test they never would.
            patch.setattr("headwater.state.piled._GARBAGE_MIN", 2)
            return self._run(log, bounds, restarts)

    def _run(
        self, log: Log, bounds: Sequence[int], restarts: Callable[[], bool]
    ) -> dict[str, Outcome]:
        flows = {plan.name: self.fresh(plan.name) for plan in self.plans}
        outcomes = {plan.name: Outcome() for plan in self.plans}
        checkpoint = MemoryCheckpoint()
        for number, cut in enumerate(log.epochs(bounds, is_stepwise=self._is_stepwise), start=1):
            if cut.is_end:
                for outcome in outcomes.values():
                    outcome.before_end = Counter(outcome.content)
            epoch = log.epoch(number, cut, self.source_sets, self.shared)
            self._step(flows, cut, epoch, outcomes)
            if restarts():
                flows = {
                    name: self._restarted(name, flow, checkpoint) for name, flow in flows.items()
                }
        return outcomes

    def _step(
        self,
        flows: Mapping[str, Dataflow],
        cut: Cut,
        epoch: Epoch,
        outcomes: Mapping[str, Outcome],
    ) -> None:
        changes = dict(cut.changes)
        for name, flow in flows.items():
            epoch.late.clear()
            change = flow.step(changes, epoch)
            assert not epoch.failed, f"{name} refused rows: {epoch.failed}"
            changes[name] = as_input(change, epoch.tick_last)
            _add(outcomes[name].content, tuples(change.visible()), change.weights)
            for batch in epoch.late:
                _add(outcomes[name].late, _named(batch), Delta(batch).weights)

    def _restarted(self, name: str, flow: Dataflow, checkpoint: MemoryCheckpoint) -> Dataflow:
        manifest = flow.save(checkpoint)
        fresh = self.fresh(name)
        fresh.load(manifest, checkpoint)
        return fresh


def stepped(views: tuple[ViewDefinition, ...], seed: int) -> dict[str, Content]:
    """The content of each view after the log of a seed, in random epochs, with a restart."""
    random = Random(seed)
    rows = rows_of(seed)
    log = log_of(rows, random)
    with Engine() as engine:
        flows = Flows(plans_of(views), engine)
        outcomes = flows.run(log, bounds_of(random, log.count), lambda: random.random() < 0.3)
    assert not any(outcome.late for outcome in outcomes.values())
    return {name: outcome.content for name, outcome in outcomes.items()}


def _scans(plan: ViewPlan) -> Iterator[Scan]:
    return (node for node in walk(plan.root) if isinstance(node, Scan))


def _shared_by(root: object) -> dict[int, object] | None:
    """What copies of a dataflow share, as `copy.deepcopy` wants to be told.

    None where a function holds on to something: its copies would hold on to the same.
    """
    found: dict[int, object] = {}
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType):
            continue
        seen.add(id(item))
        if isinstance(item, types.FunctionType):
            if item.__closure__ is not None:
                return None
        elif isinstance(item, _SHARED):
            found[id(item)] = item
        else:
            waiting += gc.get_referents(item)
    return found


def _add(total: Counter[Any], rows: Sequence[Any], weights: Any) -> None:
    """Add rows, each as often as its weight says; what cancels is gone."""
    for index, row in enumerate(rows):
        total[row] += 1 if weights is None else int(weights[index])
        if total[row] == 0:
            del total[row]


def _named(batch: pa.RecordBatch) -> list[Any]:
    """Late rows, which may be of several forms, as names and values."""
    names = [name for name in batch.schema.names if name not in HIDDEN]
    # A watermark may be further than a time of Python's: as text it is compared all the same.
    plain = [
        c.cast(pa.int64()) if pa.types.is_timestamp(c.type) else c for c in map(batch.column, names)
    ]
    columns = [column.to_pylist() for column in plain]
    rows = zip(*columns, strict=True)
    return [
        tuple(sorted((n, repr(plain_value(v))) for n, v in zip(names, row, strict=True)))
        for row in rows
    ]

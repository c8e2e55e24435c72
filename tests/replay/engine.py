"""Views stepped over random cuts: the sum of all changes is their content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from headwater.delta.delta import TICK, Delta
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.dataflow import Dataflow
from headwater.operators.operator import Epoch
from headwater.operators.statement import Engine
from headwater.operators.upsert import UpsertOperator
from headwater.plan.nodes import Scan, walk
from headwater.plan.pipeline import ViewDefinition, ViewPlan
from headwater.plan.sources import sources_of
from headwater.plan.ticks import with_ticks
from headwater.plan.versions import versions_of
from replay.rows import TOPICS, Content, cuts_of, plans_of, rows_of, tuples


class Stepped:
    """The views as the engine keeps them."""

    def __init__(self, plans: tuple[ViewPlan, ...], engine: Engine) -> None:
        ticked = {
            node.relation
            for plan in plans
            for node in walk(plan.root)
            if isinstance(node, Scan) and node.ticks
        }
        self._flows = {
            plan.name: Dataflow(
                with_ticks(plan.root) if plan.name in ticked else plan.root,
                engine,
                has_ticks=plan.name in ticked,
            )
            for plan in plans
        }
        self._sources = {
            topics for plan in plans for node in walk(plan.root) for topics in sources_of(node)
        }
        self._tables = {
            t.name: UpsertOperator(t.schema, t.key, engine, has_ticks=True)
            for t in TOPICS
            if t.is_table
        }
        self._tick = 0
        self.content: dict[str, Content] = {p.name: Counter() for p in plans}

    def step(self, cut: Mapping[str, pa.Table], *, is_last: bool) -> None:
        """One epoch; with the last one all windows close."""
        changes: dict[str, pa.Table] = {}
        for name, table in cut.items():
            ticks = pa.array(np.arange(self._tick, self._tick + table.num_rows))
            self._tick += table.num_rows
            rows = table.append_column(pa.field(TICK, pa.int64()), ticks)
            changes[versions_of(name)] = rows
            if name in self._tables and rows.num_rows:
                rows = pa.Table.from_batches([self._tables[name].step(rows).rows])
            changes[name] = rows
        epoch = Epoch(1, 0, self._tick, {topics: self._curve(is_last) for topics in self._sources})
        for name, flow in self._flows.items():
            change = flow.step(changes, epoch)
            changes[name] = change.table()
            self._add(name, change)
        assert not epoch.late

    def _curve(self, is_last: bool) -> WatermarkCurve:
        if not is_last:
            nothing = np.array([], dtype=np.int64)
            return WatermarkCurve(BEFORE_ALL, nothing, nothing)
        return WatermarkCurve(
            BEFORE_ALL,
            np.array([self._tick], dtype=np.int64),
            np.array([AFTER_ALL], dtype=np.int64),
        )

    def _add(self, name: str, change: Delta) -> None:
        weights = change.weights
        content = self.content[name]
        for index, row in enumerate(tuples(change.visible())):
            content[row] += 1 if weights is None else int(weights[index])
            if content[row] == 0:
                del content[row]


def stepped(views: tuple[ViewDefinition, ...], seed: int) -> dict[str, Content]:
    """The content of each view after all epochs."""
    rows = rows_of(seed)
    cuts = cuts_of(seed, rows)
    with Engine() as engine:
        running = Stepped(plans_of(views), engine)
        for number, cut in enumerate(cuts):
            running.step(cut, is_last=number == len(cuts) - 1)
        return running.content

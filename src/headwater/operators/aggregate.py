"""One row per group that has rows.

The rows of an epoch are grouped by DuckDB into partial results, in one statement with the maps
below; these are added to the totals of their groups. An epoch costs its rows once, in DuckDB, and
its groups once, in the totals; never the number of groups that exist. Groups whose key is closed
(`plan.closing`) are forgotten.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.operators import render
from headwater.operators.accumulate import Totals, published
from headwater.operators.counting import counting
from headwater.operators.isolate import run_isolating
from headwater.operators.layout import layout
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.statement import Engine, Rows, Statement, plain
from headwater.plan.closing import bounded
from headwater.plan.nodes import Aggregate, Panes, SessionPanes
from headwater.state.afar import Unread
from headwater.state.run import are_ascending, ascending


class AggregateOperator:
    """Keeps an `Aggregate` without windows up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input of the linear stretch below the node.

    """

    def __init__(self, node: Aggregate, input_schema: pa.Schema, engine: Engine) -> None:
        assert node.window is None
        hidden = [n for n in (WEIGHT, TICK) if n in input_schema.names]
        self._keys = node.keys
        self._layout = layout(node, is_weighted=WEIGHT in hidden, has_ticks=TICK in hidden)
        self._partial = Statement(
            engine,
            self._layout.partial(render.stretch(node.input, hidden)),
            {render.INPUT: input_schema},
            is_ordered=self._layout.is_ordered,
        )
        self._counting = counting(node, self._layout, engine)
        self._pair_counts = None if self._counting is None else self._counting.of_pairs()
        self._totals = Totals(engine, self._layout)
        self._bounded = bounded(node)
        self._visible = node.schema.names
        self.schema = shown_schema(node, [WEIGHT, *([TICK] if TICK in hidden else [])])

    def is_due(self, epoch: Epoch) -> bool:
        """Without keys there is a row also before the first input."""
        return not self._keys and self._totals.size()[0] == 0

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Add the rows of an epoch; return the groups that changed."""
        changes = self._totals.add(by_hash(self._partials(rows, epoch)))
        if self._bounded is not None:
            (key,) = self._bounded.columns
            self._totals.forget_below(key, epoch.passed(self._bounded.frontier).end_us)
        shown = published(self._layout, changes)
        hidden = [changes.column(name) for name in self.schema.names[len(self._visible) :]]
        columns = [*(shown[name] for name in self._visible), *hidden]
        return Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema))

    def _partials(self, rows: Rows, epoch: Epoch) -> pa.RecordBatch:
        """The rows of an epoch, grouped."""
        found = None
        if isinstance(rows, Unread):
            found = None if self._pair_counts is None else self._pair_counts.partials(rows)
            rows = rows if found is not None else rows.table()
        if found is None and self._counting is not None:
            found = self._counting.partials(rows, has_ticks=self._layout.has_ticks)
        if found is None:
            found, _ = run_isolating(self._partial, rows, epoch.failed)
            found = self._layout.settled(found)
        return found

    def save(self, saver: Saver) -> Any:
        """Hand the totals over."""
        return self._totals.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the totals back."""
        self._totals.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of the totals."""
        return self._totals.size()


def shown_schema(node: Aggregate | Panes | SessionPanes, hidden: list[str]) -> pa.Schema:
    """The node's columns and the hidden ones (all int64 here)."""
    return pa.schema([*plain(node.schema), *(pa.field(name, pa.int64()) for name in hidden)])


def by_hash(partials: pa.RecordBatch) -> pa.RecordBatch:
    """The rows in the order of their hashes.

    DuckDB's order of groups depends on its threads. What is published must not: floats further
    up are added in the order in which rows come.
    """
    hashes = partials.column(HASH).to_numpy()
    if are_ascending(hashes):
        return partials
    return partials.take(pa.array(ascending(hashes, None)))

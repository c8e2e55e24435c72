"""What each firing says of a group: of the rows that came since the last, or of all so far.

The rows come with the place of their firing, and all rows of one place come in one epoch. They are
grouped by key and place in one statement, with the maps below. A firing that discards is that, and
nothing is remembered; one that accumulates adds it to the group's total, the firings of a group
one after the other, and says the total without withdrawing the one before. An epoch costs its rows
once, its groups once for each of their firings, and a few calls of numpy for the firings of the
group that has the most.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta, Int64Array, UInt64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL
from headwater.operators import render
from headwater.operators.accumulate import Totals, published
from headwater.operators.aggregate import shown_schema
from headwater.operators.isolate import run_isolating
from headwater.operators.layout import layout
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import joined
from headwater.operators.statement import Engine, Rows, Statement, empty_batch
from headwater.plan.nodes import Panes

BOUND = "__bound"


class PanesOperator:
    """Keeps `Panes` up to date.

    Args:
        node: What to compute.
        input_schema: The columns of the input of the linear stretch below the node; ticks among
            them, and no weights.

    """

    def __init__(self, node: Panes, input_schema: pa.Schema, engine: Engine) -> None:
        self._node = node
        self._layout = layout(node, is_weighted=False, has_ticks=False)
        self._partial = Statement(
            engine,
            self._layout.partial(render.stretch(node.input, [TICK]), (TICK,)),
            {render.INPUT: input_schema},
            is_ordered=self._layout.is_ordered,
        )
        self._totals = self._new_totals(engine) if node.is_accumulating else None
        self.schema = shown_schema(node, [TICK])

    def _new_totals(self, engine: Engine) -> Totals:
        places = (BOUND,) if self._node.bound is not None else ()
        return Totals(engine, replace(self._layout, has_ticks=True), places, says_all=True)

    def is_due(self, _epoch: Epoch) -> bool:
        """Without rows there is no firing."""
        return False

    def step(self, rows: Rows, epoch: Epoch) -> Delta:
        """Take the rows of an epoch's firings; return what each of them says."""
        partials, _ = run_isolating(self._partial, rows, epoch.failed)
        partials = by_firing(self._layout.settled(partials))
        if self._totals is None:
            return self._shown(self._layout.read(partials))
        said = self._accumulated(self._totals, partials)
        self._forget(self._totals, epoch)
        return self._shown(said)

    def save(self, saver: Saver) -> Any:
        """Hand the totals over, if there are any."""
        return None if self._totals is None else self._totals.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the totals back."""
        if self._totals is not None:
            self._totals.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes of the totals."""
        return (0, 0) if self._totals is None else self._totals.size()

    def _accumulated(self, totals: Totals, partials: pa.RecordBatch) -> pa.RecordBatch:
        """The total of each firing's group after it, in the order of the firings."""
        if self._node.bound is not None:
            bounds = partials.column(self._node.bound).cast(pa.int64())
            partials = partials.append_column(pa.field(BOUND, pa.int64()), bounds)
        nth = ranks(partials.column(HASH).to_numpy())
        said = []
        # Of groups whose hashes are equal one comes after the other, which changes nothing.
        for number in range(int(nth.max(initial=-1)) + 1):
            firing = partials.take(pa.array(np.flatnonzero(nth == number)))
            changes = totals.add(firing)
            is_new = changes.column(WEIGHT).to_numpy() > 0
            said.append(changes.filter(pa.array(is_new)))
        if not said:
            return self._layout.read(partials)
        every = joined(said, said[0].schema)
        order = np.argsort(every.column(TICK).to_numpy(), kind="stable")
        return every.take(pa.array(order))

    def _forget(self, totals: Totals, epoch: Epoch) -> None:
        """Drop the totals of windows that take no rows any more."""
        if self._node.bound is None:
            return
        assert self._node.lateness_us is not None
        passed_us = epoch.watermarks[self._node.sources].end_us
        if passed_us == AFTER_ALL:
            totals.forget_below(BOUND, AFTER_ALL)
        elif passed_us > BEFORE_ALL:
            totals.forget_below(BOUND, passed_us - self._node.lateness_us + 1)

    def _shown(self, rows: pa.RecordBatch) -> Delta:
        """State columns as the node's columns and the place of each firing."""
        if not rows.num_rows:
            return Delta(empty_batch(self.schema))
        shown = published(self._layout, rows)
        shown[TICK] = rows.column(TICK)
        columns = [shown[name] for name in self.schema.names]
        return Delta(pa.RecordBatch.from_arrays(columns, schema=self.schema))


def by_firing(partials: pa.RecordBatch) -> pa.RecordBatch:
    """Partial results in the order of their places, and at one place of their hashes.

    The second is there because DuckDB's order of groups depends on its threads.
    """
    order = np.lexsort((partials.column(HASH).to_numpy(), partials.column(TICK).to_numpy()))
    return partials.take(pa.array(order))


def ranks(hashes: UInt64Array) -> Int64Array:
    """How many rows of equal hash stand before each row."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1]) if len(hashes) else np.zeros(0, bool)
    places = np.arange(len(hashes))
    firsts = np.maximum.accumulate(np.where(is_first, places, 0))
    found = np.empty(len(hashes), dtype=np.int64)
    found[order] = places - firsts
    return found

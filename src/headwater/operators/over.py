"""Each row with the results of window functions over the rows around it.

The rows are remembered with their results, sorted by partition and by their place in its order. A
change matters to the rows that look at it: the next few after it for LAG, the rows of an hour for a
frame of an hour, and all after it for a running total. These are fetched together with the rows
that they look at themselves, computed again in one statement, and compared with what was said of
them. A running total goes on from the last row's result, so that rows that come in order cost no
more than themselves.

An epoch costs its changes and the rows whose results could differ, never the partition. What is
withdrawn is what was said, so sums of floats are taken back bit by bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, WEIGHT, Delta, Int64Array, UInt64Array
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.over_query import IS_CONTEXT, PLACE, SPAN, input_schema, wanted_rows
from headwater.operators.places import FIRST, LAST, places
from headwater.operators.spans import Spans, beyond, netted, rows_in, united
from headwater.operators.statement import Engine, Statement, plain
from headwater.plan.closing import bounded
from headwater.plan.nodes import Order, Over, Reach
from headwater.state.equality import BoolArray
from headwater.state.multiset import Multiset
from headwater.state.run import Run, sorted_run


class OverOperator:
    """Keeps an `Over` up to date.

    Args:
        node: What to compute.
        engine: Runs the functions.

    """

    def __init__(self, node: Over, engine: Engine) -> None:
        self._order = node.order[0] if node.order else Order(node.ties[0])
        self._reach = _widest([call.reach for call in node.calls if call.reach is not None])
        self._is_running = any(call.reach is None for call in node.calls)
        self._rows = plain(node.input.schema)
        self._shown = plain(node.schema)
        place = pa.field(PLACE, pa.int64())
        self._bounded = bounded(node)
        closing = None if self._bounded is None else self._bounded.columns[0]
        rows = self._shown.append(place)
        self._known = Multiset(rows, node.partition, time=PLACE, closing=closing)
        self._input = input_schema(node)
        inputs = {"input": self._input}
        # One thread: then the bits of a sum of floats do not depend on how threads were scheduled.
        self._wanted = Statement(engine, wanted_rows(node), inputs, is_ordered=True)
        self.schema = self._shown.append(pa.field(WEIGHT, pa.int64()))

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Compute the results that could differ; return how they do."""
        change = _change_of(inputs[0], self._rows, self._order)
        runs = self._known.runs()
        wanted = self._wanted_spans(runs, change)
        context = self._context(runs, wanted)
        old = rows_in(runs, context, self._known.schema)
        is_wanted = wanted.locate(old.hashes, _places(old)) >= 0
        looked_at, before = _where(old, ~is_wanted), _where(old, is_wanted)
        now = self._now(before, change)
        after = self._computed(looked_at, now, context)
        difference = self._difference(before, after)
        self._known.insert_rows(difference.rows, difference.hashes, difference.weights)
        if self._bounded is not None:
            self._known.forget_below(epoch.passed(self._bounded.frontier).end_us)
        columns = [difference.rows.column(name) for name in self._shown.names]
        weights = pa.array(difference.ones())
        return Delta(pa.RecordBatch.from_arrays([*columns, weights], schema=self.schema))

    def save(self, saver: Saver) -> Any:
        """Hand over the rows with their results."""
        return self._known.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the rows with their results back."""
        self._known.load(manifest, loader)

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        return self._known.size()

    def _wanted_spans(self, runs: Sequence[Run], change: Run) -> Spans:
        """Where the rows stand whose results a change may alter."""
        hashes, at = _different(change, is_first=self._is_running)
        reach = self._reach
        back = beyond(runs, hashes, at, reach.rows_after, is_forward=False)
        low = np.minimum(back, _moved(at, -reach.values_after))
        if self._is_running:
            return united(hashes, low, np.full(len(at), LAST))
        ahead = beyond(runs, hashes, at, reach.rows_before, is_forward=True)
        return united(hashes, low, np.maximum(ahead, _moved(at, reach.values_before)))

    def _context(self, runs: Sequence[Run], wanted: Spans) -> Spans:
        """The spans, widened by the rows that the wanted ones look at.

        A row that is withdrawn in this epoch is never among these: where it is near enough to be
        looked at, its own span reaches to the rows that look.
        """
        reach, hashes = self._reach, wanted.hashes
        count = max(reach.rows_before, int(self._is_running))
        back = beyond(runs, hashes, wanted.low, count, is_forward=False)
        low = np.minimum(back, _moved(wanted.low, -reach.values_before))
        if self._is_running:
            return united(hashes, low, wanted.high)
        ahead = beyond(runs, hashes, wanted.high, reach.rows_after, is_forward=True)
        high = np.maximum(ahead, _moved(wanted.high, reach.values_after))
        return united(hashes, low, high)

    def _now(self, before: Run, change: Run) -> Run:
        """The wanted rows after the change, without results."""
        schema = self._rows.append(pa.field(PLACE, pa.int64()))
        if not len(before):
            return _checked(change) if change.weights is None else _checked(_net([change]))
        columns = [before.rows.column(name) for name in schema.names]
        rows = pa.RecordBatch.from_arrays(columns, schema=schema)
        bare = Run(before.hashes, rows, before.weights, before.times)
        return _checked(_net([bare, change]))

    def _computed(self, looked_at: Run, now: Run, context: Spans) -> Run:
        """The wanted rows with their results, in any order."""
        seen, wanted = _repeated(looked_at), _repeated(now)
        batch = pa.concat_batches(
            [
                self._prepared(seen, context, is_context=True),
                self._prepared(wanted, context, is_context=False),
            ]
        )
        answer = self._wanted.run(input=batch)
        columns = [answer.column(name) for name in self._known.schema.names]
        rows = pa.RecordBatch.from_arrays(columns, schema=self._known.schema)
        return Run(answer.column(HASH).to_numpy(), rows, None, answer.column(PLACE).to_numpy())

    def _prepared(self, run: Run, context: Spans, *, is_context: bool) -> pa.RecordBatch:
        """Rows as the statement reads them."""
        hidden: dict[str, pa.Array] = {
            HASH: pa.array(run.hashes),
            PLACE: pa.array(_places(run)),
            SPAN: pa.array(context.locate(run.hashes, _places(run))),
            IS_CONTEXT: pa.array(np.full(len(run), is_context)),
        }
        names = run.rows.schema.names
        columns = [
            hidden[f.name]
            if f.name in hidden
            else run.rows.column(f.name)
            if f.name in names
            else pa.nulls(len(run), f.type)
            for f in self._input
        ]
        return pa.RecordBatch.from_arrays(columns, schema=self._input)

    def _difference(self, before: Run, after: Run) -> Run:
        """What was said of the wanted rows is withdrawn, and the new results are added."""
        assert after.times is not None
        if not len(before):
            return sorted_run(after.hashes, after.rows, None, after.times)[0]
        gone = Run(before.hashes, before.rows, -before.ones(), before.times)
        return _net([gone, after])


def _widest(reaches: Sequence[Reach]) -> Reach:
    return Reach(
        max((r.rows_before for r in reaches), default=0),
        max((r.rows_after for r in reaches), default=0),
        max((r.values_before for r in reaches), default=0),
        max((r.values_after for r in reaches), default=0),
    )


def _change_of(change: Delta, schema: pa.Schema, order: Order) -> Run:
    """The change as a run, with the rows' places as their last column."""
    columns = [change.rows.column(name) for name in schema.names]
    at = places(change.rows.column(order.column), order)
    named = schema.append(pa.field(PLACE, pa.int64()))
    rows = pa.RecordBatch.from_arrays([*columns, pa.array(at)], schema=named)
    weights = change.weights
    if weights is not None and bool((weights == 1).all()):
        weights = None
    return sorted_run(change.hashes, rows, weights, at)[0]


def _different(change: Run, *, is_first: bool) -> tuple[UInt64Array, Int64Array]:
    """Each hash and place that changed, once; with `is_first` only the first place of a hash."""
    hashes, at = change.hashes, _places(change)
    is_new = np.ones(len(hashes), dtype=np.bool_)
    is_new[1:] = hashes[1:] != hashes[:-1]
    if not is_first:
        is_new[1:] |= at[1:] != at[:-1]
    return hashes[is_new], at[is_new]


def _places(run: Run) -> Int64Array:
    assert run.times is not None
    return run.times


def _moved(at: Int64Array, by: int) -> Int64Array:
    """Places shifted, but not beyond the ends."""
    if by >= 0:
        return np.where(at > LAST - by, LAST, at + np.minimum(by, LAST - np.maximum(at, 0)))
    return np.where(at < FIRST - by, FIRST, at + np.maximum(by, FIRST - np.minimum(at, 0)))


def _net(runs: Sequence[Run]) -> Run:
    """Rows of several runs, equal ones as one, without those that cancel."""
    if all(run.weights is None for run in runs):
        hashes = np.concatenate([run.hashes for run in runs])
        rows = pa.concat_batches([run.rows for run in runs])
        return Run(hashes, rows, None, np.concatenate([_places(run) for run in runs]))
    return netted(
        pa.concat_batches([run.rows for run in runs]),
        np.concatenate([run.hashes for run in runs]),
        np.concatenate([_places(run) for run in runs]),
        np.concatenate([run.ones() for run in runs]),
    )


def _where(run: Run, mask: BoolArray) -> Run:
    """The rows of the mask."""
    at = np.flatnonzero(mask)
    return run.take(at, None if run.weights is None else run.weights.take(at))


def _checked(run: Run) -> Run:
    """The run, in which no row may be missing."""
    is_there = run.weights is None or int(run.weights.min(initial=1)) > 0
    assert is_there, "a row was withdrawn that was not there"
    return run


def _repeated(run: Run) -> Run:
    """Each row as often as it is there."""
    if run.weights is None:
        return run
    at = np.repeat(np.arange(len(run)), run.weights)
    return run.take(at, None)

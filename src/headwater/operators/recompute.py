"""Any query, computed again where its inputs changed, and differenced.

With keys, a group of the output depends only on the input rows with its key: the rows of the
touched groups are gathered as they were before the epoch and as they are after it, the query runs
over both, and the difference is published. Without keys the query runs over everything, and its
last answer is remembered. The rows of groups whose key is closed (`plan.closing`) are forgotten. An
epoch costs what the touched groups hold, or, without keys, what there is.

The query runs on one thread, so that sums of floats come out with the same bits when an epoch is
stepped again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, WEIGHT, Delta, Int64Array
from headwater.operators import render
from headwater.operators.groups import (
    AFTER,
    BEFORE,
    before_and_after,
    difference,
    summed,
    touched,
    weighed_schema,
    weights_of,
)
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import joined
from headwater.operators.statement import Engine, Statement, empty_batch, plain
from headwater.plan.closing import bounded
from headwater.plan.nodes import Node, Recompute
from headwater.state.multiset import Multiset


class RecomputeOperator:
    """Keeps a `Recompute` up to date.

    Args:
        node: What to compute.
        input_schemas: The columns of each input, with the hash over its key columns.

    """

    def __init__(self, node: Recompute, input_schemas: Sequence[pa.Schema], engine: Engine) -> None:
        self._node = node
        self._keys = node.keys[0] if node.keys else ()
        self._bounded = bounded(node)
        closing = (None,) * len(node.sources) if self._bounded is None else self._bounded.columns
        self._sides = [
            _Side(source, keys, column, engine)
            for source, keys, column in zip(node.sources, node.keys, closing, strict=True)
        ]
        inputs = {_raw(position): side.rows for position, side in enumerate(self._sides)}
        self._query = Statement(engine, _typed(node), inputs, is_ordered=True)
        self._difference = difference(engine, self._query.schema)
        key_fields = [pa.field(name, input_schemas[0].field(name).type) for name in self._keys]
        key_schema = pa.schema([*key_fields, pa.field(HASH, pa.uint64())])
        self._touched = touched(engine, key_schema, self._keys)
        self._answer: pa.RecordBatch | None = None
        self.schema = self._difference.schema

    def is_due(self, epoch: Epoch) -> bool:
        """A query over everything may have an answer also over nothing."""
        return not self._keys and self._answer is None

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Compute the touched groups again; return how the answer differs."""
        if not self._keys:
            return self._whole(inputs)
        keys = self._touched_keys(inputs)
        gathered = [
            side.gather(keys, change) for side, change in zip(self._sides, inputs, strict=True)
        ]
        before = self._run([rows for rows, _ in gathered])
        after = self._run([rows for _, rows in gathered])
        for side, change in zip(self._sides, inputs, strict=True):
            side.known.insert(change)
            if self._bounded is not None:
                side.known.forget_below(epoch.passed(self._bounded.frontier).end_us)
        return self._differing(before, after)

    def save(self, saver: Saver) -> Any:
        """Hand over the inputs' rows and the last answer."""
        answer = saver.put(self._answer) if self._answer is not None else None
        return {"sides": [side.known.save(saver) for side in self._sides], "answer": answer}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the inputs' rows and the last answer back."""
        for side, part in zip(self._sides, manifest["sides"], strict=True):
            side.known.load(part, loader)
        stored = manifest["answer"]
        self._answer = loader.get(stored) if stored is not None else None

    def state_size(self) -> tuple[int, int]:
        """Rows and bytes that are remembered."""
        sizes = [side.known.size() for side in self._sides]
        if self._answer is not None:
            sizes.append((self._answer.num_rows, self._answer.nbytes))
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def _whole(self, inputs: Sequence[Delta]) -> Delta:
        """Compute everything again."""
        for side, change in zip(self._sides, inputs, strict=True):
            side.known.insert(change)
        before = self._answer if self._answer is not None else empty_batch(self._query.schema)
        self._answer = self._run([side.everything() for side in self._sides])
        return self._differing(before, self._answer)

    def _touched_keys(self, inputs: Sequence[Delta]) -> pa.RecordBatch:
        """The keys that occur in any input's change."""
        names = [*self._keys, HASH]
        parts = []
        for keys, change in zip(self._node.keys, inputs, strict=True):
            columns = [change.rows.column(name) for name in (*keys, HASH)]
            parts.append(pa.RecordBatch.from_arrays(columns, names=names))
        return self._touched.run(input=joined(parts, parts[0].schema))

    def _run(self, tables: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        inputs = {_raw(position): rows for position, rows in enumerate(tables)}
        return self._query.run(**inputs)

    def _differing(self, before: pa.RecordBatch, after: pa.RecordBatch) -> Delta:
        weights = np.repeat(np.array([-1, 1], dtype=np.int64), [before.num_rows, after.num_rows])
        both = joined([before, after], self._query.schema)
        return Delta(self._difference.run(input=both.append_column(WEIGHT, pa.array(weights))))


class _Side:
    """The remembered rows of one input."""

    def __init__(
        self, source: Node, keys: tuple[str, ...], closing: str | None, engine: Engine
    ) -> None:
        self.rows = plain(source.schema)
        self.known = Multiset(self.rows, keys, closing=closing)
        self._keys = keys
        names = self.rows.names
        typed = [*render.typed(source.schema), render.column(BEFORE), render.column(AFTER)]
        query = summed(names, render.select(typed, render.INPUT, None))
        # Rows that are only ever added need not be netted against rows that were withdrawn.
        self._net = (
            None
            if source.append_only
            else Statement(
                engine, query, {render.INPUT: weighed_schema(self.rows)}, is_ordered=True
            )
        )

    def gather(self, keys: pa.RecordBatch, change: Delta) -> tuple[pa.RecordBatch, pa.RecordBatch]:
        """The rows with these keys before the change, and after it."""
        named = pa.RecordBatch.from_arrays(keys.columns, names=[*self._keys, HASH])
        rows = before_and_after(self.known, named, change, self.rows)
        if self._net is not None:
            rows = self._net.run(input=rows)
        return self._repeated(rows, BEFORE), self._repeated(rows, AFTER)

    def everything(self) -> pa.RecordBatch:
        """All rows."""
        known = self.known.all()
        return repeated(known.rows.select(self.rows.names), weights_of(known))

    def _repeated(self, rows: pa.RecordBatch, weight: str) -> pa.RecordBatch:
        return repeated(rows.select(self.rows.names), rows.column(weight).to_numpy())


def repeated(rows: pa.RecordBatch, weights: Int64Array) -> pa.RecordBatch:
    """Each row as often as it weighs."""
    if bool((weights == 1).all()):
        return rows
    return rows.take(pa.array(np.repeat(np.arange(len(weights)), weights)))


def _raw(position: int) -> str:
    return f"raw_{position}"


def _typed(node: Recompute) -> exp.Select:
    """The query over its inputs, whose columns have been made what the plan says they are."""
    whole = exp.select("*").from_(node.query.copy().subquery("answer"))
    for position, (name, source) in enumerate(zip(node.names, node.sources, strict=True)):
        whole = whole.with_(
            exp.to_identifier(name, quoted=True),
            as_=render.select(render.typed(source.schema), _raw(position), None),
            materialized=False,
            copy=False,
        )
    return whole

"""Keep a process of the author's up to date: its keys' states, and the rows that it emits.

What is kept of a key is one row of text in an arrangement, written anew when the epoch touched the
key. A key is touched when it has rows, or when the watermark has passed its first timer: for that
the first timers stand in runs sorted by time. A timer that is set further off, again and again,
costs an entry only when the one before has come up: an entry that comes up too early is put back.

Rows are given in the order of the log; or, with `time`, in the order of event time: then they wait
until the watermark has passed them, rows of one time stand in the order of their whole content,
and rows behind the watermark are late. Either way what a key goes through does not depend on the
cut into epochs.

An epoch costs its rows, in Python, and reading and writing the states of the keys it touched.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, HIDDEN, TICK, Delta, Int64Array, UInt64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.given import Given, InTimeOrder, in_log_order
from headwater.operators.isolate import REASON, RECORD, failed_batch
from headwater.operators.keyed import NOTHING_KEPT, Code, KeyRun, Said, Turn, code_of, ends_of
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.runs import Runs
from headwater.operators.statement import Engine, plain
from headwater.plan.nodes import Process
from headwater.plan.python import PythonStep
from headwater.schema.encode import to_ndjson
from headwater.schema.schema import Schema
from headwater.state.equality import first_alike
from headwater.state.latest import Latest

KEPT, DUE = "__kept", "__due_us"
_NEVER = WatermarkCurve(BEFORE_ALL, np.empty(0, np.int64), np.empty(0, np.int64))


class ProcessOperator:
    """Keeps a `Process` up to date.

    Args:
        input_schema: The input's columns, with their places in the log and the hash of the keys.

    """

    def __init__(self, node: Process, input_schema: pa.Schema, engine: Engine) -> None:
        self._node = node
        self._step = engine.steps[node.name]
        self._code = code_of(node.name, self._step.call, self._step.schema.names)
        self._names = [name for name in input_schema.names if name not in HIDDEN]
        keys = [input_schema.field(name) for name in node.keys]
        self._states = Latest(
            pa.schema([*keys, pa.field(KEPT, pa.string()), pa.field(DUE, pa.int64())]), node.keys
        )
        self._due_schema = pa.schema(
            [*keys, pa.field(HASH, pa.uint64()), pa.field(DUE, pa.int64())]
        )
        self._due = Runs(self._due_schema, DUE)
        self._waiting = InTimeOrder(node.time, input_schema) if node.time else None
        self.schema = pa.schema([*plain(node.schema), pa.field(TICK, pa.int64())])

    def is_due(self, epoch: Epoch) -> bool:
        """Whether the watermark passes a timer, or a row that waits."""
        first, curve = self._due.lowest(), self._curve(epoch)
        if first is not None and first <= curve.end_us:
            return True
        return self._waiting is not None and self._waiting.is_due(curve)

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta:
        """Give each key its rows and its timers; return what the code emitted, by place."""
        (change,) = inputs
        curve = self._curve(epoch)
        if self._waiting is None:
            given = in_log_order(change, curve)
        else:
            given = self._waiting.given(change, curve, epoch.late)
        due = self._due.take_below(_after(curve.end_us))
        touched = _Touched.of(given.rows, due, self._node.keys)
        said, columns = self._run(given, touched, curve, epoch)
        return Delta(self._emitted(said, columns, curve))

    def save(self, saver: Saver) -> Any:
        """Hand over the states of the keys, their first timers and the rows that wait."""
        waiting = None if self._waiting is None else self._waiting.save(saver)
        states, due = self._states.save(saver), self._due.save(saver)
        return {"states": states, "due": due, "waiting": waiting}

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take them back."""
        self._states.load(manifest["states"], loader)
        self._due.load(manifest["due"], loader)
        if self._waiting is not None:
            self._waiting.load(manifest["waiting"], loader)

    def state_size(self) -> tuple[int, int]:
        """Keys, waiting rows and bytes that are remembered."""
        sizes = [self._states.size(), (0, self._due.size()[1])]
        if self._waiting is not None:
            sizes.append(self._waiting.size())
        return sum(rows for rows, _ in sizes), sum(size for _, size in sizes)

    def waits_until(self) -> int | None:
        """The time of the first timer, or after the first row that waits for its turn."""
        row = None if self._waiting is None else self._waiting.lowest()
        timer = self._due.lowest()
        return min((at for at in (row, timer) if at is not None), default=None)

    def _curve(self, epoch: Epoch) -> WatermarkCurve:
        return epoch.watermarks[self._node.sources] if self._node.sources else _NEVER

    def _run(
        self, given: Given, touched: _Touched, curve: WatermarkCurve, epoch: Epoch
    ) -> tuple[Said, list[pa.Array]]:
        """Run all touched keys and remember them; what they said, and that as columns."""
        found = self._states.find(touched.keys, touched.hashes)
        kept = [text or NOTHING_KEPT for text in found.rows.column(KEPT).to_pylist()]
        rows = given.rows.select(self._names)
        turns = turns_of(rows, given, touched, ends_of(curve.start_us, curve.values_us))
        values = touched.keys.to_pylist()
        said, after = run_keys(self._code, values, kept, turns)
        columns = _columns(said, self._step.schema)
        if columns is None:
            # Once more, with each row looked at where it is emitted: its call then fails.
            code = code_of(
                self._node.name, self._step.call, self._code.columns, checked_by(self._step)
            )
            said, after = run_keys(code, values, kept, turns)
            columns = _columns(said, self._step.schema)
            assert columns is not None, "each emitted row was looked at"
        self._remember(touched, found.rows.column(DUE), kept, after, curve.end_us)
        epoch.failed += failed_of(said, rows, touched.keys)
        return said, columns

    def _emitted(
        self, said: Said, columns: Sequence[pa.Array], curve: WatermarkCurve
    ) -> pa.RecordBatch:
        """The emitted rows, in the order of the places where they came to be."""
        times = np.array(said.times_us, dtype=np.int64)
        ticks = np.maximum(np.array(said.places, dtype=np.int64), curve.tick_of(times))
        batch = pa.RecordBatch.from_arrays([*columns, pa.array(ticks)], schema=self.schema)
        return batch.take(pa.array(np.argsort(ticks, kind="stable")))

    def _remember(
        self,
        touched: _Touched,
        due: pa.Array,
        kept: Sequence[str],
        after: Sequence[tuple[str, int]],
        end_us: int,
    ) -> None:
        """Put the states that changed, and the timers that nothing in `due` will bring up."""
        before = due.fill_null(AFTER_ALL).to_numpy()
        standing = np.where(before <= end_us, AFTER_ALL, before)
        first = np.array([us for _, us in after], dtype=np.int64)
        is_new = first < standing
        places = pa.array(np.flatnonzero(is_new))
        columns = [*touched.keys.take(places).columns, pa.array(touched.hashes[is_new])]
        columns.append(pa.array(first[is_new]))
        self._due.add(pa.RecordBatch.from_arrays(columns, schema=self._due_schema))
        standing = np.minimum(first, standing)
        texts = np.array([text for text, _ in after], dtype=object)
        changed = np.flatnonzero((texts != np.array(kept, dtype=object)) | (standing != before))
        at = pa.array(changed)
        rows = pa.RecordBatch.from_arrays(
            [
                *touched.keys.take(at).columns,
                pa.array(texts[changed], pa.string()),
                pa.array(standing[changed]),
            ],
            schema=self._states.schema,
        )
        self._states.put(rows, touched.hashes[changed], texts[changed] == NOTHING_KEPT)


@dataclass(frozen=True, slots=True)
class _Touched:
    """The keys of an epoch, each once, and their rows.

    Args:
        keys: The key columns.
        hashes: Their hashes.
        order: The change's rows, those of one key after those of another, in their order.
        bounds: Where in `order` the rows of each key begin, and the end.

    """

    keys: pa.RecordBatch
    hashes: UInt64Array
    order: Int64Array
    bounds: Int64Array

    @classmethod
    def of(cls, rows: pa.RecordBatch, due: pa.RecordBatch, keys: Sequence[str]) -> _Touched:
        """The keys of the rows that are given and of the timers that came up."""
        names = [*keys, HASH]
        both = pa.concat_batches([rows.select(names), due.select(names)])
        hashes = both.column(HASH).to_numpy()
        order = np.argsort(hashes, kind="stable")
        columns = [both.column(name) for name in keys]
        first = first_alike(hashes[order], columns, order)
        leaders = np.arange(len(order)) if first is None else first
        groups, group_of_sorted = np.unique(leaders, return_inverse=True)
        group_of = np.empty(len(order), dtype=np.int64)
        group_of[order] = group_of_sorted
        mine = group_of[: rows.num_rows]
        by_group = np.argsort(mine, kind="stable")
        bounds = np.searchsorted(mine[by_group], np.arange(len(groups) + 1))
        at = order[groups]
        return cls(both.select(list(keys)).take(pa.array(at)), hashes[at], by_group, bounds)


def turns_of(
    rows: pa.RecordBatch, given: Given, touched: _Touched, ends_us: tuple[int, ...]
) -> list[Turn]:
    """What happens to each key."""
    columns = [column.to_pylist() for column in rows.take(pa.array(touched.order)).columns]
    values = list(zip(*columns, strict=True))
    indexes, at = touched.order.tolist(), given.places[touched.order].tolist()
    watermarks = given.watermarks_us[touched.order].tolist()
    bounds = touched.bounds.tolist()
    parts = [slice(a, b) for a, b in itertools.pairwise(bounds)]
    return [
        Turn(rows.schema.names, values[p], indexes[p], at[p], watermarks[p], ends_us) for p in parts
    ]


def run_keys(
    code: Code, values: Sequence[dict[str, Any]], kept: Sequence[str], turns: Sequence[Turn]
) -> tuple[Said, list[tuple[str, int]]]:
    """Run keys one after the other; what they said, and what is kept of each."""
    said = Said()
    after = [
        KeyRun(code, key, text, said).run(turn)
        for key, text, turn in zip(values, kept, turns, strict=True)
    ]
    return said, after


def checked_by(step: PythonStep) -> Any:
    """A check of one emitted row against the step's columns."""

    def check(row: dict[str, Any]) -> None:
        for column in step.schema:
            try:
                pa.array([row.get(column.name)], column.type.arrow)
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise TypeError(f"column {column.name} {column.type}: {error}") from None

    return check


def failed_of(said: Said, rows: pa.RecordBatch, keys: pa.RecordBatch) -> list[pa.RecordBatch]:
    """The rows and timers for which the code raised, as the view's failed rows show them."""
    found = []
    if said.failed_rows:
        failed = sorted(said.failed_rows)
        places = pa.array([index for index, _ in failed], pa.int64())
        found.append(failed_batch(rows.take(places), [reason for _, reason in failed]))
    if said.failed_timers:
        fields = [*keys.schema, pa.field("timer", pa.string())]
        fields.append(pa.field("at", pa.timestamp("us")))
        records = [{**key, "timer": name, "at": us} for key, name, us, _ in said.failed_timers]
        lines = to_ndjson(pa.Table.from_pylist(records, pa.schema(fields))).splitlines()
        reasons = pa.array([reason for *_, reason in said.failed_timers], pa.string())
        texts = pa.array([line.decode() for line in lines], pa.string())
        found.append(pa.RecordBatch.from_arrays([reasons, texts], names=[REASON, RECORD]))
    return found


def _columns(said: Said, schema: Schema) -> list[pa.Array] | None:
    """The emitted rows as columns; None where a value does not fit its column."""
    try:
        return [pa.array([row.get(c.name) for row in said.rows], c.type.arrow) for c in schema]
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _after(watermark_us: int) -> int:
    return min(watermark_us, AFTER_ALL - 1) + 1

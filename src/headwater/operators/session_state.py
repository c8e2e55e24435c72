"""The sessions that are known, which of them the watermark closes, and which rows come too late.

A row is late when, at its place in the log, the watermark had already passed its own time by the
gap and the lateness: alone it would be a session that has been closed for so long. That is decided
per row on the watermark's curve, so it does not depend on the cut into epochs, and what the view
holds is the sessions of all rows that are not late, whatever the order they came in. A row in time
may be less than a gap before the end of a session that has been published: it is withdrawn and the
larger one published. No row in time can reach a session whose end is older than the gap and
the lateness, so it is forgotten then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HASH, TICK, WEIGHT, Int64Array, UInt64Array
from headwater.delta.watermark import AFTER_ALL, BEFORE_ALL, WatermarkCurve
from headwater.operators.lateness import WATERMARK, times
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.operators.render import TIME
from headwater.operators.runs import Runs, joined
from headwater.plan.nodes import GroupWindow, Windows
from headwater.schema.schema import Schema
from headwater.state.equality import BoolArray
from headwater.state.intervals import Intervals, Stretches
from headwater.state.run import conformed

FIRST, LAST, END = "__first", "__last", "__end"


class Sessions:
    """The sessions of all keys.

    Args:
        schema: The columns of a session: the keys, `__first` and `__last` in microseconds, and
            what is known of it.
        keys: The key columns.
        window: The windows of kind SESSION.

    """

    def __init__(
        self, schema: pa.Schema, keys: Sequence[str], window: Windows | GroupWindow
    ) -> None:
        self.gap_us = window.spec.size_us
        self.schema = schema
        self._keys = list(keys)
        self._lateness_us = window.lateness_us
        self._final = window.final
        self._behind_us = window.behind_us
        self._known = Intervals(schema, keys, FIRST, LAST)
        hidden = [pa.field(HASH, pa.uint64()), pa.field(END, pa.int64())]
        fields = [schema.field(name) for name in (*keys, FIRST, LAST)]
        self._ends_schema = pa.schema([*fields, *hidden])
        self._ends = None if window.lateness_us is None else Runs(self._ends_schema, END)
        self._closed_us = BEFORE_ALL

    def is_due(self, clock: Clock | None) -> bool:
        """Whether the watermark has moved on since the last epoch."""
        return clock is not None and clock.closing.end_us > self._closed_us

    def waits_until(self) -> int | None:
        """The first end that the watermark has not passed; the session may have grown since."""
        if not self._final or self._ends is None:
            return None
        ends = self._ends.between(self._closed_us + 1, AFTER_ALL).column(END)
        return int(ends.to_numpy().min()) + self._behind_us if len(ends) else None

    def published(
        self, old_last: Int64Array, new_last: Int64Array, clock: Clock | None
    ) -> tuple[BoolArray, BoolArray]:
        """Which old sessions readers saw before the epoch, and which new ones they see after it."""
        if not self._final or clock is None:
            return np.ones(len(old_last), dtype=np.bool_), np.ones(len(new_last), dtype=np.bool_)
        now_us = max(self._closed_us, clock.closing.end_us)
        return old_last + self.gap_us <= self._closed_us, new_last + self.gap_us <= now_us

    def places(self, last: Int64Array, first: Int64Array, clock: Clock | None) -> Int64Array:
        """Where in the log sessions come out, or are withdrawn.

        Final ones come out where the watermark passes their end, but not before the first row that
        has to do with it. That is the place of an epoch's first row near the session, though others
        may reach it only through rows behind that: so nothing stands further behind the watermark
        than in small epochs.

        Args:
            last: The last time of each session.
            first: The first place of a row near it, or as small as can be.

        """
        if not self._final or clock is None:
            return first
        return np.maximum(clock.closing.tick_of(last + self.gap_us), first)

    def stretches(self, rows: pa.RecordBatch, hashes: UInt64Array) -> Stretches:
        """Sessions as stretches of time."""
        first, last = (rows.column(name).to_numpy() for name in (FIRST, LAST))
        return Stretches(rows.select(self._keys), hashes, first, last)

    def touched(self, blocks: Stretches, clock: Clock | None) -> tuple[pa.RecordBatch, UInt64Array]:
        """The sessions that rows may join or leave, and those that the watermark closes."""
        parts = [self._known.near(blocks, self.gap_us)] if len(blocks) else []
        due = self._due(clock)
        if due is not None and due.num_rows:
            parts.append(self._known.near(self._ended(due), self.gap_us))
        if len(parts) == 1:
            return parts[0]
        rows = joined([part[0] for part in parts], self._known.schema)
        hashes = np.concatenate([np.zeros(0, np.uint64), *(part[1] for part in parts)])
        return self._known.distinct(rows, hashes) if rows.num_rows else (rows, hashes)

    def ended(self, since_us: int, clock: Clock) -> tuple[pa.RecordBatch, UInt64Array]:
        """Sessions, some of which may have grown, that end between a time and the watermark.

        Args:
            since_us: The first end. Those that the watermark has passed since the last epoch are
                there anyway.

        """
        assert self._ends is not None
        first = min(self._closed_us + 1, since_us)
        ends = self._ends.between(first, min(clock.closing.end_us, AFTER_ALL - 1) + 1)
        return self._known.near(self._ended(ends), self.gap_us)

    def replace(
        self,
        gone: tuple[pa.RecordBatch, UInt64Array],
        come: tuple[pa.RecordBatch, UInt64Array],
        *,
        keeps_ends: bool = False,
    ) -> None:
        """Put sessions in the place of others, which may have the same bounds."""
        schema = self._known.schema
        both = joined([conformed(gone[0], schema), conformed(come[0], schema)], schema)
        removed = np.arange(both.num_rows) < gone[0].num_rows
        self._known.put(both, np.concatenate([gone[1], come[1]]), removed)
        if self._ends is not None and come[0].num_rows and not keeps_ends:
            rows, hashes = come
            columns = [rows.column(name) for name in (*self._keys, FIRST, LAST)]
            ends = rows.column(LAST).to_numpy() + self.gap_us
            columns += [pa.array(hashes), pa.array(ends)]
            self._ends.add(pa.RecordBatch.from_arrays(columns, schema=self._ends_schema))

    def forget(self, clock: Clock | None) -> tuple[pa.RecordBatch, UInt64Array] | None:
        """Let the watermark pass; drop and return the sessions that no row can reach any more."""
        if self._ends is None or clock is None:
            return None
        assert self._lateness_us is not None
        self._closed_us = max(self._closed_us, clock.closing.end_us)
        if clock.complete.end_us == BEFORE_ALL:
            return None
        bound = clock.complete.end_us - self.gap_us - self._lateness_us
        old = self._ends.take_below(bound + 1)
        if not old.num_rows:
            return None
        found, hashes = self._known.near(self._ended(old), self.gap_us)
        passed = np.flatnonzero(found.column(LAST).to_numpy() + self.gap_us <= bound)
        gone = found.take(pa.array(passed)), hashes.take(passed)
        self._known.put(*gone, np.ones(len(passed), dtype=np.bool_))
        return gone

    def save(self, saver: Saver) -> Any:
        """Hand the sessions over."""
        return {
            "closed_us": self._closed_us,
            "known": self._known.save(saver),
            "ends": None if self._ends is None else self._ends.save(saver),
        }

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take the sessions back."""
        self._closed_us = manifest["closed_us"]
        self._known.load(manifest["known"], loader)
        if self._ends is not None:
            self._ends.load(manifest["ends"], loader)

    def size(self) -> tuple[int, int]:
        """Rows and bytes."""
        rows, size_bytes = self._known.size()
        if self._ends is None:
            return rows, size_bytes
        return rows, size_bytes + self._ends.size()[1]

    def _due(self, clock: Clock | None) -> pa.RecordBatch | None:
        """Sessions, some of them grown since, whose end the watermark passes in this epoch."""
        if not self._final or clock is None or not self.is_due(clock):
            return None
        assert self._ends is not None
        stop = min(clock.closing.end_us, AFTER_ALL - 1) + 1
        return self._ends.between(self._closed_us + 1, stop)

    def _ended(self, ends: pa.RecordBatch) -> Stretches:
        return self.stretches(ends, ends.column(HASH).to_numpy())


@dataclass(frozen=True, slots=True)
class Clock:
    """How the watermark ran along an epoch.

    Args:
        closing: Sessions are published by it.
        complete: Rows are late by it. It may be behind the other.

    """

    closing: WatermarkCurve
    complete: WatermarkCurve

    @staticmethod
    def of(window: Windows | GroupWindow, epoch: Epoch) -> Clock | None:
        """The epoch's; None where nothing is late and all is published at once."""
        if window.lateness_us is None or window.sources not in epoch.watermarks:
            return None
        return Clock(epoch.closing(window.frontier), epoch.passed(window.frontier))


class LateRows:
    """Takes out the rows that come too late.

    Args:
        window: The windows of kind SESSION.
        columns: The columns of the rows.
        shown: The schema with the columns of the session's start and end.

    """

    def __init__(self, window: Windows | GroupWindow, columns: Schema, shown: Schema) -> None:
        self._window, self._columns = window, columns
        self._bounds = [shown[name].type.arrow for name in (window.start, window.end)]

    def taken_out(
        self, timed: pa.RecordBatch, clock: Clock | None, late: list[pa.RecordBatch]
    ) -> pa.RecordBatch:
        """The rows in time; the rest goes to `late` as sessions of their own."""
        window = self._window
        if window.lateness_us is None or clock is None or not timed.num_rows:
            return timed
        curve = clock.complete
        closing = timed.column(TIME).to_numpy() + (window.spec.size_us + window.lateness_us)
        if int(closing.min()) > curve.end_us:
            return timed
        watermarks = curve.before(timed.column(TICK).to_numpy())
        is_late = watermarks >= closing
        if not is_late.any():
            return timed
        places = np.flatnonzero(is_late)
        late.append(self._told(timed.take(pa.array(places)), watermarks.take(places)))
        return timed.take(pa.array(np.flatnonzero(~is_late)))

    def _told(self, rows: pa.RecordBatch, watermarks: Int64Array) -> pa.RecordBatch:
        names = [*self._columns.names, *([WEIGHT] if WEIGHT in rows.schema.names else [])]
        first = rows.column(TIME).to_numpy()
        arrays = [rows.column(name) for name in names]
        arrays += [times(first, self._bounds[0])]
        arrays += [times(first + self._window.spec.size_us, self._bounds[1])]
        arrays += [times(watermarks, pa.timestamp("us"))]
        shown = [self._window.start, self._window.end, WATERMARK]
        return pa.RecordBatch.from_arrays(arrays, names=[*names, *shown])

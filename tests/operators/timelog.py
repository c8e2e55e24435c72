"""Rows of two sides in one log, by whose watermarks a join decides, and how it is stepped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from headwater.delta.delta import HASH, TICK, WEIGHT, Delta
from headwater.delta.watermark import AFTER_ALL, WatermarkCurve
from headwater.operators.operator import Epoch, Loader, Saver
from headwater.plan.nodes import Decision, Frontier, Scan
from headwater.testing.checkpoint import MemoryCheckpoint
from headwater.testing.deltas import with_constant_hash, with_hash
from operators.running import added, curve_of, zset
from operators.sided import rows_of, scan

LEFT = scan("l", {"k": "INTEGER", "ts": "TIMESTAMP", "x": "BIGINT"}, append_only=True)
RIGHT = scan("r", {"rk": "INTEGER", "at": "TIMESTAMP", "y": "VARCHAR"}, append_only=True)

keys = st.none() | st.integers(0, 2)


class Stepped(Protocol):
    """An operator."""

    def step(self, inputs: Sequence[Delta], epoch: Epoch) -> Delta: ...
    def save(self, saver: Saver) -> Any: ...
    def load(self, manifest: Any, loader: Loader) -> None: ...
    def state_size(self) -> tuple[int, int]: ...


def moment(us: int | None) -> datetime | None:
    return None if us is None else datetime(1970, 1, 1) + timedelta(microseconds=us)


def decision(*, final: bool, lateness: int, behind: tuple[int, int] = (0, 0)) -> Decision:
    """By the watermarks of the two sides of a log."""
    return Decision(final, lateness, Frontier(("l",), behind[0]), Frontier(("r",), behind[1]))


def schemas_of(sides: Sequence[Scan], *, ticks: bool) -> list[pa.Schema]:
    """What the operator is given of each side."""
    schemas = []
    for side in sides:
        fields = [*side.schema.arrow, pa.field(HASH, pa.uint64())]
        if not side.append_only:
            fields.append(pa.field(WEIGHT, pa.int64()))
        if ticks:
            fields.append(pa.field(TICK, pa.int64()))
        schemas.append(pa.schema(fields))
    return schemas


@dataclass
class Log:
    """Rows of both sides in one order: (is left, key, time, value, weight)."""

    rows: list[tuple[bool, int | None, int | None, Any, int]]

    def times(self, *, is_left: bool) -> list[int | None]:
        """What moves the watermark of a side, at each place of the log."""
        return [row[2] if row[0] is is_left else None for row in self.rows]

    def late(self, lateness: int, behind: tuple[int, int] = (0, 0)) -> list[bool]:
        """Row by row: which are behind their side's watermark by more than the lateness."""
        high = {True: -(10**9), False: -(10**9)}
        found = []
        for is_left, _, t, _, _ in self.rows:
            allowed = lateness + behind[0 if is_left else 1]
            found.append(t is not None and t < high[is_left] - allowed)
            high[is_left] = max(high[is_left], high[is_left] if t is None else t)
        return found

    def side(self, *, is_left: bool, first: int, stop: int, weighted: bool, collide: bool) -> Delta:
        node = LEFT if is_left else RIGHT
        places = [i for i in range(first, stop) if self.rows[i][0] is is_left]
        rows = [(self.rows[i][1], moment(self.rows[i][2]), self.rows[i][3]) for i in places]
        table = rows_of(node, rows).combine_chunks()
        batch = table.to_batches()[0] if rows else pa.RecordBatch.from_pylist([], table.schema)
        key = ["k" if is_left else "rk"]
        change = with_constant_hash(Delta(batch)) if collide else with_hash(Delta(batch), key)
        columns = change.rows
        if weighted:
            weights = pa.array([self.rows[i][4] for i in places], pa.int64())
            columns = columns.append_column(WEIGHT, weights)
        return Delta(columns.append_column(TICK, pa.array(places, pa.int64())))

    def curves(self, first: int, stop: int) -> dict[tuple[str, ...], WatermarkCurve]:
        """How the watermarks of both sides run."""
        sides = (("l", True), ("r", False))
        return {
            (name,): curve_of(self.times(is_left=is_left), first, stop) for name, is_left in sides
        }


def step(
    made: Stepped,
    log: Log,
    first: int,
    stop: int,
    *,
    weighted: bool = False,
    collide: bool = False,
) -> Delta:
    """One epoch."""
    sides = [
        log.side(is_left=is_left, first=first, stop=stop, weighted=weighted, collide=collide)
        for is_left in (True, False)
    ]
    return made.step(sides, Epoch(first, 0, stop - 1, log.curves(first, stop)))


def run(
    make: Callable[[], Stepped],
    log: Log,
    cuts: Sequence[int],
    *,
    weighted: bool = False,
    collide: bool = False,
    saved_after: int = -1,
) -> tuple[list[Delta], Counter[Any], Stepped]:
    """What comes out, epoch by epoch; the last one lets the watermarks pass everything."""
    made, out, late = make(), [], []
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(log.rows)}), len(log.rows)]
    for number, (first, stop) in enumerate(zip(bounds, [*bounds[1:], None], strict=True)):
        end = len(log.rows) if stop is None else stop
        curves = log.curves(first, end)
        if stop is None:
            last = np.array([end]), np.array([AFTER_ALL])
            curves = {name: WatermarkCurve(c.end_us, *last) for name, c in curves.items()}
        epoch = Epoch(number, 0, end - 1, curves)
        sides = [
            log.side(is_left=is_left, first=first, stop=end, weighted=weighted, collide=collide)
            for is_left in (True, False)
        ]
        out.append(made.step(sides, epoch))
        late += [zset(batch) for batch in epoch.late]
        if number == saved_after:
            checkpoint = MemoryCheckpoint()
            manifest = made.save(checkpoint)
            made = make()
            made.load(manifest, checkpoint)
    return out, added(late), made


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Rows nearly in the order of time, so that most are in time; some are withdrawn later."""
    rows: list[Any] = []
    clock = 0
    for _ in range(draw(st.integers(0, 25))):
        clock += draw(st.integers(0, 3))
        if rows and draw(st.integers(0, 5)) == 0:
            live = [r for r in rows if rows.count(r) > rows.count((*r[:4], -r[4])) and r[4] > 0]
            if live:
                rows.append((*draw(st.sampled_from(live))[:4], -1))
                continue
        is_left = draw(st.booleans())
        t = None if draw(st.integers(0, 9)) == 0 else clock - draw(st.integers(0, 6))
        value = draw(st.integers(0, 1)) if is_left else draw(st.sampled_from("ab"))
        rows.append((is_left, draw(keys), t, value, 1))
    return Log(rows)


def kept_of(log: Log, late: Sequence[bool]) -> Log:
    """The log without its late rows."""
    return Log([row for row, is_late in zip(log.rows, late, strict=True) if not is_late])


def weight_of(log: Log, late: Sequence[bool]) -> int:
    """The sum of the weights of the late rows."""
    return sum(row[4] for row, is_late in zip(log.rows, late, strict=True) if is_late)

"""Firings of sessions in batch: row by row, in the order of the topic's table.

A second computation, apart from the engine's: each row is put among the sessions of its key, one
after the other, and which rows a firing says is written down. What is computed of them is DuckDB's
own aggregates over these rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import TICK
from headwater.delta.watermark import WatermarkCurve
from headwater.operators import render
from headwater.plan.nodes import SessionPanes
from headwater.sql import by_value

# Names that no author can write.
_KEY, _TIME, _ROW, _FIRING = "\x01key", "\x01time", "\x01row", "\x01firing"


@dataclass(slots=True)
class _Session:
    first: int
    last: int
    rows: list[int] = field(default_factory=list)
    unsaid: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Firing:
    """What a session was when it fired."""

    first: int
    end: int
    rows: tuple[int, ...]


class _Key:
    """The sessions of one key."""

    def __init__(self, gap_us: int, *, is_accumulating: bool) -> None:
        self._gap_us, self._is_accumulating = gap_us, is_accumulating
        self._sessions: list[_Session] = []
        self._stretch: int | None = None

    def add(self, row: int, time_us: int) -> None:
        """Put a row among the sessions."""
        near = [
            s for s in self._sessions if s.first - self._gap_us < time_us < s.last + self._gap_us
        ]
        grown = _Session(
            min([time_us, *(s.first for s in near)]), max([time_us, *(s.last for s in near)])
        )
        grown.rows = [*(r for s in near for r in s.rows), row]
        grown.unsaid = [*(r for s in near for r in s.unsaid), row]
        self._sessions = [*(s for s in self._sessions if s not in near), grown]

    def begin(self, stretch: int) -> Iterator[_Firing]:
        """Let a stretch begin: at the end of another all that rows came to fires."""
        if self._stretch != stretch:
            yield from self.fire(None)
        self._stretch = stretch

    def fire(self, watermark_us: int | None) -> Iterator[_Firing]:
        """The sessions that a watermark has passed, or all; those with rows to tell."""
        for session in self._sessions:
            end = session.last + self._gap_us
            if session.unsaid and (watermark_us is None or end <= watermark_us):
                told = session.rows if self._is_accumulating else session.unsaid
                session.unsaid = []
                yield _Firing(session.first, end, tuple(told))


def said(
    connection: duckdb.DuckDBPyConnection, panes: SessionPanes, rows: str, curve: WatermarkCurve
) -> exp.Select:
    """What each firing says.

    Args:
        rows: The table with the rows and their places.
        curve: How the watermark by which sessions close runs along them.

    """
    told = f"{rows}_firings"
    connection.from_arrow(_told(connection, panes, rows, curve)).create(f'"{told}"')
    window = panes.window
    numbered = exp.select("*", exp.alias_(exp.column("rowid"), _ROW, quoted=True)).from_(
        exp.Table(this=exp.to_identifier(rows, quoted=True))
    )
    firings = exp.Table(this=exp.to_identifier(told, quoted=True))
    query = exp.select("*").from_(numbered.subquery("_numbered"))
    query = query.join(firings, using=[exp.to_identifier(_ROW, quoted=True)])
    keys = [render.column(key) for key in (*panes.keys, window.start, window.end)]
    chosen: list[Any] = [*keys]
    for partial in panes.partials:
        call: Any = by_value.call(partial)
        typed = render.cast(call, panes.schema[partial.name].type.sql)
        chosen.append(render.named(typed, partial.name))
    return render.select(chosen, query, None).group_by(
        *(key.copy() for key in keys), render.column(_FIRING), copy=False
    )


def _told(
    connection: duckdb.DuckDBPyConnection, panes: SessionPanes, rows: str, curve: WatermarkCurve
) -> pa.Table:
    """Each row of each firing, with the bounds of its session."""
    window, found = panes.window, list(_firings(connection, panes, rows, curve))
    members = [(n, firing, row) for n, firing in enumerate(found) for row in firing.rows]
    bounds = {
        window.start: [firing.first for _, firing, _ in members],
        window.end: [firing.end for _, firing, _ in members],
    }
    return pa.table(
        {
            _ROW: pa.array([row for _, _, row in members], pa.int64()),
            _FIRING: pa.array([number for number, _, _ in members], pa.int64()),
            **{
                name: pa.array(values, pa.int64()).view(panes.schema[name].type.arrow)
                for name, values in bounds.items()
            },
        }
    )


def _firings(
    connection: duckdb.DuckDBPyConnection, panes: SessionPanes, rows: str, curve: WatermarkCurve
) -> Iterator[_Firing]:
    keys: dict[int, _Key] = {}
    gap_us, every_us = panes.window.spec.size_us, panes.every_us
    for row, number, time_us, watermark_us in _in_order(connection, panes, rows, curve):
        if number not in keys:
            keys[number] = _Key(gap_us, is_accumulating=panes.is_accumulating)
        key = keys[number]
        if every_us is None:
            yield from key.fire(watermark_us)
            key.add(row, time_us)
            yield from key.fire(watermark_us)
        else:
            yield from key.begin(watermark_us // every_us)
            key.add(row, time_us)
    for key in keys.values():
        yield from key.fire(None)


def _in_order(
    connection: duckdb.DuckDBPyConnection, panes: SessionPanes, rows: str, curve: WatermarkCurve
) -> Iterator[tuple[int, int, int, int]]:
    """Each row with a time: its number, that of its key, its time, and the watermark before it."""
    by = [exp.Ordered(this=render.column(key)) for key in panes.keys]
    rank = exp.Window(
        this=exp.Anonymous(this="dense_rank"), order=exp.Order(expressions=by) if by else None
    )
    time = render.column(panes.window.spec.time)
    columns = [
        render.named(exp.column("rowid"), _ROW),
        render.named(rank, _KEY),
        render.named(render.call("epoch_us", time), _TIME),
        render.column(TICK),
    ]
    finite = exp.Anonymous(this="isfinite", expressions=[time.copy()])
    query = render.select(columns, rows, finite).order_by(exp.column("rowid"), copy=False)
    found = connection.sql(query.sql("duckdb")).to_arrow_table()
    watermarks = curve.before(found.column(TICK).to_numpy()).tolist()
    numbers = (found.column(name).to_pylist() for name in (_ROW, _KEY, _TIME))
    return zip(*numbers, watermarks, strict=True)

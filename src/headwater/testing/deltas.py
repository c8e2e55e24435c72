"""Deltas as text tables, cut from tables at random, summed up, and checked against DuckDB.

A delta is written as a table of signed rows; the types of its columns are given, or seen from the
values:

      user n:BIGINT ts
    + ann  1        12:00:05
    - bob  null     12:00

A time of day is a TIMESTAMP on 1970-01-01. A row of weight 2 is two lines.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, HIDDEN, WEIGHT, Delta
from headwater.operators import render
from headwater.schema.types import parse_type

_EPOCH = datetime(1970, 1, 1)
_CLOCK = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?")
_NULL = "null"


def delta(text: str, *, keys: Sequence[str] | None = None, weighted: bool | None = None) -> Delta:
    """The delta that a text table shows.

    Args:
        text: A header and signed rows.
        keys: When given, the delta carries the hash of these columns.
        weighted: Whether it carries weights; by default when a row is withdrawn.

    """
    lines = [line for line in text.split("\n") if line.strip()]
    header = [cell.partition(":") for cell in shlex.split(lines[0])]
    rows = [_cells(line) for line in lines[1:]]
    arrays = []
    for position, (_, _, sql) in enumerate(header):
        cells = [row[position] for _, row in rows]
        kind = parse_type(sql).arrow if sql else _seen(cells)
        arrays.append(_array(cells, kind))
    signs = [-1 if sign == "-" else 1 for sign, _ in rows]
    batch = pa.RecordBatch.from_arrays(arrays, names=[name for name, _, _ in header])
    if weighted or (weighted is None and -1 in signs):
        batch = batch.append_column(WEIGHT, pa.array(signs, pa.int64()))
    return Delta(batch) if keys is None else with_hash(Delta(batch), keys)


def text(change: Delta) -> str:
    """The text table of a delta, without hidden columns, in the order of its rows."""
    rows = change.visible()
    weights = [1] * len(change) if change.weights is None else change.weights.tolist()
    columns = [[name, *map(_shown, rows.column(name).to_pylist())] for name in rows.schema.names]
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for sign, *cells in zip([0, *weights], *columns, strict=True):
        padded = " ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True))
        mark = " " if not sign else "+" if sign > 0 else "-"
        lines += [f"{mark} {padded}".rstrip()] * max(1, abs(sign))
    return "\n".join(lines)


def with_hash(change: Delta, keys: Sequence[str]) -> Delta:
    """The delta with the hash of its columns `keys`, as the engine computes it."""
    rows = change.rows
    if HASH in rows.schema.names:
        rows = rows.drop_columns(HASH)
    query = render.select([exp.Star(), render.key_hash(keys)], "rows", None)
    hashed = _asked(query.sql("duckdb"), {"rows": pa.Table.from_batches([rows])})
    hashes = hashed.column(HASH).combine_chunks()
    return Delta(rows.append_column(pa.field(HASH, pa.uint64()), hashes))


def with_constant_hash(change: Delta, value: int = 7) -> Delta:
    """The delta with the same hash for all rows: what a collision looks like."""
    rows = change.rows
    if HASH in rows.schema.names:
        rows = rows.drop_columns(HASH)
    hashes = pa.array(np.full(rows.num_rows, value, dtype=np.uint64))
    return Delta(rows.append_column(pa.field(HASH, pa.uint64()), hashes))


def cut(table: pa.Table, random: Random, *, epochs: int, withdrawn: float | None) -> list[Delta]:
    """Deltas that add up to the table, never to less than nothing on the way.

    Args:
        table: The rows that are there at the end.
        random: Decides where the cuts are and what is added and withdrawn again.
        epochs: The number of deltas; some may be empty.
        withdrawn: Append-only deltas when None; else about so many withdrawals per row.

    """
    order, signs = list(range(table.num_rows)), [1] * table.num_rows
    for _ in range(round((withdrawn or 0) * table.num_rows)):
        row = random.randrange(table.num_rows)
        first = random.randrange(len(order) + 1)
        last = random.randrange(first, len(order) + 1)
        order[last:last], signs[last:last] = [row], [-1]
        order[first:first], signs[first:first] = [row], [1]
    whole = table.take(pa.array(order, pa.int64()))
    if withdrawn is not None:
        whole = whole.append_column(WEIGHT, pa.array(signs, pa.int64()))
    ends = sorted(random.randrange(len(order) + 1) for _ in range(epochs - 1))
    bounds = zip([0, *ends], [*ends, len(order)], strict=True)
    return [Delta(_batch(whole.slice(first, end - first))) for first, end in bounds]


def sum_of(deltas: Iterable[Delta]) -> pa.Table:
    """All deltas added up: each row as often as it is there.

    Raises:
        AssertionError: A row was withdrawn more often than it was added.

    """
    parts = [_weighted(change) for change in deltas]
    whole = pa.concat_tables(parts)
    names = [name for name in whole.schema.names if name != WEIGHT]
    columns: list[exp.Expression] = [render.column(name) for name in names]
    total = render.cast(exp.Sum(this=render.column(WEIGHT)), "BIGINT")
    query = render.select([*columns, render.named(total, WEIGHT)], "rows", None)
    summed = _asked(query.group_by(*columns).sql("duckdb"), {"rows": whole})
    weights = summed.column(WEIGHT).to_numpy()
    assert not len(weights) or weights.min() >= 0, f"withdrawn too often:\n{summed.to_pylist()}"
    places = np.repeat(np.arange(len(weights)), weights)
    return summed.drop_columns(WEIGHT).take(pa.array(places))


def answer(sql: str, tables: Mapping[str, pa.Table]) -> pa.Table:
    """What DuckDB answers in batch, its rows in order."""
    return _asked(sql, tables, is_ordered=True)


def assert_same(got: pa.Table, expected: pa.Table) -> None:
    """The same rows as often, in any order; floats within a relative 1e-9."""
    assert got.schema.names == expected.schema.names
    ours, theirs = _ordered(got), _ordered(expected)
    same = len(ours) == len(theirs) and all(map(_is_close, ours, theirs))
    assert same, f"got {len(ours)} rows:\n{ours}\nexpected {len(theirs)} rows:\n{theirs}"


def _asked(sql: str, tables: Mapping[str, pa.Table], *, is_ordered: bool = False) -> pa.Table:
    with _database().cursor() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, rows in tables.items():
            connection.register(name, rows)
        answer = connection.sql(sql)
        return (answer.order("ALL") if is_ordered else answer).to_arrow_table()


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """One for all, as opening costs more than a question. What a cursor registers is its own."""
    return duckdb.connect(":memory:", config={"threads": 1})


def _cells(line: str) -> tuple[str, list[str]]:
    sign, *cells = shlex.split(line)
    assert sign in ("+", "-"), f"a row begins with + or -: {line!r}"
    return sign, cells


def _seen(cells: Sequence[str]) -> pa.DataType:
    """The type that values look like."""
    known = [cell for cell in cells if cell != _NULL]
    looks = ((r"-?\d+", "BIGINT"), (r"-?\d+\.\d*", "DOUBLE"), (r"true|false", "BOOLEAN"))
    for pattern, sql in (*looks, (_CLOCK.pattern, "TIMESTAMP")):
        if known and all(re.fullmatch(pattern, cell) for cell in known):
            return parse_type(sql).arrow
    return pa.string()


def _array(cells: Sequence[str], kind: pa.DataType) -> pa.Array:
    values = [None if cell == _NULL else cell for cell in cells]
    if pa.types.is_timestamp(kind):
        return pa.array([None if v is None else _moment(v) for v in values], kind)
    return pa.array(values, pa.string()).cast(kind)


def _moment(cell: str) -> datetime:
    match = _CLOCK.fullmatch(cell)
    if match is None:
        return datetime.fromisoformat(cell)
    hours, minutes, seconds, fraction = match.groups()
    micros = int((fraction or "").ljust(6, "0"))
    clock = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
    return _EPOCH + clock + timedelta(microseconds=micros)


def _shown(value: Any) -> str:
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, datetime):
        return str(value)
    naive = value.replace(tzinfo=None)
    if naive.date() != _EPOCH.date():
        return naive.isoformat()
    clock = naive.time().isoformat()
    return clock.removesuffix(":00") if clock.count(":") == 2 else clock


def _batch(table: pa.Table) -> pa.RecordBatch:
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)


def _weighted(change: Delta) -> pa.Table:
    weights = np.ones(len(change), dtype=np.int64) if change.weights is None else change.weights
    names = [name for name in change.rows.schema.names if name not in HIDDEN]
    columns = [*(change.rows.column(name) for name in names), pa.array(weights)]
    return pa.table(columns, names=[*names, WEIGHT])


def _ordered(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows in an order in which values that are nearly equal decide last."""
    rows = [tuple(row.values()) for row in table.to_pylist()]
    return sorted(rows, key=lambda row: (_steady(row), [str(v) for v in row]))


def _steady(row: tuple[Any, ...]) -> list[str]:
    return [f"{value:.6g}" if isinstance(value, float) else repr(value) for value in row]


def _is_close(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        if math.isnan(ours) or math.isnan(theirs):
            return math.isnan(ours) and math.isnan(theirs)
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=0.0)
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(_is_close(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(_is_close, ours, theirs))
    return bool(ours == theirs)

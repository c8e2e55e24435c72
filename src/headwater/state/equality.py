"""When two rows are the same row.

Equality is that of SQL's `IS NOT DISTINCT FROM` in DuckDB: a null is equal to a null, NaN to NaN,
and 0.0 to -0.0, also inside of nested values. Plain columns are compared in numpy or Arrow. For
nested values and intervals (a month is equal to 30 days) DuckDB itself is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array, UInt64Array

BoolArray = npt.NDArray[np.bool_]

# So many different rows of one hash are told apart by comparing them; if there are more, by DuckDB.
_ROUNDS = 4
_PAIRS = "SELECT a IS NOT DISTINCT FROM b AS same FROM pairs"
_GROUPS = "SELECT min(i) AS first, list(i) AS members, * EXCLUDE (i) FROM grouped GROUP BY ALL"


def rows_equal(
    left: Sequence[pa.Array],
    left_at: Int64Array | None,
    right: Sequence[pa.Array],
    right_at: Int64Array | None,
    *,
    null_equal: bool = True,
) -> BoolArray | None:
    """Which of the pairs of rows are equal in all columns.

    Args:
        left: Columns.
        left_at: The left row of each pair; None for all rows in order.
        right: As many columns of the same types.
        right_at: The right row of each pair; None for all rows in order.
        null_equal: False when a null is equal to nothing.

    Returns:
        A mask over the pairs, or None when there are no columns to differ in.

    """
    same: BoolArray | None = None
    for a, b in zip(left, right, strict=True):
        equal = _values_equal(a, left_at, b, right_at, null_equal=null_equal)
        same = equal if same is None else same & equal
    return same


def first_alike(
    hashes: UInt64Array, columns: Sequence[pa.Array], order: Int64Array | None = None
) -> Int64Array | None:
    """For each row the place of the first row that is equal to it.

    Args:
        hashes: Ascending; equal for equal rows.
        columns: The columns in which rows are compared.
        order: Where in the columns the row of each hash stands; None when in the same place.

    Returns:
        Places among the hashes, not after the row's own; None when no two rows are equal in hash.

    """
    same_hash = hashes[1:] == hashes[:-1]
    if not same_hash.any():
        return None
    first = np.arange(len(hashes), dtype=np.int64)
    tied = np.zeros(len(hashes), dtype=np.bool_)
    tied[1:] |= same_hash
    tied[:-1] |= same_hash
    rows = np.flatnonzero(tied)
    for _ in range(_ROUNDS):
        # All rows of a hash are compared with the first one that is not yet known.
        values = hashes[rows]
        is_leader = np.concatenate([[True], values[1:] != values[:-1]])
        leaders = rows[is_leader][np.cumsum(is_leader) - 1][~is_leader]
        rows = rows[~is_leader]
        left, right = (rows, leaders) if order is None else (order[rows], order[leaders])
        equal = rows_equal(columns, left, columns, right)
        if equal is None:
            first[rows] = leaders
            return first
        first[rows[equal]] = leaders[equal]
        rows = rows[~equal]
        if not len(rows):
            return first
    at = rows if order is None else order[rows]
    _group(hashes[rows], [taken(c, at) for c in columns], rows, first)
    return first


def last_alike(first: Int64Array) -> Int64Array:
    """For each row the place of the last row that is equal to it.

    Args:
        first: What `first_alike` gave.

    """
    last = np.empty_like(first)
    # Of several writes to one place numpy keeps the last.
    last[first] = np.arange(len(first))
    return last.take(first)


def are_last(first: Int64Array) -> BoolArray:
    """Which rows have no equal row after them.

    Args:
        first: What `first_alike` gave.

    """
    return np.equal(last_alike(first), np.arange(len(first)))


def is_null(columns: Sequence[pa.Array]) -> BoolArray | None:
    """Which rows are null in at least one of the columns; None when no row is."""
    nulls: BoolArray | None = None
    for column in columns:
        if column.null_count:
            mask = pc.is_null(column).to_numpy(zero_copy_only=False)
            nulls = mask if nulls is None else nulls | mask
    return nulls


def taken(column: pa.Array, places: Int64Array | None) -> pa.Array:
    """The values at `places`, all of them valid; the column itself when None."""
    return column if places is None else pc.take(column, pa.array(places), boundscheck=False)


def _values_equal(
    a: pa.Array,
    a_at: Int64Array | None,
    b: pa.Array,
    b_at: Int64Array | None,
    *,
    null_equal: bool,
) -> BoolArray:
    if not a.null_count and not b.null_count and (plain := _plain(a, b)) is not None:
        x, y = plain
        return np.equal(x if a_at is None else x.take(a_at), y if b_at is None else y.take(b_at))
    x, y = taken(a, a_at), taken(b, b_at)
    same = _same_by_duckdb(x, y) if _is_intricate(a.type) else _same_by_arrow(x, y)
    if not null_equal and (x.null_count or y.null_count):
        same &= pc.is_valid(x).to_numpy(zero_copy_only=False)
    return same


def _plain(a: pa.Array, b: pa.Array) -> tuple[npt.NDArray[np.int64], ...] | None:
    """Both columns as integers without a copy, or None when they are no integers inside."""
    kind = a.type
    if pa.types.is_integer(kind):
        return a.to_numpy(), b.to_numpy()
    if pa.types.is_timestamp(kind) or pa.types.is_time64(kind):
        return a.view(pa.int64()).to_numpy(), b.view(pa.int64()).to_numpy()
    if pa.types.is_date32(kind):
        return a.view(pa.int32()).to_numpy(), b.view(pa.int32()).to_numpy()
    return None


def _is_intricate(kind: pa.DataType) -> bool:
    return pa.types.is_nested(kind) or pa.types.is_interval(kind) or pa.types.is_null(kind)


def _same_by_arrow(x: pa.Array, y: pa.Array) -> BoolArray:
    same = pc.equal(x, y)
    if pa.types.is_floating(x.type):
        same = pc.or_(same, pc.and_(pc.is_nan(x), pc.is_nan(y)))
    if same.null_count:
        both = pc.and_(pc.is_null(x), pc.is_null(y))
        same = pc.fill_null(same, False)
        same = pc.or_(same, both)
    return np.array(same.to_numpy(zero_copy_only=False))


def _same_by_duckdb(x: pa.Array, y: pa.Array) -> BoolArray:
    answer = _asked(_PAIRS, "pairs", pa.table({"a": x, "b": y}))
    return np.array(answer.column("same").combine_chunks().to_numpy(zero_copy_only=False))


def _group(
    hashes: UInt64Array, columns: Sequence[pa.Array], rows: Int64Array, first: Int64Array
) -> None:
    """Write into `first` the first equal row among `rows`, whose hashes and columns are given."""
    names = ["i", "h", *(f"c{n}" for n in range(len(columns)))]
    values = [pa.array(rows), pa.array(hashes), *columns]
    answer = _asked(_GROUPS, "grouped", pa.table(values, names=names)).combine_chunks()
    members = answer.column("members").combine_chunks()
    sizes = pc.list_value_length(members).to_numpy()
    first[members.flatten().to_numpy()] = np.repeat(answer.column("first").to_numpy(), sizes)


@cache
def _database() -> duckdb.DuckDBPyConnection:
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "enable_external_access": False,
        "python_enable_replacements": False,
    }
    return duckdb.connect(":memory:", config=settings)


def _asked(sql: str, name: str, table: pa.Table) -> pa.Table:
    # A cursor of its own, so that a snapshot may be read from any thread.
    with _database().cursor() as cursor:
        cursor.register(name, table)
        try:
            return cursor.sql(sql).to_arrow_table()
        finally:
            cursor.unregister(name)

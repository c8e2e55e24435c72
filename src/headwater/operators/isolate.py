"""Leave out the rows that an expression refuses, and go on with the rest.

A failed cast, an overflow or `error(...)` fails a whole statement. The rows at fault are then found
by halving the input, with the very statement that failed: its expressions are computed row by row,
so a row fails in company exactly when it fails alone, and the same rows are left out whatever the
cut into epochs. A withdrawal of such a row meets the same expressions and is left out too.

An error that no row gives alone (a total that overflows) is not a row's, and is raised. Nothing of
this costs anything in an epoch whose rows are all good; in one with bad rows it is about twice the
epoch, and some tenths of a millisecond for each bad row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from headwater.delta.delta import HIDDEN, WEIGHT, Int64Array
from headwater.errors import RecordError
from headwater.operators import render
from headwater.operators.statement import Rows, Statement
from headwater.schema.encode import to_ndjson
from headwater.schema.schema import Schema
from headwater.schema.types import Column, parse_type

Answer = TypeVar("Answer", pa.RecordBatch, pa.Table, Rows)

REASON, RECORD = "reason", "record"
FAILED = Schema((Column(REASON, parse_type("VARCHAR")), Column(RECORD, parse_type("VARCHAR"))))
# Where failing rows are many, further halving would cost more than trying each.
_SINGLY = 8


def run_isolating(
    statement: Statement, rows: Rows, failed: list[pa.RecordBatch]
) -> tuple[pa.RecordBatch, Rows]:
    """Run a statement over the rows that it can compute.

    Args:
        statement: What it does before it groups, it does row by row. Its one input is `input`.
        failed: Gets the rows that were left out, as the view's failed rows show them.

    Returns:
        The statement's rows, and the input's without those that were left out.

    Raises:
        RecordError: It fails, and over no row alone.

    """
    return isolating(lambda some: statement.run(input=some), rows, failed)


def isolating(
    run: Callable[[Rows], Answer], rows: Rows, failed: list[pa.RecordBatch]
) -> tuple[Answer, Rows]:
    """Run any computation that works row by row over the rows that it can compute.

    As `run_isolating`; `run` raises a `RecordError` for rows that it refuses.
    """
    try:
        return run(rows), rows
    except RecordError:
        # What fails over nothing as well is no row's fault.
        run(rows.slice(0, 0))
    places, reasons = _refused(run, rows)
    kept = np.ones(rows.num_rows, dtype=np.bool_)
    kept[places] = False
    good = rows.filter(pa.array(kept))
    answer = run(good)
    failed.append(failed_batch(rows.take(pa.array(places)), reasons))
    return answer, good


def _refused(run: Callable[[Rows], Rows], rows: Rows) -> tuple[Int64Array, list[str]]:
    """The places of the rows that fail alone, in order, and why each does."""
    places, reasons = [], []
    # A stack: the first part of what is left is on top.
    waiting = list(_parts(0, rows.num_rows))
    while waiting:
        first, stop = waiting.pop()
        reason = _reason(run, rows.slice(first, stop - first))
        if reason is None:
            continue
        if stop - first == 1:
            places.append(first)
            reasons.append(reason)
        else:
            waiting += _parts(first, stop)
    return np.array(places, dtype=np.int64), reasons


def _parts(first: int, stop: int) -> Iterator[tuple[int, int]]:
    """What to try next of rows that fail together, the last part first."""
    step = 1 if stop - first <= _SINGLY else -(-(stop - first) // 2)
    for start in reversed(range(first, stop, step)):
        yield start, min(start + step, stop)


def _reason(run: Callable[[Rows], pa.RecordBatch], rows: Rows) -> str | None:
    """Why a computation fails over some rows, on one line; None when it does not."""
    try:
        run(rows)
    except RecordError as error:
        return error.message.partition("\n")[0]
    return None


def failed_batch(rows: Rows, reasons: Sequence[str]) -> pa.RecordBatch:
    """Rows as failed rows, with their weights where they have any; one row for each unit."""
    visible = [n for n in rows.schema.names if n not in (*HIDDEN, render.NOTHING)]
    table = pa.table(rows.columns, schema=rows.schema).select(visible)
    lines = to_ndjson(table).splitlines() if visible else [b"{}"] * rows.num_rows
    columns = [pa.array(reasons, pa.string()), pa.array(lines, pa.binary()).cast(pa.string())]
    batch = pa.RecordBatch.from_arrays(columns, names=[REASON, RECORD])
    if WEIGHT not in rows.schema.names:
        return batch
    weights = np.asarray(rows.column(WEIGHT).to_numpy(), dtype=np.int64)
    times = np.repeat(np.arange(len(weights)), np.abs(weights))
    signs = pa.array(np.sign(weights)[times])
    return batch.take(pa.array(times)).append_column(WEIGHT, signs)

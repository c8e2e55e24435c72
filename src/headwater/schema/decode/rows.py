"""Records that are already values (objects of JSON, dicts of Python) into columns.

This is the careful path that every other form falls back to, and its answer is the definition of
right. A record must have every column (or a default stands in), no other name, no null where NOT
NULL is declared, and values that fit. Judged column by column, about five microseconds a row.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.schema.decode.columns import column_of_texts, column_of_values
from headwater.schema.decode.decoded import Decoded, RejectedRecord
from headwater.schema.jsontext import dump
from headwater.schema.schema import Schema
from headwater.schema.types import Column

Record = Mapping[str, Any]
Fault = tuple[str, str | None]
"""The reason for a rejection, and the column at fault."""


class Shape:
    """Which names a record must have, and what stands in for those it lacks.

    Args:
        are_texts: The values are fields of CSV; then the defaults are too.

    """

    def __init__(self, schema: Schema, *, are_texts: bool = False) -> None:
        self.names = schema.names
        self._exact = frozenset(schema.names)
        self._by_folded = {name.lower(): name for name in schema.names}
        aliases = {alias.lower(): c.name for c in schema for alias in c.aliases}
        self._by_folded = aliases | self._by_folded
        self._dropped = frozenset(name.lower() for name in schema.dropped)
        self.defaults = {
            c.name: _as_text(c.default) if are_texts else c.default for c in schema if c.may_miss
        }

    def fit(self, record: Record) -> Record:
        """The record under the schema's names, with defaults filled in.

        Raises:
            FaultError: A name is missing, unknown or given twice.

        """
        if record.keys() == self._exact:
            return record
        found: dict[str, Any] = {}
        for given, value in record.items():
            name = self.resolve(given)
            if name is None and self.is_dropped(given):
                continue
            if name is None:
                raise FaultError(f"there is no column {given!r}{self._near(given)}", str(given))
            if name in found:
                raise FaultError(f"column {name} is given twice", name)
            found[name] = value
        for name in self.names:
            if name not in found:
                if name not in self.defaults:
                    raise FaultError(f"column {name} is missing", name)
                found[name] = self.defaults[name]
        return found

    def resolve(self, given: object) -> str | None:
        """The schema's spelling of a name, or None when it has no such column."""
        return self._by_folded.get(given.lower()) if isinstance(given, str) else None

    def is_dropped(self, given: object) -> bool:
        """Whether a column of this name was dropped: what a record has of it is passed over."""
        return isinstance(given, str) and given.lower() in self._dropped

    def _near(self, given: object) -> str:
        near = difflib.get_close_matches(str(given).lower(), self._by_folded, n=1)
        return f"; did you mean {self._by_folded[near[0]]}?" if near else ""


class FaultError(Exception):
    """A record is not taken.

    Args:
        reason: Why, with the value.
        column: The column at fault.

    """

    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason)
        self.fault: Fault = (reason, column)


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else dump(value)


@lru_cache(maxsize=256)
def shape_of(schema: Schema, *, are_texts: bool = False) -> Shape:
    """The shape of the records of `schema`."""
    return Shape(schema, are_texts=are_texts)


def decode_records(
    records: Iterable[Record | Fault],
    schema: Schema,
    bytes_of: Callable[[int], bytes],
    *,
    are_texts: bool = False,
) -> Decoded:
    """Judge records one by one and store the accepted ones as columns.

    Args:
        records: A mapping each, or the fault of one that could not even be read.
        bytes_of: The bytes of the record at a position; asked only for the rejected ones.
        are_texts: The values are fields of CSV, each a text or None.

    """
    shape = shape_of(schema, are_texts=are_texts)
    faults: dict[int, Fault] = {}
    fitting: list[Record] = []
    positions: list[int] = []
    for position, record in enumerate(records):
        if isinstance(record, tuple):
            faults[position] = record
            continue
        try:
            fitting.append(shape.fit(record))
            positions.append(position)
        except FaultError as error:
            faults[position] = error.fault
    rows, kept = _columns(fitting, schema, positions, faults, are_texts=are_texts)
    rejected = tuple(
        RejectedRecord(position, reason, column, bytes_of(position))
        for position, (reason, column) in sorted(faults.items())
    )
    return Decoded(rows, kept, rejected)


def _columns(
    records: Sequence[Record],
    schema: Schema,
    positions: list[int],
    faults: dict[int, Fault],
    *,
    are_texts: bool,
) -> tuple[pa.RecordBatch, npt.NDArray[np.int64]]:
    """The columns of the records that fit; the others are added to `faults`."""
    arrays = []
    bad: set[int] = set()
    for column in schema:
        values = [record[column.name] for record in records]
        array, reasons = _column(values, column, are_texts=are_texts)
        for index, reason in reasons.items():
            faults.setdefault(positions[index], (reason, column.name))
            bad.add(index)
        arrays.append(array)
    kept = np.array(positions, dtype=np.int64)
    if not bad:
        return batch_of(arrays, schema), kept
    keep = np.ones(len(records), dtype=bool)
    keep[list(bad)] = False
    mask = pa.array(keep)
    return batch_of([array.filter(mask) for array in arrays], schema), kept[keep]


def _column(
    values: list[Any], column: Column, *, are_texts: bool
) -> tuple[pa.Array, dict[int, str]]:
    build = column_of_texts if are_texts else column_of_values
    array, unfit = build(values, column.type)
    reasons = {index: f"column {column.name}: {reason}" for index, reason in unfit.items()}
    if not column.nullable and array.null_count > len(unfit):
        for index, value in enumerate(values):
            if value is None:
                reasons[index] = null_reason(column)
    return array, reasons


def null_reason(column: Column) -> str:
    """Why a null in a NOT NULL column is rejected."""
    return f"column {column.name} is null, and is declared NOT NULL"


def batch_of(arrays: Sequence[pa.Array], schema: Schema) -> pa.RecordBatch:
    """The columns as one batch of exactly the schema's Arrow schema."""
    return pa.RecordBatch.from_arrays(list(arrays), schema=schema.arrow)

"""How each key and each aggregate of a group is read off rows that are counted.

A key is an axis: its value in a row is a number from 0 up to a count, and each number is a value.
An aggregate is a measure: what it adds up, or takes the extreme of, and in which rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sqlglot import exp

from headwater.delta.delta import Int64Array
from headwater.operators.calendar import Calendar, Page, paced
from headwater.operators.layout import Term
from headwater.operators.masks import Kinds, Mask, conditional, flags, is_whole, mask
from headwater.operators.statement import Engine
from headwater.plan.nodes import Merge, Node

# Times beyond are infinite, or so far out that a window's end may not fit.
TIME_MAX = 1 << 61
_TEXTS_MAX = 1 << 16
# When so many of the first so many texts differ, there are too many to look at them all.
SAMPLE_ROWS, _SAMPLE_MAX = 1 << 14, 3 << 12


@dataclass(frozen=True, slots=True)
class Axis:
    """One of the numbers that a cell's index is made of.

    Args:
        low: The least value, where values are whole numbers.
        count: How many there are.
        values: What each number from 0 on stands for; None where they count on from `low`.
        page: For a value that is the same for a while.

    """

    low: int
    count: int
    values: pa.Array | None = None
    page: Page | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the groups.

    Args:
        column: What it reads.
        calendar: What it makes of it, where that is the same for a while.
        is_text: Whether the column is of texts, which are told by their number.

    """

    column: str
    calendar: Calendar | None = None
    is_text: bool = False

    def axis(self, batches: Sequence[pa.RecordBatch], texts: dict[str, pa.Array]) -> Axis | None:
        """The numbers of the key in some rows; None when they are too many."""
        if self.is_text:
            return Axis(0, len(texts[self.column]), texts[self.column])
        low, high = bounds(batches, self.column)
        if self.calendar is None:
            return None if high >= 1 << 63 else Axis(low, high - low + 1)
        page = None if max(-low, high) > TIME_MAX else self.calendar.page(low, high)
        return None if page is None else Axis(0, len(page.values), page.values, page)

    def numbers(self, batch: pa.RecordBatch, axis: Axis) -> Int64Array | None:
        """The number of each row on the axis; None when there is but one."""
        if axis.count == 1:
            return None
        values = numbers(batch, self.column)
        if self.calendar is not None and axis.page is not None:
            return self.calendar.numbers(axis.page, values)
        values = values.astype(np.int64, copy=False)
        return values - axis.low if axis.low else values


@dataclass(frozen=True, slots=True)
class Measure:
    """What an aggregate reads.

    Args:
        term: The aggregate.
        column: The column that it adds up, or takes the extreme of; None where it counts.
        where: In which rows; None for all.
        calendar: What is made of the column, where that is the same for a while.
        flags: For BIT_OR: numbers, each with the condition under which a row has it.
        always: For BIT_OR: the number that each row has.

    """

    term: Term
    column: str | None = None
    where: Mask | None = None
    calendar: Calendar | None = None
    flags: Sequence[tuple[int, Mask]] = field(default=())
    always: int = 0

    @property
    def reads(self) -> set[str]:
        """The columns that must have no null."""
        found = set() if self.column is None else {self.column}
        for test in (self.where, *(test for _, test in self.flags)):
            found |= set() if test is None else test.columns
        return found


def key_of(value: exp.Expr, node: Node, engine: Engine) -> Key | None:
    """How to read a key that is an expression over a node's columns; None where DuckDB must."""
    if isinstance(value, exp.Column):
        kind = node.schema[value.name].type.arrow
        if pa.types.is_integer(kind) or pa.types.is_date32(kind):
            return Key(value.name)
        return Key(value.name, is_text=True) if pa.types.is_string(kind) else None
    found = paced(value, node)
    return None if found is None else Key(found.column, Calendar(found, engine))


def measure_of(  # noqa: PLR0911 - one for each kind
    term: Term, value: exp.Expr | None, node: Node, kinds: Kinds, engine: Engine
) -> Measure | None:
    """How to compute an aggregate of an expression over a node's columns."""
    if value is None:
        return Measure(term)
    if term.merge is Merge.BIT_OR:
        found = flags(value, kinds)
        return None if found is None else Measure(term, flags=found[0], always=found[1])
    where = None
    case = conditional(value)
    if case is not None:
        where, value, rest = mask(case[0], kinds), case[1], value.args.get("default")
        if where is None or not (rest is None or isinstance(rest, exp.Null)):
            return None
    if term.merge is Merge.COUNT and isinstance(value, exp.Literal):
        return Measure(term, None, where)
    if isinstance(value, exp.Column):
        is_read = _is_read(term, kinds.get(value.name))
        return Measure(term, value.name, where) if is_read else None
    pace = paced(value, node) if term.merge in (Merge.MIN, Merge.MAX) else None
    # What a text is that is no text of its own DuckDB says in its own order.
    if pace is None or not (pa.types.is_string(term.arrow) or pa.types.is_date32(term.arrow)):
        return None
    return Measure(term, pace.column, where, Calendar(pace, engine))


def _is_read(term: Term, kind: pa.DataType | None) -> bool:
    if kind is None:
        return False
    if term.merge is Merge.COUNT:
        return True
    if term.merge is Merge.SUM:
        is_exact = pa.types.is_decimal128(term.arrow) and term.arrow.scale == 0
        return bool(is_exact and pa.types.is_integer(kind))
    is_time = pa.types.is_date32(kind) or (pa.types.is_timestamp(kind) and kind.unit == "us")
    return term.merge in (Merge.MIN, Merge.MAX) and (is_whole(kind) or is_time)


def with_numbers(
    batches: list[pa.RecordBatch], names: Sequence[str]
) -> tuple[list[pa.RecordBatch], dict[str, pa.Array]] | None:
    """Rows with texts as numbers, and the texts that these stand for; None when these are many."""
    texts: dict[str, pa.Array] = {}
    for name in names:
        column = pa.chunked_array([batch.column(name) for batch in batches])
        if len(column.slice(0, SAMPLE_ROWS).unique()) > _SAMPLE_MAX:
            return None
        coded = column.dictionary_encode()
        texts[name] = coded.chunk(coded.num_chunks - 1).dictionary
        if len(texts[name]) > _TEXTS_MAX:
            return None
        at = batches[0].schema.get_field_index(name)
        chunks = [chunk.indices for chunk in coded.chunks]
        batches = [
            batch.set_column(at, pa.field(name, pa.int32()), numbers_)
            for batch, numbers_ in zip(batches, chunks, strict=True)
        ]
    return batches, texts


def numbers(batch: pa.RecordBatch, name: str) -> Any:
    """A column without nulls as the integers that it is inside; not copied."""
    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.view(pa.int64())
    elif pa.types.is_date32(column.type):
        column = column.view(pa.int32())
    return np.asarray(column.to_numpy())


def one_array(parts: Sequence[pa.Array]) -> pa.Array:
    """A column's pieces as one."""
    return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)


def bounds(batches: Sequence[pa.RecordBatch], name: str) -> tuple[int, int]:
    """The least and the greatest number of a column without nulls."""
    found = [pc.min_max(_viewed(batch.column(name))).as_py() for batch in batches]
    return min(part["min"] for part in found), max(part["max"] for part in found)


def of_numbers(found: Int64Array, kind: pa.DataType) -> pa.Array:
    """Integers as values of a type."""
    if pa.types.is_date32(kind):
        return pa.array(found.astype(np.int32)).view(kind)
    if pa.types.is_timestamp(kind):
        return pa.array(found).view(kind)
    return pa.array(found.astype(kind.to_pandas_dtype()))


def _viewed(column: pa.Array) -> pa.Array:
    if pa.types.is_date32(column.type):
        return column.view(pa.int32())
    return column.view(pa.int64()) if pa.types.is_timestamp(column.type) else column

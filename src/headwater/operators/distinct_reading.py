"""Read the values of an epoch that are to be counted once, with their groups and conditions.

In a few steps of numpy where the keys are texts, whole numbers or days (`counted`) and nothing is
null, else in a DuckDB statement.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import HASH, Int64Array, UInt64Array
from headwater.operators import render
from headwater.operators.counted import Axis, Key, key_of, numbers, of_numbers, with_numbers
from headwater.operators.distinct_values import Values
from headwater.operators.feed import KeyHash
from headwater.operators.inlined import inlined
from headwater.operators.isolate import run_isolating
from headwater.operators.masks import Mask, conditional, flags, mask
from headwater.operators.statement import Engine, Rows, Statement, plain
from headwater.plan.nodes import Aggregate
from headwater.state.equality import first_alike, taken
from headwater.state.flagged import Int32Array
from headwater.state.run import ascending

_VALUE, _FLAGS = "__value", "__flags"
_ROWS_MIN = 1 << 14
# So many possible groups for each row are no loss yet.
_CELLS_MAX_SHARE = 4


@dataclass(frozen=True, slots=True)
class Seen:
    """Values that came, each with its group.

    Args:
        groups: The keys of the groups, also of those without a value.
        hashes: Their hashes.
        group: For each value the place of its group.
        values: The values as numbers.
        flags: Which conditions held.

    """

    groups: pa.RecordBatch
    hashes: UInt64Array
    group: Int64Array
    values: Int64Array
    flags: Int32Array


class Asked:
    """Reads values with DuckDB: any rows."""

    def __init__(
        self, node: Aggregate, values: Values, input_schema: pa.Schema, engine: Engine
    ) -> None:
        self._keys = [*node.keys]
        value = render.named(render.column(values.value), _VALUE)
        held = render.cast(exp.Literal.number(1), "INTEGER")
        if values.flags is not None:
            held = render.cast(render.column(values.flags), "INTEGER")
        columns: list[exp.Expression] = [render.column(key) for key in self._keys]
        columns += [value, render.named(held, _FLAGS), render.key_hash(self._keys)]
        query = render.select(columns, render.stretch(values.rows, []), None)
        inputs = {render.INPUT: input_schema}
        self._statement = Statement(engine, query, inputs, is_ordered=False)

    def seen(self, rows: Rows, failed: list[pa.RecordBatch]) -> Seen:
        """The values of an epoch."""
        found, _ = run_isolating(self._statement, rows, failed)
        hashes: UInt64Array = found.column(HASH).to_numpy()
        groups, hashes, group = self._grouped(found.select(self._keys), hashes)
        column = found.column(_VALUE)
        known = np.flatnonzero(np.asarray(column.is_valid()))
        values = _as_numbers(taken(column, known))
        held = np.asarray(taken(found.column(_FLAGS), known), dtype=np.int32)
        return Seen(groups, hashes, group.take(known), values, held)

    def _grouped(
        self, keys: pa.RecordBatch, hashes: UInt64Array
    ) -> tuple[pa.RecordBatch, UInt64Array, Int64Array]:
        """The different keys with their hashes, and for each row which is its own."""
        if not self._keys:
            # As in SQL there is one group, also without rows.
            return keys, np.zeros(1, dtype=np.uint64), np.zeros(len(hashes), dtype=np.int64)
        order = ascending(hashes, None)
        ordered = hashes.take(order)
        first = first_alike(ordered, [taken(column, order) for column in keys.columns])
        if first is None:
            first = np.arange(len(order))
        heads = np.flatnonzero(first == np.arange(len(order)))
        group = np.empty(len(order), dtype=np.int64)
        group[order] = np.searchsorted(heads, first)
        columns = [taken(column, order.take(heads)) for column in keys.columns]
        return pa.RecordBatch.from_arrays(columns, names=self._keys), ordered.take(heads), group


def _as_numbers(column: pa.Array) -> Int64Array:
    """Values without a null as integers."""
    rows = pa.RecordBatch.from_arrays([column], ["x"])
    return np.asarray(numbers(rows, "x"), dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads values in numpy: rows without nulls, of few possible groups.

    Args:
        keys: How each key is read.
        value: The column of the values.
        where: Which rows are in; those that meet all.
        flags: Bits, each with its condition.
        always: The bits that all rows have.
        hash: Hashes the keys of groups.
        kinds: The types of the keys.

    """

    keys: tuple[Key, ...]
    value: str
    where: tuple[Mask, ...]
    flags: tuple[tuple[int, Mask], ...]
    always: int
    hash: KeyHash
    kinds: pa.Schema

    @property
    def reads(self) -> list[str]:
        """The columns that must have no null."""
        found = {key.column for key in self.keys} | {self.value}
        for test in (*self.where, *(test for _, test in self.flags)):
            found |= test.columns
        return sorted(found)

    def seen(self, rows: Rows) -> Seen | None:
        """The values of an epoch; None where these rows do not suit."""
        if rows.num_rows < _ROWS_MIN:
            return None
        some = rows.select(self.reads)
        batches = some.to_batches() if isinstance(some, pa.Table) else [some]
        batches = [batch for batch in batches if batch.num_rows]
        if any(column.null_count for batch in batches for column in batch.columns):
            return None
        coded = with_numbers(batches, sorted({key.column for key in self.keys if key.is_text}))
        if coded is None:
            return None
        batches, texts = coded
        axes = [key.axis(batches, texts) for key in self.keys]
        known = [axis for axis in axes if axis is not None]
        cells = prod(axis.count for axis in known)
        if len(known) < len(axes) or cells > _CELLS_MAX_SHARE * rows.num_rows:
            return None
        parts = [self._part(batch, known) for batch in batches]
        codes, values = (np.concatenate([part[at] for part in parts]) for at in (0, 1))
        held = np.concatenate([part[2] for part in parts])
        is_there = np.zeros(cells, dtype=np.bool_)
        is_there[codes] = True
        present = np.flatnonzero(is_there)
        place = np.zeros(cells, dtype=np.int64)
        place[present] = np.arange(len(present))
        groups = self._groups(present, known)
        hashes = np.asarray(self.hash.of(groups).to_numpy())
        return Seen(groups, hashes, place.take(codes), values, held)

    def _part(
        self, batch: pa.RecordBatch, axes: list[Axis]
    ) -> tuple[Int64Array, Int64Array, Int32Array]:
        """The groups, the values and the flags of the rows of a batch that are in."""
        codes = np.zeros(batch.num_rows, dtype=np.int64)
        for key, axis in zip(self.keys, axes, strict=True):
            found = key.numbers(batch, axis)
            codes = codes if found is None else codes * axis.count + found
        values = np.asarray(numbers(batch, self.value), dtype=np.int64)
        held = np.full(batch.num_rows, self.always, dtype=np.int32)
        for bit, test in self.flags:
            held |= np.multiply(test.of(batch), np.int32(bit), dtype=np.int32)
        is_in = np.ones(batch.num_rows, dtype=np.bool_)
        for test in self.where:
            is_in &= test.of(batch)
        return (codes, values, held) if is_in.all() else (codes[is_in], values[is_in], held[is_in])

    def _groups(self, present: Int64Array, axes: list[Axis]) -> pa.RecordBatch:
        """The keys of some groups."""
        columns, rest = [], present
        for axis, field in zip(reversed(axes), reversed(list(self.kinds)), strict=True):
            rest, nth = np.divmod(rest, axis.count)
            columns.append(
                of_numbers(nth + axis.low, field.type)
                if axis.values is None
                else axis.values.take(pa.array(nth)).cast(field.type)
            )
        return pa.RecordBatch.from_arrays(columns[::-1], schema=self.kinds)


def reader(node: Aggregate, values: Values, engine: Engine) -> Reader | None:
    """How to read values in numpy, if what the stretch computes can be."""
    below = inlined(values.rows)
    if below is None or not node.keys:
        return None
    origin = render.bottom(values.rows)
    kinds = {column.name: column.type.arrow for column in origin.schema}
    keys = [key_of(below.columns[name], origin, engine) for name in node.keys]
    value, conditions = below.columns[values.value], list(below.conditions)
    case = conditional(value)
    if case is not None:
        # In is what has a value; so the plan must say, or others would be values of null.
        known = exp.Not(this=exp.Is(this=value, expression=exp.null()))
        if known not in conditions or value.args.get("default") is not None:
            return None
        conditions = [case[0], *(c for c in conditions if c != known)]
        value = case[1]
    where = [mask(condition, kinds) for condition in conditions]
    held: Any = ([], 1)
    if values.flags is not None:
        held = flags(below.columns[values.flags], kinds)
    is_read = isinstance(value, exp.Column) and held is not None
    if not is_read or None in keys or None in where:
        return None
    schema = node.schema.select(node.keys)
    return Reader(
        tuple(key for key in keys if key is not None),
        value.name,
        tuple(test for test in where if test is not None),
        tuple(held[0]),
        held[1],
        KeyHash(list(node.keys), schema, engine),
        plain(schema),
    )

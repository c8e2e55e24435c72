"""Rows that meet a condition over whole numbers, found in numpy.

`SELECT auction, price FROM bid WHERE auction % 123 = 0` computes nothing that comes out. DuckDB
would be given every row to find the few that stay; a comparison of arrays reads the columns of the
condition alone, in blocks that stay in the processor's cache, in a tenth of the work. Where all
rows of a batch stay they are passed on as they lie.

A condition is tested so only if it means the same in both (`masks`). Where a value that it reads is
null, the rows are DuckDB's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from sqlglot import exp

from headwater.delta.delta import Int64Array
from headwater.operators import render
from headwater.operators.masks import Mask, mask
from headwater.operators.statement import Rows
from headwater.plan.nodes import Map, Node
from headwater.state.afar import Unread
from headwater.state.gather import taken

# Small enough for the processor's cache; large enough that a thread which opens files meanwhile is
# not asked for the interpreter's lock all the time.
_BLOCK_ROWS = 1 << 18


class Sieve:
    """A stretch that chooses rows by a condition, and columns.

    Args:
        test: The condition, over the input's columns.
        chosen: For each column that comes out, the input's column that it is.
        schema: The columns that come out.

    """

    def __init__(self, test: Mask, chosen: Mapping[str, str], schema: pa.Schema) -> None:
        self.schema = schema
        self._test = test
        self._read = sorted(test.columns)
        self._chosen = list(chosen.values())

    def run(self, rows: Rows) -> pa.Table | None:
        """The stretch's rows, in pieces as the input is; None where the condition meets a null."""
        if any(rows.column(name).null_count for name in self._read):
            return None
        if isinstance(rows, Unread):
            return self._kept_afar(rows)
        batches = [rows] if isinstance(rows, pa.RecordBatch) else rows.to_batches()
        parts = [self._kept(batch) for batch in batches]
        return pa.Table.from_batches([part for part in parts if part.num_rows], self.schema)

    def _kept_afar(self, rows: Unread) -> pa.Table:
        """The same of rows that nobody has gathered yet: only those that meet the condition are."""
        read = rows.select(self._read).table().to_batches()
        starts = np.cumsum([0, *(batch.num_rows for batch in read)]).tolist()
        places = [self._places(b) + start for b, start in zip(read, starts, strict=False)]
        names = dict(zip(self.schema.names, self._chosen, strict=True))
        return rows.chosen(names, self.schema, {}).taken(np.concatenate(places))

    def _kept(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        places = self._places(rows.select(self._read))
        chosen = pa.RecordBatch.from_arrays(
            [rows.column(name) for name in self._chosen], schema=self.schema
        )
        return chosen if len(places) == rows.num_rows else taken(chosen, places)

    def _places(self, read: pa.RecordBatch) -> Int64Array:
        """The places of the rows that meet the condition."""
        found = [np.empty(0, dtype=np.int64)]
        for start in range(0, read.num_rows, _BLOCK_ROWS):
            block = read.slice(start, _BLOCK_ROWS)
            met = np.broadcast_to(self._test.of(block), block.num_rows)
            found.append(np.flatnonzero(met) + start)
        return np.concatenate(found)


def sieve(node: Node, origin: pa.Schema, hidden: Sequence[str], schema: pa.Schema) -> Sieve | None:
    """How to compute a stretch so; None where DuckDB has to.

    Args:
        origin: The columns of the stage below it.
        hidden: The hidden columns that pass through.
        schema: What comes out when DuckDB computes it; it may have more columns.

    """
    sifted = _sifted(node)
    if sifted is None or not sifted[1]:
        return None
    chosen, conditions = sifted
    types = render.bottom(node).schema
    whole = {c.name for c in types if not render.is_lost_in_arrow(c.type.sql)}
    test = mask(exp.and_(*conditions), {name: origin.field(name).type for name in whole})
    if test is None or not test.columns:
        return None
    if not whole.issuperset(chosen.values()):
        return None
    chosen |= {name: name for name in hidden}
    fields = [schema.field(name) for name in chosen]
    sources = [origin.field(name).type for name in chosen.values()]
    if [field.type for field in fields] != sources:
        return None
    return Sieve(test, chosen, pa.schema(fields))


def _sifted(node: Node) -> tuple[dict[str, str], list[exp.Expr]] | None:
    """Which of its input's columns a stretch passes on, and its conditions over these."""
    if not render.is_linear(node):
        return {name: name for name in node.schema.names}, []
    below = _sifted(node.input) if isinstance(node, Map) else None
    if below is None:
        return None
    assert isinstance(node, Map)
    columns, conditions = below
    if node.condition is not None:
        conditions = [*conditions, _renamed(node.condition, columns)]
    chosen = {}
    for name, value in node.projections:
        if not isinstance(value, exp.Column) or value.table or value.name not in columns:
            return None
        chosen[name] = columns[value.name]
    return chosen, conditions


def _renamed(condition: exp.Expr, columns: Mapping[str, str]) -> exp.Expr:
    return condition.transform(
        lambda part: (
            render.column(columns[part.name])
            if isinstance(part, exp.Column) and part.name in columns
            else part
        )
    )

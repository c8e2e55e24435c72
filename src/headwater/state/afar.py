"""Rows that lie elsewhere, and are gathered column by column when somebody reads them.

What finds rows (a join its pairs, say) knows them by their places in the batches where they lie.
Whoever reads on often wants a few of the columns to choose by, and all of them of a few rows: so
the places are handed on, and a value that nobody reads is never copied. What lies there must not
change; a column that was gathered once is kept for as long as the rows are.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Int64Array
from headwater.state.gather import taken


@dataclass(frozen=True, slots=True, eq=False)
class Afar:
    """Rows at some places.

    Args:
        batches: Where they lie; some, of one schema.
        places: The place of each among the rows of all the batches, one batch after the other;
            None: these are all of the rows, in order.

    """

    batches: Sequence[pa.RecordBatch]
    places: Int64Array | None
    _read: dict[str, pa.Array] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        if self.places is None:
            return sum(batch.num_rows for batch in self.batches)
        return len(self.places)

    def columns(self, names: Sequence[str]) -> list[pa.Array]:
        """Some of the columns."""
        unread = [name for name in dict.fromkeys(names) if name not in self._read]
        if unread:
            self._read.update(zip(unread, self._gathered(unread), strict=True))
        return [self._read[name] for name in names]

    def at(self, places: Int64Array) -> Afar:
        """Some of the rows."""
        return Afar(self.batches, places if self.places is None else self.places.take(places))

    def _gathered(self, names: list[str]) -> list[pa.Array]:
        batches = [batch.select(names) for batch in self.batches]
        if self.places is None:
            whole = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        elif len(batches) == 1:
            whole = taken(batches[0], self.places)
        else:
            whole = _of_several(batches, self.places)
        columns: list[pa.Array] = whole.columns
        return columns


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Rows put together from columns of several rows that lie elsewhere.

    Args:
        rows: How many there are.
        afar: For each column of this kind where it lies, and its name there.
        near: The other columns.

    """

    rows: int
    afar: Mapping[str, tuple[Afar, str]]
    near: Mapping[str, pa.Array]

    def columns(self, names: Sequence[str]) -> list[pa.Array]:
        """Some of the columns."""
        found = dict(self.near)
        asked = [(name, *self.afar[name]) for name in dict.fromkeys(names) if name in self.afar]
        for rows in {id(afar): afar for _, afar, _ in asked}.values():
            mine = [(name, there) for name, afar, there in asked if afar is rows]
            columns = rows.columns([there for _, there in mine])
            found |= {name: column for (name, _), column in zip(mine, columns, strict=True)}
        return [found[name] for name in names]

    def batch(self, names: Sequence[str]) -> pa.RecordBatch:
        """The same as a batch; there must be some."""
        return pa.RecordBatch.from_arrays(self.columns(names), names=list(names))

    def origin(self, names: Sequence[str]) -> tuple[Afar, list[str]] | None:
        """Where some columns lie, and their names there, if that is one place."""
        if not names or any(name not in self.afar for name in names):
            return None
        found = [self.afar[name] for name in names]
        rows = found[0][0]
        return (rows, [there for _, there in found]) if all(r is rows for r, _ in found) else None

    def at(self, places: Int64Array) -> Stretch:
        """Some of the rows."""
        known = {id(afar): afar for afar, _ in self.afar.values()}
        some = {key: afar.at(places) for key, afar in known.items()}
        afar = {name: (some[id(rows)], there) for name, (rows, there) in self.afar.items()}
        near = {name: column.take(pa.array(places)) for name, column in self.near.items()}
        return Stretch(len(places), afar, near)


@dataclass(frozen=True, slots=True, eq=False)
class Unread:
    """Rows as a table has them, in stretches, of which no column is gathered before it is read.

    It answers what a table is asked where rows are passed on; `whole` makes a table of it.
    """

    schema: pa.Schema
    stretches: Sequence[Stretch]

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return sum(stretch.rows for stretch in self.stretches)

    def column(self, which: str | int) -> pa.ChunkedArray:
        """One column, gathered."""
        name = self.schema.field(which).name
        chunks = [stretch.columns([name])[0] for stretch in self.stretches]
        return pa.chunked_array(chunks, self.schema.field(name).type)

    def select(self, names: Sequence[str]) -> Unread:
        """Some of the columns."""
        return Unread(pa.schema([self.schema.field(name) for name in names]), self.stretches)

    def chosen(
        self, columns: Mapping[str, str], schema: pa.Schema, near: Mapping[str, pa.Array]
    ) -> Unread:
        """Columns under other names, and new ones.

        Args:
            columns: For each name which column it is.
            schema: All columns.
            near: The new ones, over all rows.

        """
        stretches, first = [], 0
        for part in self.stretches:
            afar = {n: part.afar[old] for n, old in columns.items() if old in part.afar}
            own = {n: part.near[old] for n, old in columns.items() if old in part.near}
            own |= {name: column.slice(first, part.rows) for name, column in near.items()}
            stretches.append(Stretch(part.rows, afar, own))
            first += part.rows
        return Unread(schema, stretches)

    def taken(self, places: Int64Array) -> pa.Table:
        """The rows at some places, which ascend, as a table of as many batches."""
        starts = np.cumsum([0, *(stretch.rows for stretch in self.stretches)])
        cuts = np.searchsorted(places, starts).tolist()
        some = [
            stretch.at(places[low:high] - start)
            for stretch, start, (low, high) in zip(
                self.stretches, starts.tolist(), itertools.pairwise(cuts), strict=False
            )
            if high > low
        ]
        return Unread(self.schema, some).table()

    def table(self) -> pa.Table:
        """All rows, gathered."""
        names = self.schema.names
        return pa.Table.from_batches(
            [
                pa.RecordBatch.from_arrays(stretch.columns(names), schema=self.schema)
                for stretch in self.stretches
            ],
            self.schema,
        )


def whole(rows: pa.RecordBatch | pa.Table | Unread) -> pa.RecordBatch | pa.Table:
    """Rows, gathered if they were not yet."""
    return rows.table() if isinstance(rows, Unread) else rows


def _of_several(batches: Sequence[pa.RecordBatch], places: Int64Array) -> pa.RecordBatch:
    """The rows at places in several batches: each looked into once, and put in order then."""
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    which = np.searchsorted(starts, places, side="right") - 1
    order = np.argsort(which, kind="stable")
    cuts = np.searchsorted(which.take(order), np.arange(len(batches) + 1)).tolist()
    by_batch = places.take(order)
    parts = [
        taken(batch, by_batch[low:high] - start)
        for batch, start, (low, high) in zip(
            batches, starts.tolist(), itertools.pairwise(cuts), strict=False
        )
    ]
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return taken(pa.concat_batches(parts), back)

"""The first rows of each partition of rows that are only added, told by numbers.

Remembered is for each row that has a place what orders it and where the whole row lies
(`state.piled`). The new rows of an epoch are placed among themselves first; those that have a
chance meet the remembered ones of their partitions, numbers against numbers, and only what is
published, or remembered from now on, is gathered as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import Delta, Int64Array, UInt64Array
from headwater.operators.placing import Placed, Placing
from headwater.operators.runs import joined
from headwater.operators.statement import Rows, one_batch
from headwater.plan.nodes import TopN
from headwater.state.gather import taken_apart
from headwater.state.piled import Found, Piled

_NOTHING = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Arrived:
    """The rows of an epoch.

    Args:
        rows: As they lie, perhaps in several batches.
        narrow: Their columns by which they are placed, as one batch.
        hashes: Of their partitions.

    """

    rows: Rows
    narrow: pa.RecordBatch
    hashes: UInt64Array


@dataclass(frozen=True, slots=True)
class Held:
    """Rows of the partitions that an epoch touched, of which no two are tied.

    They are numbered: those that were known, then the new ones.

    Args:
        found: Those that were known.
        arrived: Which rows of the epoch the new ones are.
        hashes: Of the partitions of all of them.
        before: The places of those that were known, before the epoch.
        after: The places of all after it; -1 where a row has none.

    """

    found: Found
    arrived: Int64Array
    hashes: UInt64Array
    before: Int64Array
    after: Int64Array

    def moves(self, offset: int, *, has_number: bool = False) -> tuple[Int64Array, Int64Array]:
        """Which rows go and which come.

        Args:
            offset: Rows at places before it do not count.
            has_number: Whether one whose place changed does both.

        """
        before = np.full(len(self.after), -1, dtype=np.int64)
        before[: len(self.found)] = self.before
        was, is_now = before >= offset, self.after >= offset
        changed = before != self.after if has_number else was != is_now
        return np.flatnonzero(changed & was), np.flatnonzero(changed & is_now)


class Winners:
    """Keeps the first rows of each partition.

    Args:
        known: The rows that are remembered, with the columns that order them beside.
        schema: The columns that are published, hidden ones too.

    """

    def __init__(self, node: TopN, known: Piled, schema: pa.Schema) -> None:
        self._node, self._known, self._schema = node, known, schema
        self._placing = Placing(node.partition, node.order)
        self._stop = node.offset + node.limit

    def arrived(self, change: Delta) -> Arrived:
        """The new rows, looked at."""
        narrow = one_batch(change.rows.select(self._known.narrow.names))
        return Arrived(change.rows, narrow, change.hashes)

    def placed(self, new: Arrived) -> Placed | None:
        """The new rows that have a chance; None where numbers do not order them."""
        return self._placing.placed(new.narrow, new.hashes, self._stop)

    def met(self, new: Arrived, placed: Placed) -> Held | None:
        """The remembered rows of the touched partitions and the new ones; None if any are tied."""
        arrived, mine = placed.gathered(len(new.hashes))
        places = _by_row(mine, len(arrived))
        found, met = self._found(new, placed.firsts)
        if (found.weights != 1).any():
            return None
        if not len(found):
            return Held(found, arrived, new.hashes[arrived], _NOTHING, places)
        hashes = new.hashes[placed.firsts[met]]
        before = self._before(found, hashes)
        own = np.sort(mine.of_partitions(met))
        rows = joined([found.rows, new.narrow.take(pa.array(arrived[own]))], self._known.narrow)
        both = np.concatenate([hashes, new.hashes[arrived[own]]])
        after = self._placing.placed(rows, both, self._stop)
        if before is None or after is None or after.has_ties:
            return None
        # Who met nobody keeps the place that it has among the new ones.
        places = np.concatenate([np.full(len(found), -1), places])
        at = np.concatenate([np.arange(len(found)), len(found) + own])
        places[at] = _by_row(after, len(at))
        return Held(found, arrived, np.concatenate([hashes, new.hashes[arrived]]), before, places)

    def _found(self, new: Arrived, firsts: Int64Array) -> tuple[Found, Int64Array]:
        """The remembered rows of some partitions, and the number of the partition of each."""
        hashes = new.hashes[firsts]
        near = self._known.near(hashes)
        keys = new.narrow.select(list(self._node.partition)).take(pa.array(firsts[near]))
        found = self._known.find(keys, hashes[near])
        return found, near[found.probes]

    def changed(self, new: Arrived, held: Held) -> Delta:
        """Remember what is held from now on; return what is published of the difference."""
        has_number = self._node.number is not None
        withdrawn, added = held.moves(self._node.offset, has_number=has_number)
        is_new = added >= len(held.found)
        places = held.found.places
        # Before they are withdrawn, as what is withdrawn may be forgotten at once.
        parts = [self._known.take(places[withdrawn]), self._known.take(places[added[~is_new]])]
        fresh, come = self._remembered(new, held)
        parts += _chosen(fresh, come, added[is_new]).to_batches()
        # As they lie: wide rows are not copied into one piece.
        filled = [part for part in parts if part.num_rows]
        columns = list(pa.Table.from_batches(filled, self._known.schema).columns)
        if has_number:
            numbers = np.concatenate([held.before[withdrawn], held.after[added]]) + 1
            columns.append(pa.array(numbers))
        weights = np.repeat(np.array([-1, 1], dtype=np.int64), [len(withdrawn), len(added)])
        hashes = held.hashes[np.concatenate([withdrawn, added])]
        columns += [pa.array(weights), pa.array(hashes)]
        return Delta(pa.Table.from_arrays(columns, schema=self._schema))

    def _before(self, found: Found, hashes: UInt64Array) -> Int64Array | None:
        """The places that the found rows had, as far as anybody wants them; None if some tie."""
        if not self._node.offset and self._node.number is None:
            return np.zeros(len(found), dtype=np.int64)
        placed = self._placing.placed(found.rows, hashes, self._stop)
        if placed is None or placed.has_ties:
            return None
        return _by_row(placed, len(found))

    def _remembered(self, new: Arrived, held: Held) -> tuple[pa.Table, Int64Array]:
        """Remember who has a place from now on: whole rows, and their numbers."""
        known, found = self._known, held.found
        gone, come = held.moves(0)
        names = known.schema.names
        fresh = taken_apart(new.rows.select(names), held.arrived[come - len(found)])
        if len(gone):
            rows = found.rows.take(pa.array(gone))
            known.withdraw(rows, found.places[gone], held.hashes[gone])
        known.insert_rows(fresh, held.hashes[come], None)
        return fresh, come


def _by_row(placed: Placed, rows: int) -> Int64Array:
    """The place of each row; -1 where it has none."""
    places = np.full(rows, -1, dtype=np.int64)
    places[placed.rows] = placed.places
    return places


def _chosen(rows: pa.Table, numbers: Int64Array, chosen: Int64Array) -> pa.Table:
    """Of rows with ascending numbers those with the chosen ones."""
    if len(chosen) == len(numbers):
        return rows
    return taken_apart(rows, np.searchsorted(numbers, chosen))

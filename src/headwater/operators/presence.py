"""Whether a key has a match: a count for each key, and the keys whose count left or reached zero.

An epoch costs the rows that it counts, and the other side's rows of the keys whose count left or
reached zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.delta.delta import Int64Array, UInt64Array
from headwater.operators.operator import Loader, Saver
from headwater.operators.sides import Part, Side
from headwater.state.equality import first_alike
from headwater.state.latest import Latest
from headwater.state.multiset import Multiset
from headwater.state.run import sorted_run, summed

COUNT = "__count"


@dataclass(frozen=True, slots=True)
class Flips:
    """Keys whose count left zero (1) or reached it (-1).

    Args:
        places: A row that was counted for each such key.
        signs: 1 or -1.
        ticks: The last place in the log of what was counted, or None where nobody needs it.

    """

    places: Int64Array
    signs: Int64Array
    ticks: Int64Array | None


def counted(
    counts: Latest,
    keys: pa.RecordBatch,
    hashes: UInt64Array,
    weights: Int64Array | None,
    ticks: Int64Array | None,
) -> Flips:
    """Add rows to the counts of their keys.

    Args:
        counts: A row for each key that has rows: the key's columns, and `COUNT`.
        keys: The key of each row, its columns in the order of those of `counts`.
        hashes: Their hashes.
        weights: How often each row counts; None stands for once.
        ticks: The rows' places in the log.

    """
    run, order = sorted_run(hashes, keys, weights)
    first = first_alike(run.hashes, run.rows.columns)
    if first is None:
        first = np.arange(len(run))
    places = np.flatnonzero(first == np.arange(len(run)))
    rows, found_hashes = run.rows.take(pa.array(places)), run.hashes.take(places)
    found = counts.find(rows, found_hashes)
    old = pc.fill_null(found.rows.column(COUNT), 0).to_numpy(zero_copy_only=False)
    new = old + summed(run.ones(), first).take(places)
    moved = np.flatnonzero(new != old)
    columns = [*rows.take(pa.array(moved)).columns, pa.array(new.take(moved))]
    batch = pa.RecordBatch.from_arrays(columns, schema=counts.schema)
    counts.put(batch, found_hashes.take(moved), removed=new.take(moved) == 0)
    signs = (new != 0).astype(np.int64) - (old != 0)
    flipped = np.flatnonzero(signs)
    latest = None
    if ticks is not None:
        latest = np.full(len(run), np.iinfo(np.int64).min)
        np.maximum.at(latest, first, ticks.take(order))
        latest = latest.take(places.take(flipped))
    return Flips(order.take(places.take(flipped)), signs[flipped], latest)


class Presence:
    """The rows of one side of a join whose key the other side has, or has not.

    Args:
        rows: The side's rows, as its join remembers them.
        other: The other side's columns.
        keys: Of them the key columns.
        wants: Whether rows come out whose key is there, or those whose key is not.

    """

    def __init__(
        self, rows: Multiset, other: pa.Schema, keys: Sequence[str], *, wants: bool
    ) -> None:
        self._rows, self._wants = rows, wants
        fields = [pa.field(name, other.field(name).type) for name in keys]
        self._counts = Latest(pa.schema([*fields, pa.field(COUNT, pa.int64())]), keys)

    def step(self, mine: Side, other: Side) -> list[Part]:
        """The rows that came or went. The side does not have the epoch's rows yet."""
        parts = []
        if len(other):
            parts.append(self._said_again(other))
        if len(mine):
            is_there = self._counts.find(mine.keys, self._hashes(mine)).mask
            chosen = mine.where(is_there == self._wants)
            parts.append(Part(chosen.rows.columns, chosen.weights, chosen.ticks))
        return parts

    def save(self, saver: Saver) -> Any:
        """Hand over the counts."""
        return self._counts.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back the counts."""
        self._counts.load(manifest, loader)

    def size(self) -> tuple[int, int]:
        """Rows and bytes of the counts."""
        return self._counts.size()

    def _said_again(self, other: Side) -> Part:
        """Count the other side's rows; the remembered rows of the keys that came or went."""
        hashes = self._hashes(other)
        flips = counted(self._counts, other.keys, hashes, other.weights, other.ticks)
        keys = other.keys.take(pa.array(flips.places))
        matches = self._rows.probe(keys, hashes[flips.places])
        signs = flips.signs if self._wants else -flips.signs
        ticks = None if flips.ticks is None else flips.ticks.take(matches.probes)
        return Part(matches.rows.columns, signs.take(matches.probes) * matches.weights, ticks)

    def _hashes(self, side: Side) -> UInt64Array:
        """The hashes of the keys: without keys all rows are alike, whatever else was hashed."""
        return side.hashes if self._rows.keys else np.zeros_like(side.hashes)

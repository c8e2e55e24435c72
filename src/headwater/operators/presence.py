"""Whether a key has a match: the rows that come and go when a key's count leaves or reaches zero.

An epoch costs the rows that it counts, and the other side's rows of the keys whose count left or
reached zero.

Where places in the log matter, a key may come and go within an epoch, and a row of the epoch finds
it as it stood at the row's own place: so what comes out does not depend on where the epoch was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from headwater.delta.delta import UInt64Array
from headwater.operators.counts import Counts, Flips
from headwater.operators.sides import Part, Side
from headwater.state.equality import BoolArray
from headwater.state.keyed import Keyed
from headwater.state.matching import matching
from headwater.state.multiset import Multiset
from headwater.state.run import sorted_run


@dataclass(frozen=True, slots=True)
class Told:
    """What came and went in an epoch, with its key."""

    keys: pa.RecordBatch
    hashes: UInt64Array
    flips: Flips


def of_new_rows(  # noqa: PLR0913 - the rows, with what is known of each
    side: Side,
    keys: pa.RecordBatch,
    hashes: UInt64Array,
    is_there: BoolArray,
    told: Told | None,
    *,
    wants: bool,
) -> list[Part]:
    """The epoch's own rows that come out, and those that go again within it.

    Args:
        side: The rows.
        keys: Their keys.
        hashes: The hashes of these.
        is_there: Whether each key is there at the end of the epoch.
        told: What came and went.
        wants: Whether rows come out whose key is there, or those whose key is not.

    """
    if told is None or told.flips.ticks is None or side.ticks is None or not len(told.hashes):
        chosen = side.where(is_there == wants)
        return [Part(chosen.rows.columns, chosen.weights, chosen.ticks)]
    run, order = sorted_run(told.hashes, told.keys, None)
    probes, places = matching(run, keys, hashes, told.keys.schema.names)
    flips = order.take(places)
    is_later = told.flips.ticks.take(flips) > side.ticks.take(probes)
    probes, flips = probes[is_later], flips[is_later]
    signs = told.flips.signs.take(flips)
    # Sums of float64 are exact here: no key comes and goes near 2**53 times.
    later = np.bincount(probes, weights=signs, minlength=len(side)).astype(np.int64)
    chosen = side.where(np.asarray(is_there).astype(np.int64) - later == int(wants))
    weights = (signs if wants else -signs) * (1 if side.weights is None else side.weights[probes])
    columns = side.rows.take(pa.array(probes)).columns
    again = Part(columns, weights, told.flips.ticks.take(flips))
    return [Part(chosen.rows.columns, chosen.weights, chosen.ticks), again]


class Presence:
    """The rows of one side of a join whose key the other side has, or has not.

    Args:
        rows: The side's rows, as its join remembers them.
        other: The other side's columns.
        keys: Of them the key columns.
        wants: Whether rows come out whose key is there, or those whose key is not.

    """

    def __init__(
        self, rows: Multiset | Keyed, other: pa.Schema, keys: Sequence[str], *, wants: bool
    ) -> None:
        self._rows, self._wants = rows, wants
        fields = [pa.field(name, other.field(name).type) for name in keys]
        self.counts = Counts(fields)

    def step(self, mine: Side, other: Side) -> list[Part]:
        """The rows that came or went. The side does not have the epoch's rows yet."""
        parts, told = [], None
        if len(other):
            told = self._count(other)
            parts.append(self._said_again(told))
        if len(mine):
            hashes = self._hashes(mine)
            is_there = self.counts.are_there(mine.keys, hashes)
            parts += of_new_rows(mine, mine.keys, hashes, is_there, told, wants=self._wants)
        return parts

    def _count(self, other: Side) -> Told:
        """Count the other side's rows; what came or went."""
        hashes = self._hashes(other)
        flips = self.counts.add(other.keys, hashes, other.weights, other.ticks, in_order=True)
        return Told(other.keys.take(pa.array(flips.places)), hashes[flips.places], flips)

    def _said_again(self, told: Told) -> Part:
        """The remembered rows of the keys that came or went."""
        flips = told.flips
        matches = self._rows.probe(told.keys, told.hashes)
        signs = flips.signs if self._wants else -flips.signs
        ticks = None if flips.ticks is None else flips.ticks.take(matches.probes)
        return Part(matches.rows.columns, signs.take(matches.probes) * matches.weights, ticks)

    def _hashes(self, side: Side) -> UInt64Array:
        """The hashes of the keys: without keys all rows are alike, whatever else was hashed."""
        return side.hashes if self._rows.keys else np.zeros_like(side.hashes)

"""Whether a key has a match: a count for each key, and the keys whose count left or reached zero.

An epoch costs the rows that it counts, and the other side's rows of the keys whose count left or
reached zero.

Where places in the log matter, a key may come and go within an epoch, and a row of the epoch finds
it as it stood at the row's own place: so what comes out does not depend on where the epoch was cut.
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
from headwater.state.equality import BoolArray, first_alike
from headwater.state.latest import Latest
from headwater.state.matching import matching
from headwater.state.multiset import Multiset
from headwater.state.run import sorted_run, summed

COUNT = "__count"


@dataclass(frozen=True, slots=True)
class Flips:
    """Keys whose count left zero (1) or reached it (-1).

    Args:
        places: A row that was counted for each such key.
        signs: 1 or -1.
        ticks: The place in the log at which each came or went (in order), or the last place of
            what was counted; None where nobody needs it.

    """

    places: Int64Array
    signs: Int64Array
    ticks: Int64Array | None


def counted(  # noqa: PLR0913 - what is counted, and how it is told
    counts: Latest,
    keys: pa.RecordBatch,
    hashes: UInt64Array,
    weights: Int64Array | None,
    ticks: Int64Array | None,
    *,
    in_order: bool = False,
) -> Flips:
    """Add rows to the counts of their keys.

    Args:
        counts: A row for each key that has rows: the key's columns, and `COUNT`.
        keys: The key of each row, its columns in the order of those of `counts`.
        hashes: Their hashes.
        weights: How often each row counts; None stands for once.
        ticks: The rows' places in the log.
        in_order: Whether all is told that came and went from place to place, and not just what
            became of it. Only with ticks.

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
    if in_order and ticks is not None:
        before = np.zeros(len(run), dtype=np.int64)
        before[places] = old
        return _one_by_one(first, before.take(first), run.ones(), order, ticks)
    signs = (new != 0).astype(np.int64) - (old != 0)
    flipped = np.flatnonzero(signs)
    latest = None
    if ticks is not None:
        latest = np.full(len(run), np.iinfo(np.int64).min)
        np.maximum.at(latest, first, ticks.take(order))
        latest = latest.take(places.take(flipped))
    return Flips(order.take(places.take(flipped)), signs[flipped], latest)


def _one_by_one(
    groups: Int64Array,
    before: Int64Array,
    weights: Int64Array,
    order: Int64Array,
    ticks: Int64Array,
) -> Flips:
    """Each time that the count of a group left zero or reached it, at the end of a place.

    Args:
        groups: Rows that are alike have the same.
        before: The count of each row's group before.
        weights: What each row adds to it.
        order: The rows' places among those that were counted.
        ticks: The places in the log of those.

    """
    at = ticks.take(order)
    sorted_ = np.lexsort((at, groups))
    groups, at, before = groups.take(sorted_), at.take(sorted_), before.take(sorted_)
    sums = np.cumsum(weights.take(sorted_))
    is_first = np.ones(len(groups), dtype=np.bool_)
    is_first[1:] = groups[1:] != groups[:-1]
    starts = np.flatnonzero(is_first)
    base = np.repeat((sums - weights.take(sorted_))[starts], np.diff([*starts, len(groups)]))
    is_there = before + sums - base != 0
    is_end = np.ones(len(groups), dtype=np.bool_)
    is_end[:-1] = is_first[1:] | (at[1:] != at[:-1])
    ends = np.flatnonzero(is_end)
    was_there = np.concatenate([[False], is_there[ends][:-1]])
    opens = np.concatenate([[True], groups[ends][1:] != groups[ends][:-1]])
    was_there = np.where(opens, before[ends] != 0, was_there)
    signs = is_there[ends].astype(np.int64) - was_there
    flipped = np.flatnonzero(signs)
    rows = order.take(sorted_[ends[flipped]])
    return Flips(rows, signs[flipped], at[ends[flipped]])


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
        self, rows: Multiset, other: pa.Schema, keys: Sequence[str], *, wants: bool
    ) -> None:
        self._rows, self._wants = rows, wants
        fields = [pa.field(name, other.field(name).type) for name in keys]
        self._counts = Latest(pa.schema([*fields, pa.field(COUNT, pa.int64())]), keys)

    def step(self, mine: Side, other: Side) -> list[Part]:
        """The rows that came or went. The side does not have the epoch's rows yet."""
        parts, told = [], None
        if len(other):
            told = self._count(other)
            parts.append(self._said_again(told))
        if len(mine):
            hashes = self._hashes(mine)
            is_there = self._counts.find(mine.keys, hashes).mask
            parts += of_new_rows(mine, mine.keys, hashes, is_there, told, wants=self._wants)
        return parts

    def forget_below(self, key: str, bound: int) -> None:
        """Drop the counts of keys before the bound: nobody asks for them, or adds to them."""
        self._counts.forget_below(key, bound)

    def save(self, saver: Saver) -> Any:
        """Hand over the counts."""
        return self._counts.save(saver)

    def load(self, manifest: Any, loader: Loader) -> None:
        """Take back the counts."""
        self._counts.load(manifest, loader)

    def size(self) -> tuple[int, int]:
        """Rows and bytes of the counts."""
        return self._counts.size()

    def _count(self, other: Side) -> Told:
        """Count the other side's rows; what came or went."""
        hashes = self._hashes(other)
        flips = counted(self._counts, other.keys, hashes, other.weights, other.ticks, in_order=True)
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
